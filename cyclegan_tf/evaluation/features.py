"""Feature extractors: images -> the vectors whose distributions FID and KID compare."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional, Union

import numpy as np
import tensorflow as tf

from cyclegan_tf.data.channels import set_channels_of_floats
from cyclegan_tf.errors import UserError, first_line

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
        name, input_range, output: as given to make_extractor, or as it determined them.
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
    ):
        self.name, self.input_size, self.input_range, self.output = name, input_size, input_range, output
        self._network, self._channels = network, network.shape[-1] or 3
        # Some networks are stored with a fixed batch size; for these, the last batch is padded.
        self._fixed, self._batch_size = network.shape[0], network.shape[0] or batch_size
        # Tries one black image, so that a mismatch is reported now and not after an hour of translating.
        self.dimensions = self._features([np.zeros((*input_size, self._channels), np.uint8)]).shape[1]

    def __call__(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Computes the features of images, with one batch in memory at a time.

        Args:
            images: uint8 [n, h, w, c], or any iterable of [h, w, c], whose sizes may differ; c is 1, 3 or 4. For a
                network that takes colour, gray is repeated and alpha is dropped; for other networks, colour is
                converted to gray (ITU-R 601-2) or opaque alpha is added. Images are resized bicubically with
                antialiasing, as in Pillow but without rounding; overshoot is clipped to 0..255 (Parmar et al. 2022,
                "On Aliased Resizing and Surprising Subtleties in GAN Evaluation").

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
        if image.shape[:2] == self.input_size:
            return tf.constant(image)
        resized = tf.image.resize(image, self.input_size, method=tf.image.ResizeMethod.BICUBIC, antialias=True)
        return tf.clip_by_value(resized, 0, 255)


def make_extractor(
    name_or_path: Union[str, os.PathLike],
    input_size: Union[int, tuple[int, int], None] = None,
    input_range: Optional[tuple[float, float]] = None,
    output: Optional[str] = None,
    batch_size: int = 32,
) -> Extractor:
    """Makes a feature extractor from a network's name or file.

    'inception_v3' is Keras's InceptionV3 with its ImageNet weights, without its classifier, averaged over
    positions: 2048 dimensions, images of 299x299 in [-1, 1]. Keras downloads the weights (88 MB) once, to
    ~/.keras/models. THESE ARE NOT THE WEIGHTS OF 2015 WITH WHICH PUBLISHED FID AND KID ARE COMPUTED: figures can be
    compared with each other, but not with those of papers. For that, give a SavedModel with the weights of 2015.

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

    Raises:
        UserError: the name, the file or the weights do not exist; a size, range or output is missing or does not fit;
            the network's only input is not images of 1, 3 or 4 channels, or it returns neither [n, d] nor [n, h, w, d].
    """
    name = os.fspath(name_or_path)
    if batch_size < 1:
        raise UserError(f'`batch_size` ({batch_size}) is below 1; raise it.')
    network, own_range = NAMED[name]() if name in NAMED else (_load(pathlib.Path(name)), None)
    if len(network.shape) != 4 or network.shape[-1] not in (None, *_CHANNELS):
        taken = f"`feature_extractor` ('{name}') takes {network.shape}"
        raise UserError(f'{taken}; it must take images, [n, height, width, 1, 3 or 4].')
    size = _size(name, input_size, network.shape[1:3])
    return Extractor(name, network, size, _range(name, input_range, own_range, network.dtype), output, batch_size)


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


NAMED = {'inception_v3': _inception_v3}


def _load(path: pathlib.Path) -> _Network:
    """Loads a network from a Keras file or the folder of a SavedModel."""
    is_keras = path.suffix.lower() in _KERAS and path.is_file()
    if not is_keras and not (path / 'saved_model.pb').is_file():
        raise UserError(
            f"`feature_extractor` ('{path}') is neither one of: {', '.join(NAMED)}, nor a file that ends in "
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
