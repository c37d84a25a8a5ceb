"""The curves and pictures of a run in Weights & Biases, with its package, the extra `wandb`."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime.files import write_json

RECORD = 'wandb.json'  # in a run's directory
_PATIENCE = 90  # seconds that the end of a training waits for uploads


def import_wandb() -> Any:
    """Imports the package, which only users of Weights & Biases need to have; raises UserError if it is missing."""
    try:
        import wandb
    except ImportError as error:
        raise UserError(
            "`use_wandb` (true) needs the package wandb, which is not installed; install cyclegan_tf's extra 'wandb': "
            "pip install '.[wandb]'."
        ) from error
    return wandb


@dataclasses.dataclass(frozen=True)
class _Record:
    """What the run's directory holds about the run there.

    Attributes:
        id: of the run.
        step: the step of what was logged last; -1 before.
        tags: what was logged of that step.
        row: the number of the last row; -1 before.
    """

    id: str
    step: int = -1
    tags: tuple[str, ...] = ()
    row: int = -1


def _read(path: pathlib.Path) -> _Record:
    try:
        record = _Record(**json.loads(path.read_text(encoding='utf-8')))
        for value, kind in ((record.id, str), (record.step, int), (record.tags, list), (record.row, int)):
            if not isinstance(value, kind):
                raise TypeError(f'{value!r} is not of {kind.__name__}')
    except (ValueError, TypeError) as error:
        raise UserError(f"'{path}' is damaged; delete it, with which a new run begins there.") from error
    return record


class WandbLog:
    """Logs to one run of Weights & Biases, which a resumed training continues.

    A row there has a number that only grows; what is logged with a smaller one is dropped. So the training's step is a
    value of its own, `step`, against which all curves are drawn.

    Rows cannot be taken back. What a kill made a training do again is therefore not logged again.

    A failure during training is told once, and ends the logging: TensorBoard's curves and pictures have everything.

    Args:
        run_directory: directory of the run; the package writes into its folder wandb, offline as well.
        project: the project there.
        name: the name of the run there.
        settings: the run's settings, shown as its configuration.
        repeats: whether steps that were done before are now done as they were; otherwise they are logged again.
        tell: called with a line for the user.

    Raises:
        UserError: the package is missing; the record is damaged; or logging cannot begin, as without an account or
            without network.
        OSError: the record in the run's directory cannot be written.
    """

    def __init__(
        self,
        run_directory: pathlib.Path,
        project: str,
        name: str,
        settings: Mapping[str, Any],
        repeats: bool,
        tell: Callable[[str], None],
    ):
        self._path, self._tell, self._wandb = run_directory / RECORD, tell, import_wandb()
        self._record = _read(self._path) if self._path.exists() else _Record(secrets.token_hex(4))
        self._known = self._record if repeats else None
        try:
            self._run = self._wandb.init(
                project=project,
                name=name,
                id=self._record.id,
                resume='allow',
                dir=str(run_directory),
                config=dict(settings),
                allow_val_change=True,
                # The terminal is the training's own; quiet: no curves of characters at the end.
                settings=self._wandb.Settings(
                    console='off', quiet=True, finish_timeout=_PATIENCE, finish_timeout_raises=True
                ),
            )
            self._run.define_metric('step', hidden=True)
            self._run.define_metric('*', step_metric='step')
        except Exception as error:  # the package's own, its service's, the network's
            raise UserError(
                f'`use_wandb` (true) cannot begin ({first_line(error)}); log in with `wandb login`, set the '
                f'environment variable WANDB_MODE=offline to upload later, or leave use_wandb out.'
            ) from error
        self._save(self._record)

    def _save(self, record: _Record) -> None:
        write_json(self._path, dataclasses.asdict(record))
        self._record = record

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Logs scalars, by tag.

        Raises:
            OSError: the record in the run's directory cannot be written.
        """
        self._log(values, step, lambda value: value)

    def pictures(self, sheets: Mapping[str, tuple[np.ndarray, str]], step: int) -> None:
        """Logs pictures.

        Args:
            sheets: tag -> picture, uint8 [h, w, 3], and its caption.
            step: step of the run.

        Raises:
            OSError: the record in the run's directory cannot be written.
        """
        self._log(sheets, step, lambda one: self._wandb.Image(one[0], caption=one[1], file_type='jpg'))

    def _log(self, values: Mapping[str, Any], step: int, convert: Callable[[Any], Any]) -> None:
        new = {tag: value for tag, value in values.items() if not self._is_known(tag, step)}
        if not new or self._run is None:
            return
        row = max(step, self._record.row + 1)
        try:
            self._run.log({'step': step, **{tag: convert(value) for tag, value in new.items()}}, row, commit=True)
        except Exception as error:  # the package's own, or of the connection to its service
            self._give_up(
                f"has failed ({first_line(error)}); training goes on, and TensorBoard's curves and pictures are "
                f'complete'
            )
            return
        before = self._record.tags if self._record.step == step else ()
        self._save(dataclasses.replace(self._record, step=step, tags=(*before, *new), row=row))

    def _is_known(self, tag: str, step: int) -> bool:
        known = self._known
        return known is not None and (step < known.step or (step == known.step and tag in known.tags))

    def _give_up(self, why: str) -> None:
        self._run = None
        self._tell(f"Warning: Weights & Biases {why}; what it got until then is in '{self._path.parent / 'wandb'}'.")

    def go_back(self) -> None:
        """From now on, steps that were done before are done in another way: all of them are logged again."""
        self._known = None

    def close(self, status: int) -> None:
        """Ends the run there, when all is uploaded or after a while.

        Args:
            status: exit status of the program; 0 is shown as finished, others as failed.
        """
        try:
            if self._run is not None:
                self._run.finish(exit_code=status)
        except Exception as error:  # as in _log
            self._give_up(f'has not taken everything ({first_line(error)}); upload the rest with `wandb sync`')
        self._run = None
