"""The page in a real browser: what is dropped on it, what it shows, and what can be downloaded."""

import io
import json
import pathlib
import re
import shutil
import time
import urllib.request
import zipfile

import imagecodecs
import numpy as np
import psutil
import pytest
from PIL import Image, ImageCms

from cyclegan_tf import app
from cyclegan_tf.settings.translation import TranslateConfig
from cyclegan_tf.translate import main as translate_main
from tests.helpers import program, videos
from tests.helpers.image_files import tiff
from tests.helpers.served_models import make_run, photograph, run_export

pytestmark = pytest.mark.extras

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
ARGUMENTS = ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--window-size=1280,1400', '--no-first-run')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with runs of both directions and of one, results, an exported model, and pictures."""
    place = tmp_path_factory.mktemp('page')
    make_run(place / 'checkpoints', 'both')
    make_run(place / 'checkpoints', 'gray', output_nc=1, lambda_identity=0.0)
    make_run(place / 'checkpoints', 'moved', dataroot=str(place / 'moved'))
    for folder in ('kept', 'kept/testA', 'kept/testB'):
        (place / folder).mkdir()
    for number in range(3):
        for domain in 'AB':
            Image.fromarray(photograph()).save(place / 'kept' / f'test{domain}' / f'{number}.png')
    make_run(place / 'checkpoints', 'own', dataroot=str(place / 'kept'))
    results = place / 'results' / 'both' / 'test_latest'
    results.mkdir(parents=True)
    (results / 'metrics.json').write_text(json.dumps({'step': 0, 'psnr': {'AtoB': 12.345, 'BtoA': 1}}))
    assert run_export(place / 'checkpoints', place / 'models', '--name=both', '--direction=AtoB') == 0
    deep = photograph(70, 90).astype(np.uint16) * 257
    data = imagecodecs.png_encode(deep)
    (place / 'deep.png').write_bytes(data)
    Image.fromarray(photograph(64, 48)).save(place / 'wide.jpg', icc_profile=PROFILE, quality=95)
    (place / 'text.png').write_text('no picture')
    Image.fromarray(np.zeros((2000, 2000, 3), np.uint8)).save(place / 'large.png')
    (place / 'heavy.png').write_bytes(np.random.default_rng(0).bytes(2_000_000))
    times = videos.write(place / 'clip.mp4', videos.pan(12))
    videos.damage(place / 'clip.mp4', place / 'damaged.mp4', [times[number][0] for number in (5, 6)])
    videos.write(place / 'long.mp4', videos.pan(40) * 2)
    (place / 'text.mp4').write_text('no video')
    return place


def serve(place, *flags, **variables):
    """The program, and the address that it prints."""
    process = program.start_python(
        '-m',
        'cyclegan_tf.app',
        '--port=0',
        f'--results_dir={place / "results"}',
        *flags,
        cwd=place,
        real=True,
        **variables,
    )
    line = process.stdout.readline()
    found = re.search(r'Open (http://\S+) in a browser', line)
    assert found, line + process.stderr.read()
    return process, found.group(1)


@pytest.fixture(scope='module')
def address(place):
    """The page of the runs; small limits."""
    limits = ('--max_upload_mb=1', '--max_image_pixels=1000000', '--max_video_seconds=2')
    process, address = serve(place, *limits, '--name=both')
    yield address
    process.terminate()
    program.finish(process)


@pytest.fixture
def open_page(tmp_path):
    """Function of an address -> a browser that shows the page, ready to be used; a browser for each call."""
    from selenium import webdriver

    browsers = []

    def start(address, width=1280):
        options = webdriver.ChromeOptions()
        for argument in ARGUMENTS:
            options.add_argument(argument)
        downloads = tmp_path / f'downloads{len(browsers)}'
        downloads.mkdir()
        options.add_experimental_option('prefs', {'download.default_directory': str(downloads)})
        options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
        browsers.append(webdriver.Chrome(options, webdriver.ChromeService(shutil.which('chromedriver'))))
        browsers[-1].execute_cdp_cmd(
            'Emulation.setDeviceMetricsOverride',
            {'width': width, 'height': 1400, 'deviceScaleFactor': 1, 'mobile': width < 500},
        )
        browsers[-1].downloads = downloads
        browsers[-1].get(address)
        wait(browsers[-1], '#picture input[type=file]')
        return browsers[-1]

    yield start
    for browser in browsers:
        browser.quit()


def wait(browser, selector, count=1, seconds=20, text=None):
    """The elements that a CSS selector finds, once there are `count` of them, and one of them has the text."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = browser.find_elements('css selector', selector)
        if len(found) >= count and (
            text is None or any(text in (one.get_attribute('innerText') or '') for one in found)
        ):
            return found
        time.sleep(0.1)
    shown = browser.find_element('css selector', 'body').text
    raise AssertionError(f'no {count} of {selector} {text or ""}: {shown}')


def wait_until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def drop(browser, path, where='#picture'):
    wait(browser, f'{where} input[type=file]')[0].send_keys(str(path))


def download(browser, selector='#download'):
    """Name and contents of the file that a click on a button brings."""
    for path in browser.downloads.iterdir():
        path.unlink()
    end, clicked = time.monotonic() + 60, 0.0
    while time.monotonic() < end:
        # A click just before the file is exchanged for another one, as after a choice, brings nothing.
        if time.monotonic() - clicked > 10:
            wait(browser, f'{selector}:not([disabled])')[0].click()
            clicked = time.monotonic()
        # Chromium's own files are hidden, or end so.
        found = [path for path in browser.downloads.glob('[!.]*') if path.suffix not in ('.crdownload', '.tmp')]
        if found and found[0].stat().st_size:
            return found[0].name, found[0].read_bytes()
        time.sleep(0.1)
    raise AssertionError(browser.find_element('css selector', selector).get_attribute('outerHTML'))


def downloaded_until(browser, holds):
    """The contents that a click brings, once they are what is expected: what was there before may still be."""
    end = time.monotonic() + 60
    while not holds(found := download(browser)[1]) and time.monotonic() < end:
        time.sleep(0.3)
    assert holds(found)
    return found


def translated(place, path, name='both', direction='AtoB'):
    """The file that cyclegan_tf.translate makes of one."""
    output = place / 'expected' / name / direction
    flags = dict(name=name, checkpoints_dir=str(place / 'checkpoints'), direction=direction, input=str(path))
    assert translate_main(TranslateConfig(output=str(output), **flags)) == 0
    return next(output.glob(f'{path.stem}.*')).read_bytes()


def test_a_picture_is_shown_before_and_after_and_comes_back_in_full(place, address, open_page):
    browser = open_page(address)
    drop(browser, place / 'deep.png')
    wait(browser, '#slider img', 2)
    expected = translated(place, place / 'deep.png')
    assert imagecodecs.png_decode(expected).dtype == np.uint16
    assert download(browser) == ('deep.png', expected)
    # The other way round, by a click.
    browser.find_elements('css selector', '#direction input')[1].click()
    other = translated(place, place / 'deep.png', direction='BtoA')
    downloaded_until(browser, lambda found: found == other)
    assert '12.3' not in browser.find_element('css selector', '#measures').text  # that is of the other direction


def test_the_profile_of_a_photograph_is_kept(place, address, open_page):
    browser = open_page(address)
    drop(browser, place / 'wide.jpg')
    wait(browser, '#slider img', 2)
    found = Image.open(io.BytesIO(download(browser)[1]))
    assert found.size == (48, 64) and found.info['icc_profile'] == PROFILE


@pytest.mark.parametrize(
    'name, sentence',
    [
        ('text.png', 'text.png: it is not an image of a known format'),
        ('large.png', 'large.png: it claims 2000x2000 pixels; --max_image_pixels (1,000,000) is the limit'),
        ('heavy.png', 'File(s) exceed the maximum allowed size of 1.0 Mb: "heavy.png"'),
    ],
)
def test_a_file_that_cannot_be_used_is_a_sentence_and_the_page_goes_on(place, address, open_page, name, sentence):
    browser = open_page(address)
    drop(browser, place / name)
    [shown] = [one.get_attribute('innerText') for one in wait(browser, '.toast-body', text=sentence)]
    assert 'Traceback' not in shown and '/' not in shown.replace(sentence, '')
    wait(browser, '.toast-close')[0].click()
    for cross in browser.find_elements('css selector', '#picture button[aria-label="Clear"]'):
        cross.click()
    drop(browser, place / 'wide.jpg')
    wait(browser, '#slider img', 2)


def test_two_at_once_get_their_own(place, address, open_page):
    browsers = [open_page(address), open_page(address)]
    for browser, name in zip(browsers, ('deep.png', 'wide.jpg')):
        drop(browser, place / name)
    sizes = []
    for browser in browsers:
        wait(browser, '#slider img', 2)
        sizes.append(Image.open(io.BytesIO(download(browser)[1])).size)
    assert sizes == [(90, 70), (48, 64)]


def test_several_come_back_in_an_archive_and_bad_ones_are_named(place, address, open_page):
    browser = open_page(address)
    open_tab(browser, 'Several pictures')
    drop(browser, '\n'.join(str(place / name) for name in ('deep.png', 'text.png', 'wide.jpg')), '#several')
    wait(browser, '#several', text='wide')
    wait(browser, '#start')[0].click()
    wait(browser, '#translations img', 2)
    archive = zipfile.ZipFile(io.BytesIO(download(browser, '#archive')[1]))
    assert archive.namelist() == ['deep.png', 'wide.png']
    assert archive.read('deep.png') == translated(place, place / 'deep.png')
    assert wait(browser, '#problems', text='text.png: ')


def test_a_video_is_played_and_comes_back_with_its_sound(place, address, open_page, tmp_path):
    browser = open_page(address)
    open_tab(browser, 'A video')
    for name, sentence in (
        ('text.mp4', 'text.mp4: it is not a video of a known format'),
        ('long.mp4', 'long.mp4: it lasts 4.7 seconds, more than `max_video_seconds` (2); cut it'),
    ):
        drop(browser, place / name, '#video')
        wait(browser, '#video video')
        wait(browser, '#start_video')[0].click()
        wait(browser, '.toast-body', text=sentence)
        wait(browser, '.toast-close')[0].click()
        wait(browser, '#video button[aria-label="Clear"]')[0].click()
    drop(browser, place / 'clip.mp4', '#video')
    wait(browser, '#video video')
    wait(browser, '#start_video')[0].click()
    wait(browser, '#translated_video video')
    found, seen = 'let v = document.querySelector("#translated_video video"); return [v.videoWidth, v.error]', None
    end = time.monotonic() + 20
    while seen != [64, None] and time.monotonic() < end:
        seen = browser.execute_script(found)
    assert seen == [64, None]
    name, data = download(browser, '#download_video')
    assert name == 'clip.mp4'
    found, expected = tmp_path / 'found.mp4', tmp_path / 'expected.mp4'
    found.write_bytes(data)
    expected.write_bytes(translated(place, place / 'clip.mp4'))
    assert videos.packets(found, 'audio') == videos.packets(expected, 'audio')
    # Another process may round another way, of which the encoding of so restless frames makes two levels or three.
    (frames, *about), (expected_frames, *expected_about) = videos.decoded(found), videos.decoded(expected)
    assert about == expected_about and len(frames) == len(expected_frames) == 12
    for frame, of_program, source in zip(frames, expected_frames, videos.decoded(place / 'clip.mp4')[0]):
        distances = [np.abs(frame.astype(int) - other).mean() for other in (of_program, source)]
        assert distances[0] < 6 and distances[1] > 30, distances
    # What another direction makes of it is not there yet.
    browser.find_elements('css selector', '#direction input')[1].click()
    wait(browser, '#download_video[disabled]')


def test_a_clip_that_is_damaged_is_translated_with_a_line_that_says_where(place, address, open_page):
    browser = open_page(address)
    open_tab(browser, 'A video')
    drop(browser, place / 'damaged.mp4', '#video')
    wait(browser, '#video video')
    wait(browser, '#start_video')[0].click()
    [line] = wait(browser, '#video_problems', text='are damaged; they are left out')
    assert re.search(r'^damaged.mp4: 2 frames from 0:00.\d+ to 0:00.\d+ are damaged; they are left out$', line.text)
    (place / 'received.mp4').write_bytes(download(browser, '#download_video')[1])
    assert len(videos.decoded(place / 'received.mp4')[0]) == 10
    # It goes with the clip.
    wait(browser, '#video button[aria-label="Clear"]')[0].click()
    drop(browser, place / 'clip.mp4', '#video')
    wait_until(lambda: not line.text)


def test_a_gif_is_a_picture_of_its_first_frame(place, address, open_page):
    frames = [Image.fromarray(one) for one in videos.pan(5)]
    frames[0].save(place / 'moving.gif', save_all=True, append_images=frames[1:], duration=100, loop=0)
    with Image.open(place / 'moving.gif') as moving:
        moving.convert('RGB').save(place / 'first.png')
    browser = open_page(address)
    drop(browser, place / 'moving.gif')
    wait(browser, '#slider img', 2)
    name, data = download(browser)
    assert name == 'moving.png' and data == translated(place, place / 'first.png')


def open_tab(browser, name):
    tabs = browser.find_elements('xpath', f'//button[contains(., "{name}")]')
    next(tab for tab in tabs if tab.is_displayed()).click()


def test_an_example_is_translated_and_the_model_described(place, address, open_page):
    browser = open_page(address)
    assert wait(browser, '#measures', text='12.35')
    browser.find_element('xpath', '//button[contains(., "Settings of the model")]').click()
    wait(browser, '#about', text='resnet_6blocks')
    pictures = wait(browser, '#examples button img', 7)
    pictures[1].click()
    wait(browser, '#slider img', 2)
    assert Image.open(io.BytesIO(download(browser)[1])).size == (256, 256)
    # Another run: of B there is gray only.
    browser.find_element('css selector', '#model input').click()
    browser.find_element('xpath', '//li[contains(., "gray")]').click()
    wait(browser, '#about', text='output_nc')
    gray = downloaded_until(browser, lambda found: Image.open(io.BytesIO(found)).mode == 'L')
    assert Image.open(io.BytesIO(gray)).size == (256, 256)


def choose_run(browser, name):
    browser.find_element('css selector', '#model input').click()
    wait(browser, '[role=option]')
    browser.find_element('xpath', f'//li[contains(., "{name}")]').click()


def test_test_images_that_are_gone_are_said(place, address, open_page):
    browser = open_page(address)
    wait(browser, '#measures', text='12.35')  # all is there, and nothing lies over what can be chosen
    choose_run(browser, 'moved')
    [heading] = wait(browser, '#heading', text='There are no examples: ')
    assert f"('{place / 'moved'}') is not a folder" in heading.text
    assert not any(one.is_displayed() for one in browser.find_elements('css selector', '#examples button img'))
    # And those that vanish while the page shows them.
    choose_run(browser, 'own')
    wait(browser, '#heading', text='Or choose one from the test set:')
    shown = wait(browser, '#examples button img', 3)
    shutil.rmtree(place / 'kept' / 'testA')
    shown[1].click()
    wait(browser, '.toast-body', text='1.png: the file does not exist (a broken link?); choose another picture.')


class Told:
    """Takes the place of gradio.Progress: what it is told last, and how far it got before."""

    def __init__(self):
        self.shares, self.lines = [], []

    def __call__(self, share, desc):
        if desc != 'Loading the model':
            self.shares.append(share)
            self.lines.append(desc)


@pytest.mark.parametrize('what', ['pictures', 'frames'])
def test_tiles_move_the_one_bar_of_pictures_or_frames(place, tmp_path, what):
    from cyclegan_tf.web import models, page

    settings = app.parse(['app', f'--checkpoints_dir={place / "checkpoints"}', '--max_pixels=200704'])
    served, told = page.Page(models.Runs(settings), settings, tmp_path), Told()
    large = [np.asarray(Image.fromarray(one).resize((600, 470))) for one in videos.pan(2)]
    if what == 'pictures':
        paths = [str(tmp_path / f'{number}.png') for number in range(2)]
        for path, picture in zip(paths, large):
            Image.fromarray(picture).save(path)
        served.translate_all(paths, 'both', 'AtoB', 'latest', 'average', told)
    else:
        videos.write(tmp_path / 'large.mp4', large)
        served.translate_video(str(tmp_path / 'large.mp4'), 'both', 'AtoB', 'latest', 'average', told)
    assert told.lines[0] == f'0 of 2 {what}'
    assert all(re.fullmatch(rf'[0-2] of 2 {what}(, about \d+:\d\d left)?', line) for line in told.lines)
    assert told.shares == sorted(told.shares)
    for number in range(2):
        within = {share for share in told.shares if number / 2 < share < (number + 1) / 2}
        assert len(within) >= 3, (number, told.shares)


def test_the_time_that_is_left_is_shown(place, address, open_page):
    for number in range(6):
        Image.fromarray(photograph(700, 700)).save(place / f'wait{number}.jpg')
    browser = open_page(address)
    open_tab(browser, 'Several pictures')
    drop(browser, '\n'.join(str(place / f'wait{number}.jpg') for number in range(6)), '#several')
    wait(browser, '#several', text='wait5')
    wait(browser, '#start')[0].click()
    shown = wait(browser, '#translations', seconds=60, text=' of 6 pictures, about ')[0].text
    assert re.search(r'[1-5] of 6 pictures, about \d+:\d\d left', shown)
    wait(browser, '#translations img', 6, seconds=60)


def test_a_picture_that_browsers_do_not_show_is_shown(place, address, open_page, tmp_path):
    deep = imagecodecs.png_decode((place / 'deep.png').read_bytes())
    (tmp_path / 'deep.tif').write_bytes(tiff(deep, photometric='rgb'))
    browser = open_page(address)
    drop(browser, tmp_path / 'deep.tif')
    wait(browser, '#slider img', 2)
    script = 'return [...document.querySelectorAll("#picture img")].map(one => one.naturalWidth)'
    end = time.monotonic() + 60
    while not any(browser.execute_script(script)) and time.monotonic() < end:
        time.sleep(0.1)
    assert any(browser.execute_script(script))
    _, first = download(browser)
    assert imagecodecs.png_decode(first).dtype == np.uint16
    browser.find_elements('css selector', '#direction input')[1].click()  # of what was dropped, not of what is shown
    other = downloaded_until(browser, lambda found: found != first)
    assert imagecodecs.png_decode(other).dtype == np.uint16


def test_it_fits_a_phone_and_asks_no_other_host(place, address, open_page):
    browser = open_page(address, width=390)
    drop(browser, place / 'wide.jpg')
    wait(browser, '#slider img', 2)
    assert browser.execute_script('return document.documentElement.scrollWidth') <= 390
    entries = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    asked = [one['params']['request']['url'] for one in entries if one['method'] == 'Network.requestWillBeSent']
    elsewhere = [url for url in asked if not url.startswith((address, 'data:', 'blob:'))]
    assert len(asked) > 5 and not elsewhere


def ask(address, payload):
    """What the server answers if a program hands it something in place of an uploaded picture."""
    data = json.dumps({'data': [payload, 'both', 'AtoB', 'latest', 'average']}).encode()
    request = urllib.request.Request(f'{address}gradio_api/call/translate', data, {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=60) as answer:
        number = json.loads(answer.read())['event_id']
    with urllib.request.urlopen(f'{address}gradio_api/call/translate/{number}', timeout=60) as answer:
        return answer.read().decode()


def upload(address, path):
    """Uploads a file as a browser does; returns the path that the server has for it."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
    request = urllib.request.Request(
        f'{address}gradio_api/upload',
        head.encode() + path.read_bytes() + b'\r\n--x--\r\n',
        {'Content-Type': 'multipart/form-data; boundary=x'},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())[0]


def test_only_what_was_uploaded_is_read(place, address):
    uploaded = upload(address, place / 'wide.jpg')
    meta = {'meta': {'_type': 'gradio.FileData'}}
    assert 'event: complete' in ask(address, {'path': uploaded, **meta})
    folder = pathlib.Path(uploaded).parent
    for path in (
        place / 'deep.png',
        place / '*.png',
        '/etc/passwd',
        folder,
        folder.parent / '*' / 'wide.jpg',
        'gs://a/b',
    ):
        for more in ({}, meta):
            answer = ask(address, {'path': str(path), **more})
            assert 'event: error' in answer and 'known format' not in answer and 'complete' not in answer


def test_an_exported_model_is_served_without_a_run_and_all_is_deleted_at_the_end(place, open_page, tmp_path):
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    process, address = serve(place, f'--model_dir={place / "models"}', TMPDIR=str(temporary))
    try:
        browser = open_page(address)
        drop(browser, place / 'deep.png')
        wait(browser, '#slider img', 2)
        found = imagecodecs.png_decode(download(browser)[1]).astype(int)
        expected = imagecodecs.png_decode(translated(place, place / 'deep.png')).astype(int)
        assert found.shape == expected.shape and np.abs(found - expected).max() <= 2
        assert list(temporary.rglob('deep.png'))
    finally:
        process.terminate()
        status, _, error = program.finish(process)
    assert status == 143 and 'Traceback' not in error
    assert not list(temporary.rglob('*.png'))


def test_only_this_machine_reaches_it_and_a_port_that_is_taken_is_named(place, address):
    port = int(address.rstrip('/').rpartition(':')[2])
    found = [one for one in psutil.net_connections('tcp') if one.status == 'LISTEN' and one.laddr.port == port]
    assert found and all(one.laddr.ip == '127.0.0.1' for one in found)
    status, _, error = program.run_python('-m', 'cyclegan_tf.app', f'--port={port}', cwd=place, real=True)
    assert status == 1 and f"`port` ({port}) at `address` ('127.0.0.1') cannot be used" in error.splitlines()[-1]
