"""Saves and restores a run's complete state: one tf.train.Checkpoint, what to keep, what to delete."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Optional

import tensorflow as tf
from google.protobuf import text_format

from cyclegan_tf.errors import UserError
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.runs.checkpoints import CheckpointInfo, Damaged, choose, refusal, scan, verify
from cyclegan_tf.runtime.files import sync, whole_file, write_json

_MEASURED = '.measured'  # after a checkpoint's prefix: a file that says how good it was found
_KEPT_LATEST = 2  # in latest/: the newest, and one to go back to if it is damaged


@dataclasses.dataclass(frozen=True)
class Restored:
    """What came of restoring.

    Attributes:
        found: what was restored.
        deleted: checkpoints of later steps.
        damaged: checkpoints that are no more listed.
    """

    found: CheckpointInfo
    deleted: list[CheckpointInfo]
    damaged: list[Damaged]


class Checkpoints:
    """Saves and restores a run's complete state.

    Three folders in the run's directory: latest/ holds the newest state and the one before, epochs/ those at the ends
    of epochs, best/ the one that was measured to be the best.

    Args:
        run_directory: of the run.
        model: its networks, optimizers, pools, schedule and step.
        progress: the running means.
        keep: checkpoints of epochs that are kept; 0 keeps all.
        writes: saving saves, and restoring deletes; False for all workers but one, which do neither.
    """

    def __init__(
        self, run_directory: pathlib.Path, model: BaseModel, progress: tf.Module, keep: int, writes: bool = True
    ):
        self._run_directory, self._model, self._writes = run_directory, model, writes
        self._checkpoint = tf.train.Checkpoint(model=model, progress=progress)
        self._keep = keep
        self._open_managers()

    def _open_managers(self) -> None:
        """Takes over the lists of checkpoints that are on disk."""
        # A manager writes all files under another name first and lists the checkpoint last: a kill at any moment leaves
        # a complete one listed. It deletes none (max_to_keep): _save does, when the new list is on the disk itself.
        self._latest, self._epochs, self._best = (
            tf.train.CheckpointManager(
                self._checkpoint, str(self._run_directory / folder), max_to_keep=None, checkpoint_name=name
            )
            for folder, name in (('latest', 'step'), ('epochs', 'epoch'), ('best', 'epoch'))
        )

    def _save(self, manager: tf.train.CheckpointManager, number: int, keep: int) -> None:
        """Saves, and then deletes all but the newest `keep` (0: none is deleted), each step on disk before the next.

        Raises:
            OSError: there is no room, or no permission; what was there before stays.
        """
        if not self._writes:
            return
        # What is called here comes before the manager's own entry into its list.
        options = tf.train.CheckpointOptions(experimental_write_callbacks=[_sync_files])
        try:
            prefix = manager.save(checkpoint_number=number, options=options)
        except tf.errors.OpError as error:
            raise OSError(error.message.splitlines()[0].rpartition('}} ')[2]) from error
        sync([pathlib.Path(manager.directory) / 'checkpoint', pathlib.Path(manager.directory)])
        old = set(manager.checkpoints[:-keep]) if keep else set()
        assert prefix not in old
        self._forget(manager, old)
        if old:
            self._open_managers()  # or they would list again what is gone

    def save_latest(self, step: int) -> None:
        """Saves the state after `step` steps."""
        self._save(self._latest, step, _KEPT_LATEST)

    def save_epoch(self, epoch: int) -> None:
        """Saves the state at the end of `epoch`."""
        self._save(self._epochs, epoch, self._keep)

    def save_best(self, epoch: int, measured: Mapping[str, Any]) -> None:
        """Saves the state at the end of `epoch` in the place of what was the best, with what was measured, as JSON."""
        if not self._writes:
            return
        folder = self._run_directory / 'best'
        folder.mkdir(exist_ok=True)
        # Before the checkpoint, without which it says nothing: a kill in between leaves the old one with its own.
        write_json(folder / f'epoch-{epoch}{_MEASURED}', measured)
        self._save(self._best, epoch, 1)
        for path in folder.glob(f'*{_MEASURED}'):
            if path.stem != f'epoch-{epoch}':
                path.unlink()

    def has_epoch(self, epoch: int) -> bool:
        """Whether the state at the end of `epoch` is kept as an epoch's."""
        return _holds(self._epochs, epoch)

    def has_latest(self, step: int) -> bool:
        """Whether the state after `step` steps is kept as one of the latest."""
        return _holds(self._latest, step)

    def newest(self) -> Optional[CheckpointInfo]:
        """The newest that can be restored; None if there is none."""
        return next(iter(reversed(scan(self._run_directory)[0])), None)

    def best(self) -> Optional[dict[str, Any]]:
        """What was measured of the best so far; None if there is no best, or nothing is known of it."""
        path = pathlib.Path((self._best.latest_checkpoint or '') + _MEASURED)
        return json.loads(path.read_text()) if self._best.latest_checkpoint and path.is_file() else None

    def restore(self, epoch: str, when_read: Callable[[], object] = lambda: None, finite: bool = False) -> Restored:
        """Restores 'latest', 'best' or the end of an epoch, and deletes what was saved after it.

        Where the latest checkpoints are damaged, the newest good one is restored; their files stay, but are no more
        listed.

        Args:
            epoch: which.
            when_read: is called with the state in place, before anything is deleted: it comes back when all workers
                have read it, so that none still looks at what goes, or raises where this state is of no use.
            finite: pass over those of which a weight is not.

        Raises:
            UserError: there is no such checkpoint, it is damaged, or its state does not fit the model.
        """
        there, damaged = scan(self._run_directory)
        found = list(there)
        while True:
            if not found and damaged:
                raise UserError(f'{damaged[-1]}, and so is every other of the run; restore one, or train anew.')
            wanted = choose(self._run_directory, found, epoch)
            found.remove(wanted)
            wrong = verify(wanted)
            if wrong is None:
                self._read(wanted)
                if not finite or _is_finite(self._model):
                    break
            elif epoch != 'latest':
                raise refusal(wrong)
            else:
                damaged.append(wrong)
                there.remove(wanted)
        later = [one for one in there if one.step > wanted.step]
        when_read()
        if not self._writes:
            return Restored(wanted, later, damaged)
        for manager in (self._latest, self._epochs, self._best):
            # Without that, 'latest' would name the abandoned future, and saving over it would put good files at risk.
            self._forget(manager, {one.prefix for one in later})
            self._forget(manager, {one.prefix for one in damaged}, delete=False)
        self._open_managers()  # or they would list again what is gone
        return Restored(wanted, later, damaged)

    def _read(self, checkpoint: CheckpointInfo) -> None:
        try:
            self._checkpoint.restore(checkpoint.prefix).assert_consumed()
        except (tf.errors.OpError, ValueError, AssertionError) as error:
            raise UserError(
                f"checkpoint '{checkpoint.prefix}' is not of the state that this version of cyclegan_tf trains; train "
                f'on with the version that saved it, or start another run. Translating, evaluating and exporting need '
                f'its networks only.'
            ) from error

    def tidy(self) -> None:
        """Deletes what a kill or a full disk left of checkpoints that were being written."""
        for folder in ('latest', 'epochs', 'best'):
            for path in (self._run_directory / folder).glob('*_temp'):
                shutil.rmtree(path)
            for pattern in ('*.tempstate*', 'checkpoint.tmp*'):
                for path in (self._run_directory / folder).glob(pattern):
                    path.unlink()

    @staticmethod
    def _forget(manager: tf.train.CheckpointManager, prefixes: set[str], delete: bool = True) -> None:
        """Takes checkpoints out of a manager's list on disk, which it has to read anew then."""
        kept = [prefix for prefix in manager.checkpoints if prefix not in prefixes]
        dropped = [prefix for prefix in manager.checkpoints if prefix in prefixes]
        if not dropped:
            return
        folder = pathlib.Path(manager.directory)
        state = tf.train.get_checkpoint_state(manager.directory)
        times = dict(zip(state.all_model_checkpoint_paths, state.all_model_checkpoint_timestamps))
        # The list first, then the files: a kill in between leaves files that nobody lists.
        if kept:
            # Names alone, as TensorFlow writes them, so that a run can be moved.
            state.model_checkpoint_path = pathlib.Path(kept[-1]).name
            state.all_model_checkpoint_paths[:] = [pathlib.Path(prefix).name for prefix in kept]
            state.all_model_checkpoint_timestamps[:] = [times[prefix] for prefix in kept]
            with whole_file(folder / 'checkpoint') as partial:
                partial.write_text(text_format.MessageToString(state))
                sync([partial])
        else:
            (folder / 'checkpoint').unlink()  # TensorFlow takes an empty list for a damage
        sync([folder])
        for prefix in dropped if delete else ():
            for path in folder.glob(pathlib.Path(prefix).name + '.*'):
                path.unlink()


def _holds(manager: tf.train.CheckpointManager, number: int) -> bool:
    return any(prefix.rsplit('-', 1)[1] == str(number) for prefix in manager.checkpoints)


def _is_finite(model: BaseModel) -> bool:
    return all(
        bool(tf.reduce_all(tf.math.is_finite(variable)))
        for network in model.networks().values()
        for variable in network.variables
    )


def _sync_files(prefix: str) -> None:
    folder = pathlib.Path(prefix).parent
    sync([*folder.glob(pathlib.Path(prefix).name + '.*'), folder])
