"""The program that measures, on real runs: table, metrics.json and event files; and measures while training."""

import csv
import json
import pathlib
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import run as evaluation_run
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.settings.models import CycleGANConfig
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.translation.translator import Translator
from tests.helpers import program
from tests.helpers.served_models import make_run

FLAGS = ('--n_epochs=3', '--n_epochs_decay=0', '--save_epoch_freq=2', '--eval_freq=1')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The demo's photographs, small: three to train and two to measure on a domain, as pairs."""
    from PIL import Image

    from cyclegan_tf.data import demo

    root = tmp_path_factory.mktemp('data')
    for part, count in (('train', 3), ('test', 2)):
        for domain in 'AB':
            (root / (part + domain)).mkdir()
            for i, picture in enumerate(list(demo.regions(part, domain).values())[:count]):
                Image.fromarray(picture).resize((40, 40)).save(root / (part + domain) / f'{i}.png')
    return root


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """A run that was measured after each of its three epochs; read only."""
    directory = tmp_path_factory.mktemp('checkpoints')
    flags = (f'--dataroot={data}', '--name=run', *FLAGS, '--keep_best=psnr_AtoB')
    assert program.run_training(directory, *flags) == 0
    return directory


@pytest.fixture
def run(trained, tmp_path):
    """The same, to be changed."""
    shutil.copytree(trained, tmp_path / 'checkpoints')
    return tmp_path / 'checkpoints'


@pytest.fixture(scope='module')
def extractor(tmp_path_factory):
    path = tmp_path_factory.mktemp('extractor') / 'small.keras'
    tf.keras.utils.set_random_seed(3)
    layers = [
        tf.keras.layers.Conv2D(6, 3, 2, input_shape=(32, 32, 3)),
        tf.keras.layers.GlobalAveragePooling2D(),
    ]
    tf.keras.Sequential(layers).save(path)
    return path


def values(events, tag):
    return [(step, float(value)) for step, value in events[tag]]


# ---------------------------------------------------------------------------------------------------- while training
def test_every_eval_freq_epochs_the_run_is_measured_and_the_best_is_kept(trained):
    seen = program.events(trained / 'run')
    psnr = values(seen, 'eval/psnr_AtoB')
    assert [step for step, _ in psnr] == [3, 6, 9]
    for name in ('psnr', 'ssim', 'edges', 'cycle', 'identity'):
        for direction in ('AtoB', 'BtoA'):
            assert [step for step, _ in seen[f'eval/{name}_{direction}']] == [3, 6, 9], name
    best_step, best_value = max(psnr, key=lambda point: point[1])
    best = checkpoints.find(trained / 'run', 'best')
    assert (best.step, best.epoch, best.is_best) == (best_step, best_step // 3, True)
    (kept,) = (trained / 'run' / 'best').glob('*.measured')
    assert json.loads(kept.read_text())['results']['AtoB']['psnr'] == pytest.approx(best_value, rel=1e-6)


def test_the_same_figures_come_out_of_the_program_for_every_checkpoint(run, tmp_path, capsys):
    assert program.run_evaluation(run, '--name=run', '--epoch=all', f'--results_dir={tmp_path}') == 0
    while_training = program.events(run / 'run')
    found = json.loads((tmp_path / 'run' / 'eval_test_all' / 'metrics.json').read_text())
    steps = [one['step'] for one in found['checkpoints']]
    assert steps == sorted({6, 9, checkpoints.find(run / 'run', 'best').step})
    assert [one['epoch'] for one in found['checkpoints']] == [step // 3 for step in steps]
    afterwards = program.events(run / 'run' / 'eval')
    for name in ('psnr', 'ssim', 'edges', 'cycle', 'identity'):
        for direction in ('AtoB', 'BtoA'):
            tag = f'eval/{name}_{direction}'
            expected = {step: value for step, value in values(while_training, tag) if step in steps}
            assert dict(values(afterwards, tag)) == pytest.approx(expected, rel=1e-5), tag
            results = {one['step']: one['results'][direction][name] for one in found['checkpoints']}
            assert results == pytest.approx(expected, rel=1e-5)
    assert found['images']['pairs'] == 2 and found['run']['model'] == 'tiny_cycle_gan'
    assert found['versions']['tensorflow'] == tf.__version__ and found['flags']['epoch'] == 'all'

    lines = capsys.readouterr().out.splitlines()
    head, rows = lines[0].split(), [line.split() for line in lines[1 : 3 + 2 * len(steps)]]
    assert head == ['epoch', 'step', 'direction', 'psnr', 'ssim', 'edges', 'cycle', 'identity']
    assert rows[0][:2] == ['untranslated', 'AtoB'] and rows[0][-2:] == ['-', '-']
    last = found['checkpoints'][-1]
    assert rows[-2][:3] == ['3', '9', 'AtoB'] and rows[-2][3] == f'{last["results"]["AtoB"]["psnr"]:.2f}'
    assert rows[-2][5] == f'{last["results"]["AtoB"]["edges"]:.3f}'
    assert 'AtoB: 2 images, 2 with a counterpart.' in lines
    assert any(line.startswith('edges: edge strength relative to the counterpart: 1 is right') for line in lines)


def test_features_of_a_given_network_are_compared_and_it_is_identified(run, extractor, tmp_path, capsys):
    flags = ('--metrics=kid,fid', f'--feature_extractor={extractor}', '--feature_range=0,255')
    assert program.run_evaluation(run, '--name=run', *flags, f'--results_dir={tmp_path}') == 0
    found = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    (one,) = found['checkpoints']
    for results in (one['results'], found['untranslated']):
        for direction in ('AtoB', 'BtoA'):
            assert results[direction]['fid'] > 0 and results[direction]['kid_standard_error'] > 0
            assert 'psnr' not in results[direction]
    assert found['features']['input_size'] == [32, 32] and found['features']['input_range'] == [0, 255]
    first = found['features']['sha256']
    assert f'± {one["results"]["AtoB"]["kid_standard_error"]:.5f}' in capsys.readouterr().out
    # Another network is another digest.
    model = tf.keras.models.load_model(extractor)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.save(tmp_path / 'other.keras')
    flags = ('--metrics=fid', f'--feature_extractor={tmp_path / "other.keras"}', '--feature_range=0,255')
    assert program.run_evaluation(run, '--name=run', *flags, f'--results_dir={tmp_path}') == 0
    found = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    assert found['features']['sha256'] != first and len(first) == 64


def test_each_image_has_a_row(run, tmp_path, capsys):
    assert program.run_evaluation(run, '--name=run', '--epoch=all', f'--results_dir={tmp_path}') == 0
    place = tmp_path / 'run' / 'eval_test_all'
    with open(place / 'images.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    measured = json.loads((place / 'metrics.json').read_text())['checkpoints']
    assert len(rows) == len(measured) * 2 * 2 and f'Each image: {place / "images.csv"}' in capsys.readouterr().out
    for one in measured:
        for direction, results in one['results'].items():
            of_one = [row for row in rows if (row['step'], row['direction']) == (str(one['step']), direction)]
            assert sorted(row['image'] for row in of_one) == ['0', '1']
            for name in ('psnr', 'ssim', 'cycle'):
                assert np.mean([float(row[name]) for row in of_one]) == pytest.approx(results[name], rel=1e-6)


def test_statistics_of_both_domains_are_kept(run, extractor, tmp_path):
    flags = (
        '--name=run', '--metrics=kid,fid', f'--feature_extractor={extractor}', '--feature_range=0,255',
        f'--results_dir={tmp_path}',
    )  # fmt: skip
    results = []
    for _ in range(2):
        assert program.run_evaluation(run, *flags, f'--statistics={tmp_path}/real_{{domain}}.npz') == 0
        found = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
        results.append(found['checkpoints'][0]['results'])
    assert results[0] == results[1]
    # They are used: with other features, the figures are others.
    for domain in 'AB':
        with np.load(tmp_path / f'real_{domain}.npz') as file:
            arrays = dict(file)
        np.savez(tmp_path / f'real_{domain}.npz', **{**arrays, 'feats': arrays['feats'] + 1})
    assert program.run_evaluation(run, *flags, f'--statistics={tmp_path}/real_{{domain}}.npz') == 0
    swapped = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())['checkpoints'][0]
    assert swapped['results']['AtoB']['fid'] != pytest.approx(results[0]['AtoB']['fid'], rel=1e-3)
    for flag, message in (
        ('--load_size=24', r'was made of other images .size'),
        ('--phase=train', r'was made of other images .number 2 instead of 3.'),
    ):
        with pytest.raises(UserError, match=message):
            program.run_evaluation(run, *flags, f'--statistics={tmp_path}/real_{{domain}}.npz', flag)
    with pytest.raises(UserError, match='`statistics` .* is for kid and fid, but `metrics` is psnr; leave one of them'):
        program.run_evaluation(run, *flags[:1], '--metrics=psnr', f'--statistics={tmp_path}/real_{{domain}}.npz')
    with pytest.raises(
        UserError, match=r'`statistics` .* is one file, but the run translates into A and B; put .domain'
    ):
        program.run_evaluation(run, *flags, f'--statistics={tmp_path}/real.npz')


def test_label_maps_are_scored_in_the_direction_that_has_them(run, data, tmp_path):
    from PIL import Image

    root = tmp_path / 'labelled'
    shutil.copytree(data / 'testA', root / 'testA')
    (root / 'testB').mkdir()
    for name in ('0.png', '1.png'):
        Image.new('RGB', (40, 40), (128, 64, 128)).save(root / 'testB' / name)
    flags = ('--name=run', f'--results_dir={tmp_path}', '--metrics=labels')
    assert program.run_evaluation(run, *flags, f'--dataroot={root}') == 0
    results = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    found = results['checkpoints'][0]['results']
    assert 0 <= found['AtoB']['pixel_accuracy'] <= 1 and 'pixel_accuracy' not in found['BtoA']
    assert 'pixel_accuracy' in results['untranslated']['AtoB']
    with open(tmp_path / 'run' / 'eval_test_latest' / 'images.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row['direction'] for row in rows if row['pixel_accuracy']} == {'AtoB'} and len(rows) == 4
    with pytest.raises(UserError, match='`metrics` .labels. needs label maps, but no domain has images in the colours'):
        program.run_evaluation(run, *flags)


def test_the_program_measures_and_exits_with_a_sentence_where_it_cannot(data, tmp_path):
    make_run(tmp_path, dataroot=str(data), crop_size=32)
    flags = (f'--checkpoints_dir={tmp_path}', f'--results_dir={tmp_path}')
    status, output, error = program.finish(program.start('evaluate', '--name=run', *flags, real=True))
    assert status == 0 and output.split()[:3] == ['epoch', 'step', 'direction'], error
    status, _, error = program.finish(program.start('evaluate', '--name=nowhere', *flags))
    assert status == 1 and error.count('cyclegan_tf.evaluate: ') == 1 and 'Traceback' not in error


def test_equal_images_give_an_infinite_psnr_and_still_json(run, data, tmp_path):
    root = tmp_path / 'same'
    for folder in ('testA', 'testB'):
        shutil.copytree(data / 'testA', root / folder)
    assert program.run_evaluation(run, '--name=run', f'--dataroot={root}', f'--results_dir={tmp_path}') == 0
    text = (tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f'{name} is no JSON'))
    assert found['untranslated']['AtoB']['psnr'] == 'inf' and found['images']['dataroot'] == str(root)


def test_a_broken_image_is_named_and_left_aside(run, data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / 'data')
    (tmp_path / 'data' / 'testB' / '1.png').write_bytes(b'no image')
    with pytest.raises(UserError, match='1 image could not be used, see above; all others were'):
        program.run_evaluation(run, '--name=run', f'--dataroot={tmp_path / "data"}', f'--results_dir={tmp_path}')
    assert '1.png' in capsys.readouterr().err
    found = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    assert found['checkpoints'][0]['results']['AtoB']['pairs'] == 1


def test_a_run_with_one_generator_is_measured_one_way(run, tmp_path):
    checkpoint = checkpoints.find(run / 'run', 'latest')
    pathlib.Path(checkpoint.prefix + '.untrained').write_text('G_A\n')
    assert program.run_evaluation(run, '--name=run', f'--results_dir={tmp_path}') == 0
    found = json.loads((tmp_path / 'run' / 'eval_test_latest' / 'metrics.json').read_text())
    assert list(found['checkpoints'][0]['results']) == ['BtoA']


def test_the_best_is_translated_and_loaded(run, tmp_path):
    import cyclegan_tf

    assert program.run_translation(run, '--name=run', '--epoch=best', f'--results_dir={tmp_path}') == 0
    assert (tmp_path / 'run' / 'test_best' / 'index.html').is_file()
    best, latest = (cyclegan_tf.load(run / 'run', epoch) for epoch in ('best', 'latest'))
    assert best.step == checkpoints.find(run / 'run', 'best').step and latest.step == 9


def test_a_checkpoint_that_is_deleted_meanwhile_costs_no_other(run, tmp_path, monkeypatch, capsys):
    find = evaluation_run.find_checkpoints

    def find_and_lose(*arguments):
        found = find(*arguments)
        for path in pathlib.Path(found[0].prefix).parent.glob(pathlib.Path(found[0].prefix).name + '.*'):
            path.unlink()
        return found

    monkeypatch.setattr(evaluation_run, 'find_checkpoints', find_and_lose)
    with pytest.raises(UserError, match='1 checkpoint could not be measured, see above; all others were'):
        program.run_evaluation(run, '--name=run', '--epoch=all', f'--results_dir={tmp_path}')
    assert 'has been deleted in the meantime' in capsys.readouterr().err
    found = json.loads((tmp_path / 'run' / 'eval_test_all' / 'metrics.json').read_text())
    assert [one['step'] for one in found['checkpoints']][-1] == 9


def test_places_that_cannot_be_written_are_named_before_the_work(run, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='`results_dir` .*file.. cannot be written .Not a directory'):
        program.run_evaluation(run, '--name=run', f'--results_dir={tmp_path / "file"}')
    (run / 'run' / 'eval').touch()
    with pytest.raises(UserError, match='`checkpoints_dir` .* cannot be written .File exists'):
        program.run_evaluation(run, '--name=run', f'--results_dir={tmp_path}')


# ------------------------------------------------------------------------------------------------------------ resuming
@pytest.mark.slow
def test_the_epochs_work_is_not_lost_with_its_measure(data, tmp_path):
    from PIL import Image

    root = tmp_path / 'data'
    shutil.copytree(data, root)
    for path in (root / 'testB').glob('*.png'):
        Image.open(path).resize((44, 40)).save(path)  # a counterpart of another size shows only when it is read
    flags = (f'--dataroot={root}', '--name=run', *FLAGS, '--preprocess=crop', '--load_size=40')
    with pytest.raises(UserError, match='`eval_metrics` .psnr. needs pairs of the same size'):
        program.run_training(tmp_path, *flags, '--eval_metrics=psnr')
    assert checkpoints.find(tmp_path / 'run', 'latest').step == 3
    continued = ('--name=run', '--continue_train', '--eval_metrics=none')
    assert program.run_training(tmp_path, *continued, small=False) == 0
    assert checkpoints.find(tmp_path / 'run', 'latest').step == 9


@pytest.mark.slow
@pytest.mark.parametrize(
    'ssim, flags, replaced',
    [(0.99, (), False), (-0.99, (), True), (0.99, ('--eval_images=1',), True)],
    ids=['better', 'worse', 'not comparable'],
)
def test_the_best_by_another_measure_is_compared_with_the_old_best(run, ssim, flags, replaced):
    directory = run / 'run'
    (kept,) = (directory / 'best').glob('*.measured')
    measured = json.loads(kept.read_text())
    measured['results']['BtoA']['ssim'] = ssim
    kept.write_text(json.dumps(measured))
    flags = ('--name=run', '--continue_train', '--n_epochs=4', '--keep_best=ssim_BtoA', *flags)
    assert program.run_training(run, *flags, small=False) == 0
    assert (checkpoints.find(directory, 'best').epoch == 4) == replaced


@pytest.mark.slow
def test_a_resumed_run_measures_the_same_and_keeps_the_same_best(data, trained, tmp_path):
    flags = (f'--dataroot={data}', '--name=run', *FLAGS, '--keep_best=psnr_AtoB')
    assert program.run_training(tmp_path, *flags, '--n_epochs=2') == 0
    assert program.run_training(tmp_path, '--name=run', '--continue_train', '--n_epochs=3', small=False) == 0
    seen, expected = program.events(tmp_path / 'run'), program.events(trained / 'run')
    assert values(seen, 'eval/psnr_AtoB') == values(expected, 'eval/psnr_AtoB')
    found = [checkpoints.find(directory / 'run', 'best') for directory in (tmp_path, trained)]
    assert found[0].step == found[1].step
    first, second = (tf.train.load_checkpoint(one.prefix) for one in found)
    name = 'model/g_a/conv_in/kernel/.ATTRIBUTES/VARIABLE_VALUE'
    np.testing.assert_array_equal(first.get_tensor(name), second.get_tensor(name))


def test_a_measure_that_a_kill_left_out_is_made_up_for(run, trained, capsys):
    # After a kill in the middle of the first evaluation after step 9, the last one, there is only the state in latest/,
    # which was saved before it.
    for kind in ('best', 'epochs'):
        shutil.rmtree(run / 'run' / kind)
    again = ('--name=run', '--continue_train')
    assert program.run_training(run, *again, small=False) == 0
    assert 'Test images after epoch 3: ' in capsys.readouterr().out
    seen, expected = program.events(run / 'run'), program.events(trained / 'run')
    for tag in ('eval/psnr_AtoB', 'eval/cycle_BtoA', 'loss/G_A'):
        assert values(seen, tag) == values(expected, tag), tag
    assert [one.epoch for one in checkpoints.find_all(run / 'run')] == [None, None, 3, 3]
    assert program.run_training(run, *again, small=False) == 0
    assert 'Test images' not in capsys.readouterr().out


@pytest.mark.slow
def test_a_signal_stops_a_measure_before_which_all_was_saved(data, tmp_path, monkeypatch, capsys):
    translate, count = Translator.translate_floats, []

    def translate_and_ask_to_stop(*arguments):
        count.append(arguments)
        signal.raise_signal(signal.SIGTERM)
        return translate(*arguments)

    monkeypatch.setattr(Translator, 'translate_floats', translate_and_ask_to_stop)
    assert program.run_training(tmp_path, f'--dataroot={data}', '--name=run', *FLAGS, '--save_epoch_freq=1') == 143
    assert len(count) == 1 and 'SIGTERM at step 3: the state is saved' in capsys.readouterr().out
    assert [(one.step, one.epoch) for one in checkpoints.find_all(tmp_path / 'run')] == [(3, None)]


@pytest.mark.slow
def test_a_measure_that_is_not_better_leaves_the_best(data, tmp_path):
    # At learning rate zero, the PSNR of later epochs equals that of the first, and is not better.
    directory = tmp_path / 'run'
    flags = (f'--dataroot={data}', '--name=run', *FLAGS, '--keep_best=psnr', '--lr=0')
    assert program.run_training(tmp_path, *flags) == 0
    assert checkpoints.find(directory, 'best').epoch == 1


@pytest.mark.slow
def test_going_back_before_the_best_drops_it(run, capsys):
    directory = run / 'run'
    best = checkpoints.find(directory, 'best')
    # The best becomes the state of step 9, which resuming from epoch 2 goes back behind.
    for path in (directory / 'best').iterdir():
        path.unlink()
    model_flags = ('--name=run', '--continue_train', '--n_epochs=4', '--keep_best=psnr_AtoB')
    assert program.run_training(run, *model_flags, small=False) == 0
    best = checkpoints.find(directory, 'best')
    assert best.step == 12
    assert program.run_training(run, '--name=run', '--continue_train', '--epoch=2', '--n_epochs=2', small=False) == 0
    assert not list((directory / 'best').glob('epoch-4.*'))
    with pytest.raises(UserError, match='no checkpoint for `epoch` .best.; train with --eval_freq and --keep_best'):
        checkpoints.find(directory, 'best')


# ------------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    'settings, message',
    [
        ({'keep_best': 'psnr'}, '`keep_best` .psnr. needs `eval_freq`'),
        (
            {'keep_best': 'sharpness', 'eval_freq': 1},
            "`keep_best` .'sharpness'. is not one of: psnr, ssim, kid, fid, cy",
        ),
        ({'keep_best': 'psnr_AtoC', 'eval_freq': 1}, "`keep_best` .'psnr_AtoC'. is not one of"),
        ({'keep_best': 'fid', 'eval_freq': 1, 'eval_metrics': 'psnr'}, '`keep_best` .fid. is not in `eval_metrics`'),
        (
            {'eval_metrics': 'psnr,lpips', 'eval_freq': 1},
            "`eval_metrics` .'lpips'. is not one of: psnr, ssim, edges, kid, fid",
        ),
        ({'epoch': 'first'}, "`epoch` .'first'. is neither 'latest', 'best' nor a number"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CycleGANConfig(dataroot='demo', **settings)


@pytest.mark.parametrize('measure', ['edges', 'edges_BtoA'])
def test_edge_strength_keeps_no_checkpoint(measure):
    with pytest.raises(UserError, match=f'`keep_best` .{measure}. cannot tell the best: neither more nor less'):
        CycleGANConfig(dataroot='demo', eval_freq=1, keep_best=measure)


@pytest.mark.slow
def test_what_cannot_be_measured_is_refused_before_training(data, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(data, root)
    for path in (root / 'testB').glob('*.png'):
        path.rename(path.with_stem(f'b{path.stem}'))
    flags = (f'--dataroot={root}', '--name=run', '--n_epochs=1', '--n_epochs_decay=0', '--eval_freq=1')
    with pytest.raises(UserError, match='`eval_metrics` .psnr. compares pairs'):
        program.run_training(tmp_path, *flags, '--eval_metrics=psnr')
    with pytest.raises(UserError, match='`keep_best` .psnr. is not among the measures of these test images'):
        program.run_training(tmp_path, *flags, '--keep_best=psnr', '--feature_extractor=/nowhere')
    with pytest.raises(UserError, match="`feature_extractor` .'/nowhere'. is neither"):
        program.run_training(tmp_path, *flags, '--feature_extractor=/nowhere')
    assert not checkpoints.find_all(tmp_path / 'run')
    assert program.run_training(tmp_path, *flags, '--eval_metrics=none', '--keep_best=identity') == 0
    assert checkpoints.find(tmp_path / 'run', 'best').epoch == 1


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--name=nowhere'], "flags.cfg' does not exist"),
        (['--name=run', '--epoch=8'], '`epoch` .8.; it has checkpoints of epochs: '),
        (['--name=run', '--load_size=33'], '`load_size` .33. is not a multiple of 4'),
        (['--name=run', '--dataroot=/nowhere'], '`dataroot` .* is not a folder'),
    ],
)
def test_what_cannot_be_evaluated_is_named(trained, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        program.run_evaluation(trained, *flags, f'--results_dir={tmp_path}')


def test_the_settings_of_measures_are_the_runs(trained):
    stored = load_config(trained / 'run')
    assert (stored.eval_freq, stored.keep_best, stored.eval_metrics) == (1, 'psnr_AtoB', None)
