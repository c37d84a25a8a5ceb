"""Compares training steps with PyTorch's: python tools/benchmark.py train [--netG=resnet_9blocks --crop_size=256]

Ours runs in each precision, with --recompute_grads, with XLA and without huge pages. If torch is installed, the
reference's step runs in its order (torch_mirror.py): with defaults, in channels_last, in autocast (bfloat16) and
compiled. Each kind has a separate process, which reports its peak memory; they take turns of a second or a step, and
medians are reported. The start of the real training program on the demo, up to the first step, is measured too; in
turns with it that of a program that does no more than one step with PyTorch, without reading images.

On a GPU, where both sides compute float32 in TF32, memory is the peak of tensors on the GPU in a step; there 'float32
xla' is the default of the training program.
"""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from benchmark import common
from benchmark.settings import DEFAULT_STEPS, OUR_STEPS, THEIR_STEPS, TrainConfig, choose_kinds
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.training import Config

_SIZES = ('model', 'CUT_mode', 'netG', 'ngf', 'ndf', 'crop_size', 'batch_size')


def main(config: TrainConfig) -> int:
    """Prints the result as JSON; returns the exit status."""
    return common.finish(measure(config), config.json)


def measure(config: TrainConfig) -> dict[str, Any]:
    """Measures all kinds in turns, and the ratios between them."""
    config = dataclasses.replace(config, device=_device(config))
    on_gpu = config.device == 'gpu'
    kinds = common.installed(choose_kinds(config.kinds, OUR_STEPS + THEIR_STEPS, DEFAULT_STEPS[config.device]), on_gpu)
    if config.training().norms['generator'] == 'batch':  # which recomputation would update twice
        kinds = [kind for kind in kinds if not kind.endswith('recompute')]
    values = {name: getattr(config, name) for name in (*_SIZES, 'deterministic', 'device')}
    rows, _ = common.in_turns(common.worker('train'), dict.fromkeys(kinds, values), config.repeats, 'a step', on_gpu)
    for row in rows.values():
        row['images_per_second'] = config.batch_size / row['seconds']
    result: dict[str, Any] = {
        'machine': common.machine(on_gpu),
        'settings': common.settings_of(config),
        'steps': rows,
        'ratios': common.ratios(rows, {'step': 'seconds', 'memory': 'peak_bytes'}, _pairs(kinds)),
    }
    if config.starts:
        step_of_theirs = rows['torch']['seconds'] if 'torch' in rows else None
        result['start'] = measure_starts(config, values, step_of_theirs)
    return result


def _device(config: TrainConfig) -> str:
    """'cpu' or 'gpu'.

    Raises:
        UserError: a GPU is asked for, and TensorFlow finds none.
    """
    if config.device == 'cpu':
        return 'cpu'
    import tensorflow as tf

    found = bool(tf.config.list_physical_devices('GPU'))
    if config.device == 'gpu' and not found:
        raise UserError('`device` (gpu) is not available to TensorFlow; set it to cpu.')
    return 'gpu' if found else 'cpu'


def _pairs(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs to compare: ours with PyTorch's; in half precision, also with PyTorch's autocast; with an option, also
    with the same kind without it."""
    pairs = []
    for kind in kinds:
        precision, _, option = kind.partition(' ')
        if precision == 'torch':
            continue
        pairs += [(kind, 'torch'), (kind, 'best torch')]
        if precision != 'float32':
            pairs += [(kind, 'torch autocast'), (kind, 'best torch autocast')]
        if option:
            pairs.append((kind, precision))
    return pairs


def measure_starts(
    config: TrainConfig, values: Mapping[str, Any], step_of_theirs: Optional[float] = None
) -> dict[str, Any]:
    """Seconds from the start of the training program to the end of its first step, and the same minus one step.

    Args:
        config: the settings.
        values: those for a worker process.
        step_of_theirs: seconds of PyTorch's step, whose start is measured in turns with ours; None: it is not.
    """
    first, less, theirs = [], [], []
    for _ in range(config.starts):
        seconds, step = _start(config)
        first.append(seconds)
        less.append(seconds - step)
        if step_of_theirs is not None:
            theirs.append(_start_of_theirs(config, values) - step_of_theirs)
    result: dict[str, Any] = {'first_step': common.summary(first), 'less_a_step': common.summary(less)}
    if theirs:
        result['torch_less_a_step'] = common.summary(theirs)
        result['ratio'] = result['less_a_step']['seconds'] / result['torch_less_a_step']['seconds']
    return result


def _start(config: TrainConfig) -> tuple[float, float]:
    """Seconds to the end of the first step, and of the third one: after the first, pictures are written."""
    with tempfile.TemporaryDirectory() as folder:
        training = config.training()
        names = ('model', 'netG', 'ngf', 'ndf', 'crop_size', 'batch_size', 'deterministic')
        names += ('CUT_mode',) if config.model == 'cut' else ()
        flags = [f'--{name}={getattr(training, name)}' for name in names]
        flags += [
            '--num_devices=1',
            '--dataroot=demo',
            f'--load_size={config.crop_size * 286 // 256}',
            '--print_freq=1',
        ]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, '-m', 'cyclegan_tf.train', f'--checkpoints_dir={folder}', '--name=start', *flags],
            cwd=common.ROOT,
            env=common.environment(config.device == 'gpu'),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        reports = []
        for line in process.stdout:
            if rate := re.search(r'([\d.e+]+) images/s', line):
                reports.append((time.perf_counter() - start, float(rate.group(1))))
                if len(reports) == 3:
                    break
        process.send_signal(signal.SIGKILL)
        process.communicate()
    if len(reports) < 3:
        raise UserError('the training program ended before its third step; run it by itself to see why.')
    return reports[0][0], config.batch_size / reports[2][1]


def _start_of_theirs(config: TrainConfig, values: Mapping[str, Any]) -> float:
    """Seconds of a program that does one step with PyTorch on images that it makes, and no more."""
    start = time.perf_counter()
    done = subprocess.run(
        common.program('once', 'train', 'torch', json.dumps(dict(values))),
        cwd=common.ROOT,
        env=common.environment(config.device == 'gpu'),
        stdout=subprocess.DEVNULL,
    )
    if done.returncode:
        raise UserError(f'the program that does a step with PyTorch failed (status {done.returncode}); see above.')
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------ worker process
def work(kind: str, values: Mapping[str, Any]) -> Callable[[], Any]:
    """A function that does one step of this kind."""
    return (_torch_step if kind.startswith('torch') else _our_step)(kind, TrainConfig(**values))


def training(kind: str, config: TrainConfig) -> Config:
    """The training settings for a kind of ours."""
    precision, _, option = kind.partition(' ')
    return config.training(
        precision=precision,
        recompute_grads=option == 'recompute',
        jit_compile='true' if option == 'xla' else 'false',
        num_devices=1,
    )


def _our_step(kind: str, config: TrainConfig) -> Callable[[], Any]:
    import tensorflow as tf

    from benchmark.step import open_step

    run = open_step(training(kind, config))
    if config.device == 'cpu':
        return run

    def step():
        tf.config.experimental.reset_memory_stats('GPU:0')  # the first step tries algorithms, which takes more memory
        run()
        return {'peak_bytes': tf.config.experimental.get_memory_info('GPU:0')['peak']}

    return step


def _torch_step(kind: str, config: TrainConfig) -> Callable[[], Any]:
    import torch

    from benchmark import torch_mirror, torch_steps

    on_gpu = config.device == 'gpu'
    device = torch.device('cuda' if on_gpu else 'cpu')
    torch.backends.cudnn.benchmark = True  # as in the reference
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as in TensorFlow
    networks = torch_mirror.networks(config.training())
    layout = torch.channels_last if 'channels_last' in kind else torch.contiguous_format
    for network in networks.values():
        network.to(device, memory_format=layout)
        if 'compile' in kind:
            network.compile()
    trainer = torch_steps.make(config.training(), networks)
    pair = [torch_mirror.to_torch(images).to(device, memory_format=layout) for images in common.images(config)]

    def step():
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast(device.type, torch.bfloat16, enabled='autocast' in kind):
            trainer.step(*pair)
        if on_gpu:
            torch.cuda.synchronize()
            return {'peak_bytes': torch.cuda.max_memory_allocated()}

    return step
