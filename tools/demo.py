"""Trains on the demo's photographs and translates held-out ones: python tools/demo.py [flags of cyclegan_tf.train]

A run that exists already is never deleted: cyclegan_tf.train refuses its name, and --continue_train continues it.
tools/demo.sh creates an environment of packages first.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings.flags import define_flags  # noqa: E402
from cyclegan_tf.settings.reference_flags import REFUSED_IN_TRAINING  # noqa: E402
from cyclegan_tf.settings.run_flags import parse_training  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402

OWN = 'demo'  # the name of the run in flags/demo.cfg


def parse(argv: Sequence[str]) -> tuple[Config, list[str]]:
    """Command line to the settings of the run, and the flags with which cyclegan_tf.train gets them.

    Raises:
        flags.Error, UserError: as run_flags.parse_training.
    """
    given = define_flags(Config, REFUSED_IN_TRAINING)
    given(list(argv))
    # A continued run has its settings already, which flags/demo.cfg would overwrite.
    first = f'--name={OWN}' if given.continue_train else f'--flagfile={ROOT / "flags" / "demo.cfg"}'
    flags = [first, *argv[1:]]
    return parse_training([argv[0], *flags])[0], flags


def main(parsed: tuple[Config, list[str]]) -> int:
    """Trains, translates, and says how to go on; returns the exit status of the program that failed, or 0."""
    config, flags = parsed
    place = [f'--checkpoints_dir={config.checkpoints_dir}', f'--name={config.run_name}']
    # The held-out photographs are translated at their own size, which some values of preprocess keep in any case.
    size = [] if config.preprocess in ('crop', 'none') else ['--load_size=256']
    status = run('train', *flags) or run('translate', *place, *size)
    if not status:
        python = os.path.relpath(sys.executable)
        told = place if config.checkpoints_dir != Config.checkpoints_dir else place[1:]
        print(f'A page to drop photographs of your own on: {shlex.join([python, "-m", "cyclegan_tf.app", *told])}')
    return status


def run(program: str, *flags: str) -> int:
    """Runs cyclegan_tf.PROGRAM and returns its exit status. That program alone decides what a signal does."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends Ctrl-C, and that it is closed, to both processes
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    with subprocess.Popen([sys.executable, '-m', f'cyclegan_tf.{program}', *flags]) as process:
        signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        status = process.wait()
    return status if status >= 0 else 128 - status  # 128 + the number of the signal that ended it, as in a shell


if __name__ == '__main__':
    run_program('tools/demo.py', parse, main)
