"""Decodes pictures and converts pixels to floats with TensorFlow's operations, as data.decode does in Python."""

from __future__ import annotations

import tensorflow as tf

from cyclegan_tf.data.channels import set_channels_of_tensor

_HEAD = 72  # bytes at the beginning of a file that are read: up to the masks of a BMP
KINDS = ('PNG', 'JPEG', 'BMP')
_MAGIC = (b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'BM')
_BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)  # of red, green and blue, in the order that TensorFlow's decoder expects


# --------------------------------------------------------------------------------------------------- encoded pictures
def read_kind(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """String [] -> index in KINDS, 3 for other formats, int32 []; and the first bytes, padded with zeros, int64."""
    head = tf.cast(tf.io.decode_raw(data, tf.uint8, fixed_length=_HEAD), tf.int64)
    kind = tf.constant(len(_MAGIC))
    for number, magic in enumerate(_MAGIC):
        kind = tf.where(tf.reduce_all(head[: len(magic)] == list(magic)), number, kind)
    return kind, head


def read_size(kind: tf.Tensor, data: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """(height, width) of an encoded picture, int64 [2], from its header alone; see read_kind for `kind` and `head`."""
    return tf.switch_case(kind, [lambda: _png_size(head), lambda: _jpeg_size(data), lambda: _bmp_size(head)])


def decode(kind: tf.Tensor, data: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a picture to int32 [h, w, c], and returns the value of white, int32 [], 255 or 65535.

    Raises InvalidArgumentError for what cannot be decoded.
    """
    cases = [lambda: _decode_png(data, head), lambda: decode_jpeg(data), lambda: _decode_bmp(data, head)]
    return tf.switch_case(kind, cases)


def _png_size(head: tf.Tensor) -> tf.Tensor:
    """(height, width), int64 [2], as below (PNG specification, 11.2.2: the header chunk comes first)."""
    return tf.stack([_integer(head, 20, 4, 'big'), _integer(head, 16, 4, 'big')])


def _jpeg_size(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64)


def _bmp_size(head: tf.Tensor) -> tf.Tensor:
    size = tf.stack([_integer(head, 22, 4, 'little'), _integer(head, 18, 4, 'little')])
    return tf.where(size >= 2**31, 2**32 - size, size)  # a negative height means that rows are stored from the top


def _decode_png(data: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    def decode(dtype):
        return tf.cast(tf.io.decode_png(data, channels=0, dtype=dtype), tf.int32)

    deep = head[24] == 16  # bits per channel
    pixels, max_level = tf.cond(deep, lambda: decode(tf.uint16), lambda: decode(tf.uint8)), tf.where(deep, 65535, 255)
    return _with_transparent_colour(pixels, max_level, data, head), max_level


def _with_transparent_colour(pixels: tf.Tensor, max_level: tf.Tensor, data: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """Adds alpha, int32 [h, w, c], if a PNG of gray or colour names one of its colours as transparent.

    TensorFlow's decoder passes over that chunk, tRNS, which stands before the pixels (PNG specification, 11.3.2.1).
    """
    parts = tf.strings.split(tf.strings.split(data, b'IDAT', 1)[0], b'tRNS', 1)
    bits, colours = tf.cast(head[24], tf.int32), tf.where(head[25] == 2, 3, 1)
    found = (tf.size(parts) == 2) & ((head[25] == 0) | (head[25] == 2))

    def add():
        numbers = tf.cast(tf.io.decode_raw(tf.strings.substr(parts[1], 0, 2 * colours), tf.uint8), tf.int32)
        colour = numbers[0::2] * 256 + numbers[1::2]
        # Levels of less than 8 bits fill the range once they are decoded.
        colour = colour * (max_level // (tf.bitwise.left_shift(1, bits) - 1))
        opaque = tf.reduce_any(pixels != colour, axis=-1, keepdims=True)
        return tf.concat([pixels, tf.where(opaque, max_level, 0)], axis=-1)

    return tf.cond(found, add, lambda: pixels)


def decode_jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a JPEG, string []; returns what decode does."""
    # The default method differs from Pillow's by up to 7 levels.
    pixels = tf.io.decode_jpeg(data, channels=0, dct_method='INTEGER_ACCURATE')
    return tf.cast(pixels, tf.int32), tf.constant(255)


def _decode_bmp(data: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a BMP as Pillow does. TensorFlow's decoder supports neither palettes nor compression, and does not know
    whether a fourth byte is alpha. Offsets are those of BITMAPINFOHEADER and BITMAPV4HEADER."""
    header, bits, compression = (_integer(head, *field, 'little') for field in ((14, 4), (28, 2), (30, 4)))
    masks = tf.stack([_integer(head, 54 + 4 * i, 4, 'little') for i in range(4)])
    masked = (bits == 32) & (compression == 3) & tf.reduce_all(masks[:3] == _BMP_MASKS)
    plain = ((bits == 8) | (bits == 24) | (bits == 32)) & (compression == 0)
    known = (header >= 40) & (plain | masked)
    data = checked(data, known, 'The image is a BMP of a kind that this model cannot read; convert it to PNG.')
    pixels = tf.io.decode_bmp(data, channels=0)

    def through_palette():
        stated = _integer(head, 46, 4, 'little')
        count = tf.where((stated == 0) | (stated > 256), 256, tf.cast(stated, tf.int32))
        entries = tf.io.decode_raw(tf.strings.substr(data, tf.cast(14 + header, tf.int32), 4 * count), tf.uint8)
        palette = tf.reshape(entries, [-1, 4])[:, 2::-1]  # stored as blue, green, red, 0
        palette = tf.pad(palette, [[0, 256 - tf.shape(palette)[0]], [0, 0]])
        return tf.gather(palette, tf.cast(pixels[..., 0], tf.int32))

    def without_padding_byte():
        return tf.cond(masked & (header >= 56) & (masks[3] != 0), lambda: pixels, lambda: pixels[..., :3])

    return tf.cast(tf.cond(bits == 8, through_palette, without_padding_byte), tf.int32), tf.constant(255)


def _integer(head: tf.Tensor, offset: int, length: int, order: str) -> tf.Tensor:
    """An integer of `length` bytes, int64 []."""
    powers = [256**i for i in range(length)]
    return tf.reduce_sum(head[offset : offset + length] * (powers[::-1] if order == 'big' else powers))


# -------------------------------------------------------------------------------------------------------- pixel values
def set_channels(pixels: tf.Tensor, max_level: tf.Tensor, wanted: int) -> tf.Tensor:
    """int32 [n, h, w, found] -> [n, h, w, wanted], as data.channels.set_channels."""
    found = tf.shape(pixels)[-1]
    sentence = ['Images of ', tf.strings.as_string(found), ' channels do not fit: this model takes 1 to 4.']
    pixels = checked(pixels, (found >= 1) & (found <= 4), tf.strings.join(sentence))
    return set_channels_of_tensor(pixels, wanted, max_level)


def to_float(pixels: tf.Tensor, max_level: tf.Tensor) -> tf.Tensor:
    """int32 from 0 to `max_level` -> float32 in [-1, 1], bit for bit as levels.to_float.

    In float64, because TensorFlow replaces a division by a constant by a multiplication, which rounds differently in
    float32.
    """
    max_level = tf.cast(max_level, tf.float64)
    return tf.cast((2 * tf.cast(pixels, tf.float64) - max_level) / max_level, tf.float32)


def values_to_float(values: tf.Tensor, value_range: tuple[float, float]) -> tf.Tensor:
    """float32 in a range -> float32 in [-1, 1], as levels.values_to_float."""
    low, high = value_range
    scaled = (2 * tf.cast(values, tf.float64) - (low + high)) / (high - low)
    return tf.cast(tf.clip_by_value(scaled, -1, 1), tf.float32)


def float_to_values(images: tf.Tensor, value_range: tuple[float, float]) -> tf.Tensor:
    """float32 in [-1, 1] -> float32 in a range, as levels.float_to_values."""
    low, high = value_range
    values = (tf.cast(images, tf.float64) + 1) * ((high - low) / 2) + low
    return tf.cast(tf.clip_by_value(values, low, high), tf.float32)


def checked(value: tf.Tensor, condition: tf.Tensor, sentence: tf.Tensor) -> tf.Tensor:
    """The value if the condition holds; otherwise InvalidArgumentError with the sentence is raised.

    Whatever is computed from the result runs after the check. Operations such as decoding are otherwise ordered in a
    graph only by their inputs.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [sentence])]):
        return tf.identity(value)
