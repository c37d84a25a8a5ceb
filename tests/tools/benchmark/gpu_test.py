"""The benchmark for GPUs, without one: its plan, its clock, what it compares, and all of it small."""

import itertools
import json
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from benchmark import gpu
from benchmark.settings import GPU_STEPS, GpuConfig

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.kernels import winograd
from tests.helpers import program

TOOL = str(program.ROOT / 'tools' / 'benchmark.py')


def test_the_most_important_kinds_come_first():
    kinds = gpu.plan(GpuConfig())
    assert len(kinds) == len({kind.name for kind in kinds}) == 3 * 3 * len(list(itertools.chain(*GPU_STEPS)))
    first = kinds[: 3 * len(GPU_STEPS[0])]
    assert {kind.batch for kind in first} == {1} and {kind.step for kind in first} == set(GPU_STEPS[0])
    assert [kind.model for kind in first] == [m for m in ('cycle_gan', 'pix2pix', 'CUT') for _ in GPU_STEPS[0]]
    # The second row for one image comes before the first row for sixteen.
    assert kinds.index(gpu.Kind('CUT', 1, GPU_STEPS[1][-1])) < kinds.index(gpu.Kind('cycle_gan', 16, GPU_STEPS[0][0]))
    assert (kinds[-1].batch, kinds[-1].step in GPU_STEPS[-1]) == (16, True)
    chosen = gpu.plan(GpuConfig(models='FastCUT', batches='4,2', kinds='torch,float16 NHWC', dry_run=True))
    assert [kind.name for kind in chosen] == ['FastCUT, batch 4: torch', 'FastCUT, batch 4: float16 NHWC']


def test_a_dry_run_is_tiny_but_counts_the_full_size():
    config = GpuConfig(dry_run=True)
    tiny, full = (gpu.step_settings('CUT', 4, config, full_size=full) for full in (False, True))
    assert (tiny.model, tiny.crop_size, tiny.ngf, tiny.batch_size, tiny.device) == ('cut', 32, 4, 4, 'cpu')
    assert (full.crop_size, full.ngf, full.training().netG) == (256, 64, 'resnet_9blocks')
    assert gpu.step_settings('pix2pix', 1, config).training().netG == 'unet_256'
    assert gpu.step_settings('cycle_gan', 1, GpuConfig()).device == 'gpu'


def test_what_does_not_fit_into_the_rest_of_the_time_is_left_out():
    config = GpuConfig(models='cycle_gan', kinds='float32', dry_run=True)
    result = gpu.measure_steps(config, end=time.monotonic() - 1)
    assert result['steps'] == result['ratios'] == {}
    assert result['left_out'] == {'cycle_gan, batch 1: float32': '0 s are left, and it may take 0 s'}


def test_a_process_is_ended_when_the_time_is_over(tmp_path):
    script = tmp_path / 'slow.py'
    script.write_text(
        f'import sys, time; sys.path[:0] = {sys.path!r}\n'
        'from benchmark import common\n'
        'common.serve(lambda kind, values: lambda: time.sleep(values["seconds"]))\n'
    )
    with gpu.Limited([sys.executable, str(script)], 'quick', {'seconds': 0.0}) as process:
        assert process.ask_until(time.monotonic() + 60)['seconds'] < 1
    start = time.monotonic()
    with gpu.Limited([sys.executable, str(script)], 'slow', {'seconds': 60.0}) as process:
        with pytest.raises(UserError, match='the time was over before it had been measured'):
            process.ask_until(start + 1)
    assert time.monotonic() - start < 20


def test_ratios_are_to_the_best_of_pytorch_for_the_same_model_and_batch():
    rows = {
        gpu.Kind(model, batch, step): {'seconds': seconds, 'peak_bytes': 1}
        for model, batch, step, seconds in (
            ('CUT', 1, 'float32 xla', 3.0),
            ('CUT', 1, 'bfloat16', 2.0),
            ('CUT', 1, 'torch', 6.0),
            ('CUT', 1, 'torch channels_last', 4.0),
            ('CUT', 1, 'torch autocast', 8.0),
            ('CUT', 4, 'float32', 1.0),
        )
    }
    found = {name: ratio for name, ratio in gpu.ratios(rows).items() if ': step' in name}
    assert found == {
        'CUT, batch 1: step float32 xla / best torch': 0.75,
        'CUT, batch 1: step bfloat16 / best torch': 0.5,
        'CUT, batch 1: step bfloat16 / best torch autocast': 0.25,
    }


@pytest.mark.parametrize('factor, loss, passed', [(1.0005, 2.001, True), (1.002, 2.0, False), (1.0, 2.01, False)])
def test_parity_is_of_losses_and_of_the_weights_of_each_network(tmp_path, factor, loss, passed):
    random = np.random.default_rng(0)
    arrays = {f'{when}/G/0': random.normal(size=[3, 4]) for when in ('initial', 'weights', 'gradient')}
    arrays['weights/D/0'] = np.ones([2, 2])
    np.savez(tmp_path / 'cpu.npz', **arrays)
    np.savez(tmp_path / 'gpu.npz', **{**arrays, 'weights/G/0': factor * arrays['weights/G/0']})
    row = gpu.compare({'loss/G': 2.0}, {'loss/G': loss}, tmp_path / 'cpu.npz', tmp_path / 'gpu.npz')
    assert row['passed'] is passed
    assert row['weights'] == row['worst_kernel'] == pytest.approx(factor - 1, abs=1e-12)
    assert row['losses'] == pytest.approx(loss / 2 - 1) and row['initial'] == row['worst_gradient'] == 0


def test_graphs_are_those_of_machines_with_gpus_where_that_is_asked_for():
    x = tf.zeros([1, 66, 66, 256])
    assert winograd.is_faster(x, 256)
    with gpu.as_on_gpus():
        assert not winograd.is_faster(x, 256) and tf.config.list_physical_devices('CPU')
    assert winograd.is_faster(x, 256)


@pytest.mark.own_process
def test_the_layout_is_kept_where_that_is_asked_for():
    settings = {'netG': 'resnet_6blocks', 'ngf': 4, 'ndf': 4, 'crop_size': 32, 'device': 'cpu'}
    step = gpu.work('', {'do': 'step', 'step': 'float32 NHWC', 'settings': settings})
    options = tf.config.optimizer.get_experimental_options()
    assert options['layout_optimizer'] is False and options['remapping'] is False
    step()


def test_without_a_gpu_only_a_dry_run_is_possible():
    status, output, error = program.run_python(TOOL, 'gpu', CUDA_VISIBLE_DEVICES='-1')
    assert status == 1 and 'needs an NVIDIA GPU, and TensorFlow finds none; set --dry_run' in error, error
    assert output == '' and 'Traceback' not in error


@pytest.mark.slow
def test_a_kind_is_measured_in_a_process_of_its_own_while_there_is_time():
    config = GpuConfig(models='cycle_gan,FastCUT', kinds='float32', dry_run=True)
    kind, other = gpu.plan(config)
    row = gpu.measure_one(kind, config, time.monotonic() + 300)
    assert 0 < row['least'] <= row['seconds'] <= row['most'] and row['peak_bytes'] > 100e6
    assert row['images_per_second'] == pytest.approx(1 / row['seconds'])
    with pytest.raises(UserError, match='the time was over'):
        gpu.measure_one(other, config, time.monotonic() + 0.5)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_dry_run_compares_measures_and_counts():
    small = ('--models=CUT', '--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--crop_size=32', '--kinds=float32')
    status, output, error = program.run_python(TOOL, 'gpu', '--dry_run', *small)
    assert status == 0, error
    result = json.loads(output)
    parity = result['parity']['CUT, dry run']
    assert parity['passed'] and parity['initial'] == 0 < parity['weights'] < 1e-5  # its passes differ on GPUs
    assert list(result['steps']) == ['CUT, batch 1: float32'] and result['left_out'] == {}
    assert result['steps']['CUT, batch 1: float32']['seconds'] > 0
    paper = result['on_paper']['steps']['CUT']
    assert list(paper) == ['float32', 'TF32', 'bfloat16']
    assert paper['float32']['gflop_products'] == paper['bfloat16']['gflop_products'] > 0
    assert paper['bfloat16']['gigabytes'] < paper['TF32']['gigabytes'] < paper['TF32']['without_fusion']['gigabytes']
    assert paper['TF32']['roofline_seconds'] < paper['float32']['roofline_seconds'] < paper['float32']['floor_seconds']
