"""Runs the benchmarks one after the other: python tools/benchmark.py all [--train='--repeats=3'] [--growth]

Each is a program of its own with its defaults, or with the flags that its name is set to. The result has a key for
each.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shlex
import subprocess
from typing import Any, Optional

from benchmark import common
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import setting, validate_fields

NAMES = ('train', 'translate', 'pipeline', 'serving')


@dataclasses.dataclass(frozen=True)
class AllConfig:
    """What is measured."""

    train: str = setting('', "its flags, as in '--crop_size=128 --repeats=3'")
    translate: str = setting('', 'its flags')
    pipeline: str = setting('', 'its flags')
    serving: str = setting('', 'its flags')
    growth: bool = setting(False, 'measure growth too, which takes long')
    growth_flags: str = setting('', "growth's flags")
    json: Optional[str] = setting(None, 'write the result to this file too; after each of them, what there is')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)

    def flags(self) -> dict[str, list[str]]:
        """Of each that runs.

        Raises:
            UserError: a quotation that does not end.
        """
        settings = {name: name for name in NAMES} | ({'growth': 'growth_flags'} if self.growth else {})
        result = {}
        for name, field in settings.items():
            try:
                result[name] = shlex.split(getattr(self, field))
            except ValueError as error:
                raise UserError(f"`{field}` ('{getattr(self, field)}') cannot be read ({error}); mend it.") from error
        return result


def main(config: AllConfig) -> int:
    """Prints the results as one JSON; returns the exit status."""
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
