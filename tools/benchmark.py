"""Measures speed: python tools/benchmark.py train|translate|pipeline|serving|growth|all [flags]

`train` measures the step of training, `translate` images from disk to disk and `pipeline` the stream of images that
training sees, each beside PyTorch; `serving` exported models; `growth` the step over sizes, batches and replicas, and
where its time goes; `all` the first four. --help after the word lists its flags.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

# isort: off
import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# isort: on
from benchmark import common  # noqa: E402  (the folder beside this file, which Python prefers to a file of that name)

from cyclegan_tf.errors import UserError  # noqa: E402

# The file in benchmark/ and its settings. Only the one that is asked for is imported, and nothing below imports more
# than it needs: this program is also each process that is measured, where TensorFlow would count as PyTorch's memory.
BENCHMARKS = {
    'train': ('train', 'TrainConfig'),
    'translate': ('translate', 'TranslateConfig'),
    'pipeline': ('pipeline', 'PipelineConfig'),
    'serving': ('serving', 'ServingConfig'),
    'growth': ('growth', 'GrowthConfig'),
    'all': ('everything', 'AllConfig'),
}


def load(name: str) -> tuple[Any, type]:
    """A benchmark's module and the class of its settings."""
    file, settings = BENCHMARKS[name]
    module = importlib.import_module(f'benchmark.{file}')
    return module, getattr(module, settings)


def parse(argv: Sequence[str]):
    """Command line to the benchmark's function and its settings.

    Raises:
        flags.Error, UserError: no such benchmark, or settings that it does not take.
    """
    from cyclegan_tf.settings import flags

    if argv[1:] == ['--help']:
        print(__doc__)
        raise SystemExit(0)
    words = [argument for argument in argv[1:] if not argument.startswith('-')]
    if len(words) != 1 or words[0] not in BENCHMARKS:
        raise UserError(
            f"benchmark '{' '.join(words)}' is not one of: {', '.join(BENCHMARKS)}; python tools/benchmark.py train"
        )
    module, settings = load(words[0])
    config = flags.parse(settings, [argument for argument in argv if argument not in words])
    if words == ['all']:
        for name, given in config.flags().items():  # they are to fail now, not after hours with others
            flags.parse(load(name)[1], [name, *given])
    return module.main, config


def work(how: str, name: str, kind: str, values: str) -> None:
    """What a benchmark starts this program for: see its function `work`.

    Args:
        how: 'once', or 'on_request', as common.Served asks for it.
        name: of the benchmark.
        kind, values: of work, and what it is made from, in JSON.
    """
    make = load(name)[0].work
    if how == 'once':
        make(kind, json.loads(values))()
    else:
        common.serve(make)


if __name__ == '__main__':
    if len(sys.argv) == 5 and sys.argv[1] in ('once', 'on_request'):
        work(*sys.argv[1:])
    else:
        from cyclegan_tf.runtime.program import run_program

        run_program('tools/benchmark.py', parse, lambda parsed: parsed[0](parsed[1]))
