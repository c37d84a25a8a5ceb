"""Image files of many kinds, good and bad, and data sets of them."""

import io
import os
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image

from cyclegan_tf.data import demo


def make_image_folders(place):
    """Makes a data set of five small photographs a domain to train on, and two to test with; returns its folder."""
    for phase, count in (('train', 5), ('test', 2)):
        for domain in 'AB':
            folder = place / 'data' / (phase + domain)
            folder.mkdir(parents=True)
            for i, picture in enumerate(list(demo.regions('train', domain).values())[:count]):
                Image.fromarray(picture).resize((48, 40)).save(folder / f'{i}.png')
    return place / 'data'


def picture(size=48):
    return np.random.default_rng(size).integers(0, 256, (size, size, 3), np.uint8)


def encode(array, format, mode=None, **options):
    image = Image.fromarray(array)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, format, **options)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def damage(data, at):
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


def huge_png():
    """The header of a PNG of 60000x60000, with good checksums."""
    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunk = lambda kind, body: (  # noqa: E731
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    )
    body = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 1000)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + body


def add_bad_images(image_folders):
    """Adds one of each kind of bad image to trainA of a data set."""
    folder = image_folders / 'trainA'
    (folder / 'zero.png').write_bytes(b'')
    (folder / 'text.jpg').write_text('no image at all')
    (folder / 'cut.jpg').write_bytes(encode(picture(), 'JPEG')[:-500])
    (folder / 'checksum.png').write_bytes(damage(encode(picture(), 'PNG'), 200))
    (folder / 'huge.png').write_bytes(huge_png())
    (folder / 'ein Bild mit Lücken 馬.jpg').write_bytes(encode(picture(), 'JPEG')[:200])
    (folder / 'link.png').symlink_to(folder / 'gone' / 'away.png')
    forbidden = folder / 'forbidden.png'
    Image.fromarray(picture()).save(forbidden)
    forbidden.chmod(0)


REASONS = {
    'zero.png': 'empty',
    'text.jpg': 'not an image of a known format',
    'cut.jpg': 'truncated',
    'checksum.png': '',
    'huge.png': '60000x60000',
    'ein Bild mit Lücken 馬.jpg': '',
    'link.png': 'a broken link',
    'forbidden.png': 'permission denied',
}
if os.geteuid() == 0:  # who may read everything
    del REASONS['forbidden.png']
