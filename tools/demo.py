"""Trains on the demo's photographs and translates held-out ones: python tools/demo.py [flags of cyclegan_tf.train]

Each time it begins anew, in the place of its last run, unless --continue_train is given. Runs of another name are left
alone: cyclegan_tf.train refuses to write over them. tools/demo.sh makes an environment for it first.
"""

from __future__ import annotations

import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cyclegan_tf import options  # noqa: E402
from cyclegan_tf.config import Config  # noqa: E402
from cyclegan_tf.run_lock import RunLock  # noqa: E402

OWN = 'demo'  # the name of the run in flags/demo.cfg


def parse(argv: Sequence[str]) -> tuple[Config, list[str]]:
    """Command line to the settings of the run, and the flags that give them to cyclegan_tf.train.

    Raises:
        flags.Error, UserError: as options.parse_training.
    """
    given = options.define_flags(Config)
    given(list(argv))
    # A run that goes on has its settings already, which flags/demo.cfg would change back.
    first = f'--name={OWN}' if given.continue_train else f'--flagfile={ROOT / "flags" / "demo.cfg"}'
    flags = [first, *argv[1:]]
    return options.parse_training(['cyclegan_tf.train', *flags])[0], flags


def main(parsed: tuple[Config, list[str]]) -> int:
    """Trains, then translates; returns the exit status of the one that failed, or 0."""
    config, flags = parsed
    if not config.continue_train:
        forget(config)
    place = [f'--checkpoints_dir={config.checkpoints_dir}', f'--name={config.run_name}']
    return run('train', *flags) or run('translate', *place, '--load_size=256')


def forget(config: Config) -> None:
    """Deletes the demo's last run and its results; a run of another name, or in another place, is somebody's own.

    Raises:
        UserError: that run is still going on.
    """
    own = pathlib.Path(Config.checkpoints_dir) / OWN
    if pathlib.Path(config.checkpoints_dir) / config.run_name == own and own.is_dir():
        with RunLock(own):
            shutil.rmtree(own)
        shutil.rmtree(pathlib.Path('results') / OWN, ignore_errors=True)


def run(program: str, *flags: str) -> int:
    """The exit status of cyclegan_tf.PROGRAM, which alone decides what a signal does."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends Ctrl-C to both
    with subprocess.Popen([sys.executable, '-m', f'cyclegan_tf.{program}', *flags]) as process:
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        status = process.wait()
    return status if status >= 0 else 128 - status  # as a shell tells of one that a signal ended


if __name__ == '__main__':
    options.run_program('tools/demo.py', parse, main)
