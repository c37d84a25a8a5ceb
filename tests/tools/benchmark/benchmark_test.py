"""The benchmarks measure what they say, small."""

import json

import pytest
from benchmark import pipeline

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import allocator
from tests.helpers import program

TOOL = str(program.ROOT / 'tools' / 'benchmark.py')


def run(*arguments):
    """Exit status, standard output and standard error, as on a machine without GPUs."""
    return program.run_python(TOOL, *arguments, CUDA_VISIBLE_DEVICES='-1')


def test_processes_that_are_measured_begin_without_tensorflow_and_pytorch():
    code = (
        f'import runpy, sys; sys.path.insert(0, {str(program.ROOT / "tools")!r})\n'
        f'load = runpy.run_path({TOOL!r})["load"]\n'
        'for name in ("train", "translate", "growth", "gpu"): assert load(name).work\n'
        'print({"tensorflow", "torch", "absl", "matplotlib"} & set(sys.modules))'
    )
    status, output, error = program.run_python('-c', code, real=True)
    assert (status, output) == (0, 'set()\n'), error


@pytest.mark.torch
def test_both_sides_of_the_pipeline_read_the_same_files(image_folders):
    (image_folders / 'trainA' / '.DS_Store').write_bytes(b'no image')
    (image_folders / 'trainB' / 'more').mkdir()
    (image_folders / 'trainB' / '0.png').rename(image_folders / 'trainB' / 'more' / '0.png')
    found = pipeline._paths(str(image_folders))
    assert [len(paths) for paths in found] == [5, 5] and str(image_folders / 'trainB' / 'more' / '0.png') in found[1]
    config = pipeline.PipelineConfig(dataroot=str(image_folders), load_size=36, crop_size=32)
    batches = pipeline._torch(config, workers=0)
    for _ in range(6):  # more than an epoch
        assert [tuple(images.shape) for images in next(batches)] == [(1, 3, 32, 32)] * 2


def test_the_pipeline_refuses_what_cannot_be_measured():
    with pytest.raises(UserError, match=r'`crop_size` \(300\) exceeds `load_size` \(286\)'):
        pipeline.PipelineConfig(crop_size=300)
    with pytest.raises(UserError, match=r"`dataroot` \('nowhere'\) is not a folder; set it to one with trainA"):
        pipeline.main(pipeline.PipelineConfig(dataroot='nowhere'))


def test_a_kind_of_the_pipeline_that_cannot_be_measured_is_named(image_folders, capfd):
    (image_folders / 'trainA' / 'broken.png').write_bytes(b'no image')
    config = pipeline.PipelineConfig(dataroot=str(image_folders), load_size=36, crop_size=32)
    with pytest.raises(UserError, match=r"'memory' could not be measured \(status 1\)"):
        pipeline.measure_pipeline(config)
    error = capfd.readouterr().err
    assert 'broken.png' in error and 'Traceback' not in error


@pytest.mark.torch
@pytest.mark.nightly
@pytest.mark.slow
def test_train_measures_both_in_turns_and_the_start(tmp_path):
    flags = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--crop_size=32', '--repeats=2', '--starts=1')
    kinds = 'float32,bfloat16,torch,torch autocast'
    status, output, error = run('train', *flags, f'--kinds={kinds}', f'--json={tmp_path / "result.json"}')
    assert status == 0, error
    result = json.loads(output)
    assert result == json.loads((tmp_path / 'result.json').read_text())
    steps = result['steps']
    assert list(steps) == ['float32', 'bfloat16', 'torch', 'torch autocast']
    for row in steps.values():
        assert 0 < row['least'] <= row['seconds'] <= row['most'] and row['peak_bytes'] > 100e6
        assert row['images_per_second'] == pytest.approx(1 / row['seconds'])
    ratio = steps['bfloat16']['seconds'] / steps['torch autocast']['seconds']
    assert result['ratios']['step bfloat16 / torch autocast'] == pytest.approx(ratio)
    assert {name for name in result['ratios'] if name.startswith('step')} == {
        f'step {pair}' for pair in (
            'float32 / torch', 'float32 / best torch', 'bfloat16 / torch', 'bfloat16 / best torch',
            'bfloat16 / torch autocast', 'bfloat16 / best torch autocast',
        )
    }  # fmt: skip
    assert result['ratios']['memory float32 / torch'] > 0 and result['settings']['crop_size'] == 32
    first, less = result['start']['first_step'], result['start']['less_a_step']
    assert 1 < less['least'] <= less['seconds'] <= less['most'] < first['most']
    theirs = result['start']['torch_less_a_step']['seconds']
    assert theirs > 0.5 and result['start']['ratio'] == pytest.approx(less['seconds'] / theirs)
    assert 'PyTorch' in result['machine']


@pytest.fixture(scope='module')
def of_all(tmp_path_factory):
    """What `all` measures, small."""
    path, small = tmp_path_factory.mktemp('all') / 'result.json', '--netG=resnet_6blocks --ngf=4'
    status, output, error = run(
        'all',
        f'--train={small} --ndf=4 --crop_size=32 --repeats=1 --kinds=float32 --starts=0',
        f'--translate={small} --size=32 --images=1 --repeats=1 --kinds=float32 --noprograms',
        '--pipeline=--seconds=0.2 --repeats=1 --load_size=36 --crop_size=32 --num_threads=1',
        f'--serving={small} --sizes=16,32 --batches=1,2 --format_size=32 --repeats=2',
        f'--json={path}',
    )
    assert status == 0, error
    result = json.loads(output)
    assert result == json.loads(path.read_text())
    return result


@pytest.mark.torch
@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('model', [('--model=pix2pix',), ('--model=cut', '--CUT_mode=FastCUT')])
def test_train_measures_the_steps_of_every_model(model):
    small = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--crop_size=32', '--repeats=1', '--starts=0')
    kinds = 'float32,float32 recompute,torch'
    status, output, error = run('train', *model, *small, f'--kinds={kinds}')
    assert status == 0, error
    steps = json.loads(output)['steps']
    # Batch norm, pix2pix's default, cannot be recomputed.
    assert list(steps) == ['float32', *(['float32 recompute'] if 'cut' in model[0] else []), 'torch']
    assert all(row['seconds'] > 0 for row in steps.values())


@pytest.mark.slow
def test_train_measures_steps():
    small = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--crop_size=32')
    kinds = ['float32', 'float32 small pages']
    status, output, error = run('train', *small, f'--kinds={",".join(kinds)}', '--repeats=2', '--starts=0')
    assert status == 0, error
    steps = json.loads(output)['steps']
    assert list(steps) == kinds
    for row in steps.values():
        assert 0 < row['least'] <= row['seconds'] <= row['most'] and row['peak_bytes'] > 100e6
    if allocator.tunables_for_huge_pages(None) is not None:
        with_them, without = (row['huge_bytes'] for row in steps.values())
        assert with_them > without


@pytest.mark.nightly
@pytest.mark.slow
def test_all_has_a_key_for_each(of_all):
    assert list(of_all) == ['train', 'translate', 'pipeline', 'serving']
    for of_one in of_all.values():
        for words in ('CPUs', 'GB', 'Python', 'TensorFlow'):
            assert words in of_one['machine']
    assert of_all['train']['settings']['crop_size'] == 32 and list(of_all['train']['steps']) == ['float32']
    assert list(of_all['translate']['images']) == ['float32']


@pytest.mark.nightly
@pytest.mark.slow
def test_serving_measures_signatures_sizes_batches_and_formats(of_all):
    result = of_all['serving']
    found = {(row['signature'], row['size'], row['batch']) for row in result['requests']}
    assert found == {(s, n, b) for s in ('serving_default', 'translate_images') for n in (16, 32) for b in (1, 2)}
    for row in result['requests']:
        assert 0 < row['least'] <= row['seconds'] <= row['most']
        assert row['images_per_second'] == pytest.approx(row['batch'] / row['seconds'])
    formats = {row['format']: row for row in result['formats']}
    assert set(formats) == {
        'saved_model float32', 'saved_model bfloat16', 'saved_model float16', 'tflite none', 'tflite float16',
        'tflite dynamic', 'onnx',
    }  # fmt: skip
    assert formats['tflite dynamic']['bytes'] < formats['tflite float16']['bytes'] < formats['tflite none']['bytes']
    assert formats['saved_model float32']['ratio'] == 1


@pytest.mark.nightly
@pytest.mark.slow
def test_pipeline_measures_where_images_are_kept(of_all):
    rates = of_all['pipeline']['images_per_second']
    assert {'memory', 'disk', 'none'} <= set(rates) and all(rate['median'] > 0 for rate in rates.values())


@pytest.mark.parametrize(
    'arguments, status, words',
    [
        ([], 2, "benchmark '' is not one of: train, models, translate, pipeline, serving, growth, gpu, all"),
        (['cooking'], 2, "benchmark 'cooking' is not one of"),
        (['serving', '--sizes=large'], 2, "`sizes` ('large') is not a list of positive integers"),
        (['train', '--device=gpu'], 1, '`device` (gpu) is not available to TensorFlow; set it to cpu.'),
        (['train', '--kinds=torch,cooking'], 2, "`kinds` ('cooking') is not one of: float32"),
        (['translate', '--kinds=cooking'], 2, "`kinds` ('cooking') is not one of: float32"),
        (['translate', '--size=30'], 2, '`size` (30) is not a multiple of 4'),
        (['growth', '--sizes=32,30'], 2, '`sizes` (32,30): `crop_size` (30) has to be a multiple of 4'),
        (['gpu', '--kinds=float64'], 2, "`kinds` ('float64') is not one of: float32 xla, torch"),
        (['gpu', '--batches=1,some'], 2, "`batches` ('1,some') is not a list of positive integers"),
        (['all', '--translate=--cooking=1'], 2, "Unknown command line flag 'cooking'"),
        (['all', "--train='"], 2, 'cannot be parsed (No closing quotation)'),
        (['--help'], 0, 'python tools/benchmark.py train|models|translate|pipeline|serving|growth|gpu|all'),
        (['serving', '--help'], 0, 'format_size'),
    ],
)
def test_what_it_takes(arguments, status, words):
    found, output, error = run(*arguments)
    assert found == status and words in output + error
    assert 'Traceback' not in error
