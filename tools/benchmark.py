"""Measures speed: python tools/benchmark.py train|models|translate|pipeline|serving|growth|gpu|all [flags]

`train` measures the training step, `models` that of each model, `translate` the translation of images from disk to
disk, and `pipeline` the stream of training images, each beside PyTorch; `serving` measures exported models; `growth`
measures the training step over sizes, batches and replicas, and where its time goes; `gpu` measures the steps of all
models on an NVIDIA GPU in ten minutes, or counts what one would have to do; `all` runs `train`, `translate`, `pipeline`
and `serving`. --help after the word lists its flags.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmark import settings  # noqa: E402  (the folder beside this file; Python prefers it to a file of that name)

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime import allocator  # noqa: E402

# The settings of each benchmark. The benchmark itself is in the file of its name in benchmark/. Only the one that is
# asked for is imported, and nothing below imports more than it needs: this program also runs in each process that is
# measured, where TensorFlow would count as PyTorch's memory.
BENCHMARKS = {
    'train': settings.TrainConfig,
    'models': settings.ModelsConfig,
    'translate': settings.TranslateConfig,
    'pipeline': settings.PipelineConfig,
    'serving': settings.ServingConfig,
    'growth': settings.GrowthConfig,
    'gpu': settings.GpuConfig,
    'all': settings.AllConfig,
}

# Benchmarks whose processes do our training steps, with memory as in the training program.
_TRAIN = ('train', 'models', 'growth', 'gpu')


def load(name: str) -> Any:
    """The module of a benchmark."""
    return importlib.import_module(f'benchmark.{"everything" if name == "all" else name}')


def parse(argv: Sequence[str]) -> tuple[str, Any]:
    """Command line to the benchmark's name and its settings.

    Raises:
        flags.Error, UserError: the benchmark does not exist, or does not accept the settings.
        SystemExit: after --help, --helpshort or --helpfull; without a benchmark's name they list the benchmarks.
    """
    from cyclegan_tf.settings import flags

    words = [argument for argument in argv[1:] if not argument.startswith('-')]
    if not words and flags.names_help(argv):
        print(f'usage: python {argv[0]} {"|".join(BENCHMARKS)} [flags]\n\n{__doc__}')
        raise SystemExit(0)
    if len(words) != 1 or words[0] not in BENCHMARKS:
        raise UserError(
            f"benchmark '{' '.join(words)}' is not one of: {', '.join(BENCHMARKS)}; python tools/benchmark.py train"
        )
    (name,) = words
    config = flags.parse(BENCHMARKS[name], [f'{argv[0]} {name}', *(word for word in argv[1:] if word != name)])
    if name == 'all':
        for other, given in config.flags().items():  # checked now, so that none fails after hours of other benchmarks
            flags.parse(BENCHMARKS[other], [other, *given])
    return name, config


def main(parsed: tuple[str, Any]) -> int:
    """Runs the benchmark; returns the exit status."""
    name, config = parsed
    return load(name).main(config)


def work(how: str, name: str, kind: str, values: str) -> None:
    """Does the work of a process that a benchmark has started: see the benchmark's function `work`.

    Args:
        how: 'once', or 'on_request' for common.Served.
        name: the benchmark's name.
        kind, values: the kind of work, and what it is made from, in JSON.
    """
    if name in _TRAIN and 'torch' not in kind and not kind.endswith(settings.SMALL_PAGES):
        allocator.restart_with_huge_pages(how)
    make = load(name).work
    if how == 'once':
        make(kind, json.loads(values))()
    else:
        from benchmark import common

        common.serve(make)


if __name__ == '__main__':
    if len(sys.argv) == 5 and sys.argv[1] in ('once', 'on_request'):
        work(*sys.argv[1:])
    else:
        from cyclegan_tf.runtime.program import run_program

        run_program('tools/benchmark.py', parse, main)
