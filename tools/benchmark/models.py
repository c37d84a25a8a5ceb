"""Compares the models' training steps with each other: python tools/benchmark.py models [--kinds=cycle_gan,CUT]

The step of each model, in float32, as in the benchmark `train`, and that of PyTorch's mirror if torch is installed.
All take turns, each in a separate process. Ratios are to our CycleGAN's step, and to the same model's in PyTorch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from benchmark import common, train
from benchmark.settings import MODEL_KINDS, ModelsConfig, TrainConfig, choose_kinds

_SIZES = ('netG', 'ngf', 'ndf', 'crop_size', 'batch_size')


def main(config: ModelsConfig) -> int:
    """Prints the result as JSON; returns the exit status."""
    return common.finish(measure(config), config.json)


def measure(config: ModelsConfig) -> dict[str, Any]:
    """Measures all kinds in turns, and the ratios between them."""
    kinds = common.installed(choose_kinds(config.kinds, MODEL_KINDS))
    values = {name: getattr(config, name) for name in _SIZES}
    rows, _ = common.in_turns(common.worker('models'), dict.fromkeys(kinds, values), config.repeats, 'a step')
    pairs = [(kind, f'torch {kind}') for kind in kinds] + [(kind, 'cycle_gan') for kind in kinds if kind != 'cycle_gan']
    return {
        'machine': common.machine(),
        'settings': common.settings_of(config),
        'steps': rows,
        'ratios': common.ratios(rows, {'step': 'seconds', 'memory': 'peak_bytes'}, pairs),
    }


# ------------------------------------------------------------------------------------------------------ worker process
def settings(kind: str, values: Mapping[str, Any]) -> tuple[str, TrainConfig]:
    """The kind and the settings of the benchmark `train` for one of MODEL_KINDS."""
    model = kind.removeprefix('torch ')
    cut_mode = {'CUT_mode': model} if model in ('CUT', 'FastCUT') else {}
    values = dict(values)
    if model == 'pix2pix':  # its own generator is a U-Net; --netG is for the others
        values['netG'] = None
    config = TrainConfig(model='cut' if cut_mode else model, device='cpu', **cut_mode, **values)
    return 'torch' if kind.startswith('torch') else 'float32', config


def work(kind: str, values: Mapping[str, Any]) -> Callable[[], Any]:
    """A function that does one step of this kind."""
    step, config = settings(kind, values)
    return train.work(step, dataclasses.asdict(config))
