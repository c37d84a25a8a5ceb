"""Runs to export, made without training, and pictures to send them."""

import dataclasses
import io
import pathlib

import imagecodecs
import numpy as np
import tensorflow as tf
from PIL import Image

from cyclegan_tf import export
from cyclegan_tf.data import demo
from cyclegan_tf.models import MODELS
from cyclegan_tf.runs import checkpoint_store, checkpoints
from cyclegan_tf.settings.models import SETTINGS, CycleGANConfig
from cyclegan_tf.settings.run_flags import save_config

# Weights wide enough for pictures full of contrast.
SMALL = CycleGANConfig(dataroot='demo', netG='resnet_6blocks', ngf=4, init_gain=0.3)


def make_run(directory, name='run', untrained=(), model=SMALL.model, **settings):
    """A run's directory with a checkpoint, as a training leaves it, of weights as they are drawn."""
    of_all = dataclasses.asdict(SMALL) if model == SMALL.model else {'dataroot': 'demo'}
    config = SETTINGS[model](**{**of_all, 'model': model, 'name': name, **settings})
    run_directory = pathlib.Path(directory) / name
    run_directory.mkdir(parents=True)
    save_config(config, run_directory)
    model = MODELS[config.model](config, training=False)
    if untrained:
        checkpoints.mark_untrained(run_directory, 0, untrained)
    checkpoint_store.Checkpoints(run_directory, model, tf.Module(), keep=1).save_latest(0)
    return run_directory


def run_export(checkpoints_dir, output, *flags):
    """Exports in this process; returns the exit status."""
    argv = ['export', f'--checkpoints_dir={checkpoints_dir}', f'--output={output}', *map(str, flags)]
    return export.main(export.parse(argv))


def photograph(height=32, width=40, name='chelsea'):
    """uint8 [height, width, 3]."""
    picture = Image.fromarray(demo.regions('test', 'A')[name])
    return np.asarray(picture.resize((width, height), Image.BICUBIC))


def encode(image, format='PNG', **arguments):
    """A Pillow image, or uint8 [h, w, 3]."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **arguments)
    return file.getvalue()


def decode_png(data):
    """[h, w, c]."""
    array = imagecodecs.png_decode(data)
    return array if array.ndim == 3 else array[..., None]


def deep(image):
    """uint8 -> uint16 with the lower bits in use."""
    return image.astype(np.uint16) * 257 - (image > 0) * np.uint16(100)


def with_alpha(image):
    return np.concatenate([image, image[::-1, ::-1, :1]], axis=-1)


def gray(image):
    """[h, w, 3] -> [h, w, 1]."""
    return np.ascontiguousarray(image[..., 1:2])


def bmp_with_masks(image):
    """uint8 [h, w, 4] as a BMP with BITMAPV4HEADER and bit fields, rows from the bottom."""
    height, width, _ = image.shape
    pixels = image[::-1, :, [2, 1, 0, 3]].tobytes()
    numbers = lambda length, *values: b''.join(value.to_bytes(length, 'little') for value in values)  # noqa: E731
    header = numbers(4, 108, width, height) + numbers(2, 1, 32) + numbers(4, 3, len(pixels), 0, 0, 0, 0)
    header += numbers(4, 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b'\0' * 52
    return b'BM' + numbers(4, 14 + len(header) + len(pixels), 0, 14 + len(header)) + header + pixels


def files():
    """Encoded pictures by what they are."""
    image = photograph()
    return {
        'even': encode(image),
        'odd': encode(photograph(33, 21)),
        'tall': encode(photograph(150, 7)),
        'wide': encode(photograph(3, 70)),
        'one pixel': encode(photograph(1, 1)),
        'two by one': encode(photograph(2, 1)),
        'gray': imagecodecs.png_encode(gray(image)[..., 0]),
        'gray and alpha': imagecodecs.png_encode(with_alpha(gray(image))),
        'alpha': encode(with_alpha(image)),
        'deep': imagecodecs.png_encode(deep(image)),
        'deep gray': imagecodecs.png_encode(deep(gray(photograph(19, 30)))[..., 0]),
        'deep with alpha': imagecodecs.png_encode(deep(with_alpha(photograph(31, 17)))),
        'deep gray with alpha': imagecodecs.png_encode(deep(with_alpha(gray(image)))),
        'palette': encode(Image.fromarray(image).quantize(40)),
        'palette and transparency': encode(Image.fromarray(image).quantize(40), transparency=3),
        'two levels': encode(Image.fromarray(image).convert('1')),
        'jpeg': encode(image, 'JPEG', quality=90),
        'jpeg, odd, half the colour, progressive': encode(
            photograph(45, 61), 'JPEG', quality=60, subsampling=2, progressive=True
        ),
        'jpeg, gray': encode(Image.fromarray(image).convert('L'), 'JPEG'),
        'bmp': encode(photograph(21, 33), 'BMP'),
        'bmp, gray': encode(Image.fromarray(photograph(9, 35)).convert('L'), 'BMP'),
        'bmp, palette': encode(Image.fromarray(image).quantize(200), 'BMP'),
        'bmp, 32 bits without alpha': encode(with_alpha(photograph(9, 35)), 'BMP'),
        'bmp, 32 bits with alpha': bmp_with_masks(with_alpha(photograph(9, 35))),
    }
