"""Measures speed: python tools/benchmark.py train|translate|pipeline|serving|growth|all [flags]

`train` measures the step of training, `translate` images from disk to disk and `pipeline` the stream of images that
training sees, each beside PyTorch; `serving` exported models; `growth` the step over sizes, batches and replicas, and
where its time goes; `all` the first four. --help after the word lists its flags.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

# isort: off
import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# isort: on
import benchmark_all  # noqa: E402
import benchmark_growth  # noqa: E402
import benchmark_pipeline  # noqa: E402
import benchmark_serving  # noqa: E402
import benchmark_train  # noqa: E402
import benchmark_translate  # noqa: E402

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402

BENCHMARKS = {
    'train': (benchmark_train.TrainConfig, benchmark_train.main),
    'translate': (benchmark_translate.TranslateConfig, benchmark_translate.main),
    'pipeline': (benchmark_pipeline.PipelineConfig, benchmark_pipeline.main),
    'serving': (benchmark_serving.ServingConfig, benchmark_serving.main),
    'growth': (benchmark_growth.GrowthConfig, benchmark_growth.main),
    'all': (benchmark_all.AllConfig, benchmark_all.main),
}


def parse(argv: Sequence[str]):
    """Command line to the benchmark's function and its settings.

    Raises:
        flags.Error, UserError: no such benchmark, or settings that it does not take.
    """
    if argv[1:] == ['--help']:
        print(__doc__)
        raise SystemExit(0)
    words = [argument for argument in argv[1:] if not argument.startswith('-')]
    if len(words) != 1 or words[0] not in BENCHMARKS:
        raise UserError(
            f"benchmark '{' '.join(words)}' is not one of: {', '.join(BENCHMARKS)}; python tools/benchmark.py train"
        )
    settings, run = BENCHMARKS[words[0]]
    config = flags.parse(settings, [argument for argument in argv if argument not in words])
    if words == ['all']:
        for name, given in config.flags().items():  # they are to fail now, not after hours with others
            flags.parse(BENCHMARKS[name][0], [name, *given])
    return run, config


if __name__ == '__main__':
    run_program('tools/benchmark.py', parse, lambda parsed: parsed[0](parsed[1]))
