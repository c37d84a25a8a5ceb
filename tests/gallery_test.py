"""The results page, opened in a browser."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf import gallery

BROWSER = shutil.which('chromium')


@pytest.mark.skipif(not BROWSER, reason='Chromium is not installed')
def test_the_page_shows_its_pictures_from_disk(tmp_path):
    (tmp_path / 'images').mkdir()
    for name, colour in (('a b', (200, 30, 30)), ('fake ä', (30, 30, 200))):
        Image.new('RGB', (256, 256), colour).save(tmp_path / 'images' / f'{name}.png')
    row = gallery.Row('a <b>', {'real_A': 'images/a b.png', 'fake_B': 'images/fake ä.png'}, 'PSNR 20.0 dB')
    page = tmp_path / 'index.html'
    gallery.write_page(page, 'Title & more', 'About.', [gallery.Section('A to B', 'Two.', [row])], (256, 256))
    shot = tmp_path / 'shot.png'
    options = ('--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
               f'--user-data-dir={tmp_path / "profile"}', '--window-size=900,700', f'--screenshot={shot}')  # fmt: skip
    subprocess.run([BROWSER, *options, page.as_uri()], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(shot).convert('RGB')).reshape(-1, 3)
    for colour in ((200, 30, 30), (30, 30, 200)):
        assert (np.abs(pixels - np.array(colour)).max(1) < 4).sum() > 10_000
    assert 'a &lt;b&gt;' in page.read_text() and 'Title &amp; more' in page.read_text()
