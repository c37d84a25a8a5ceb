"""Feature extractors: images -> the vectors whose distributions FID and KID compare."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pathlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional, Union

import numpy as np
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data.channels import set_channels_of_floats
from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.evaluation import inception_2015
from cyclegan_tf.runs.torch_files import import_torch, read_state
from cyclegan_tf.settings.training import FEATURE_NETWORKS, FEATURE_RESIZING

_CHANNELS = (1, 3, 4)  # gray, colour, colour with alpha
_KERAS = ('.keras', '.h5', '.hdf5')

# What Keras downloads, and where it keeps it (keras.applications.inception_v3, keras.utils.get_file).
_WEIGHTS_AT = 'https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/'
_WEIGHTS = 'inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5'
# Seconds without a byte. Keras sets no timeout, and a network that drops packets would block it for an hour.
_TIMEOUT = 20


class _Network(NamedTuple):
    """A network that has been loaded."""

    call: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]  # a batch -> its outputs by name
    shape: list[Optional[int]]  # [batch, height, width, channels], None where any size is accepted
    dtype: tf.DType  # of the batch


class Extractor:
    """Computes features of images; made by `make_extractor`.

    Attributes:
        name, input_range, output, resizing: as given to make_extractor, or as it determined them.
        file: the file or folder that holds the weights; None if Keras keeps it.
        input_size: (height, width) to which images are resized.
        dimensions: length of a vector.
    """

    def __init__(
        self,
        name: str,
        network: _Network,
        input_size: tuple[int, int],
        input_range: tuple[float, float],
        output: Optional[str],
        batch_size: int,
        resizing: str,
        file: Optional[pathlib.Path],
    ):
        self.name, self.input_size, self.input_range, self.output = name, input_size, input_range, output
        self.resizing, self.file = resizing, file
        self._network, self._channels = network, network.shape[-1] or 3
        # Some networks are stored with a fixed batch size; for these, the last batch is padded.
        self._fixed, self._batch_size = network.shape[0], network.shape[0] or batch_size
        # Tries one black image, so that a mismatch is reported now and not after an hour of translating.
        self.dimensions = self._features([np.zeros((*input_size, self._channels), np.uint8)]).shape[1]

    @property
    def identity(self) -> str:
        """What tells the network from any other: its name, or the digest of its file."""
        return self.name if self.file is None else f'sha256 {digest(self.file)}'

    def __call__(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Computes the features of images, with one batch in memory at a time.

        Args:
            images: uint8 [n, h, w, c], or any iterable of [h, w, c], whose sizes may differ; c is 1, 3 or 4. For a
                network that takes colour, gray is repeated and alpha is dropped; for other networks, colour is
                converted to gray (ITU-R 601-2) or opaque alpha is added. Images are resized as make_extractor was
                told.

        Returns:
            float64 [n, dimensions].

        Raises:
            UserError: there is no image, or one has another dtype, rank or number of channels.
        """
        images, rows = enumerate(images), []
        while batch := list(itertools.islice(images, self._batch_size)):
            for index, image in batch:
                if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in _CHANNELS or not image.size:
                    what = f'`images` at index {index} is {image.dtype} {image.shape}'
                    raise UserError(f'{what}; give uint8 [height, width, 1, 3 or 4].')
            rows.append(self._features([image for _, image in batch]))
        if not rows:
            raise UserError('`images` is empty; give at least one image.')
        return np.concatenate(rows)

    def _features(self, images: list[np.ndarray]) -> np.ndarray:
        """One batch: uint8 [h, w, c] each -> float64 [n, d]."""
        low, high = self.input_range
        batch = tf.stack([self._resized(image) for image in images]) * ((high - low) / 255) + low  # [n, h, w, c]
        if self._fixed:
            batch = tf.pad(batch, [[0, self._fixed - len(images)], [0, 0], [0, 0], [0, 0]])
        if self._network.dtype.is_integer:
            batch = tf.round(batch)
        try:
            outputs = self._network.call(tf.cast(batch, self._network.dtype))
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise UserError(
                f"`feature_extractor` ('{self.name}') does not take {self._network.dtype.name} {batch.shape}; set "
                f'`feature_size` to a size that it takes ({first_line(error)}).'
            ) from error
        wanted = next(iter(outputs)) if self.output is None and len(outputs) == 1 else self.output
        if wanted not in outputs:
            choices = f"the outputs of `feature_extractor` ('{self.name}'): {', '.join(sorted(outputs))}"
            raise UserError(f'`feature_output` ({self.output}) is not one of {choices}; set it to one of them.')
        features = tf.cast(outputs[wanted], tf.float64)
        if features.shape.rank == 4:
            features = tf.reduce_mean(features, axis=[1, 2])  # [n, h, w, d] -> [n, d]
        if features.shape.rank != 2:
            given = f"`feature_extractor` ('{self.name}') returns the shape {features.shape}"
            raise UserError(f'{given}; it must return [n, d], or [n, h, w, d] to be averaged: add such a layer.')
        return features.numpy()[: len(images)]

    def _resized(self, image: np.ndarray) -> tf.Tensor:
        """uint8 [h, w, c] -> float32 0..255, with the size and channels that the network takes."""
        image = set_channels_of_floats(image.astype(np.float32), self._channels, white=255)
        return tf.constant(
            image if image.shape[:2] == self.input_size else RESIZERS[self.resizing](image, *self.input_size)
        )


def _resize_clean(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic with antialiasing, without rounding, as Pillow does it; overshoot is clipped: Parmar et al. 2022, "On
    Aliased Resizing and Surprising Subtleties in GAN Evaluation"."""
    planes = (Image.fromarray(np.ascontiguousarray(image[..., i])) for i in range(image.shape[-1]))
    resized = [np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC)) for plane in planes]
    return np.clip(np.stack(resized, axis=-1), 0, 255)


def _resize_as_pytorch(image: np.ndarray, height: int, width: int) -> tf.Tensor:
    """Bilinear without antialiasing, as in PyTorch's interpolate, which pytorch-fid uses."""
    return tf.image.resize(image, (height, width), tf.image.ResizeMethod.BILINEAR)


def _resize_as_tensorflow_1(image: np.ndarray, height: int, width: int) -> tf.Tensor:
    """Bilinear without antialiasing, with the corners of pixels taken for their centres, as in the graph of 2015."""
    return tf.raw_ops.ResizeBilinear(images=image[None], size=(height, width), half_pixel_centers=False)[0]


# float32 [h, w, c] of 0..255, height and width -> the same with that size.
RESIZERS: Mapping[str, Callable] = dict(
    zip(FEATURE_RESIZING, (_resize_clean, _resize_as_pytorch, _resize_as_tensorflow_1))
)


def make_extractor(
    name_or_path: Union[str, os.PathLike],
    input_size: Union[int, tuple[int, int], None] = None,
    input_range: Optional[tuple[float, float]] = None,
    output: Optional[str] = None,
    batch_size: int = 32,
    resizing: str = 'clean',
    weights: Union[str, os.PathLike, None] = None,
) -> Extractor:
    """Makes a feature extractor from a network's name or file.

    'inception_2015' is the network of published FID and KID, see inception_2015.py: 2048 dimensions, images of 299x299.
    Its weights (95 MB) are downloaded once, unless `weights` is their file; reading them needs PyTorch.

    'inception_v3' is Keras's InceptionV3 with its ImageNet weights, without its classifier, averaged over positions:
    2048 dimensions, images of 299x299 in [-1, 1]. Keras downloads the weights (88 MB) once, to ~/.keras/models. THESE
    ARE NOT THE WEIGHTS OF 2015 WITH WHICH PUBLISHED FID AND KID ARE COMPUTED: figures can be compared with each other,
    but not with those of papers.

    Load only files that you trust: a model can contain code.

    Args:
        name_or_path: 'inception_v3'; or a Keras file, .keras or .h5, of a whole model; or the folder of a SavedModel,
            of which the signature serving_default is used, else __call__, else its only signature.
        input_size: side of a square, or (height, width), to which images are resized; None: the size that the network
            requires.
        input_range: (lowest, highest) value that the network was trained with, such as (-1, 1), (0, 1) or (0, 255);
            required with a file, which does not contain it.
        output: name of the network's output, where it has several.
        batch_size: images in memory at a time, unless the network has a fixed batch size.
        resizing: 'clean', as clean-fid does it; 'legacy_pytorch', as pytorch-fid; or 'legacy_tensorflow', as the graph
            of 2015 and torch-fidelity. It also determines which values inception_2015 gets for 0..255: -1 to 1 as in
            pytorch-fid, or -1 to 127/128.
        weights: file with the weights of inception_2015.

    Raises:
        UserError: the name, the file or the weights do not exist; a size, range or output is missing or does not fit;
            the network's only input is not images of 1, 3 or 4 channels, or it returns neither [n, d] nor [n, h, w, d].
    """
    name = os.fspath(name_or_path)
    if batch_size < 1:
        raise UserError(f'`batch_size` ({batch_size}) is below 1; raise it.')
    file = None if name == 'inception_v3' else pathlib.Path(name)
    if name == 'inception_2015':
        file = pathlib.Path(os.path.expanduser(weights)) if weights else _downloaded_weights()
        network, own_range = _inception_2015(file, resizing)
    elif weights:
        raise UserError(f"`feature_weights` ('{weights}') is of inception_2015 alone, not of '{name}'; leave it out.")
    else:
        network, own_range = NAMED[name]() if name in NAMED else (_load(pathlib.Path(name)), None)
    if len(network.shape) != 4 or network.shape[-1] not in (None, *_CHANNELS):
        taken = f"`feature_extractor` ('{name}') takes {network.shape}"
        raise UserError(f'{taken}; it must take images, [n, height, width, 1, 3 or 4].')
    size = _size(name, input_size, network.shape[1:3])
    levels = _range(name, input_range, own_range, network.dtype)
    return Extractor(name, network, size, levels, output, batch_size, resizing, file)


def _size(name: str, asked: Union[int, tuple[int, int], None], own: list[Optional[int]]) -> tuple[int, int]:
    """(height, width), from what was asked for and what the network takes."""
    if asked is None:
        if None in own:
            raise UserError(f"`feature_size` is not set, and '{name}' takes images of any size; set it.")
        return own[0], own[1]
    sides = (asked, asked) if isinstance(asked, int) else tuple(map(int, asked))
    if len(sides) != 2 or min(sides) < 1:
        raise UserError(f'`feature_size` ({asked}) is not a size; give one side, or height and width, in pixels.')
    if any(of_network not in (None, side) for of_network, side in zip(own, sides)):
        raise UserError(f"`feature_size` ({asked}) is not what '{name}' takes, {own[0]}x{own[1]}; leave it out.")
    return sides


def _range(
    name: str, asked: Optional[tuple[float, float]], own: Optional[tuple[float, float]], dtype: tf.DType
) -> tuple[float, float]:
    """(lowest, highest), from what was asked for and what the network is known to take."""
    if asked is None and own is None:
        unset = f"`feature_range` is not set, and '{name}' does not define it"
        raise UserError(f'{unset}; set it to the values of black and white, such as -1,1 or 0,255.')
    low, high = own if asked is None else map(float, asked)
    if own is not None and (low, high) != own:
        raise UserError(f'`feature_range` ({low}, {high}) is not that of {name}, {own}; leave it out.')
    if not np.isfinite([low, high]).all() or low >= high:
        raise UserError(f'`feature_range` ({low}, {high}) is not a range; give the lowest and the highest value.')
    if dtype.is_integer and not dtype.min <= low < high <= dtype.max:
        raise UserError(f'`feature_range` ({low}, {high}) does not fit {dtype.name}, which {name} takes; try 0,255.')
    return low, high


# ---------------------------------------------------------------------------------------------------- loading networks
def _inception_v3(weights: Optional[str] = 'imagenet') -> tuple[_Network, tuple[float, float]]:
    """Inception v3 (Szegedy et al. 2016) of tf.keras.applications, and the value range of its images."""
    try:
        with _undisturbed():
            model = tf.keras.applications.InceptionV3(False, weights, None, (299, 299, 3), 'avg')
    except Exception as error:  # Keras raises plain Exceptions
        cause = error.__context__ or error  # its context does not repeat the address
        failure = f'could not be downloaded ({first_line(cause)})'
        folder = pathlib.Path.home() / '.keras'
        raise UserError(
            f"`feature_extractor` ('inception_v3') {failure}; place {_WEIGHTS_AT}{_WEIGHTS} in "
            f'{folder if os.access(folder, os.W_OK) else "/tmp/.keras"}/models, or give the path of another network.'
        ) from error
    return _of_keras(model), (-1.0, 1.0)  # keras.applications.inception_v3.preprocess_input


def _inception_2015(file: pathlib.Path, resizing: str) -> tuple[_Network, tuple[float, float]]:
    """The network of published figures with the weights of a file, and the value range of its images."""
    state = read_state(str(file), where := f"`feature_weights` ('{file}')")
    with _undisturbed():
        network = inception_2015.Inception2015()
    if lines := network.differences(state):
        more = f', and {len(lines) - 3} more' if len(lines) > 3 else ''
        raise UserError(
            f'{where} does not hold the Inception of 2015 ({"; ".join(lines[:3])}{more}); set it to '
            f'{inception_2015.WEIGHTS} of pytorch-fid.'
        )
    network.assign(state)
    # The graph itself subtracts 128 and divides by 128; pytorch-fid stretches to -1..1.
    return _of_keras(network.model), (-1.0, 1.0 if resizing == 'legacy_pytorch' else 127 / 128)


def _downloaded_weights() -> pathlib.Path:
    """The file of the weights of inception_2015, which is downloaded the first time."""
    from cyclegan_tf.runtime.fetch import fetch

    import_torch()  # before minutes of downloading
    path = f'{inception_2015.RELEASE}/{inception_2015.WEIGHTS}'
    found = fetch(path, inception_2015.WEIGHTS_AT, remedy='set `feature_weights` to the file')
    checksum, wanted = digest(found.path), pathlib.Path(inception_2015.WEIGHTS).stem.rpartition('-')[2]
    if not checksum.startswith(wanted):
        found.forget()
        raise UserError(
            f"`feature_extractor` ('inception_2015') got another file from {found.address} than the published one (its "
            f'SHA-256 begins with {checksum[:8]} instead of {wanted}); try again, or set `feature_weights` to the file.'
        )
    return found.path


NAMED = {'inception_v3': _inception_v3}


def _load(path: pathlib.Path) -> _Network:
    """Loads a network from a Keras file or the folder of a SavedModel."""
    is_keras = path.suffix.lower() in _KERAS and path.is_file()
    if not is_keras and not (path / 'saved_model.pb').is_file():
        raise UserError(
            f"`feature_extractor` ('{path}') is neither one of: {', '.join(FEATURE_NETWORKS)}, nor a file that ends in "
            f'{", ".join(_KERAS)}, nor the folder of a SavedModel; correct it.'
        )
    try:
        loaded = tf.keras.models.load_model(path, compile=False) if is_keras else tf.saved_model.load(str(path))
    except Exception as error:  # loaders raise exceptions of all kinds for broken files
        raise UserError(
            f"`feature_extractor` ('{path}') cannot be loaded ({first_line(error)}); save the whole model again, with "
            'the version of TensorFlow that is installed here, or as a SavedModel.'
        ) from error
    return _of_keras(loaded) if is_keras else _of_saved_model(str(path), loaded)


def _of_keras(model: tf.keras.Model) -> _Network:
    spec = _only(tf.nest.flatten(model.inputs or []), model.name)

    @tf.function(input_signature=[tf.TensorSpec(spec.shape, spec.dtype)])
    def call(images):
        return _named(model(images, training=False), model.output_names)

    return _Network(call, spec.shape.as_list(), spec.dtype)


def _of_saved_model(name: str, loaded: tf.Module) -> _Network:
    signatures = loaded.signatures
    if 'serving_default' in signatures or (len(signatures) == 1 and not callable(loaded)):
        function = signatures['serving_default' if 'serving_default' in signatures else next(iter(signatures))]
        inputs = function.structured_input_signature[1]
        spec = _only(list(inputs.values()), name)
        return _Network(lambda x: function(**{next(iter(inputs)): x}), spec.shape.as_list(), spec.dtype)
    if not callable(loaded):
        found = ', '.join(sorted(signatures)) or 'none'
        raise UserError(
            f"`feature_extractor` ('{name}') has no __call__, and its signatures are: {found}; add serving_default."
        )
    # The first signature that it was traced with shows what it takes.
    traced = [s for f in loaded.__call__.concrete_functions for s in tf.nest.flatten(f.structured_input_signature[0])]
    spec = next((s for s in traced if isinstance(s, tf.TensorSpec) and s.shape.rank), tf.TensorSpec([None] * 4))
    return _Network(lambda x: _named(loaded(x)), spec.shape.as_list(), spec.dtype)


def _only(inputs: list, name: str) -> tf.TensorSpec:
    if len(inputs) != 1 or inputs[0].shape.rank is None:
        raise UserError(f"`feature_extractor` ('{name}') has {len(inputs)} inputs; give one that takes images only.")
    return inputs[0]


def _named(outputs, names: Sequence[str] = ()) -> Mapping[str, tf.Tensor]:
    """A network's outputs by name; without names, they are named as TensorFlow names the outputs of a signature."""
    if isinstance(outputs, Mapping):
        return outputs
    return {names[i] if names else f'output_{i}': output for i, output in enumerate(tf.nest.flatten(outputs))}


def digest(path: Optional[pathlib.Path]) -> Optional[str]:
    """SHA-256 of a file, or of a folder's files in the order of their names; None if there is no such path."""
    if path is None or not path.exists():
        return None
    sha256 = hashlib.sha256()
    for part in sorted(file for file in path.rglob('*') if file.is_file()) if path.is_dir() else [path]:
        sha256.update(part.read_bytes())
    return sha256.hexdigest()


def about_features(extractor: Extractor) -> dict:
    """Describes an extractor, for metrics.json."""
    return {
        'extractor': extractor.name,
        'sha256': digest(extractor.file),
        'resizing': extractor.resizing,
        'input_size': extractor.input_size,
        'input_range': extractor.input_range,
        'output': extractor.output,
        'dimensions': extractor.dimensions,
    }


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A context in float32, whatever precision the program trains in, with a limit on how long a download may stall."""
    policy, timeout = tf.keras.mixed_precision.global_policy(), socket.getdefaulttimeout()
    tf.keras.mixed_precision.set_global_policy('float32')
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
        socket.setdefaulttimeout(timeout)
