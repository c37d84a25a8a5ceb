"""The signatures of an exported model: encoded pictures, pixels or floats of any size through one generator."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cyclegan_tf.data.channels import set_channels_of_tensor
from cyclegan_tf.errors import UserError

SIGNATURES = ('serving_default', 'translate_images', 'translate_floats')
PRECISIONS = ('float32', 'bfloat16', 'float16')

_HEAD = 72  # bytes of a file that are looked at: as far as the masks of a BMP go
_PNG, _JPEG, _BMP = range(3)
_MAGIC = (b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'BM')
_BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)  # of red, green and blue: the order in which TensorFlow's decoder takes them


class Servable(tf.Module):
    """One generator with all that stands between an encoded picture and an encoded picture, in TensorFlow's own
    operations. Results are those of translator.Translator.

    tf.saved_model.save writes it without anything of Keras: what it tracks are the variables alone.

    Args:
        network: float [n, h, w, input_channels] -> [n, h, w, output_channels], both in [-1, 1], sides multiples of its
            side_multiple.
        input_channels: of the network's images: 1, 3 or 4.
        max_pixels: of one image; one with more is refused before it is decoded. A side shorter than the network takes
            counts as that.

    Raises:
        UserError: channels that no picture has; max_pixels that no image has.
    """

    def __init__(self, network: tf.keras.Model, input_channels: int, max_pixels: int):
        super().__init__()
        self.input_channels, self.output_channels = input_channels, network.output_channels
        if input_channels not in (1, 3, 4) or self.output_channels > 4:
            raise UserError(
                f'a network from {input_channels} to {self.output_channels} channels cannot be served: pictures are '
                f'made 1, 3 or 4 channels on the way in, and have at most 4 on the way out.'
            )
        self._multiple = network.side_multiple
        self._least = least_side(self._multiple)
        if max_pixels < self._least**2:
            raise UserError(
                f'`max_pixels` ({max_pixels}) is less than what the network makes of the smallest image; raise it to '
                f'{self._least**2} or more.'
            )
        self._max_pixels = max_pixels
        self.variables_of_network = list(network.variables)
        # Both are functions of the graph, so that it holds each of them once.
        floats = tf.TensorSpec([None, None, None, input_channels], tf.float32, name='images')
        self._network = _concrete(lambda images: tf.cast(network(images, training=False), tf.float32), floats)
        self._translate = _concrete(self._translate_fitting, floats)

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """By name; each takes and returns one tensor.

        serving_default: image_bytes, string [n], JPEG, PNG or BMP each -> image_bytes, string [n], PNGs of 8 bits.
        translate_images: images, uint8 [n, h, w, 1 to 4] -> images, uint8 [n, h, w, c].
        translate_floats: images, float32 [n, h, w, input_channels] in [-1, 1] -> images, the same.

        Heights and widths stay. c is the network's, and one more where the image had alpha. n may be 0. Raises
        InvalidArgumentError for what cannot be decoded or has too many pixels.
        """
        encoded = tf.TensorSpec([None], tf.string, name='image_bytes')
        images = tf.TensorSpec([None, None, None, None], tf.uint8, name='images')
        floats = tf.TensorSpec([None, None, None, self.input_channels], tf.float32, name='images')
        calls = {
            'serving_default': (encoded, lambda image_bytes: {'image_bytes': self.translate_files(image_bytes)}),
            'translate_images': (images, lambda images: {'images': self.translate_images(images)}),
            'translate_floats': (floats, lambda images: {'images': self.translate_floats(images)}),
        }
        return {name: _concrete(call, spec) for name, (spec, call) in calls.items()}

    def translate_files(self, files: tf.Tensor) -> tf.Tensor:
        """String [n] -> string [n]; one after the other, since each has a size of its own."""
        result = tf.TensorSpec([], tf.string)
        # One at a time, because each may take as much memory as the largest image that is let in.
        return tf.map_fn(self._translate_file, files, fn_output_signature=result, parallel_iterations=1)

    def translate_images(self, images: tf.Tensor) -> tf.Tensor:
        """uint8 [n, h, w, 1 to 4] -> uint8 [n, h, w, c]."""
        return self._translate_pixels(tf.cast(self._checked(images, images), tf.int32), tf.constant(255))

    def translate_floats(self, images: tf.Tensor) -> tf.Tensor:
        """float32 [n, h, w, input_channels] in [-1, 1] -> float32 [n, h, w, output_channels] in [-1, 1]."""
        return self._translate(self._checked(images, images))

    # ---------------------------------------------------------------------------------------------------- one by one
    def _translate_file(self, data: tf.Tensor) -> tf.Tensor:
        """String [] -> PNG, string []."""
        kind, head = _kind(data)
        data = _checked(data, kind <= _BMP, 'The image is none of JPEG, PNG and BMP; convert it to one.')
        size = tf.switch_case(kind, [lambda: _png_size(head), lambda: _jpeg_size(data), lambda: _bmp_size(head)])
        data = self._checked_size(data, size)
        pixels, whole = tf.switch_case(
            kind, [lambda: _decode_png(data, head), lambda: _decode_jpeg(data), lambda: _decode_bmp(data, head)]
        )
        return tf.io.encode_png(self._translate_pixels(pixels[None], whole)[0])

    def _translate_pixels(self, pixels: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
        """int32 [n, h, w, 1 to 4] from 0 to `whole` (255 or 65535) -> uint8 [n, h, w, c]."""
        found = tf.shape(pixels)[-1]
        colour = self._translate(_to_float(_set_channels(pixels, whole, self.input_channels), whole))

        def with_alpha():
            return tf.concat([colour, _to_float(pixels[..., -1:], whole)], axis=-1)

        if self.input_channels in (1, 3) and self.output_channels in (1, 3):
            colour = tf.cond((found == 2) | (found == 4), with_alpha, lambda: colour)
        return tf.cast(tf.clip_by_value(tf.round((colour + 1) * 127.5), 0, 255), tf.uint8)  # levels.to_levels

    def _translate_fitting(self, images: tf.Tensor) -> tf.Tensor:
        """translate_floats of images that are known not to be too large."""
        _, height, width, _ = tf.unstack(tf.shape(images))

        def together():
            return self._network(pad(images, self._multiple, self._least))[:, :height, :width]

        def one_by_one():
            result = tf.TensorSpec([None, None, self.output_channels], tf.float32)
            return tf.map_fn(one, images, fn_output_signature=result, parallel_iterations=1)

        def one(image):
            return self._network(pad(image[None], self._multiple, self._least))[0, :height, :width]

        def none():  # oneDNN's convolutions fail for them
            return tf.zeros(tf.concat([tf.shape(images)[:3], [self.output_channels]], axis=0))

        size = tf.size(images, tf.int64)
        fits = size <= self._max_pixels * self.input_channels  # a batch takes no more memory than the largest image
        return tf.cond(size == 0, none, lambda: tf.cond(fits, together, one_by_one))

    def _checked(self, value: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        return self._checked_size(value, tf.shape(images, tf.int64)[1:3])

    def _checked_size(self, value: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The value, once the size of an image, (height, width) in int64 [2], is known to be within the limit."""
        # As the network sees it, so that a line of pixels cannot be made several times the limit by padding.
        padded = tf.maximum(size, self._least)
        # Each side for itself too: the product of what a header claims may exceed 64 bits.
        fits = tf.reduce_all(size <= self._max_pixels) & (tf.reduce_prod(padded) <= self._max_pixels)
        height, width = tf.unstack(tf.strings.as_string(size))
        limit = f' pixels; this model takes at most {self._max_pixels:,} of them: make it smaller.'
        return _checked(value, fits, tf.strings.join(['The image has ', width, 'x', height, limit]))


def lower_precision(network: tf.keras.Model, precision: str) -> None:
    """Makes a network keep the weights of its convolutions in 'bfloat16' or 'float16', and compute them in it.

    What stands between them stays float32: norms with their statistics, sums and the final tanh.

    On a CPU bfloat16 is computed by oneDNN, faster than float32 where the processor has instructions for it; float16
    takes half the disk too, but TensorFlow's transposed convolutions are many times slower in it than in float32.

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
                raise UserError(f'`precision` ({precision}) cannot hold the largest weights; set it to bfloat16.')
            setattr(layer, name, tf.Variable(lowered, name=name))
        layer.call = _in_precision(layer.call, dtype)


def _in_precision(call, dtype):
    return lambda x: tf.cast(call(tf.cast(x, dtype)), tf.float32)


def least_side(multiple: int) -> int:
    """The shortest side that a network takes, in pixels: as translator.pad has it."""
    return max(2 * multiple, 8) if multiple <= 4 else multiple


def pad(images: tf.Tensor, multiple: int, least: int) -> tf.Tensor:
    """[n, h, w, c] -> sides up to the next multiple and to `least`, mirrored at the right and the bottom.

    By indices: tf.pad cannot mirror more than there is.
    """
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        padded = tf.maximum((side + multiple - 1) // multiple * multiple, least)
        # There and back without repeating the ends: 0 1 2 1 0 1 2 ... of three.
        place = tf.range(padded) % tf.maximum(2 * (side - 1), 1)
        images = tf.gather(images, side - 1 - tf.abs(side - 1 - place), axis=axis)
    return images


# -------------------------------------------------------------------------------------------------------- pixel values
def _set_channels(pixels: tf.Tensor, whole: tf.Tensor, wanted: int) -> tf.Tensor:
    """int32 [n, h, w, found] -> [n, h, w, wanted], as data.channels.set_channels."""
    found = tf.shape(pixels)[-1]
    sentence = ['Images of ', tf.strings.as_string(found), ' channels do not fit: this model takes 1 to 4.']
    pixels = _checked(pixels, (found >= 1) & (found <= 4), tf.strings.join(sentence))
    return set_channels_of_tensor(pixels, wanted, whole)


def _to_float(pixels: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
    """int32 from 0 to `whole` -> float32 in [-1, 1], to the bit as levels.to_float.

    In float64, because TensorFlow makes a division by a constant a multiplication, which in float32 shows.
    """
    whole = tf.cast(whole, tf.float64)
    return tf.cast((2 * tf.cast(pixels, tf.float64) - whole) / whole, tf.float32)


# --------------------------------------------------------------------------------------------------- encoded pictures
def _kind(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """String [] -> which format, 3 for any other, int32 []; and its first bytes, with zeros after its end, int64."""
    head = tf.cast(tf.io.decode_raw(data, tf.uint8, fixed_length=_HEAD), tf.int64)
    kind = tf.constant(len(_MAGIC))
    for number, magic in enumerate(_MAGIC):
        kind = tf.where(tf.reduce_all(head[: len(magic)] == list(magic)), number, kind)
    return kind, head


def _png_size(head: tf.Tensor) -> tf.Tensor:
    """(height, width), int64 [2], as the others below (PNG specification, 11.2.2: the header chunk comes first)."""
    return tf.stack([_integer(head, 20, 4, 'big'), _integer(head, 16, 4, 'big')])


def _jpeg_size(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64)


def _bmp_size(head: tf.Tensor) -> tf.Tensor:
    size = tf.stack([_integer(head, 22, 4, 'little'), _integer(head, 18, 4, 'little')])
    return tf.where(size >= 2**31, 2**32 - size, size)  # a negative height: rows from the top


def _decode_png(data: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """int32 [h, w, c], and the value of white, int32 []: as the others below."""

    def decode(dtype):
        return tf.cast(tf.io.decode_png(data, channels=0, dtype=dtype), tf.int32)

    deep = head[24] == 16  # bits a channel
    return tf.cond(deep, lambda: decode(tf.uint16), lambda: decode(tf.uint8)), tf.where(deep, 65535, 255)


def _decode_jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # The default method is up to 7 levels off Pillow's.
    pixels = tf.io.decode_jpeg(data, channels=0, dct_method='INTEGER_ACCURATE')
    return tf.cast(pixels, tf.int32), tf.constant(255)


def _decode_bmp(data: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """TensorFlow's decoder knows neither palettes nor compression, nor whether a fourth byte is alpha; Pillow's is
    what this equals. Offsets are those of BITMAPINFOHEADER and BITMAPV4HEADER."""
    header, bits, compression = (_integer(head, *place, 'little') for place in ((14, 4), (28, 2), (30, 4)))
    masks = tf.stack([_integer(head, 54 + 4 * i, 4, 'little') for i in range(4)])
    masked = (bits == 32) & (compression == 3) & tf.reduce_all(masks[:3] == _BMP_MASKS)
    plain = ((bits == 8) | (bits == 24) | (bits == 32)) & (compression == 0)
    known = (header >= 40) & (plain | masked)
    data = _checked(data, known, 'The image is a BMP of a kind that this model does not read; convert it to PNG.')
    pixels = tf.io.decode_bmp(data, channels=0)

    def through_palette():
        named = _integer(head, 46, 4, 'little')
        count = tf.where((named == 0) | (named > 256), 256, tf.cast(named, tf.int32))
        entries = tf.io.decode_raw(tf.strings.substr(data, tf.cast(14 + header, tf.int32), 4 * count), tf.uint8)
        palette = tf.reshape(entries, [-1, 4])[:, 2::-1]  # stored as blue, green, red, 0
        palette = tf.pad(palette, [[0, 256 - tf.shape(palette)[0]], [0, 0]])
        return tf.gather(palette, tf.cast(pixels[..., 0], tf.int32))

    def without_filling():
        return tf.cond(masked & (header >= 56) & (masks[3] != 0), lambda: pixels, lambda: pixels[..., :3])

    return tf.cast(tf.cond(bits == 8, through_palette, without_filling), tf.int32), tf.constant(255)


def _integer(head: tf.Tensor, place: int, length: int, order: str) -> tf.Tensor:
    """int64 [] from so many bytes."""
    powers = [256**i for i in range(length)]
    return tf.reduce_sum(head[place : place + length] * (powers[::-1] if order == 'big' else powers))


def _concrete(call: Callable, spec: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    # Without AutoGraph: the conditions are written out, and the graph is smaller.
    return tf.function(call, autograph=False).get_concrete_function(spec)


def _checked(value: tf.Tensor, condition: tf.Tensor, sentence) -> tf.Tensor:
    """The value, once the condition holds; else InvalidArgumentError with the sentence.

    What is computed from it comes after the check: decoding, for one, has no order in a graph but that of its inputs.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [sentence])]):
        return tf.identity(value)
