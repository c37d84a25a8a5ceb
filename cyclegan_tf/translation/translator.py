"""Translates images of any size with a run's generators: padded, or in tiles that share one set of statistics."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.data import decode
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.levels import float_to_values, holds, to_float, to_levels, values_to_float
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.networks import test_time
from cyclegan_tf.networks.shapes import least_side, mirrored, pad_to_multiple
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.hardware import device_kind, free_memory
from cyclegan_tf.settings.training import Config

_MARGIN = 192  # pixels around a tile's core: one half is discarded, the other half is blended with the next tile
_ROWS = 256  # rows that are reduced at a time
_LEAST_TILE = 64  # minimum side of a tile's core, in pixels
# Bytes that a generator needs per pixel and per filter of its first layer, measured with tf.function on a CPU; and one
# that upsamples before its convolutions or downsamples behind them, which has twice as many filters at full size.
_BYTES_PER_PIXEL_AND_FILTER = 24
_BYTES_WITH_RESAMPLING = 40
_MEMORY_SHARE = 0.5  # of the free memory


class Translator:
    """Translates images with a model's generators, whose weights may change between calls.

    Directions are the names of the model's translations, such as 'AtoB'.

    Args:
        config: the run's settings.
        model: the model with the generators.
        untrained: its networks, such as 'G_B', that were given no weights.
        max_pixels: maximum number of pixels translated at once: a larger batch is split, and a larger image is
            translated in tiles; None: as many as fit into half of the machine's free memory, whatever a GPU has.
        seed: of the dropout outside training, if config.test_dropout is on; None: that of the run. The result for an
            image depends on the seed, the direction and the image's name.

    Raises:
        UserError: max_pixels is too small for a tile with its margins.
    """

    def __init__(
        self,
        config: Config,
        model: BaseModel,
        untrained: frozenset[str] = frozenset(),
        max_pixels: Optional[int] = None,
        seed: Optional[int] = None,
        weights: str = 'average',
    ):
        self._seed, self._weights = config.seed if seed is None else seed, weights
        self.config, self._model, self._untrained = config, model, untrained
        self._all = model.translations
        self.multiple = math.lcm(*(one.network.side_multiple for one in self._all.values()))
        # A U-Net needs sides that are multiples of a block, so tiles and margins are aligned to these.
        self._margin = -(-_MARGIN // self.multiple) * self.multiple
        if max_pixels is None:
            plain = config.downsample == 'stride' and config.upsample == 'deconv'
            needed = _BYTES_PER_PIXEL_AND_FILTER if plain else _BYTES_WITH_RESAMPLING
            max_pixels = max(int(free_memory() * _MEMORY_SHARE / (needed * config.ngf)), self.least_max_pixels)
        if max_pixels < self.least_max_pixels:
            raise UserError(
                f'`max_pixels` ({max_pixels}) is too small for a tile with its margins; '
                f'raise it to {self.least_max_pixels} or more.'
            )
        self.max_pixels = max_pixels
        self._untiled = {
            name: tf.function(
                functools.partial(self._call, one.network),
                input_signature=[_any_image(one.channels[0]), *_TOLD],
                autograph=False,
            )
            for name, one in self._all.items()
        }
        self._tiled: dict[str, _TiledNetwork] = {}

    @classmethod
    def from_checkpoint(
        cls,
        config: Config,
        checkpoint: checkpoints.CheckpointInfo,
        max_pixels: Optional[int] = None,
        precision: str = 'float32',
        batch_statistics: Optional[bool] = None,
        test_dropout: Optional[bool] = None,
        seed: Optional[int] = None,
        weights: str = 'average',
        directions: Optional[Collection[str]] = None,
    ) -> Translator:
        """A translator with the weights of a checkpoint, which computes in `precision` whatever the run's was.

        Args:
            config, checkpoint, max_pixels: the run.
            precision: 'float32', 'bfloat16' or 'float16'.
            batch_statistics, test_dropout: as the flags; None: as the run has them.
            seed, weights: see Translator.
            directions: those that will be used, such as 'AtoB', so that no other generators are made; None: all.

        Raises:
            UserError: the checkpoint does not fit, or max_pixels is too small for a tile with its margins.
        """
        given = {'batch_statistics': batch_statistics, 'test_dropout': test_dropout}
        given = {name: value for name, value in given.items() if value is not None}
        config = dataclasses.replace(config, precision=precision, **given)
        networks = None if directions is None else {config.translating_networks[name] for name in directions}
        model = MODELS[config.model](config, training=False, networks=networks)
        checkpoints.restore_networks(model, checkpoint, weights)
        return cls(config, model, checkpoint.untrained, max_pixels, seed, weights)

    @staticmethod
    def directions_of_files(
        config: Config, checkpoint: checkpoints.CheckpointInfo, direction: Optional[str]
    ) -> Optional[Collection[str]]:
        """What `from_checkpoint` takes as `directions` for translating files in a direction: a name, 'both', or None
        for the first one that there is. What cannot be translated is refused later, by `choose`."""
        networks = config.translating_networks
        available = [name for name, network in networks.items() if network not in checkpoint.untrained]
        chosen = available[:1] if direction is None else [direction]
        return chosen if set(chosen) <= set(available) and chosen else None

    def restore(self, checkpoint: checkpoints.CheckpointInfo) -> None:
        """Changes to the weights of another checkpoint of the same run."""
        checkpoints.restore_networks(self._model, checkpoint, self._weights)
        self._untrained = checkpoint.untrained

    @property
    def step(self) -> int:
        """Number of steps that the weights were trained for."""
        return int(self._model.step.numpy())

    @property
    def least_max_pixels(self) -> int:
        """The minimum of max_pixels with which tiles can be made."""
        return (2 * self._margin + max(_LEAST_TILE, self.multiple)) ** 2

    @property
    def translations(self) -> dict[str, Translation]:
        """The translations whose generator has weights, by name; a run with imported weights may lack one."""
        return {name: one for name, one in self._all.items() if one.network_name not in self._untrained}

    def translation(self, direction: Optional[str] = None) -> Translation:
        """The translation with a name; None: the first one, which may be the only one.

        Raises:
            UserError: the name is unknown, or the run lacks its generator.
        """
        available = self.translations
        if direction is None:
            return next(iter(available.values()))
        if direction not in self._all:
            raise UserError(
                f"`direction` ('{direction}') is not one of: {', '.join(self._all)}, the directions of model "
                f'{self.config.model} of this run.'
            )
        if direction not in available:
            raise UserError(
                f'`direction` ({direction}) needs a generator that this run has no weights for; set it to '
                f'{next(iter(available))}, import the weights of both, or train the run.'
            )
        return available[direction]

    def choose(self, directions: Optional[str]) -> list[Translation]:
        """The translations for a flag: a name, 'both', or None for all. Raises as `translation`."""
        if directions is None:
            return list(self.translations.values())
        if directions != 'both':
            return [self.translation(directions)]
        if len(self._all) < 2:
            raise UserError(
                f'`direction` (both) asks for two, but model {self.config.model} of this run translates only '
                f'{", ".join(self._all)}; leave it out.'
            )
        return [self.translation(name) for name in self._all]

    @property
    def test_errors(self) -> tuple[str, ...]:
        """Which of the errors 'cycle' and 'identity' apply to the model."""
        return self.config.test_errors

    @contextlib.contextmanager
    def out_of_memory_named(self) -> Iterator[None]:
        """A context for programs with the flag max_pixels: running out of memory becomes a UserError about the flag."""
        try:
            yield
        except tf.errors.ResourceExhaustedError as error:
            kind = device_kind()
            least = self.least_max_pixels
            remedy = f'lower it, but not below {least}' if self.max_pixels > least else 'use a device with more'
            raise UserError(
                f'`max_pixels` ({self.max_pixels}) needs more memory than the {kind} has; {remedy}.'
            ) from error

    @property
    def test_time(self) -> str:
        """How the generators' batch norm and dropout work here, in words, behind the weights that they have; empty: the
        run leaves no choice."""
        average = self._weights == 'average'
        weights = 'the running mean of the weights' if average else 'the weights of the last step'
        return ', '.join(filter(None, [weights if self.config.ema_decay else '', self.statistics_and_dropout]))

    @property
    def statistics_and_dropout(self) -> str:
        """How batch norm and dropout of the generators work here, in words; empty: they have neither."""
        config, said = self.config, []
        if config.norms['generator'] == 'batch':
            own = "each image's own statistics" if config.batch_statistics else 'running statistics'
            said.append(f'{own} in batch norm')
        if not config.no_dropout:
            said.append(f'dropout (seed {self._seed})' if config.test_dropout else 'no dropout')
        return ' and '.join(said)

    @property
    def is_as_exported(self) -> bool:
        """Whether the generators do the same as exported ones: running statistics, and no dropout."""
        config = self.config
        own = config.batch_statistics and config.norms['generator'] == 'batch'
        return not own and (config.no_dropout or not config.test_dropout)

    def without_effect(self, batch_statistics: Optional[bool], test_dropout: Optional[bool]) -> list[str]:
        """A sentence for each of these that was asked for and that the run's generators have no use for."""
        config, lines = self.config, []
        if batch_statistics and config.norms['generator'] != 'batch':
            norm = config.norms['generator']
            lines.append(f'`batch_statistics` (true) has no effect: the generators have norm {norm}, not batch.')
        if test_dropout and config.no_dropout:
            lines.append('`test_dropout` (true) has no effect: the generators have no dropout.')
        return lines

    def translate(
        self,
        images: np.ndarray,
        direction: Optional[str] = None,
        dtype: Optional[np.dtype] = None,
        names: Sequence[str] = (),
    ) -> np.ndarray:
        """Translates an image, or a batch of images of one size.

        Args:
            images: [h, w, c] or [n, h, w, c]; uint8, uint16, or float in [-1, 1]. Integers may have 1 to 4
                channels, which are converted to those of the network, and alpha is kept unchanged. Floats must have the
                network's channels. If the run has a value range (see `value_ranges`), images are numbers of any type in
                that range, and alpha is not kept.
            direction: such as 'AtoB'; None: the only one, or AtoB if there are two.
            dtype: uint8 or uint16, for the results of integers, or for a run with a value range any type that holds the
                results' range; None: the dtype of the images, or float32 if that does not hold the range.
            names: of the images, on which dropout depends; empty: they have none, and all get the same dropout.

        Returns:
            Images of the same height and width; float32 for floats, unless the run has a value range.

        Raises:
            UserError: the direction is unknown, or the network does not take the shape or the channels.
        """
        translation = self.translation(direction)
        direction, (channels_in, channels_out) = translation.name, translation.channels
        images = np.asarray(images)
        if images.ndim == 3:
            return self.translate(images[None], direction, dtype, names)[0]
        if images.ndim != 4:
            raise UserError(f'images of shape {images.shape} are neither [h, w, c] nor [n, h, w, c].')
        if any(self.value_ranges(direction)):
            return self._translate_values(images, translation, dtype, names)
        if images.dtype.kind == 'f':
            return self.translate_floats(images.astype(np.float32), direction, names)
        if images.dtype not in (np.uint8, np.uint16):
            raise UserError(f'images of dtype {images.dtype} are not one of: uint8, uint16, float in [-1, 1].')
        dtype = images.dtype if dtype is None else dtype
        if not len(images):
            return np.zeros((*images.shape[:3], channels_out), dtype)
        self._require_stacked(images, translation)
        alpha = images[..., -1:] if images.shape[-1] in (2, 4) and channels_in in (1, 3) else None
        results = self.translate_floats(to_float(with_channels(images, channels_in)), direction, names)
        if alpha is not None and results.shape[-1] in (1, 3):
            results = np.concatenate([results, to_float(alpha)], axis=-1)
        return to_levels(results, dtype)

    def _translate_values(
        self, images: np.ndarray, translation: Translation, dtype: Optional[np.dtype], names: Sequence[str]
    ) -> np.ndarray:
        """Numbers in the ranges of a run that has one for a domain or for both; in the other, levels."""
        range_in, range_out = self.value_ranges(translation.name)
        self._require_stacked(images, translation)
        if images.dtype.kind not in 'iuf' or (
            range_in is None and images.dtype.kind != 'f' and images.dtype not in (np.uint8, np.uint16)
        ):
            kinds = 'uint8, uint16, float in [-1, 1]' if range_in is None else 'integers, floats'
            raise UserError(f'images of dtype {images.dtype} are not one of: {kinds}.')
        fits = images.dtype in (np.uint8, np.uint16) if range_out is None else holds(images.dtype, range_out)
        chosen = np.dtype(dtype or (images.dtype if fits else np.float32))
        if range_out is not None and not holds(chosen, range_out):
            low, high = range_out
            raise UserError(f'dtype {chosen} does not hold values from {low:g} to {high:g}; set it to float32.')
        dtype = chosen.newbyteorder('=')
        if not len(images):
            return np.zeros((*images.shape[:3], translation.channels[1]), dtype)
        if range_in is None:
            floats = to_float(images.astype(np.float32) if images.dtype.kind == 'f' else images)
        else:
            floats = values_to_float(images, range_in)
        results = self.translate_floats(with_channels(floats, translation.channels[0]), translation.name, names)
        if range_out is not None:
            return float_to_values(results, range_out, dtype)
        return results.astype(dtype) if dtype.kind == 'f' else to_levels(results, dtype)

    def _require_stacked(self, images: np.ndarray, translation: Translation) -> None:
        """Raises UserError for images that have not all channels of a run that stacks several images."""
        config, given = self.config, images.shape[-1]
        if config.input_folders is None or translation.source != config.domains[0]:
            return
        if given != translation.channels[0]:
            raise UserError(
                f'images of {given} channels do not fit a run that stacks {translation.channels[0]} of several images '
                f'(input_folders {config.input_folders}).'
            )

    def value_ranges(self, direction: str) -> tuple[Optional[tuple[float, float]], Optional[tuple[float, float]]]:
        """The values that -1 and 1 stand for in the images of a direction, and in its results; None: levels."""
        translation = self._all[direction]
        ranges = dict(zip(self.config.domains, self.config.value_ranges.values()))
        return ranges[translation.source], ranges[translation.target]

    def translate_floats(self, images: np.ndarray, direction: str, names: Sequence[str] = ()) -> np.ndarray:
        """Float32 [n, h, w, channels in] in [-1, 1] -> float32 [n, h, w, channels out] in [-1, 1], any n, h and w;
        names: as for `translate`."""
        channels_out = self._require_channels(images, direction)
        _, height, width, _ = images.shape
        if 0 in images.shape:
            return np.zeros((*images.shape[:3], channels_out), np.float32)
        padded = self._padded(images)
        results, size = np.empty((*padded.shape[:3], channels_out), np.float32), (height, width)
        seeds = self._seeds(direction, names, len(images))
        most = self.max_pixels // (padded.shape[1] * padded.shape[2])  # the pixels of a batch are counted together
        for start in range(0, len(padded), max(1, most)):
            part = slice(start, start + max(1, most))
            if most:
                results[part] = self._untiled[direction](padded[part], size, seeds[part], (0, 0)).numpy()
                continue
            image, top = padded[start], 0
            read = lambda first, end: image[first:end]  # noqa: B023, E731
            for rows in self._in_tiles(read, image.shape[:2], size, direction, seeds[part]):
                results[start, top : top + len(rows)] = rows
                top += len(rows)
        return results[:, :height, :width]

    def translate_frame(self, image: np.ndarray, direction: str, kept: float = 0.0, name: str = '') -> np.ndarray:
        """Translates a frame of a video so that its brightness does not flicker.

        Norms with statistics of their own input take, for each frame, `kept` times what they took for the frame before
        plus 1 - kept times the frame's own. Only one video at a time can be translated, and no image in between.

        Args:
            image: float32 [h, w, channels in] in [-1, 1].
            direction: such as 'AtoB'.
            kept: 0 to 1; 0 for the first frame, which has none before it: its result is that of translate_floats.
            name: of the video, on which dropout depends, so that it is the same for all frames.

        Returns:
            float32 [h, w, channels out] in [-1, 1].
        """
        channels_out, (height, width, _) = self._require_channels(image[None], direction), image.shape
        network, seeds = self._tiled_network(direction), self._seeds(direction, [name], 1)
        if not network.learns:
            return self.translate_floats(image[None], direction, [name])[0]
        padded = self._padded(image[None])
        sides, size = padded.shape[1:3], (height, width)
        if sides[0] * sides[1] <= self.max_pixels:
            return network.learn(padded, size, seeds, kept)[0, :height, :width]
        result, top = np.empty((*sides, channels_out), np.float32), 0
        for rows in self._in_tiles(lambda first, end: padded[0, first:end], sides, size, direction, seeds, kept):
            result[top : top + len(rows)] = rows
            top += len(rows)
        return result[:height, :width]

    def smooths_statistics(self, direction: str) -> bool:
        """Whether the norms of a direction's generator have statistics of their own input."""
        return self._tiled_network(direction).learns

    def _require_channels(self, images: np.ndarray, direction: str) -> int:
        """The channels of the results; raises UserError if the images do not have the network's."""
        channels_in, channels_out = self.translation(direction).channels
        if images.shape[-1] != channels_in:
            raise UserError(f'images of {images.shape[-1]} channels do not fit a network that takes {channels_in}.')
        return channels_out

    def _padded(self, images: np.ndarray) -> np.ndarray:
        """[n, h, w, c], padded at the right and the bottom to sides that the networks take."""
        height, width = images.shape[1:3]
        if not (height % self.multiple or width % self.multiple) and min(height, width) >= least_side(self.multiple):
            return images
        with tf.device('CPU:0'):  # an image that goes through the network in tiles may exceed a GPU's memory
            return pad_to_multiple(images, self.multiple).numpy()

    def _call(self, network, images, size, seeds, origin, kept=None) -> tf.Tensor:
        """Calls a network on padded images, or on a tile; see test_time.TestTime."""
        config = self.config
        how = test_time.TestTime(
            size=size,
            padded=tf.shape(images)[1:3],
            batch_statistics=config.batch_statistics,
            dropout_seeds=seeds if config.test_dropout else None,
            origin=origin,
            kept_statistics=kept,
        )
        with test_time.told(how):
            return network(images, training=False)

    def _seeds(self, direction: str, names: Sequence[str], count: int) -> np.ndarray:
        """The seeds of the dropout of some images, int32 [count, 2]."""
        names = [names] if isinstance(names, str) else list(names) or [''] * count
        if len(names) != count:
            raise UserError(f'{len(names)} names do not fit {count} images; give one for each.')
        texts = (f'{self._seed} {direction} {name}'.encode(errors='surrogateescape') for name in names)
        digests = b''.join(hashlib.sha256(text).digest()[:8] for text in texts)
        return np.frombuffer(digests, '<i4').astype(np.int32).reshape(count, 2)

    def translate_rows(
        self, read: Callable[[int, int], np.ndarray], height: int, width: int, direction: str, name: str = ''
    ) -> Iterator[np.ndarray]:
        """Translates an image in tiles, of which only as many rows as these need are in memory.

        Args:
            read: (first row, row behind the last) -> float32 [rows, width, channels in] in [-1, 1].
            height, width: of the image.
            direction: such as 'AtoB'.
            name: of the image, on which dropout depends.

        Yields:
            Results from the top to the bottom, float32 [rows, width, channels out] in [-1, 1].
        """
        self.translation(direction)  # raises UserError
        padded = [max(-(-side // self.multiple) * self.multiple, least_side(self.multiple)) for side in (height, width)]
        rows_of, columns_of = (mirrored(side, full) for side, full in zip((height, width), padded))

        def read_padded(first, end):
            places = rows_of[first:end]
            return read(int(places.min()), int(places.max()) + 1)[places - places.min()][:, columns_of]

        top = 0
        seeds = self._seeds(direction, [name], 1)
        for rows in self._in_tiles(read_padded, tuple(padded), (height, width), direction, seeds):
            if top < height:
                yield rows[: height - top, :width]
            top += len(rows)

    # ------------------------------------------------------------------------------------------------------ in tiles
    def _in_tiles(
        self,
        read: Callable[[int, int], np.ndarray],
        sides: tuple[int, int],
        size: tuple[int, int],
        direction: str,
        seeds: np.ndarray,
        kept: float = 0.0,
    ) -> Iterator[np.ndarray]:
        """Translates an image whose height and width, `sides`, are multiples; `size` is that without padding. See
        translate_rows, and for `kept` translate_frame."""
        height, width = sides
        network = self._tiled_network(direction)
        if network.learns:
            reduced = _reduced(read, height, width, self.max_pixels, self.multiple)
            own = [-(-side * short // padded) for side, short, padded in zip(size, reduced.shape[1:3], sides)]
            network.learn(reduced, own, seeds, kept)
        core = int(math.sqrt(self.max_pixels)) - 2 * self._margin
        core -= core % self.multiple
        columns = [self._span(left, core, width) for left in range(0, width, core)]
        bar = progress_bar(total=len(columns) * len(range(0, height, core)), unit='tiles')
        column_weights = np.zeros(width, np.float32)
        for first, last, weights in columns:
            column_weights[first:last] += weights
        # The rows that the tiles above have begun and those below complete: sums, and their weights.
        sums, sum_weights, top = np.zeros((0, width, self._all[direction].channels[1]), np.float32), np.zeros(0), 0
        with bar:
            for start in range(0, height, core):
                first, last, weights = self._span(start, core, height)
                image, band = read(first, last), np.zeros((last - first, *sums.shape[1:]), np.float32)
                for left, right, across in columns:
                    tile = network.translate(image[None, :, left:right], seeds, (first, left))[0]
                    band[:, left:right] += tile * across[:, None]
                    bar.update()
                band /= column_weights[:, None]
                done = first - top  # no tile below reaches these rows
                if done:
                    yield sums[:done] / sum_weights[:done, None, None].astype(np.float32)
                band *= weights[:, None, None]
                band[: len(sums) - done] += sums[done:]
                weights = weights.astype(np.float64)
                weights[: len(sums) - done] += sum_weights[done:]
                sums, sum_weights, top = band, weights, first
        yield sums / sum_weights[:, None, None].astype(np.float32)

    def _tiled_network(self, direction: str) -> _TiledNetwork:
        """The generator of a direction in the form for tiles and for videos."""
        if direction not in self._tiled:
            norm = self.config.norms['generator']
            learns = norm == 'instance' or (norm == 'batch' and self.config.batch_statistics)
            self._tiled[direction] = _TiledNetwork(learns, self._model, self._all[direction], self._call)
        return self._tiled[direction]

    def _span(self, start: int, core: int, side: int) -> tuple[int, int, np.ndarray]:
        """A tile along one axis: the first pixel and the end, with margins, and the weight of each pixel in the result.

        Neighbouring tiles are blended within half a margin of their border. Pixels farther out have no weight, since
        there the tile's edge affects the output of the network.
        """
        first, last = max(0, start - self._margin), min(side, start + core + self._margin)
        half = self._margin / 2
        pixels = np.arange(first, last) + 0.5
        rising = np.ones_like(pixels) if start == 0 else np.clip((pixels - start + half) / self._margin, 0, 1)
        falling = (
            np.ones_like(pixels)
            if start + core >= side
            else np.clip((start + core + half - pixels) / self._margin, 0, 1)
        )
        return first, last, (rising * falling).astype(np.float32)


class _TiledNetwork:
    """A generator whose norms use stored statistics: those of a reduced view of the complete image, or of the frames of
    a video until now.

    Attributes:
        learns: whether it has such statistics; without them it is the model's own generator.
    """

    def __init__(self, learns: bool, model: BaseModel, translation: Translation, call: Callable):
        self.learns, network = learns, translation.network
        signature = [_any_image(translation.channels[0]), *_TOLD]
        if self.learns:
            kept = model.make_network(translation.network_name, seed=0, for_tiles=True)
            self._pairs = list(zip(kept.trainable_variables, network.trainable_variables))
            network = kept
            self._learn = tf.function(
                functools.partial(call, lambda images, training: network(images, training=True)),
                input_signature=[*signature, tf.TensorSpec([], tf.float32)],
                autograph=False,
            )
        self._translate = tf.function(functools.partial(call, network), input_signature=signature, autograph=False)

    def learn(self, image: np.ndarray, size: Sequence[int], seeds: np.ndarray, kept: float) -> np.ndarray:
        """Stores the statistics of this image, float32 [1, h, w, c], which is padded at the right and the bottom beyond
        height and width in `size`, and a share, `kept`, of the former ones; only for networks that learn them. Returns
        the image's translation with these statistics."""
        if not kept:  # training may have changed the weights
            for variable, value in self._pairs:
                variable.assign(value)
        return self._learn(image, size, seeds, (0, 0), kept).numpy()

    def translate(self, image: np.ndarray, seeds: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
        """Translates a tile, float32 [1, h, w, c]; the size is kept."""
        return self._translate(image, image.shape[1:3], seeds, origin).numpy()


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """set_channels for [n, h, w, c]."""
    try:
        return np.stack([set_channels(image, channels) for image in images])
    except decode.BadImage as error:
        raise UserError(f'images of shape {images.shape} do not fit: {error}.') from error


def _reduced(
    read: Callable[[int, int], np.ndarray], height: int, width: int, max_pixels: int, multiple: int
) -> np.ndarray:
    """The complete image, reduced to at most `max_pixels` pixels, each the mean of what it covers.

    Returns:
        float32 [1, h, w, c].
    """
    least = 2 * multiple
    factor = math.sqrt(max_pixels / (height * width))
    rows, columns = (max(least, int(side * factor) // multiple * multiple) for side in (height, width))
    # If one side of a thin image cannot become shorter, the other one has to.
    rows = min(rows, max(least, max_pixels // columns // multiple * multiple))
    columns = min(columns, max(least, max_pixels // rows // multiple * multiple))
    edges, result = np.arange(rows + 1) * (height / rows), None
    for first in range(0, height, _ROWS):
        last = min(height, first + _ROWS)
        part = _means(read(first, last), columns)  # [last - first, columns, c]
        if result is None:
            result = np.zeros((rows, *part.shape[1:]))
        # The reduced rows that these rows are in, and which share of each row is in which.
        begin, end = int(first * rows / height), min(rows, int(last * rows / height) + 1)
        places = np.arange(first, last)
        shares = np.minimum(edges[begin + 1 : end + 1, None], places + 1) - np.maximum(edges[begin:end, None], places)
        result[begin:end] += np.tensordot(np.maximum(shares, 0), part, axes=1)
    return (result * (rows / height)).astype(np.float32)[None]


def _means(rows: np.ndarray, columns: int) -> np.ndarray:
    """[h, w, c] -> [h, columns, c], each the mean of what it covers of a row."""
    width = rows.shape[1]
    sums = np.concatenate([np.zeros_like(rows[:, :1], np.float64), np.cumsum(rows, axis=1, dtype=np.float64)], axis=1)
    edges = np.minimum(np.arange(columns + 1) * (width / columns), width)
    whole = np.minimum(edges.astype(int), width - 1)
    # The sum of all pixels left of each edge, of which the last one may be cut.
    left = sums[:, whole] + rows[:, whole] * (edges - whole)[:, None]
    return np.diff(left, axis=1) * (columns / width)


# Besides images: their size without padding, a seed for each, and the place of the first pixel in the complete image.
_TOLD = (tf.TensorSpec([2], tf.int32), tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([2], tf.int32))


def _any_image(channels: int) -> tf.TensorSpec:
    return tf.TensorSpec([None, None, None, channels], tf.float32)
