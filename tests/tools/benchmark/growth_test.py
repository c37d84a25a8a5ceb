"""The benchmark of growth counts what the networks need, and its page says what was measured."""

import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from benchmark import growth, page, parts
from PIL import Image

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.networks import make_discriminator, make_generator
from cyclegan_tf.settings.models import CycleGANConfig
from tests.helpers import program

TOOL = str(program.ROOT / 'tools' / 'benchmark.py')


def small_model(**changes):
    values = dict(netG='resnet_6blocks', ngf=4, ndf=4, load_size=64, crop_size=64, pool_size=0)
    config = CycleGANConfig(dataroot='demo', **{**values, **changes})
    return MODELS['cycle_gan'](config), config


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_parts_of_the_generator_are_the_generator(photographs, precision):
    generator = make_generator('resnet_6blocks', filters=4, precision=precision, seed=1)
    x = images = tf.constant(photographs(1, 64, 64), tf.float32)
    variables = []
    for part in parts.generator_parts(generator):
        x = part.run(x)
        variables += part.variables
    np.testing.assert_array_equal(x, generator(images, training=True))
    assert [v.ref() for v in variables] == [v.ref() for v in generator.trainable_variables]


def test_flops_are_what_sums_of_ones_count():
    generator = make_generator('resnet_6blocks', filters=4)
    discriminator = make_discriminator('basic', filters=4)
    for part in (*parts.generator_parts(generator), parts.discriminator_part(discriminator)):
        shape = (2, 64, 64, part.convolutions[0][0].kernel.shape[3 if 'decoder' in part.name else 2])
        counted = parts.layer_flops(part, shape)
        for (layer, padding), flops in zip(part.convolutions, counted):
            layer.kernel.assign(tf.ones_like(layer.kernel))
            padded = tf.ones([shape[0], shape[1] + 2 * padding, shape[2] + 2 * padding, shape[3]])
            y = layer(padded) - layer.bias  # each value is the number of its products
            shape, products = y.shape, float(tf.reduce_sum(y))
            # Products with the layer's own zeros at the border count as others do.
            assert 0.8 < 2 * products / flops <= 1
            if padding:
                assert 2 * products == flops
        assert len(counted) == len(part.variables) / 2  # a kernel and a bias each


def test_the_plan_is_the_steps():
    model, config = small_model()
    passes, inputs = parts.plan(model, config, tf.zeros([1, 64, 64, 3]))
    calls = {}
    for one in passes:
        calls[one.part.name, one.is_backward] = calls.get((one.part.name, one.is_backward), 0) + one.calls
    assert set(calls.values()) == {6} and len(calls) == 8  # each way forward has its way back
    forward = {one.part.name: parts.layer_flops(one.part, inputs[one.part.name].shape) for one in passes}
    for one in passes:
        first, whole = forward[one.part.name][0], sum(forward[one.part.name])
        wanted = {
            'forward': whole,
            'backward': 2 * whole,
            'backward, without input gradient': 2 * whole - first,
            'backward, input gradient only': whole,
        }[one.phase]
        assert parts.pass_flops(one, inputs[one.part.name].shape) == wanted
    without, _ = parts.plan(*small_model(lambda_identity=0.0), tf.zeros([1, 64, 64, 3]))
    assert [one.calls for one in without] == [4, 2, 2, 4, 4, 4, 4, 6, 2, 4]


def test_memory_is_foreseen_from_what_was_measured():
    assert growth.expected_bytes([], 100) == 0
    rows = [{'pixels': 100, 'peak_bytes': 1000}]
    assert growth.expected_bytes(rows, 400) == 4000
    rows += [{'pixels': 200, 'peak_bytes': 1100}, {'pixels': 800, 'skipped': 'too large'}]
    assert growth.expected_bytes(rows, 400) == 1300


def row(part, phase, share):
    rate = None if share is None else 100 * share
    values = {'calls': 1, 'seconds': 0.5, 'gflop': 50 * (share or 0), 'step_seconds': 0.5}
    return {'part': part, 'phase': phase, 'gflop_per_s': rate, 'share': share, **values}


def test_the_page_gives_reasons_only_where_little_is_reached(tmp_path):
    times = {'seconds': 0.5, 'least': 0.4, 'most': 0.6, 'peak_bytes': 2e9}
    result = {
        'date': '2020-02-29',
        'machine': '2 CPUs, some processor',
        'settings': dict(netG='resnet_6blocks', ngf=4, ndf=4, precision='float32', repeats=2, crop_size=32),
        'steps': [
            {'size': 32, 'batch': 1, 'pixels': 1024, **times, 'images_per_second': 2.0},
            {'size': 32, 'batch': 2, 'pixels': 2048, 'skipped': 'would take some 99 GB, 9 GB are free'},
        ],
        'replicas': [{'replicas': 1, 'batch': 2, 'size': 32, **times, 'steps_per_second': 2.0}],
        'parts': [
            row('generator encoder', 'forward', 0.59),
            row('generator encoder', 'backward', 0.61),
            row('generator blocks', 'forward', 0.95),
            row('discriminator', 'backward', None),
        ],
        'step': row('whole step', 'all', 0.8),
        'totals': [{'of': 'forward', 'seconds': 1.0, 'gflop': 77.0, 'gflop_per_s': 77.0, 'share': 0.77}],
        'rest_seconds': 0.1,
        'peak': 100.0,
        'peak_by': {'matrices': 100.0},
    }
    page.write(result, 'python tools/benchmark.py growth', tmp_path / 'docs' / 'speed.md')
    text = (tmp_path / 'docs' / 'speed.md').read_text()
    assert '- generator encoder (forward 59.0%): the first convolution reads 3 channels' in text
    assert text.count('\n- ') == 1
    assert 'not measured: would take some 99 GB, 9 GB are free' in text and 'not measurable' in text
    assert 'Measured on 2020-02-29 with' in text and 'in the first table' not in text  # 0.5 s in both
    assert '(speed.png)' in text and '0.5 (0.4 to 0.6)' in text and '2 CPUs, some processor' in text
    picture = tmp_path / 'docs' / 'speed.png'
    assert picture.stat().st_size < 100_000
    with Image.open(picture) as image:
        assert image.width == 1000
        pixels = np.asarray(image.convert('RGB')).reshape(-1, 3)
    for colour in ((0, 114, 178), (213, 94, 0)):  # bars, and the line at the peak
        assert (pixels == colour).all(1).sum() > 100


def test_without_matplotlib_the_page_is_refused_before_anything_is_measured(monkeypatch):
    growth.GrowthConfig(write=True)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)  # what makes the import fail
    growth.GrowthConfig()
    with pytest.raises(UserError, match=r"Matplotlib is not installed, .* pip install '\.\[benchmark\]'"):
        growth.GrowthConfig(write=True)


@pytest.mark.parametrize('seconds, told', [(0.54, False), (0.57, True), (0.44, True)])
def test_the_page_says_why_its_two_times_of_a_step_differ(seconds, told):
    steps = [
        {'size': 32, 'batch': 1, 'seconds': seconds},
        {'size': 32, 'batch': 2, 'seconds': 9.0},
        {'size': 64, 'batch': 1, 'skipped': 'would take some 99 GB'},
    ]
    text = '\n'.join(page._difference({'settings': {'crop_size': 32}, 'steps': steps}, 0.5))
    assert (f'takes 0.5 s here and {seconds} s in the first table' in text) == told == bool(text)


@pytest.mark.nightly
@pytest.mark.slow
def test_growth_measures_and_writes_the_page(tmp_path):
    flags = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--sizes=32', '--batches=1', '--crop_size=32')
    where = f'--output={tmp_path / "page.md"}'
    arguments = (TOOL, 'growth', *flags, '--repeats=2', '--peak_side=64', '--write', where)
    status, output, error = program.run_python(*arguments)
    assert status == 0, error
    result = json.loads(output)
    (step,) = result['steps']
    assert (step['size'], step['batch']) == (32, 1) and 0 < step['least'] <= step['seconds'] <= step['most']
    assert [row['replicas'] for row in result['replicas']] == [1, 2]
    assert {row['batch'] for row in result['replicas']} == {2}
    assert result['peak'] == max(result['peak_by'].values()) and len(result['peak_by']) == 2
    measured = result['parts']
    assert {(row['part'], row['phase']) for row in measured if row['phase'] in ('forward', 'update')} == {
        *((f'generator {name}', 'forward') for name in ('encoder', 'blocks', 'decoder')),
        ('discriminator', 'forward'), ('generators', 'update'), ('discriminators', 'update'),
    }  # fmt: skip
    for row in measured:
        if row['seconds'] > 0:
            assert row['share'] == pytest.approx(row['gflop'] / row['seconds'] / result['peak'])
    whole = result['step']
    assert whole['gflop'] == pytest.approx(sum(row['gflop'] * row['calls'] for row in measured))
    for groups in (result['totals'][:2], result['totals'][2:]):  # networks; phases
        assert sum(row['gflop'] for row in groups) == pytest.approx(whole['gflop'])
        assert sum(row['seconds'] for row in groups) == pytest.approx(whole['seconds'] - result['rest_seconds'])
    text = (tmp_path / 'page.md').read_text()
    assert f'`python tools/benchmark.py growth {" ".join(flags)} --repeats=2 --peak_side=64 --write`' in text
    low = {row['part'] for row in [*measured, whole] if row['share'] is not None and row['share'] < page.LOW}
    assert set(re.findall(r'^- ([a-z ]+) \(', text, re.MULTILINE)) == low
    assert (tmp_path / 'page.png').is_file()
