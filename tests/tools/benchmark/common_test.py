"""What benchmarks share tells the truth about processes, kinds and ratios."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from benchmark import common, step, train
from tensorflow.python.framework.config import is_op_determinism_enabled

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.models import CycleGANConfig

SMALL = dict(dataroot='demo', netG='resnet_6blocks', ngf=4, ndf=4, load_size=32, crop_size=32)


def test_peak_memory_is_the_process_own_and_not_its_parents():
    code = f'import sys; sys.path[:0] = {sys.path!r}; from benchmark import common; print(common.peak_bytes())'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 5e6 < int(done.stdout) < 150e6 < psutil.Process().memory_info().rss


def test_ratios_are_to_torch_and_to_the_best_of_it():
    rows = {
        'float32': {'seconds': 3.0, 'peak_bytes': 10},
        'torch': {'seconds': 6.0, 'peak_bytes': 20},
        'torch channels_last': {'seconds': 4.0, 'peak_bytes': 40},
        'torch autocast': {'seconds': 1.0, 'peak_bytes': 5},
    }
    pairs = (('float32', 'torch'), ('float32', 'best torch'), ('bfloat16', 'torch'))
    assert common.ratios(rows, {'step': 'seconds', 'memory': 'peak_bytes'}, pairs) == {
        'step float32 / torch': 0.5,
        'memory float32 / torch': 0.5,
        'step float32 / best torch': 0.75,
        'memory float32 / best torch': 0.25,
    }
    assert common.ratios(rows, {'step': 'seconds'}, [('float32', 'best torch autocast')]) == {
        'step float32 / best torch autocast': 3.0
    }


def test_processes_find_gpus_and_tell_other_memory_only_if_they_are_made_to(tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')
    script = tmp_path / 'telling.py'
    script.write_text(
        f'import os, sys; sys.path[:0] = {sys.path!r}\n'
        'from benchmark import common\n'
        'common.serve(lambda kind, values: lambda: {\n'
        '    "gpus": os.environ["CUDA_VISIBLE_DEVICES"], **({"peak_bytes": 1} if kind == "own" else {})})\n'
    )
    rows, last = common.in_turns([sys.executable, str(script)], {'own': {}, 'other': {}}, 1, 'of nothing', gpu=True)
    assert last['own']['gpus'] == '0' and rows['own']['peak_bytes'] == 1 < rows['other']['peak_bytes']
    assert common.in_turns([sys.executable, str(script)], {'own': {}}, 1, 'of nothing')[1]['own']['gpus'] == '-1'


@pytest.mark.parametrize(
    'status, output, expected',
    [
        (0, 'H200, 143771 MiB, 570.1', ', H200, 143771 MiB, 570.1, '),
        (6, 'No devices', ', nvidia-smi ended with status 6, '),
    ],
)
def test_the_machine_has_gpus_where_they_are_used(tmp_path, monkeypatch, status, output, expected):
    tool = tmp_path / 'nvidia-smi'
    tool.write_text(f'#!/bin/sh\necho "{output}"\nexit {status}\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    assert expected in common.machine(gpu=True)
    assert expected not in common.machine()


@pytest.mark.torch
def test_torch_is_left_out_where_it_finds_no_gpu_for_a_comparison_on_gpus(monkeypatch, capsys):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    assert common.installed(['float32', 'torch']) == ['float32', 'torch']
    assert common.installed(['float32', 'torch'], gpu=True) == ['float32']
    assert 'PyTorch is left out: it finds no GPU' in capsys.readouterr().err


def test_torch_is_left_out_aloud_where_it_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(common, 'version', lambda package: None)
    assert common.installed(['float32']) == ['float32'] and capsys.readouterr().err == ''
    assert common.installed(['float32', 'torch', 'torch autocast']) == ['float32']
    assert capsys.readouterr().err == "PyTorch is left out: it is not installed (pip install '.[torch]').\n"


def test_a_kind_is_trained_as_its_name_says():
    config = train.TrainConfig(crop_size=64, batch_size=2)
    found = [train.training(kind, config) for kind in ('float32', 'bfloat16 recompute', 'float16 xla')]
    assert [(one.precision, one.recompute_grads, one.jit_compile) for one in found] == [
        ('float32', False, 'false'),
        ('bfloat16', True, 'false'),
        ('float16', False, 'true'),
    ]
    assert {(one.crop_size, one.batch_size, one.num_devices) for one in found} == {(64, 2, 1)}


@pytest.mark.parametrize('compiled', ['true', 'false'])
def test_the_step_is_compiled_if_it_is_to_be(monkeypatch, compiled):
    asked = []
    monkeypatch.setitem(step.MODELS, 'cycle_gan', lambda config, jit_compile: asked.append(jit_compile))
    step.open_model(CycleGANConfig(**SMALL, deterministic='false', jit_compile=compiled))
    assert asked == [compiled == 'true']


def test_processes_answer_in_turns(tmp_path, monkeypatch):
    script = tmp_path / 'counting.py'
    script.write_text(
        f'import sys; sys.path[:0] = {sys.path!r}\n'
        'from benchmark import common\n'
        'def make(kind, values):\n'
        '    calls = []\n'
        '    def work():\n'
        '        print("what the work prints is not the answer")\n'
        '        calls.append(kind)\n'
        '        return {"calls": len(calls), "of": values["of"]}\n'
        '    return work\n'
        'common.serve(make)\n'
    )
    monkeypatch.setattr(common, '_LEAST_COLD', 0)
    values = {'some': {'of': 1}, 'others': {'of': 2}}
    rows, last = common.in_turns([sys.executable, str(script)], values, 3, 'of nothing')
    assert [(answer['calls'], answer['of']) for answer in last.values()] == [(4, 1), (4, 2)]
    for row in rows.values():
        assert 0 < row['least'] <= row['seconds'] <= row['most'] and row['peak_bytes'] > 5e6


def test_short_work_is_repeated_in_a_turn_and_its_first_time_does_not_count(tmp_path):
    script = tmp_path / 'slow_at_first.py'
    script.write_text(
        f'import sys, time; sys.path[:0] = {sys.path!r}\n'
        'from benchmark import common\n'
        'def make(kind, values):\n'
        '    last, calls = [0], [0]\n'
        '    def work():\n'
        '        is_first = time.monotonic() - last[0] > 0.15\n'
        '        time.sleep(values["seconds"] + 0.4 * is_first)\n'
        '        last[0], calls[0] = time.monotonic(), calls[0] + 1\n'
        '        return {"calls": calls[0]}\n'
        '    return work\n'
        'common.serve(make)\n'
    )
    with common.Served([sys.executable, str(script)], 'short', {'seconds': 0.02}) as process:
        assert process.ask()['calls'] == 1
        time.sleep(0.3)
        answer = process.ask(0.5, 1)
        assert 0.02 <= answer['seconds'] < 0.1 and 5 < answer['calls'] <= 27
        time.sleep(0.3)
        long = process.ask(0.3, 0.3)
        assert long['seconds'] > 0.4 and long['calls'] == answer['calls'] + 1


def test_a_process_that_ends_is_named(tmp_path):
    script = tmp_path / 'ending.py'
    script.write_text('raise SystemExit(3)\n')
    with pytest.raises(UserError, match=r"'float32' has ended \(status 3\)"):
        common.in_turns([sys.executable, str(script)], {'float32': {}}, 1, 'of nothing')


@pytest.mark.slow
@pytest.mark.own_process
def test_the_step_is_deterministic_as_the_training_programs_and_trains():
    config = CycleGANConfig(**SMALL)
    devices, model = step.open_model(config)
    run = step.make_step(devices, model, config)
    assert is_op_determinism_enabled()
    before = model.g_a.conv_in.kernel.numpy()
    run()
    run()
    assert int(model.step.numpy()) == 2 and (model.g_a.conv_in.kernel.numpy() != before).any()


@pytest.mark.own_process
def test_without_determinism_where_the_training_program_is_told_so():
    step.open_model(CycleGANConfig(**SMALL, deterministic='false'))
    assert not is_op_determinism_enabled()
