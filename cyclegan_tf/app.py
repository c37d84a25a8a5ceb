"""A page to drop photographs on: python -m cyclegan_tf.app [--name=RUN]."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import tempfile
import threading
from collections.abc import Sequence

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import garbage, importing, signals
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.settings import flags
from cyclegan_tf.settings.app import AppConfig


def parse(argv: Sequence[str]) -> AppConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(AppConfig, argv)


def main(settings: AppConfig) -> int:
    """Serves the page until the program is interrupted; returns the exit status.

    Raises:
        UserError: there is no such model, the port is taken, or the extra `app` is not installed.
    """
    # Imported here: both take seconds to import, for which --help and wrong flags should not wait.
    with importing.tensorflow():
        from cyclegan_tf.runtime import hardware
        from cyclegan_tf.web.models import Exported, Runs

    precision, slow = hardware.choose_precision(settings.precision, settings.emulate_precision)
    settings = dataclasses.replace(settings, precision=precision)
    models = Exported(settings) if settings.model_dir else Runs(settings)
    try:
        with garbage.importing():
            from cyclegan_tf.web import page
    except ModuleNotFoundError as error:
        if error.name != 'gradio':
            raise
        raise UserError(
            "the page needs Gradio, which is not installed; install it with: pip install '.[app]'"
        ) from error
    for warning in filter(None, (hardware.missing_gpu_warning(), slow)):
        print(warning, file=sys.stderr)
    signals.interrupt()  # what was uploaded is deleted
    with tempfile.TemporaryDirectory(prefix='cyclegan_tf_app_', ignore_cleanup_errors=True) as folder:
        address, served = page.launch(page.Page(models, settings, pathlib.Path(folder)).build(), settings)
        print(f'Open {address} in a browser; Ctrl+C ends the program.', flush=True)
        try:
            threading.Event().wait()
        finally:
            served.close(verbose=False)
    return 0


if __name__ == '__main__':
    run_program('cyclegan_tf.app', parse, main)
