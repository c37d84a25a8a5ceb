"""The page of a run: what it shows, what resuming and going back leave of it, and that a kill leaves it whole."""

import json
import os
import pathlib
import re
import shutil
import signal
import sys
import time
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs.curves import Curves
from cyclegan_tf.settings.models import CycleGANConfig
from cyclegan_tf.training.page import RunPage
from tests.helpers import program
from tests.helpers.browser import BROWSER, find_out

DATE = r'\d{4}-\d\d-\d\d \d\d:\d\d'


@pytest.fixture
def flags(image_folders):
    """Of a run with five steps an epoch, and a report after each."""
    return [f'--dataroot={image_folders}', '--name=run', '--print_freq=1', '--save_epoch_freq=1']


def read(run):
    """The page without its date."""
    return re.sub(DATE, 'DATE', (run / 'index.html').read_text(encoding='utf-8'))


def shown(run):
    """The headings of the rows, in order; the page has to be whole, with all of its pictures."""
    text = read(run)
    assert text.startswith('<!doctype html>') and text.endswith('</html>\n' if text.endswith('\n') else '</html>')
    sources = re.findall(r'src="([^"]+)" width="(\d+)" height="(\d+)"', text)
    for source, width, height in sources:
        with Image.open(run / unquote(source)) as picture:
            picture.load()
            assert picture.size == (int(width), int(height))
    named = {pathlib.PurePath(unquote(source)).name for source, _, _ in sources}
    there = {path.name for path in (run / 'pictures').glob('*.jpg')}
    return re.findall(r'<h3>(Epoch \d+)</h3>', text), named, there


def state(run):
    """All that a page consists of."""
    return read(run), {path.name: path.read_bytes() for path in (run / 'pictures').glob('*')}


def points(run, name):
    """Number of corners of a curve."""
    legend = re.findall(r'<li class="c\d"><i></i>(\S+) <b>', read(run))
    lines = re.findall(r'<polyline points="([^"]*)"', read(run))
    return len(dict(zip(legend, lines))[name].split())


# --------------------------------------------------------------------------------------------------------- its content
COLUMNS = {
    'tiny_cycle_gan': {
        'A_to_B': ['real_A', 'fake_B', 'rec_A', 'idt_B'],
        'B_to_A': ['real_B', 'fake_A', 'rec_B', 'idt_A'],
    },
    'tiny_pix2pix': {'A_to_B': ['real_A', 'fake_B', 'real_B']},
    'tiny_cut': {'A_to_B': ['real_A', 'fake_B', 'real_B', 'idt_B']},
}
CHARTS = {
    'tiny_cycle_gan': {
        'Generator and discriminator, A': ['D_A', 'G_A'],
        'Generator and discriminator, B': ['D_B', 'G_B'],
        'Cycle consistency': ['cycle_A', 'cycle_B'],
        'Identity': ['idt_A', 'idt_B'],
        'psnr, test images': ['psnr_AtoB', 'psnr_BtoA'],
        'cycle, test images': ['cycle_AtoB', 'cycle_BtoA'],
        'identity, test images': ['identity_AtoB', 'identity_BtoA'],
    },
    'tiny_pix2pix': {
        'Generator and discriminator': ['G_GAN', 'D_real', 'D_fake'],
        'Other losses': ['G_L1'],
        'psnr, test images': ['psnr_AtoB'],
    },
    'tiny_cut': {
        'Generator and discriminator': ['G_GAN', 'D_real', 'D_fake'],
        'Other losses': ['G', 'NCE', 'NCE_Y'],
        'psnr, test images': ['psnr_AtoB'],
    },
}


@pytest.mark.parametrize('model', COLUMNS)
def test_a_training_shows_a_picture_of_each_epoch_and_its_curves(tmp_path, flags, model):
    more = ['--load_size=36', '--crop_size=32', '--num_threads=2', '--n_epochs=2', '--n_epochs_decay=0']
    more += [f'--model={model}', '--eval_freq=1', '--eval_metrics=psnr', '--dataset_mode=paired']
    program.run_training(tmp_path, *flags, *more, small=False)
    run, columns = tmp_path / 'run', COLUMNS[model]
    rows, named, there = shown(run)
    assert rows == ['Epoch 2', 'Epoch 1'] * len(columns)
    wanted = {
        f'epoch-000{epoch}_{way}_{name}.jpg' for epoch in (1, 2) for way, names in columns.items() for name in names
    }
    assert named == there == wanted
    text = read(run)
    assert 'Step 10 of 10, DATE. The pictures are of the first test image of each domain.' in text
    assert re.findall(r'<dt>(\w+)</dt><dd>([\d,]+)</dd>', text)[:2] == [('epoch', '2'), ('step', '10')]
    found = re.findall(r'<figcaption><h3>(.*?)</h3>\s*<ul>(.*?)</ul>', text)
    assert {title: re.findall(r'</i>(\S+) <b>', legend) for title, legend in found} == CHARTS[model]
    assert points(run, 'psnr_AtoB') == 2 and {points(run, name) for name in next(iter(CHARTS[model].values()))} == {10}
    # The newest test picture is what TensorBoard shows.
    sheet = program.events(run)['test/A_to_B'][-1][1]
    assert bytes(sheet[:2][0]) == b'%d' % (36 * 3 * len(columns['A_to_B']) + 4 * (len(columns['A_to_B']) - 1))
    assert not re.search(r'https?:|@import|url\(|(src|href)="(//|/|\w+:)', text)
    assert not list(run.glob('.*.part')) + list((run / 'pictures').glob('.*.part'))


def test_pictures_of_one_channel_and_of_16_bits_are_shown_and_keep_their_size(tmp_path, image_folders, flags):
    for path in image_folders.glob('*A/*.png'):
        gray = np.asarray(Image.open(path).convert('L')).astype(np.uint16) * 257
        Image.fromarray(gray).save(path)
    program.run_training(tmp_path, *flags, '--input_nc=1', '--max_steps=5', '--preprocess=none')
    assert shown(tmp_path / 'run')[0] == ['Epoch 1'] * 2
    with Image.open(tmp_path / 'run/pictures/epoch-0001_A_to_B_real_A.jpg') as real:
        pixels = np.asarray(real)
    with Image.open(image_folders / 'testA/0.png') as source:
        expected = np.asarray(source) / 257
    assert pixels.shape == (40, 48, 3) and abs(pixels[..., 0] - expected).mean() < 2 and np.ptp(pixels) > 50


def test_without_test_images_there_are_training_images_and_a_sentence(tmp_path, image_folders, flags):
    for domain in 'AB':
        shutil.rmtree(image_folders / f'test{domain}')
    program.run_training(tmp_path, *flags, '--max_steps=7')
    assert shown(tmp_path / 'run')[0] == ['Epoch 1'] * 2
    text = read(tmp_path / 'run')
    assert 'No test images were found, so the pictures are of training images' in text
    assert text.count('step 5, an image of the training set') == 2 and 'Step 7 of 1,000' in text


def test_before_the_first_epoch_there_is_a_page_already(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--max_steps=3')
    assert shown(tmp_path / 'run') == ([], set(), set()) and points(tmp_path / 'run', 'G_A') == 3
    assert 'Pictures follow at the end of the first epoch.' in read(tmp_path / 'run')


def test_no_html_writes_nothing(tmp_path, flags, capsys):
    program.run_training(tmp_path, *flags, '--no_html', '--max_steps=5')
    assert not (tmp_path / 'run/index.html').exists() and not (tmp_path / 'run/pictures').exists()
    assert 'index.html' not in capsys.readouterr().out


def test_with_no_html_a_page_that_is_there_is_cut_but_does_not_grow(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--max_steps=10')
    program.run_training(tmp_path, '--name=run', '--continue_train', '--epoch=1', '--no_html', '--max_steps=15')
    rows, named, there = shown(tmp_path / 'run')
    assert set(rows) == {'Epoch 1'} and named == there and 'Step 5 of 1,000' in read(tmp_path / 'run')
    # What was trained without it is in the curves, but has no pictures.
    program.run_training(tmp_path, '--name=run', '--continue_train', '--no_html=false', '--max_steps=20')
    assert set(shown(tmp_path / 'run')[0]) == {'Epoch 1', 'Epoch 4'} and points(tmp_path / 'run', 'G_A') == 20


# ------------------------------------------------------------------------------------------------- resuming, going back
def test_a_resumed_run_ends_with_the_page_of_one_that_never_stopped(tmp_path, flags):
    program.run_training(tmp_path / 'through', *flags, '--max_steps=20')
    program.run_training(tmp_path / 'stopped', *flags, '--max_steps=12')
    program.run_training(tmp_path / 'stopped', '--name=run', '--continue_train', '--max_steps=20')
    assert state(tmp_path / 'through/run') == state(tmp_path / 'stopped/run')
    assert points(tmp_path / 'stopped/run', 'D_B') == 20


def test_what_came_after_the_step_resumed_from_is_gone_at_once(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--max_steps=20')
    run = tmp_path / 'run'
    # Resumed where there is nothing left to do: only opened.
    program.run_training(tmp_path, '--name=run', '--continue_train', '--epoch=2', '--max_steps=10')
    rows, named, there = shown(run)
    assert rows == ['Epoch 2', 'Epoch 1'] * 2 and named == there and points(run, 'D_B') == 10
    assert [epoch['step'] for epoch in json.loads((run / 'pictures/pictures.json').read_text())['epochs']] == [5, 10]


def test_a_run_without_pictures_begins_its_page_when_it_is_continued(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--no_html', '--max_steps=8')
    program.run_training(tmp_path, '--name=run', '--continue_train', '--no_html=false', '--max_steps=10')
    assert set(shown(tmp_path / 'run')[0]) == {'Epoch 2'} and points(tmp_path / 'run', 'G_A') == 10


def picture(value):
    return {'A_to_B': {name: [np.full((8, 8, 3), value, np.float32)] for name in ('real_A', 'fake_B')}}


def grow(page, first, last, value=0.0):
    for number in range(first, last + 1):
        page.add_epoch(number, 5 * number, picture(value), of_test=True)
    page.write(5 * last)


def make_page(folder):
    (folder / 'run').mkdir(parents=True, exist_ok=True)
    return RunPage(folder / 'run', CycleGANConfig(dataroot='demo'), 5000, Curves())


def test_a_rollback_takes_pictures_back(tmp_path):
    page = make_page(tmp_path)
    page.cut(0)
    grow(page, 1, 4)
    page.cut(13)
    assert shown(tmp_path / 'run')[0] == ['Epoch 2', 'Epoch 1']
    grow(page, 3, 3, value=1.0)
    rows, named, there = shown(tmp_path / 'run')
    assert rows == ['Epoch 3', 'Epoch 2', 'Epoch 1'] and named == there
    assert np.asarray(Image.open(tmp_path / 'run/pictures/epoch-0003_A_to_B_real_A.jpg')).min() > 250


def test_old_epochs_are_thinned_in_the_same_way_with_and_without_a_restart(tmp_path):
    through, stopped = make_page(tmp_path / 'through'), make_page(tmp_path / 'stopped')
    through.cut(0)
    stopped.cut(0)
    for last in range(1, 201):
        grow(through, last, last)
        assert len(shown(tmp_path / 'through/run')[0]) <= 50
    grow(stopped, 1, 97)
    stopped = make_page(tmp_path / 'stopped')
    stopped.cut(5 * 90)
    grow(stopped, 91, 200)
    assert state(tmp_path / 'through/run') == state(tmp_path / 'stopped/run')
    rows, named, there = shown(tmp_path / 'through/run')
    numbers = [int(row.split()[1]) for row in rows]
    assert numbers == [*range(200, 191, -1), *range(184, 7, -8), 1] and named == there
    assert 'Of those before the last 9, every 8th is kept.' in read(tmp_path / 'through/run')


@pytest.mark.parametrize(
    'first, back, last, sentence',
    [
        (1, 200, 200, 'The end of each epoch, the newest first. Of those before the last 9, every 8th is kept.'),
        (1, 100, 100, 'The end of the last epoch, the newest first, and of some before.'),
        (1, 100, 103, 'The end of each of the last 3 epochs, the newest first, and of some before.'),
        (30, 0, 35, 'The end of each epoch from 30 on, the newest first.'),
        (1, 0, 30, 'The end of each epoch, the newest first.'),
    ],
)
def test_the_page_says_which_epochs_stay(tmp_path, first, back, last, sentence):
    page = make_page(tmp_path)
    page.cut(0)
    if back:
        grow(page, 1, 200)
        page.cut(5 * back)
        first = back + 1
    grow(page, first, last)
    assert f'<p>{sentence}</p>' in read(tmp_path / 'run')


def test_a_loss_that_is_no_longer_finite_is_shown(tmp_path):
    page = make_page(tmp_path)
    for step, value in enumerate((0.5, float('nan'))):
        page._curves.add({'loss/G_A': value, 'loss/D_A': 0.25}, step)
    page.cut(1)
    assert re.findall(r'</i>(\S+) <b>(\S+)</b>', read(tmp_path / 'run')) == [('G_A', 'nan'), ('D_A', '0.25')]


def test_pictures_that_are_no_longer_there_are_left_out_and_other_files_stay(tmp_path):
    page = make_page(tmp_path)
    page.cut(0)
    grow(page, 1, 3)
    folder = tmp_path / 'run/pictures'
    (folder / 'epoch-0002_A_to_B_real_A.jpg').unlink()
    (folder / 'mine.jpg').write_bytes(b'')
    (folder / '.host-1-2.part').write_bytes(b'')  # as a kill leaves it
    make_page(tmp_path).cut(15)
    rows, named, there = shown(tmp_path / 'run')
    assert rows == ['Epoch 3', 'Epoch 1'] and there == {*named, 'mine.jpg'} and not list(folder.glob('.*'))


def test_a_damaged_record_is_one_sentence_and_takes_no_pictures_along(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--max_steps=5')
    record = tmp_path / 'run/pictures/pictures.json'
    record.write_text(record.read_text()[:-20])
    with pytest.raises(UserError, match=r"pictures.json' is damaged; delete it"):
        program.run_training(tmp_path, '--name=run', '--continue_train', '--max_steps=10')
    assert set(shown(tmp_path / 'run')[0]) == {'Epoch 1'}


# ------------------------------------------------------------------------------------------------------ kills, failures
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX')
@pytest.mark.parametrize('kills', [2, pytest.param(20, marks=pytest.mark.nightly)])
def test_a_kill_at_any_moment_leaves_a_page_that_works(tmp_path, flags, kills):
    rng = np.random.default_rng(0)
    flags = [*program.SMALL, *flags, f'--max_steps={40 * kills}', '--save_latest_freq=1']
    program.run_training(tmp_path / 'through', *flags, small=False)
    run, looked = tmp_path / 'killed/run', 0
    for _ in range(kills):
        again = ['--continue_train'] if (run / 'latest/checkpoint').exists() else []
        process = program.start('train', *flags, *again, f'--checkpoints_dir={tmp_path / "killed"}')
        reports = 0
        for line in process.stdout:
            reports += '  step ' in line
            if reports == 8:
                break
        # Most of the time is spent on files, with a page and a checkpoint after each step.
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        assert program.finish(process)[0] == -signal.SIGKILL
        rows, named, there = shown(run)
        assert len(rows) == 2 * len(set(rows)) and named <= there
        looked += bool(rows)
    assert looked > kills // 2
    program.run_training(tmp_path / 'killed', *flags, '--continue_train', small=False)
    assert state(tmp_path / 'through/run') == state(run)


def test_pictures_that_cannot_be_written_stop_training_with_one_sentence(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--max_steps=3')
    (tmp_path / 'run/pictures').write_bytes(b'')  # where a folder has to be
    with pytest.raises(
        UserError, match=r'step 5 could not be saved .*pictures.*; the last good checkpoint is of step 3'
    ):
        program.run_training(tmp_path, '--name=run', '--continue_train', '--max_steps=10')


# ------------------------------------------------------------------------------------------------------------ a browser
@pytest.mark.skipif(not BROWSER, reason='Chromium is not installed')
def test_a_browser_shows_it_without_an_error(tmp_path, flags):
    program.run_training(tmp_path, *flags, '--max_steps=10')
    page = tmp_path / 'run/index.html'
    text = page.read_text(encoding='utf-8').replace('loading="lazy"', 'loading="eager"')
    errors = (
        '<script>window.errors = []; addEventListener("error", (event) => errors.push(event.message), true)</script>'
    )
    page.write_text(text.replace('<head>', '<head>' + errors), encoding='utf-8')
    found = find_out(
        page,
        """
        const images = [...document.querySelectorAll('.overview img, article img')];
        const lines = [...document.querySelectorAll('.charts polyline')];
        const inside = (line) => {
          const box = line.getBoundingClientRect(), card = line.closest('figure').getBoundingClientRect();
          return box.width > 100 && box.left > card.left && box.right < card.right && box.bottom < card.bottom;
        };
        document.querySelectorAll('article button')[1].click();
        const heading = document.querySelector('dialog h2').textContent;
        document.querySelector('dialog').close();
        return {errors, loaded: images.filter((image) => image.naturalWidth === 36).length, all: images.length,
                lines: lines.length, inside: lines.filter(inside).length, heading,
                others: performance.getEntriesByType('resource').map((entry) => entry.name)
                        .filter((name) => !name.startsWith(new URL('.', location).href))};
        """,
        tmp_path,
    )
    assert found == {
        'errors': [], 'loaded': 20, 'all': 20, 'lines': 6, 'inside': 6, 'heading': 'Epoch 1', 'others': []
    }  # fmt: skip
    for width in (1600, 1000, 500):
        pixels = find_out(
            page,
            """
            const scale = (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
            const size = (svg) => scale(svg) * parseFloat(getComputedStyle(svg).fontSize);
            return [...document.querySelectorAll('.charts svg')].map(size);
            """,
            tmp_path,
            None,
            f'--window-size={width},900',
        )
        assert len(pixels) == 3 and min(pixels) > 11, width  # of the letters
    assert os.path.getsize(page) < 200e3 and '<h3>Identity</h3>' not in text  # as its weight is 0
