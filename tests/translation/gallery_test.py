"""The results page, opened in a browser."""

import functools
import http.server
import os
import pathlib
import re
import threading
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.translation import gallery
from tests.helpers.browser import BROWSER, browse, find_out

pytestmark = pytest.mark.skipif(not BROWSER, reason='Chromium is not installed')

RED, BLUE = (200, 30, 30), (30, 30, 200)
ODD_NAMES = ('a b#c%d?', 'quotes "\' & <i>', 'Äpfel/süß/ß 中', 'back\\slash', 'not\udcff-utf8')


def picture(folder, path, size=(256, 256), colour=RED):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, colour).save(file)
    return gallery.Picture(path, *size)


def row(folder, name, size=(256, 256), scores=None, labels=('real_A', 'fake_B', 'rec_A', 'true_B')):
    colours = (RED, BLUE, (30, 200, 30), (200, 200, 30))
    pictures = {
        label: picture(folder, f'images/{name}_{label}.png', size, colour) for label, colour in zip(labels, colours)
    }
    note = ', '.join(f'{measure} {value}' for measure, value in (scores or {}).items())
    return gallery.Row(name, pictures, note, scores or {})


def write(folder, *rows, title='A to B'):
    page = folder / 'index.html'
    section = gallery.Section(title, 'About them.', rows, {'images': str(len(rows))})
    gallery.write_page(page, 'Title & more', 'About.', [section], {'metrics.json': 'metrics.json'})
    return page


@pytest.fixture
def serve():
    """Serves a folder; gives its address and the list of the paths that were asked for."""
    servers = []

    def start(folder):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_request(self, *_):
                asked.append(self.path)

        handler = functools.partial(Handler, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f'http://127.0.0.1:{servers[-1].server_port}/', asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def painted(shot):
    """Colour -> how many pixels of a screenshot have it."""
    pixels = np.asarray(Image.open(shot).convert('RGB')).reshape(-1, 3).astype(int)
    return lambda colour: int((np.abs(pixels - np.array(colour)).max(1) < 4).sum())


@pytest.mark.parametrize('scripts', [True, False])
def test_the_page_shows_its_pictures_with_and_without_scripts(tmp_path, scripts):
    page = write(tmp_path, row(tmp_path, 'one'))
    if not scripts:
        text, taken = re.subn('<script>.*?</script>', '', page.read_text(), flags=re.DOTALL)
        assert taken == 2
        page.write_text(text)
        assert '[hidden], html:not(.scripted) .scripted { display: none' in text
    # The overview's comparison adds a half of the first two, of which captions and handle cover a little.
    expected = {RED: 1.5, BLUE: 1.5, (30, 200, 30): 1, (200, 200, 30): 1}
    for _ in range(4):  # pictures are decoded beside the page, and a busy machine may take the screenshot before them
        browse(page.as_uri(), tmp_path / 'profile', '--window-size=1200,1000', f'--screenshot={tmp_path / "shot.png"}')
        count = painted(tmp_path / 'shot.png')
        found = {colour: count(colour) / 256**2 for colour in expected}
        if found == pytest.approx(expected, rel=0.06):
            break
    assert found == pytest.approx(expected, rel=0.06)
    assert 'Title &amp; more' in page.read_text()


@pytest.mark.parametrize('served', [False, True])
def test_the_slider_moves_the_border(tmp_path, serve, served):
    page = write(tmp_path, row(tmp_path, 'one'), row(tmp_path, 'two'))
    found = find_out(
        page,
        """
        const border = (compare) => {
          const [left, right] = compare.querySelectorAll('img');
          return [getComputedStyle(left).clipPath, getComputedStyle(right).clipPath,
                  compare.querySelector('i').getBoundingClientRect().x - compare.getBoundingClientRect().x + 1];
        };
        const move = (compare, value) => {
          const range = compare.querySelector('input');
          range.value = value;
          range.dispatchEvent(new Event('input', {bubbles: true}));
          return border(compare);
        };
        const reached = (compare) => {
          const box = compare.getBoundingClientRect();
          return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).type;
        };
        const card = document.querySelector('.overview .compare');
        const result = {before: border(card), moved: move(card, 25), reached: reached(card)};
        document.querySelectorAll('article button')[1].click();
        const viewer = document.querySelector('dialog'), inside = viewer.querySelector('.compare');
        const sources = () => [...inside.querySelectorAll('img')].map((image) => image.getAttribute('src'));
        result.open = viewer.open;
        result.focused = document.activeElement.type;
        result.width = inside.getBoundingClientRect().width;
        result.viewed = sources();
        result.viewer = move(inside, 75);
        result.viewer_reached = reached(inside);
        const [left, right] = viewer.querySelectorAll('select');
        left.selectedIndex = 1; right.selectedIndex = 3;
        right.dispatchEvent(new Event('change'));
        result.label = inside.querySelector('input').ariaLabel;
        viewer.querySelector('[data-step="-1"]').click();
        result.previous = sources();
        result.first = viewer.querySelector('[data-step="-1"]').disabled;
        document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'n', bubbles: true}));
        result.next = sources();
        viewer.close();
        document.querySelector('article figure:last-child a').click();
        result.clicked = sources();
        return result;
        """,
        tmp_path,
        serve(tmp_path)[0] if served else None,
        '--window-size=1200,1000',
    )
    assert found['before'] == ['inset(0px 50% 0px 0px)', 'none', 128]
    assert found['moved'] == ['inset(0px 75% 0px 0px)', 'none', 64]
    assert found['reached'] == found['viewer_reached'] == found['focused'] == 'range' and found['open']
    assert found['width'] == 512  # the largest multiple of 256 for which the window has room
    assert found['viewer'] == ['inset(0px 25% 0px 0px)', 'none', 384]
    assert found['viewed'] == ['images/two_real_A.png', 'images/two_fake_B.png']
    assert found['label'] == 'Border between fake_B and true_B'
    assert found['previous'] == ['images/one_fake_B.png', 'images/one_true_B.png'] and found['first']
    assert found['next'] == ['images/two_fake_B.png', 'images/two_true_B.png']
    assert found['clicked'] == ['images/one_real_A.png', 'images/one_true_B.png']


@pytest.mark.parametrize('served', [False, True])
def test_pictures_of_any_name_load_and_nothing_else_is_asked_for(tmp_path, serve, served):
    # Python's server finds no files whose name is no UTF-8.
    names = [name for name in ODD_NAMES if not served or name.isprintable()]
    page = write(tmp_path, *(row(tmp_path, name) for name in names))
    text = page.read_text(encoding='utf-8')
    page.write_text(text.replace('loading="lazy"', 'loading="eager"'), encoding='utf-8')  # all before the script runs
    address, asked = serve(tmp_path)
    found = find_out(
        page,
        """
        const images = [...document.querySelectorAll('.overview img, article img')];
        document.querySelectorAll('article button')[1].click();
        return {count: images.length, widths: [...new Set(images.map((image) => image.naturalWidth))],
                heading: document.querySelector('dialog h2').textContent,
                others: performance.getEntriesByType('resource').map((entry) => entry.name)
                        .filter((name) => !name.startsWith(new URL('.', location).href))};
        """,
        tmp_path,
        address if served else None,
    )
    assert found == {'count': 4 * len(names) + 2, 'widths': [256], 'heading': names[1], 'others': []}
    if served:
        there = {os.fsencode(path.relative_to(tmp_path)) for path in (tmp_path / 'images').rglob('*.png')}
        pictures = {urllib.parse.unquote_to_bytes(path[1:]) for path in asked if path != '/favicon.ico'}
        assert pictures == there | {b'copy.html'}
    assert not re.search(r'https?:|@import|url\(|(src|href)="(//|/|\w+:)', text)


def test_a_page_of_2000_rows_loads_only_what_is_near(tmp_path, serve):
    page = write(tmp_path, *(row(tmp_path, f'{i:04}', (8, 8)) for i in range(2)))
    rows = []
    for i in range(2000):
        pictures = {}
        for label in ('real_A', 'fake_B', 'rec_A', 'true_B'):
            path = f'images/{i:04}_{label}.png'
            if i >= 2:
                os.link(tmp_path / f'images/0001_{label}.png', tmp_path / path)
            pictures[label] = gallery.Picture(path, 256, 256)
        rows.append(gallery.Row(f'{i:04}', pictures))
    page = write(tmp_path, *rows)
    assert page.stat().st_size < 3e6
    address, asked = serve(tmp_path)
    found = find_out(
        page,
        """
        const start = document.documentElement.scrollHeight;
        document.querySelectorAll('article')[1500].scrollIntoView();
        await new Promise((done) => setTimeout(done, 1000));
        for (const article of document.querySelectorAll('article')) article.style.contentVisibility = 'visible';
        return {start, end: document.documentElement.scrollHeight};
        """,
        tmp_path,
        address,
        '--window-size=1300,900',
    )
    numbers = {int(path[8:12]) for path in asked if path.startswith('/images/')}
    assert 0 in numbers and 1500 in numbers and len(numbers) < 60, sorted(numbers)
    # What rows need was foretold well enough for the scroll bar.
    assert found['end'] == pytest.approx(found['start'], rel=0.05)


def test_nothing_sticks_out_on_a_phone(tmp_path, serve):
    long = 'a_very_long_name_' * 8
    write(tmp_path, row(tmp_path, long, scores={'PSNR': 21.5, 'SSIM': 0.9}), row(tmp_path, 'wide', (1600, 900)),
                 row(tmp_path, 'high', (60, 700)))  # fmt: skip
    outer = tmp_path / 'outer.html'  # the browser's own window is at least 500 wide
    outer.write_text('<iframe src="index.html" style="border:0;width:390px;height:800px"></iframe></body>')
    found = find_out(
        outer,
        """
        const inner = document.querySelector('iframe').contentWindow, page = inner.document;
        const sticking = () => [...page.querySelectorAll('body *')].filter((element) =>
          element.getBoundingClientRect().right > 390.5).map((element) => element.outerHTML.slice(0, 80));
        const result = {width: inner.innerWidth, page: page.documentElement.scrollWidth, sticking: sticking()};
        const sizes = [];
        for (const button of page.querySelectorAll('article button')) {
          button.click();
          const box = page.querySelector('dialog .compare').getBoundingClientRect();
          sizes.push([Math.round(box.width), Math.round(box.height)]);
          result.sticking.push(...sticking());
        }
        const dialog = page.querySelector('dialog');
        return {...result, sizes, dialog: dialog.scrollWidth <= dialog.clientWidth,
                high: dialog.scrollHeight <= dialog.clientHeight};
        """,
        tmp_path,
        serve(tmp_path)[0],
        '--hide-scrollbars',
    )
    sizes = found.pop('sizes')
    assert found == {'width': 390, 'page': 390, 'sticking': [], 'dialog': True, 'high': True}
    assert sizes[0] == [342, 342] and sizes[1] == [342, 192] and sizes[2] == [52, 610]


@pytest.mark.parametrize('dark', [False, True])
def test_light_and_dark(tmp_path, dark):
    page = write(tmp_path, row(tmp_path, 'one', scores={'PSNR': 20.0}))
    found = find_out(
        page,
        """
        const light = (colour) => Math.max(...colour.match(/[0-9]+/g).slice(0, 3).map(Number));
        const style = getComputedStyle(document.body);
        return [style.backgroundColor, style.color, getComputedStyle(document.querySelector('article p')).color]
          .map(light);
        """,
        tmp_path,
        None,
        *(['--force-dark-mode'] if dark else []),
    )
    ground, *inks = found
    assert (ground < 40 and min(inks) > 150) if dark else (ground > 240 and max(inks) < 110)


def test_pictures_keep_their_size_and_small_ones_grow_without_blur(tmp_path):
    sizes = {'natural': (300, 200), 'small': (64, 48), 'half': (129, 100), 'large': (900, 450)}
    page = write(tmp_path, *(row(tmp_path, name, size) for name, size in sizes.items()))
    found = find_out(
        page,
        """
        const result = {};
        for (const article of document.querySelectorAll('article')) {
          const image = article.querySelector('img'), box = image.getBoundingClientRect();
          result[article.querySelector('h3').textContent] =
            [box.width, box.height, getComputedStyle(image).imageRendering];
        }
        return result;
        """,
        tmp_path,
        None,
        '--window-size=1300,900',
    )
    assert found['natural'] == [pytest.approx(285, abs=15), pytest.approx(190, abs=10), 'auto']
    assert found['small'] == [256, 192, 'pixelated']
    assert found['half'] == [129, 100, 'auto']
    assert 250 < found['large'][0] < 305 and found['large'][1] == pytest.approx(found['large'][0] / 2, abs=0.1)
    assert 'width="300" height="200"' in page.read_text()


def test_rows_are_ordered_by_score_and_found_by_name(tmp_path):
    scores = {
        'a': {'PSNR': 20.0, 'edges': 1.5}, 'b': {}, 'Cat': {'PSNR': 9.5},  # none of them, or not all
        'cart': {'PSNR': float('inf'), 'edges': 0.5}, 'e': {'PSNR': 15.0, 'edges': float('inf')},
    }  # fmt: skip
    page = write(tmp_path, *(row(tmp_path, name, (8, 8), of_row) for name, of_row in scores.items()))
    found = find_out(
        page,
        """
        const names = () => [...document.querySelectorAll('article:not([hidden]) h3')].map((h) => h.textContent);
        const order = document.querySelector('.tools select'), search = document.querySelector('.tools input');
        const orders = [...order.options].map((option) => {
          order.value = option.value;
          order.dispatchEvent(new Event('change'));
          return [option.textContent, names()];
        });
        search.value = 'CA';
        search.dispatchEvent(new Event('input'));
        return {orders, found: names(), said: document.querySelector('.tools output').textContent};
        """,
        tmp_path,
    )
    assert found['orders'] == [
        ['by name', ['a', 'b', 'Cat', 'cart', 'e']],
        ['PSNR, lowest first', ['Cat', 'e', 'a', 'cart', 'b']],
        ['PSNR, highest first', ['cart', 'a', 'e', 'Cat', 'b']],
        ['edges, lowest first', ['cart', 'a', 'e', 'b', 'Cat']],
        ['edges, highest first', ['e', 'a', 'cart', 'b', 'Cat']],
    ]
    assert found['found'] == ['cart', 'Cat'] and found['said'] == '2 of 5 rows'
    write(tmp_path, row(tmp_path, 'a'))
    assert '<option' not in page.read_text()


def test_style_and_script_go_into_the_page_as_they_are(tmp_path):
    text = write(tmp_path, row(tmp_path, 'one')).read_text()
    for kind in ('css', 'js'):  # although the template's language has brackets that they might hold
        assert pathlib.Path(gallery.__file__).with_suffix(f'.{kind}').read_text().strip() in text


def test_the_package_ships_template_style_and_script():
    import setuptools

    given = {}
    real, setuptools.setup = setuptools.setup, lambda **settings: given.update(settings)
    try:
        setup = pathlib.Path(__file__).parents[2] / 'setup.py'
        exec(compile(setup.read_text(), setup, 'exec'), {'__file__': str(setup)})
    finally:
        setuptools.setup = real
    folder = pathlib.Path(gallery.__file__).parent
    beside = {path.name for kind in ('html', 'css', 'js') for path in folder.glob(f'*.{kind}')}
    assert set(given['package_data']['cyclegan_tf.translation']) == beside and len(beside) == 5
