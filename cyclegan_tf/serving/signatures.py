"""The signatures of an exported model: one generator for encoded pictures, pixels or floats of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.shapes import least_side, pad_to_multiple
from cyclegan_tf.serving import codecs


class Servable(tf.Module):
    """One generator, with the decoding of pictures and the encoding of results, as operations of TensorFlow.

    The results equal those of translator.Translator with running statistics and without dropout. tf.saved_model.save
    writes it without any Keras object, since it tracks only the variables.

    Args:
        network: float [n, h, w, input_channels] -> [n, h, w, output_channels], both in [-1, 1], for sides that are
            multiples of its side_multiple.
        input_channels: channels of the network's input images.
        max_pixels: maximum number of pixels of an image; larger images are refused before they are decoded. A side that
            is shorter than the network's minimum counts as the minimum.
        value_ranges: the values that -1 and 1 stand for in images and in results; None: levels of 8 or 16 bits.
        stacked: whether the channels of images are those of several stacked images, which no picture holds.

    Raises:
        UserError: no image can be as small as max_pixels.
    """

    def __init__(
        self,
        network: tf.keras.Model,
        input_channels: int,
        max_pixels: int,
        value_ranges: tuple[Optional[tuple[float, float]], Optional[tuple[float, float]]] = (None, None),
        stacked: bool = False,
    ):
        super().__init__()
        self._stacked = stacked
        self.input_channels, self.output_channels = input_channels, network.output_channels
        self._ranges = value_ranges
        self._multiple = network.side_multiple
        self._least = least_side(self._multiple)
        if max_pixels < self._least**2:
            raise UserError(
                f'`max_pixels` ({max_pixels}) is less than the smallest image has once it is padded for the network; '
                f'raise it to {self._least**2} or more.'
            )
        self._max_pixels = max_pixels
        self.variables_of_network = list(network.variables)
        # Both are functions in the graph, so that it contains each of them once.
        floats = tf.TensorSpec([None, None, None, input_channels], tf.float32, name='images')
        self._network = _concrete(lambda images: tf.cast(network(images, training=False), tf.float32), floats)
        self._translate = _concrete(self._translate_fitting, floats)

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The signatures by name; each takes and returns one tensor.

        translate_floats: images, float32 [n, h, w, input_channels] in [-1, 1] -> images, the same.

        If the images are levels in 1, 3 or 4 channels, as pictures have them:
        serving_default: image_bytes, string [n], JPEG, PNG or BMP each -> image_bytes, string [n], PNGs of 8 bits.
        translate_images: images, uint8 [n, h, w, 1 to 4] -> images, uint8 [n, h, w, c].

        If they have a range of values:
        translate_values: values, float32 [n, h, w, input_channels] in the range of the images -> values, the same in
            that of the results; where only one side has a range, the other side's values are in [-1, 1].

        Heights and widths are kept. c is the network's number of output channels, plus one if the image has alpha. n
        may be 0. They raise InvalidArgumentError for images that cannot be decoded or have too many pixels.
        """
        encoded = tf.TensorSpec([None], tf.string, name='image_bytes')
        images = tf.TensorSpec([None, None, None, None], tf.uint8, name='images')
        floats = tf.TensorSpec([None, None, None, self.input_channels], tf.float32, name='images')
        values = tf.TensorSpec([None, None, None, self.input_channels], tf.float32, name='values')
        calls = {'translate_floats': (floats, lambda images: {'images': self.translate_floats(images)})}
        if any(self._ranges):
            calls['translate_values'] = values, lambda values: {'values': self.translate_values(values)}
        elif takes_pictures((self.input_channels, self.output_channels), self._ranges, self._stacked):
            calls['serving_default'] = encoded, lambda image_bytes: {'image_bytes': self.translate_files(image_bytes)}
            calls['translate_images'] = images, lambda images: {'images': self.translate_images(images)}
        return {name: _concrete(call, spec) for name, (spec, call) in calls.items()}

    def translate_files(self, files: tf.Tensor) -> tf.Tensor:
        """String [n] -> string [n]; one after another, since each has its own size."""
        result = tf.TensorSpec([], tf.string)
        # One at a time, because each may take as much memory as the largest image that is accepted.
        return tf.map_fn(self._translate_file, files, fn_output_signature=result, parallel_iterations=1)

    def translate_images(self, images: tf.Tensor) -> tf.Tensor:
        """uint8 [n, h, w, 1 to 4] -> uint8 [n, h, w, c]."""
        return self._translate_pixels(tf.cast(self._checked(images, images), tf.int32), tf.constant(255))

    def translate_floats(self, images: tf.Tensor) -> tf.Tensor:
        """float32 [n, h, w, input_channels] in [-1, 1] -> float32 [n, h, w, output_channels] in [-1, 1]."""
        return self._translate(self._checked(images, images))

    def translate_values(self, values: tf.Tensor) -> tf.Tensor:
        """float32 [n, h, w, input_channels] in the range of the images -> the same in that of the results."""
        range_in, range_out = self._ranges
        images = values if range_in is None else codecs.values_to_float(values, range_in)
        results = self.translate_floats(images)
        return results if range_out is None else codecs.float_to_values(results, range_out)

    # --------------------------------------------------------------------------------------------------- single images
    def _translate_file(self, data: tf.Tensor) -> tf.Tensor:
        """String [] -> PNG, string []."""
        kind, head = codecs.read_kind(data)
        sentence = 'The image is not a JPEG, PNG or BMP; convert it to one of these.'
        data = codecs.checked(data, kind < len(codecs.KINDS), sentence)
        data = self._checked_size(data, codecs.read_size(kind, data, head))
        pixels, max_level = codecs.decode(kind, data, head)
        return tf.io.encode_png(self._translate_pixels(pixels[None], max_level)[0])

    def _translate_pixels(self, pixels: tf.Tensor, max_level: tf.Tensor) -> tf.Tensor:
        """int32 [n, h, w, 1 to 4] from 0 to `max_level` (255 or 65535) -> uint8 [n, h, w, c]."""
        found = tf.shape(pixels)[-1]
        colour = self._translate(
            codecs.to_float(codecs.set_channels(pixels, max_level, self.input_channels), max_level)
        )

        def with_alpha():
            return tf.concat([colour, codecs.to_float(pixels[..., -1:], max_level)], axis=-1)

        if self.input_channels in (1, 3) and self.output_channels in (1, 3):
            colour = tf.cond((found == 2) | (found == 4), with_alpha, lambda: colour)
        return tf.cast(tf.clip_by_value(tf.round((colour + 1) * 127.5), 0, 255), tf.uint8)  # levels.to_levels

    def _translate_fitting(self, images: tf.Tensor) -> tf.Tensor:
        """translate_floats for images that are known not to be too large."""
        _, height, width, _ = tf.unstack(tf.shape(images))

        def together():
            return self._network(pad_to_multiple(images, self._multiple))[:, :height, :width]

        def one_by_one():
            result = tf.TensorSpec([None, None, self.output_channels], tf.float32)
            return tf.map_fn(one, images, fn_output_signature=result, parallel_iterations=1)

        def one(image):
            return self._network(pad_to_multiple(image[None], self._multiple))[0, :height, :width]

        def none():  # oneDNN's convolutions fail for empty batches
            return tf.zeros(tf.concat([tf.shape(images)[:3], [self.output_channels]], axis=0))

        size = tf.size(images, tf.int64)
        fits = size <= self._max_pixels * self.input_channels  # a batch may take no more memory than the largest image
        return tf.cond(size == 0, none, lambda: tf.cond(fits, together, one_by_one))

    def _checked(self, value: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        return self._checked_size(value, tf.shape(images, tf.int64)[1:3])

    def _checked_size(self, value: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The value, after a check that an image's size, (height, width) in int64 [2], is within the limit."""
        # The size that the network gets, so that padding cannot make a line of pixels several times the limit.
        padded = tf.maximum(size, self._least)
        # Each side is also checked by itself: the product of the sides that a header states may exceed 64 bits.
        fits = tf.reduce_all(size <= self._max_pixels) & (tf.reduce_prod(padded) <= self._max_pixels)
        height, width = tf.unstack(tf.strings.as_string(size))
        limit = f' pixels; this model takes at most {self._max_pixels:,} of them: make it smaller.'
        return codecs.checked(value, fits, tf.strings.join(['The image has ', width, 'x', height, limit]))


def takes_pictures(
    channels: tuple[int, int], value_ranges: tuple[Optional[tuple[float, float]], ...], stacked: bool = False
) -> bool:
    """Whether a model's images and results are what encoded pictures hold.

    Args:
        channels: of its images and of its results.
        value_ranges, stacked: as Servable's.
    """
    return not any(value_ranges) and not stacked and {*channels} <= {1, 3, 4}


def lower_precision(network: tf.keras.Model, precision: str) -> None:
    """Makes a network store the weights of its convolutions in 'bfloat16' or 'float16', and compute these in it.

    Everything between them stays float32: norms with their statistics, sums and the final tanh.

    On CPUs, oneDNN computes in bfloat16 faster than in float32 if the processor has instructions for it. float16 also
    halves the size on disk, but TensorFlow's transposed convolutions are many times slower in it than in float32.

    Raises:
        UserError: a weight is too large for the precision.
    """
    dtype = tf.as_dtype(precision)
    for layer in network.submodules:
        if not isinstance(layer, (tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose)):
            continue
        for name in ('kernel', 'bias'):
            value = getattr(layer, name)
            if value is None:
                continue
            lowered = tf.cast(value, dtype)
            if not tf.reduce_all(tf.math.is_finite(tf.cast(lowered, tf.float32))):
                raise UserError(f'`precision` ({precision}) cannot represent the largest weights; set it to bfloat16.')
            setattr(layer, name, tf.Variable(lowered, name=name))
        layer.call = _in_precision(layer.call, dtype)


def _in_precision(call, dtype):
    return lambda x: tf.cast(call(tf.cast(x, dtype)), tf.float32)


def _concrete(call: Callable, spec: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    # Without AutoGraph: conditions are written as tf.cond, and the graph is smaller.
    return tf.function(call, autograph=False).get_concrete_function(spec)
