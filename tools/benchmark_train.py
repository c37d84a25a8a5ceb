"""Measures training steps beside PyTorch's: python tools/benchmark.py train [--netG=resnet_9blocks --crop_size=256]

Ours in each precision and with --recompute_grads, and where torch is installed the reference's step in its order
(torch_mirror.py), as it is by default, in channels_last and in autocast. Each has a process of its own, which tells its
peak memory; they take turns, step by step, and medians count. Besides: the real training program on the demo, from its
start to its first step.
"""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional

import benchmark_common as common

from cyclegan_tf.config import setting, validate_fields
from cyclegan_tf.errors import UserError

OURS = ('float32', 'bfloat16', 'float32 recompute')
_SIZES = ('netG', 'ngf', 'ndf', 'crop_size', 'batch_size')
THEIRS = ('torch', 'torch channels_last', 'torch autocast', 'torch channels_last autocast')
_RATIOS = (
    ('float32', 'torch'),
    ('float32', 'best torch'),
    ('bfloat16', 'torch'),
    ('bfloat16', 'torch autocast'),
    ('bfloat16', 'best torch autocast'),
    ('float32 recompute', 'float32'),
    ('float32 recompute', 'torch'),
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What is measured. One image of each domain, instance norm, lsgan with identity losses: the defaults of both."""

    netG: str = setting('resnet_9blocks', 'generators', choices=('resnet_9blocks', 'resnet_6blocks'))
    ngf: int = setting(64, 'filters of the generators', minimum=1)
    ndf: int = setting(64, 'filters of the discriminators', minimum=1)
    crop_size: int = setting(256, 'side of the images', minimum=32)
    batch_size: int = setting(1, 'images per domain in a step', minimum=1)
    deterministic: str = setting(
        'auto', "as the training program's own; auto: on, on CPUs", choices=('auto', 'true', 'false')
    )
    repeats: int = setting(5, 'steps of each that are measured, after one that is not', minimum=1)
    kinds: Optional[str] = setting(
        None, f'of {", ".join(OURS + THEIRS)}, with commas; unset: all; each takes some 3 GB at the defaults'
    )
    starts: int = setting(3, 'starts of the training program that are measured', minimum=0)
    json: Optional[str] = setting(None, 'write the result to this file too')
    verbose: bool = setting(False, 'show tracebacks of errors')

    def __post_init__(self):
        validate_fields(self)
        common.choose_kinds(self.kinds, OURS + THEIRS)  # raises for one that does not exist


def main(config: TrainConfig) -> int:
    """Prints the result as JSON; returns the exit status."""
    return common.finish(measure(config), config.json)


def measure(config: TrainConfig) -> dict[str, Any]:
    """All kinds in turns, and the ratios between them."""
    kinds = common.installed(common.choose_kinds(config.kinds, OURS + THEIRS))
    values = {name: getattr(config, name) for name in (*_SIZES, 'deterministic')}
    rows, _ = common.in_turns(__file__, dict.fromkeys(kinds, values), config.repeats, 'a step')
    result: dict[str, Any] = {
        'machine': common.machine(),
        'settings': common.settings_of(config),
        'steps': rows,
        'ratios': common.ratios(rows, {'step': 'seconds', 'memory': 'peak_bytes'}, _RATIOS),
    }
    if config.starts:
        result['start'] = measure_starts(config)
    return result


def measure_starts(config: TrainConfig) -> dict[str, dict[str, float]]:
    """Seconds from the start of the training program to the end of its first step; and less a step of its own."""
    first, less = [], []
    for _ in range(config.starts):
        seconds, step = _start(config)
        first.append(seconds)
        less.append(seconds - step)
    return {'first_step': common.summary(first), 'less_a_step': common.summary(less)}


def _start(config: TrainConfig) -> tuple[float, float]:
    """Seconds to the first step's end, and of the third step: after the first, pictures are drawn."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [f'--{name}={getattr(config, name)}' for name in (*_SIZES, 'deterministic')]
        flags += ['--dataroot=demo', f'--load_size={config.crop_size * 286 // 256}', '--print_freq=1']
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, '-m', 'cyclegan_tf.train', f'--checkpoints_dir={folder}', '--name=start', *flags],
            cwd=common.ROOT,
            env=common.environment(),
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


# -------------------------------------------------------------------------------------------------- a kind's process
def _step(kind: str, values: Mapping[str, Any]) -> Callable[[], Any]:
    return (_torch_step if kind.startswith('torch') else _our_step)(kind, TrainConfig(**values))


def _our_step(kind: str, config: TrainConfig) -> Callable[[], Any]:
    from benchmark_step import open_step

    from cyclegan_tf.config import Config

    values = {name: getattr(config, name) for name in (*_SIZES, 'deterministic')}
    precision, _, recompute = kind.partition(' ')
    extra = {'recompute_grads': True} if recompute else {}
    return open_step(Config(dataroot='demo', load_size=config.crop_size, precision=precision, **values, **extra))


def _torch_step(kind: str, config: TrainConfig) -> Callable[[], Any]:
    import torch
    import torch_mirror

    networks = {
        **{name: torch_mirror.generator(config.netG, 3, 3, config.ngf, 'instance') for name in ('G_A', 'G_B')},
        **{name: torch_mirror.discriminator('basic', 3, config.ndf, 3, 'instance') for name in ('D_A', 'D_B')},
    }
    layout = torch.channels_last if 'channels_last' in kind else torch.contiguous_format
    networks = {name: network.to(memory_format=layout) for name, network in networks.items()}
    trainer = torch_mirror.Trainer(networks, 'lsgan', 10.0, 10.0, 0.5, 10.0)
    pair = [torch_mirror.to_torch(images).contiguous(memory_format=layout) for images in common.images(config)]

    def step():
        with torch.autocast('cpu', torch.bfloat16, enabled='autocast' in kind):
            trainer.step(*pair)

    return step


if __name__ == '__main__':
    common.serve(_step)
