"""Exported models: loaded without this package, versions, warm-up requests, the card, what is refused."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import cyclegan_tf
from cyclegan_tf.errors import UserError
from cyclegan_tf.serving import card as model_card
from cyclegan_tf.serving import export, warmup
from cyclegan_tf.settings.export import ExportConfig
from tests.helpers import program, served_models
from tests.helpers.served_models import decode_png, encode, make_run, photograph, run_export


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The directory of runs 'run', 'tiny', and 'half', which has weights of one generator only."""
    directory = tmp_path_factory.mktemp('runs')
    make_run(directory, 'run')
    make_run(directory, 'tiny', model='tiny_cycle_gan')
    make_run(directory, 'half', model='tiny_cycle_gan', untrained=['G_A', 'D_A', 'D_B'], direction='BtoA')
    return directory


@pytest.fixture(scope='module')
def exported(runs, tmp_path_factory):
    """The directory of the models of 'run' in both directions, version 1."""
    output = tmp_path_factory.mktemp('exported')
    assert run_export(runs, output, '--name=run') == 0
    return output


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in pathlib.Path(folder).rglob('*') if path.is_file())


def size(folder):
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob('*') if path.is_file())


def run_plain(*arguments, cwd):
    """Runs Python where this package is not on the path."""
    variables = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'TF_USE_LEGACY_KERAS')}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=variables, capture_output=True, text=True, timeout=300
    )


def test_a_model_is_the_weights_and_little_else(exported):
    for direction in ('AtoB', 'BtoA'):
        assert files(exported / f'run_{direction}' / '1') == [
            'MODEL.md',
            'assets.extra/tf_serving_warmup_requests',
            'fingerprint.pb',
            'saved_model.pb',
            'variables/variables.data-00000-of-00001',
            'variables/variables.index',
        ]
    assert sorted(path.name for path in exported.iterdir()) == ['run_AtoB', 'run_BtoA']


@pytest.mark.parametrize(
    'netG, norm, precision, width',
    [
        ('resnet_9blocks', 'instance', 'float32', 4),
        ('resnet_9blocks', 'instance', 'bfloat16', 2),
        ('resnet_9blocks', 'batch', 'float32', 4),
        ('unet_256', 'instance', 'float16', 2),
    ],
)
def test_size_is_that_of_the_weights_and_less_than_a_megabyte(tmp_path, netG, norm, precision, width):
    make_run(tmp_path / 'runs', netG=netG, norm=norm)
    flags = ['--name=run', '--direction=AtoB', f'--precision={precision}']
    run_export(tmp_path / 'runs', tmp_path / 'out', *flags)
    variables = cyclegan_tf.load(tmp_path / 'runs' / 'run').translation('AtoB').network.variables
    weights = sum(int(tf.size(v)) * (width if 'kernel' in v.name or 'bias' in v.name else 4) for v in variables)
    folder = tmp_path / 'out' / 'run_AtoB' / '1'
    assert weights < size(folder) < weights + 1_000_000
    assert (folder / 'variables' / 'variables.data-00000-of-00001').stat().st_size < weights + 20_000


def test_it_loads_and_answers_without_this_package(exported, runs, tmp_path):
    (tmp_path / 'in.png').write_bytes(encode(photograph(33, 21)))
    script = program.ROOT / 'tests' / 'helpers' / 'plain_tensorflow.py'
    model = exported / 'run_BtoA' / '1'
    done = run_plain(script, model, tmp_path / 'in.png', tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = cyclegan_tf.load(runs / 'run').translate(photograph(33, 21), 'BtoA')
    for name in ('0.png', '1.png'):
        np.testing.assert_array_equal(decode_png((tmp_path / name).read_bytes()), expected)

    graph = json.loads((tmp_path / 'graph.json').read_text())
    assert graph['tags'] == ['serve'] and {'DecodePng', 'Conv2D', 'EncodePng'} <= set(graph['ops'])
    assert graph['unknown'] == graph['without kernel'] == graph['compiled'] == []
    assert not [op for op in graph['ops'] if 'PyFunc' in op or 'Xla' in op or 'Addons' in op or 'Random' in op]
    string, floats, integers = (dtype.as_datatype_enum for dtype in (tf.string, tf.float32, tf.uint8))
    assert graph['signatures'] == {
        'serving_default': [{'image_bytes': [string, [-1]]}, {'image_bytes': [string, [-1]]}],
        'translate_images': [{'images': [integers, [-1] * 4]}, {'images': [integers, [-1] * 4]}],
        'translate_floats': [{'images': [floats, [-1, -1, -1, 3]]}, {'images': [floats, [-1, -1, -1, 3]]}],
    }


def test_saved_model_cli_runs_it(exported, runs, tmp_path):
    np.save(tmp_path / 'in.npy', photograph(33, 21)[None])
    command = 'run --tag_set serve --signature_def translate_images --overwrite'.split()
    done = run_plain(
        '-m', 'tensorflow.python.tools.saved_model_cli', *command, '--dir', exported / 'run_AtoB' / '1',
        '--inputs', f'images={tmp_path}/in.npy', '--outdir', tmp_path, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = cyclegan_tf.load(runs / 'run').translate(photograph(33, 21))
    np.testing.assert_array_equal(np.load(tmp_path / 'images.npy')[0], expected)


def test_files_come_out_as_translate_writes_them(exported, runs, tmp_path):
    given = {name.replace(',', '').replace(' ', '_'): data for name, data in served_models.files().items()}
    (tmp_path / 'in').mkdir()
    for name, data in given.items():
        (tmp_path / 'in' / f'{name}.png').write_bytes(data)  # what it is, its first bytes tell
    flags = [f'--input={tmp_path / "in"}', f'--output={tmp_path / "out"}', '--output_depth=8', '--batch_size=1']
    assert program.run_translation(runs, '--name=run', '--direction=both', *flags) == 0
    for direction in ('AtoB', 'BtoA'):
        serve = tf.saved_model.load(str(exported / f'run_{direction}' / '1')).signatures['serving_default']
        answers = serve(image_bytes=tf.constant(list(given.values())))['image_bytes'].numpy()
        for name, answer in zip(given, answers):
            written = (tmp_path / 'out' / direction / f'{name}.png').read_bytes()
            np.testing.assert_array_equal(decode_png(answer), decode_png(written), err_msg=name)


# ------------------------------------------------------------------------------------------------------------- versions
def test_versions_count_up_and_are_never_overwritten(runs, tmp_path, capsys):
    one = ['--name=tiny', '--direction=BtoA', '--nowarmup']
    run_export(runs, tmp_path, *one)
    run_export(runs, tmp_path, *one, '--version=7')
    run_export(runs, tmp_path, '--name=tiny', '--direction=both', '--nowarmup')
    assert sorted(path.name for path in (tmp_path / 'tiny_BtoA').iterdir()) == ['1', '7', '8']
    assert [path.name for path in (tmp_path / 'tiny_AtoB').iterdir()] == ['8']
    assert str(tmp_path / 'tiny_BtoA' / '8') in capsys.readouterr().out

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    with pytest.raises(UserError, match=r"`version` \(7\) exists: .*tiny_BtoA/7' is never overwritten"):
        run_export(runs, tmp_path, '--name=tiny', '--direction=both', '--version=7')
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


def test_a_version_appears_whole_or_not_at_all(runs, tmp_path, monkeypatch):
    def full(*arguments):
        seen.extend(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*'))
        raise OSError('No space left on device')

    seen = []
    monkeypatch.setattr(warmup, 'write', full)
    with pytest.raises(OSError, match='No space left'):
        run_export(runs, tmp_path, '--name=tiny')
    assert any(path.endswith('saved_model.pb') for path in seen)
    assert not [path for path in seen if not path.startswith('.')]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_was_taken_meanwhile_is_left_alone(tmp_path):
    with export.unfinished(tmp_path / 'model', 3) as folder:
        (folder / 'ours').touch()
        (tmp_path / 'model' / '3').mkdir(parents=True)
        (tmp_path / 'model' / '3' / 'theirs').touch()
        with pytest.raises(UserError, match=r'`version` \(3\) exists'):
            export.publish(folder, tmp_path / 'model' / '3')
    assert files(tmp_path) == ['model/3/theirs'] and not folder.exists()


# -------------------------------------------------------------------------------------------------------------- warm-up
def test_every_warm_up_request_is_answered(exported):
    from tensorflow_serving.apis import prediction_log_pb2

    model = tf.saved_model.load(str(exported / 'run_AtoB' / '1'))
    asked = []
    for record in tf.data.TFRecordDataset(str(exported / 'run_AtoB' / '1' / warmup.PATH)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == 'run_AtoB'
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        (answer,) = model.signatures[request.model_spec.signature_name](**inputs).values()
        assert len(answer) == 1
        asked.append(request.model_spec.signature_name)
    assert set(asked) == {'serving_default', 'translate_images', 'translate_floats'} and len(asked) == 4


def test_warm_up_requests_fit_a_network_for_gray_and_few_pixels(tmp_path):
    make_run(tmp_path / 'runs', input_nc=1, lambda_identity=0.0)
    run_export(tmp_path / 'runs', tmp_path, '--name=run', '--direction=AtoB', '--max_pixels=3000')
    test_every_warm_up_request_is_answered(tmp_path)


def test_a_missing_package_is_named_before_anything_is_written(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorflow_serving.apis', None)  # what makes the import fail
    with pytest.raises(UserError, match="tensorflow-serving-api is not installed, .* extra 'serving' .* --nowarmup"):
        run_export(runs, tmp_path / 'out', '--name=tiny')
    assert not (tmp_path / 'out').exists()
    assert run_export(runs, tmp_path / 'out', '--name=tiny', '--nowarmup', '--direction=AtoB') == 0
    assert not (tmp_path / 'out' / 'tiny_AtoB' / '1' / 'assets.extra').exists()


# ----------------------------------------------------------------------------------------------------------------- card
def test_the_card_tells_of_the_run_and_its_measures(runs, tmp_path):
    for name, step in (('test_latest', 0), ('test_7', 700)):
        (tmp_path / 'results' / 'run' / name).mkdir(parents=True)
        measured = {'psnr': {'AtoB': 24.5 + step, 'BtoA': 15.25}, 'step': step, 'size': 32, 'dataroot': 'demo'}
        (tmp_path / 'results' / 'run' / name / 'metrics.json').write_text(json.dumps(measured))
    (tmp_path / 'results' / 'run' / 'eval_test_all').mkdir()
    of_steps = [
        {'step': step, 'epoch': None, 'results': {'AtoB': {'ssim': 0.5 + step, 'psnr': 'inf'}, 'BtoA': {'ssim': 0.25}}}
        for step in (0, 700)
    ]
    (tmp_path / 'results' / 'run' / 'eval_test_all' / 'metrics.json').write_text(json.dumps({'checkpoints': of_steps}))
    run_export(runs, tmp_path, '--name=run', f'--results_dir={tmp_path / "results"}', '--max_pixels=123456')
    card = (tmp_path / 'run_AtoB' / '1' / 'MODEL.md').read_text()
    for words in ('# run_AtoB', '`demo`', 'resnet_6blocks, 4 filters, norm instance', 'step 0 ', '123,456 pixels',
                  '| psnr | 24.5 |', '| ssim | 0.5 |', 'serving_default', 'translate_floats',
                  'models/run_AtoB:predict'):  # fmt: skip
        assert words in card, words
    assert all(other not in card for other in ('724.5', '700.5', '15.25', '0.25', 'inf '))
    loaded = cyclegan_tf.load(runs / 'run')
    ranges = {name: (None, None) for name in loaded.translations}
    exported = model_card.Exported(loaded.config, loaded.step, loaded.translations, ranges)
    settings = ExportConfig(output='x', results_dir='/nowhere')
    assert 'None were found' in model_card.model_card(exported, 'BtoA', 'x', settings)


def test_the_cards_request_is_json(exported):
    card = (exported / 'run_AtoB' / '1' / 'MODEL.md').read_text()
    (line,) = [line for line in card.splitlines() if line.startswith('(printf')]
    shell = line.rstrip(' |').replace('photo.jpg', '/dev/stdin')
    done = subprocess.run(['bash', '-c', shell], input=b'picture', capture_output=True, check=True)
    assert json.loads(done.stdout) == {'instances': [{'b64': 'cGljdHVyZQ=='}]}


# ----------------------------------------------------------------------------------------------------------- directions
def test_a_run_of_one_generator_is_exported_in_its_direction(runs, tmp_path):
    run_export(runs, tmp_path, '--name=half', '--nowarmup')
    assert [path.name for path in tmp_path.iterdir()] == ['half_AtoB']  # the run's own A is B: G_B makes B of A
    for direction in ('both', 'BtoA'):
        with pytest.raises(UserError, match='BtoA. needs a generator that this run has no weights for'):
            run_export(runs, tmp_path / 'other', '--name=half', f'--direction={direction}')
    assert not list((tmp_path / 'other').glob('half*'))


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--name=nowhere'], "flags.cfg' does not exist; set --checkpoints_dir and --name"),
        (['--name=run', '--epoch=7'], '`epoch` .7.; it has checkpoints of epochs: none'),
        (['--name=run', '--output='], "`output` .''. is required"),
        (['--name=run', '--version=0'], '`version` .0. is below 1'),
    ],
)
def test_what_cannot_be_exported_is_named(runs, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        run_export(runs, tmp_path / 'out', *flags)
    assert not (tmp_path / 'out').exists()


def test_the_program_exits_with_a_sentence(runs, tmp_path):
    (tmp_path / 'file').touch()
    flags = [f'--checkpoints_dir={runs}', '--name=run', f'--output={tmp_path / "file"}']
    status, _, error = program.finish(program.start('export', *flags, real=True))
    assert status == 1 and 'Not a directory' in error and 'Traceback' not in error
