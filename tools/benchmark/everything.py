"""Runs the benchmarks one after another: python tools/benchmark.py all [--train='--repeats=3'] [--growth]

Each is run as a separate program with its defaults, or with the flags that are given with its name. The result has a
key for each benchmark.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

from benchmark import common
from benchmark.settings import AllConfig
from cyclegan_tf.errors import UserError


def main(config: AllConfig) -> int:
    """Prints the results as one JSON object; returns the exit status."""
    results: dict[str, Any] = {}
    for name, flags in config.flags().items():
        common.say(f'{name} ...')
        done = subprocess.run(common.program(name, *flags), stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise UserError(f'the benchmark `{name}` failed (status {done.returncode}); its message is above.')
        results[name] = json.loads(done.stdout)
        if config.json:
            pathlib.Path(config.json).write_text(json.dumps(results, indent=2) + '\n')
    return common.finish(results, config.json)
