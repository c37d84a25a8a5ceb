"""What benchmarks share tells the truth about processes, kinds and ratios."""

import subprocess
import sys

import benchmark_common as common
import benchmark_step
import psutil
import pytest
from tensorflow.python.framework.config import is_op_determinism_enabled

from cyclegan_tf.config import Config
from cyclegan_tf.errors import UserError

SMALL = dict(dataroot='demo', netG='resnet_6blocks', ngf=4, ndf=4, load_size=32, crop_size=32)


def test_peak_memory_is_the_process_own_and_not_its_parents():
    code = f'import sys; sys.path[:0] = {sys.path!r}; import benchmark_common; print(benchmark_common.peak_bytes())'
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
        'import benchmark_common\n'
        'benchmark_common.serve(lambda kind, values: lambda: {\n'
        '    "gpus": os.environ["CUDA_VISIBLE_DEVICES"], **({"peak_bytes": 1} if kind == "own" else {})})\n'
    )
    rows, last = common.in_turns(str(script), {'own': {}, 'other': {}}, 1, 'of nothing', gpu=True)
    assert last['own']['gpus'] == '0' and rows['own']['peak_bytes'] == 1 < rows['other']['peak_bytes']
    assert common.in_turns(str(script), {'own': {}}, 1, 'of nothing')[1]['own']['gpus'] == '-1'


def test_processes_answer_in_turns(tmp_path):
    script = tmp_path / 'counting.py'
    script.write_text(
        f'import sys; sys.path[:0] = {sys.path!r}\n'
        'import benchmark_common\n'
        'def make(kind, values):\n'
        '    calls = []\n'
        '    def work():\n'
        '        print("what the work prints is not the answer")\n'
        '        calls.append(kind)\n'
        '        return {"calls": len(calls), "of": values["of"]}\n'
        '    return work\n'
        'benchmark_common.serve(make)\n'
    )
    rows, last = common.in_turns(str(script), {'some': {'of': 1}, 'others': {'of': 2}}, 3, 'of nothing')
    assert [(answer['calls'], answer['of']) for answer in last.values()] == [(4, 1), (4, 2)]
    for row in rows.values():
        assert 0 < row['least'] <= row['seconds'] <= row['most'] and row['peak_bytes'] > 5e6


def test_a_process_that_ends_is_named(tmp_path):
    script = tmp_path / 'ending.py'
    script.write_text('raise SystemExit(3)\n')
    with pytest.raises(UserError, match=r"'float32' has ended \(status 3\)"):
        common.in_turns(str(script), {'float32': {}}, 1, 'of nothing')


@pytest.mark.own_process
def test_the_step_is_deterministic_as_the_training_programs_and_trains():
    config = Config(**SMALL)
    devices, model = benchmark_step.open_model(config)
    step = benchmark_step.make_step(devices, model, config)
    assert is_op_determinism_enabled()
    before = model.g_a.conv_in.kernel.numpy()
    step()
    step()
    assert int(model.step.numpy()) == 2 and (model.g_a.conv_in.kernel.numpy() != before).any()


@pytest.mark.own_process
def test_without_determinism_where_the_training_program_is_told_so():
    benchmark_step.open_model(Config(**SMALL, deterministic='false'))
    assert not is_op_determinism_enabled()
