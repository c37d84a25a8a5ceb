"""Translating a run's test images: the files, the page, the measures."""

import json
import re

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import metrics
from cyclegan_tf.runtime import hardware
from cyclegan_tf.settings.training import MEASURES_OF_PAIRS
from cyclegan_tf.translation import files
from tests.helpers import program
from tests.helpers.served_models import deep, make_run, photograph


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A trained run on the demo: where its checkpoints are."""
    directory = tmp_path_factory.mktemp('translate')
    program.run_training(directory, '--dataroot=demo', '--name=run', '--n_epochs=1', '--n_epochs_decay=0',
                         '--max_dataset_size=4', '--direction=BtoA')  # fmt: skip
    return directory


def test_every_test_image_is_translated_both_ways_and_measured(run, tmp_path, capsys):
    assert program.run_translation(run, '--name=run', f'--results_dir={tmp_path}', '--load_size=64') == 0
    results = tmp_path / 'run' / 'test_latest'
    pictures = {path.name for path in (results / 'images').iterdir()}
    assert len(pictures) == 7 * 2 * 4
    for label in ('real_A', 'fake_B', 'rec_A', 'true_B', 'real_B', 'fake_A', 'rec_B', 'true_A'):
        assert f'chelsea_{label}.png' in pictures
    read = {label: np.asarray(Image.open(results / 'images' / f'chelsea_{label}.png')) for label in
            ('real_A', 'real_B', 'true_A', 'true_B')}  # fmt: skip
    np.testing.assert_array_equal(read['real_A'], read['true_A'])
    assert read['real_A'].shape == (64, 64, 3) and read['real_A'].mean() > read['real_B'].mean() + 20

    measured = json.loads((results / 'metrics.json').read_text())
    names = sorted({path.name.rsplit('_', 2)[0] for path in (results / 'images').iterdir()})
    for direction, fake, true, real in (('AtoB', 'fake_B', 'true_B', 'real_A'), ('BtoA', 'fake_A', 'true_A', 'real_B')):
        load = lambda name, label: np.asarray(Image.open(results / 'images' / f'{name}_{label}.png'))  # noqa: E731
        for suffix, label in (('', fake), ('_untranslated', real)):
            of_pairs = metrics.PairMeasures()
            for name in names:
                of_pairs.add(load(name, label), load(name, true))
            for measure, expected in of_pairs.summary().items():
                assert measured[f'{measure}{suffix}'][direction] == pytest.approx(expected), measure
    output = capsys.readouterr().out
    assert str(results / 'index.html') in output and 'Edge strength is relative to the true counterpart: 1 is' in output

    # The terminal, each card of the page and each row name all measures, of translations and untranslated.
    page = (results / 'index.html').read_text()
    values = [measured[f'{name}{suffix}']['BtoA'] for suffix in ('', '_untranslated') for name in MEASURES_OF_PAIRS]
    words = 'PSNR {:.2f} dB, SSIM {:.3f}, edge strength {:.2f}'
    words = f'{words}; untranslated: {words}'
    assert f'BtoA: {words.format(*values)}.' in output
    facts = re.findall('<dt>(.*?)</dt><dd>(.*?)</dd>', page)
    forms = (('PSNR', '{:.2f} dB'), ('SSIM', '{:.3f}'), ('edge strength', '{:.2f}'))
    for (name, form), after, before in zip(forms, values, values[3:]):
        assert (name, form.format(after)) in facts and (f'{name}, untranslated', form.format(before)) in facts
    of_pair = metrics.PairMeasures().add
    values = [of_pair(load('chelsea', label), load('chelsea', 'true_A')).values() for label in ('fake_A', 'real_B')]
    assert f'<h3>chelsea</h3>\n<p>{words.format(*values[0], *values[1])}</p>' in page
    assert f'data-scores="{" ".join(map(str, values[0]))} "' in page
    sources = re.findall(r'src="([^"]+)"', page)
    # Every picture, and again the first two of each direction in the overview's comparison.
    assert len(sources) == 60 and len(set(sources)) == 56 and all((results / source).is_file() for source in sources)
    assert 'http' not in page and page.count('loading="lazy"') == 60


def test_the_program_translates_and_exits_with_a_sentence_where_it_cannot(drawn, tmp_path):
    Image.fromarray(photograph(16, 16)).save(tmp_path / 'x.png')
    flags = ('--name=run', f'--checkpoints_dir={drawn}', f'--output={tmp_path / "out"}', '--direction=AtoB')
    status, output, error = program.finish(program.start('translate', *flags, f'--input={tmp_path}/x.png', real=True))
    assert status == 0 and f'Wrote 1 picture to {tmp_path / "out"}' in output, error
    assert Image.open(tmp_path / 'out' / 'x.png').size == (16, 16)
    status, _, error = program.finish(program.start('translate', *flags, f'--input={tmp_path}/y.png'))
    assert status == 1 and error.count('cyclegan_tf.translate: `input`') == 1 and 'Traceback' not in error


def test_equal_pairs_give_valid_json(run, tmp_path, capsys):
    for domain in 'AB':
        (tmp_path / 'same' / f'test{domain}').mkdir(parents=True)
        Image.new('RGB', (32, 32), 'green').save(tmp_path / 'same' / f'test{domain}' / 'a.png')
    flags = ('--name=run', f'--dataroot={tmp_path / "same"}', f'--results_dir={tmp_path}')
    assert program.run_translation(run, *flags) == 0
    text = (tmp_path / 'run' / 'test_latest' / 'metrics.json').read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f'{name} is no JSON'))
    assert found['psnr_untranslated']['AtoB'] == 'inf' and found['edges_untranslated']['AtoB'] == 1
    assert 'untranslated: PSNR inf dB, SSIM 1.000, edge strength 1.00.' in capsys.readouterr().out


def test_pairs_smaller_than_the_window_of_ssim_are_measured_without_it(drawn, tmp_path, capsys):
    for domain in 'AB':
        (tmp_path / f'test{domain}').mkdir()
        for name, side in (('a', 8), ('b', 16), ('c', 16)):
            Image.fromarray(photograph(side, side)).save(tmp_path / f'test{domain}' / f'{name}.png')
    flags = ['--name=run', f'--dataroot={tmp_path}', f'--results_dir={tmp_path}', '--direction=AtoB']
    assert program.run_translation(drawn, *flags) == 0
    output = capsys.readouterr().out
    assert 'AtoB: SSIM is left out for 1 pair smaller than its window.' in output
    page = (tmp_path / 'run' / 'test_latest' / 'index.html').read_text()
    notes = re.findall(r'<h3>(\w)</h3>\n<p>(.*?);', page)
    assert [(name, 'SSIM' in note) for name, note in notes] == [('a', False), ('b', True), ('c', True)]
    assert ['null' in scores for scores in re.findall('data-scores="(.*?)"', page)] == [True, False, False]


def test_again_with_fewer_images_leaves_no_old_ones(run, tmp_path):
    for extra in ((), ('--num_test=1',)):
        program.run_translation(run, '--name=run', f'--results_dir={tmp_path}', *extra)
    pictures = list((tmp_path / 'run' / 'test_latest' / 'images').iterdir())
    assert len(pictures) == 8 and Image.open(pictures[0]).size == (32, 32)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Where the checkpoints of runs are that were never trained: 'run', 'two' and 'five' channels of A."""
    directory = tmp_path_factory.mktemp('drawn')
    for name, channels in (('run', 3), ('two', 2), ('five', 5)):
        make_run(directory, name, input_nc=channels, lambda_identity=0.0, preprocess='none', ndf=4)
    return directory


def test_pictures_of_the_test_images_have_their_depth(drawn, tmp_path):
    picture = photograph(32, 24)
    for domain, pixels in (('A', deep(picture)), ('B', picture)):
        (tmp_path / f'test{domain}').mkdir()
        (tmp_path / f'test{domain}' / 'x.png').write_bytes(imagecodecs.png_encode(pixels))
    assert program.run_translation(drawn, '--name=run', f'--dataroot={tmp_path}', f'--results_dir={tmp_path}') == 0
    read = lambda label: imagecodecs.png_decode((images / f'x_{label}.png').read_bytes())  # noqa: E731
    images = tmp_path / 'run' / 'test_latest' / 'images'
    labels = ('real_A', 'fake_B', 'rec_A', 'true_B', 'real_B', 'fake_A', 'rec_B', 'true_A')
    assert [read(label).dtype.itemsize for label in labels] == [2, 2, 2, 1, 1, 1, 1, 2]
    np.testing.assert_array_equal(read('real_A'), deep(picture))


def test_a_name_that_happens_to_be_in_both_domains_makes_no_pair(drawn, tmp_path, capsys):
    for domain, names in (('A', 'abc'), ('B', 'cde')):
        (tmp_path / f'test{domain}').mkdir()
        for name in names:
            Image.fromarray(photograph(16, 16)).save(tmp_path / f'test{domain}' / f'{name}.png')
    flags = ['--name=run', f'--dataroot={tmp_path}', f'--results_dir={tmp_path}', '--direction=AtoB']
    assert program.run_translation(drawn, *flags) == 0
    output = capsys.readouterr().out
    assert 'not compared as pairs: only 1 of 3 have a counterpart' in output and 'PSNR' not in output
    assert not list((tmp_path / 'run' / 'test_latest' / 'images').glob('*true*'))


def test_channels_that_no_picture_has_become_a_tiff_and_two_are_gray_and_alpha(drawn, tmp_path, capsys):
    common = (f'--results_dir={tmp_path}', f'--output={tmp_path / "out"}')
    for name in ('rgb', 'la'):
        Image.fromarray(photograph(16, 16)).convert(name.upper()).save(tmp_path / f'{name}.png')
    program.run_translation(drawn, '--name=five', *common, f'--input={tmp_path}/rgb.png', '--direction=BtoA')
    assert tifffile.imread(tmp_path / 'out' / 'rgb.tif').shape == (16, 16, 5)
    with pytest.raises(UserError, match='1 image could not be translated'):
        program.run_translation(drawn, '--name=two', *common, f'--input={tmp_path}/*.png', '--direction=both')
    assert 'rgb.png: it has 3 channels, which cannot be converted to 2' in capsys.readouterr().err
    assert [Image.open(tmp_path / 'out' / way / 'la.png').mode for way in ('AtoB', 'BtoA')] == ['RGB', 'LA']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--name=nowhere'], "flags.cfg' does not exist; set --checkpoints_dir and --name"),
        (['--name=run', '--epoch=7'], '`epoch` .7.; it has checkpoints of epochs: 1'),
        (['--name=run', '--load_size=65'], '`load_size` .65. is not a multiple of 4'),
        (['--name=run', '--dataroot=/nowhere'], '`dataroot` .* is not a folder'),
    ],
)
def test_what_cannot_be_translated_is_named(run, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        program.run_translation(run, f'--results_dir={tmp_path}', *arguments)


def test_psnr_against_its_formula():
    x = np.zeros((4, 4, 3), np.uint8)
    assert metrics.psnr(x, x + 5) == pytest.approx(20 * np.log10(255 / 5))
    assert metrics.psnr(x, x) == float('inf')
    with pytest.raises(ValueError, match='differ in shape'):
        metrics.psnr(x, x[:2])


def test_batches_suit_the_processor_unless_their_size_is_given(drawn, tmp_path, monkeypatch):
    for name, side, count in (('large', 256, 2), ('small', 64, 10)):
        for i in range(count):
            path = tmp_path / 'in' / f'{name}{i}.png'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(photograph()[:side, :side]).resize((side, side)).save(path)
    original, sizes = files._translate, []

    def recorded(translator, images, *others):
        sizes.append(len(images))
        return original(translator, images, *others)

    monkeypatch.setattr(files, '_translate', recorded)
    flags = ('--name=run', f'--input={tmp_path / "in"}', f'--output={tmp_path / "out"}')
    assert program.run_translation(drawn, *flags) == 0
    assert sizes == [1, 1, 8, 2]
    sizes.clear()
    assert program.run_translation(drawn, *flags, '--batch_size=5') == 0
    assert sizes == [2, 5, 5]


def test_half_precision_is_used_where_the_cpu_has_it_or_where_it_is_insisted_on(drawn, tmp_path, monkeypatch, capsys):
    Image.fromarray(photograph(64, 64)).save(tmp_path / 'x.png')
    monkeypatch.setattr(hardware, '_INSTRUCTIONS', {'bfloat16': ('of another kind',)})

    def translate(kind, *flags):
        to = ('--name=run', f'--input={tmp_path / "x.png"}', f'--output={tmp_path / kind}', '--output_format=tiff')
        assert program.run_translation(drawn, *to, '--output_depth=float', '--direction=AtoB', '--verbose', *flags) == 0
        return tifffile.imread(tmp_path / kind / 'x.tif'), capsys.readouterr().err

    full, half, forced = (
        translate('full'),
        translate('half', '--precision=bfloat16'),
        translate('forced', '--precision=bfloat16', '--emulate_precision'),
    )
    assert 'no instructions' not in full[1] and 'so float32 is used' in half[1] and 'far slower' in forced[1]
    for (_, said), precision in ((full, 'float32'), (half, 'float32'), (forced, 'bfloat16')):
        assert f'Chosen for this machine: convolutions in {precision}, ' in said
        assert 'Batches have at most 65,536 pixels' in said
    np.testing.assert_array_equal(half[0], full[0])
    assert 0 < np.abs(forced[0] - full[0]).mean() < 0.02
