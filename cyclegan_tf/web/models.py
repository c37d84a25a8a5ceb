"""The models that the page offers, runs or exported ones; each is loaded once and kept while it is used."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Optional, Union

from cyclegan_tf.data import profiles
from cyclegan_tf.data.pictures import ReadOptions
from cyclegan_tf.errors import UserError
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.serving import card
from cyclegan_tf.settings.app import AppConfig
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.settings.training import Config
from cyclegan_tf.translation import files
from cyclegan_tf.translation.exported import ExportedTranslator, find_exported
from cyclegan_tf.translation.output import Output
from cyclegan_tf.translation.translator import Translator

_KINDS = ('latest', 'best', 'epochs')  # folders of checkpoints
_NOT_SHOWN = {'name', 'model', 'checkpoints_dir', 'continue_train'}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        translator: translates with it.
        lock: to be held while it translates: tiles share statistics that are stored in the model.
        options: how images are read for a direction.
        output: how a direction's results are stored.
        result_options: how these are read again.
    """

    translator: Union[Translator, ExportedTranslator]
    lock: threading.Lock
    options: Callable[[str], ReadOptions]
    output: Callable[[str], Output]
    result_options: Callable[[str], ReadOptions]

    def out_of_memory_named(self) -> contextlib.AbstractContextManager:
        """A context in which running out of memory becomes a UserError; an exported model has its own limit."""
        named = getattr(self.translator, 'out_of_memory_named', contextlib.nullcontext)
        return named()


class Runs:
    """The runs of a folder.

    Raises:
        UserError: the folder has no run with a checkpoint, or not the one that is asked for.
    """

    def __init__(self, settings: AppConfig):
        self._settings, self._folder = settings, pathlib.Path(settings.checkpoints_dir)
        self._kept = _Kept(settings.kept_models)
        if not self.names:
            raise UserError(
                f"`checkpoints_dir` ('{self._folder}') holds no run with a checkpoint; train one, or set it to another "
                f'folder.'
            )
        if settings.name and settings.name not in self.names:
            raise UserError(
                f"`name` ('{settings.name}') is no run with a checkpoint in '{self._folder}', which has: "
                f'{", ".join(self.names)}; set it to one of them.'
            )

    @property
    def names(self) -> list[str]:
        """The runs that have a checkpoint."""
        found = sorted(path.parent for path in self._folder.glob('*/flags.cfg'))
        return [path.name for path in found if any((path / kind / 'checkpoint').is_file() for kind in _KINDS)]

    def config(self, name: str) -> Config:
        """A run's settings."""
        return load_config(self._folder / name)

    def directions(self, name: str) -> Sequence[str]:
        """What the run translates; one with imported weights may lack a direction, which is then refused when it is
        used."""
        return list(self.config(name).translating_networks)

    def checkpoints(self, name: str) -> list[str]:
        """What can be chosen as a checkpoint: 'latest', 'best' and numbers of epochs."""
        found = checkpoints.scan(self._folder / name)[0]
        epochs = sorted({one.epoch for one in found if one.epoch is not None and not one.is_best}, reverse=True)
        return ['latest', *(['best'] if any(one.is_best for one in found) else []), *map(str, epochs)]

    def weights(self, name: str) -> Sequence[str]:
        """Which weights can be chosen."""
        return ('average', 'last') if self.config(name).ema_decay else ('average',)

    def load(self, name: str, epoch: str, weights: str) -> Loaded:
        """A run with the weights of a checkpoint.

        Raises:
            UserError: it cannot be loaded.
        """
        settings, config = self._settings, self.config(name)
        checkpoint = checkpoints.find(self._folder / name, epoch)

        def load():
            if len(config.input_parts) > 1:
                raise UserError(
                    'This run stacks the images of several folders; translate them with cyclegan_tf.translate.'
                )
            translator = Translator.from_checkpoint(
                config, checkpoint, settings.max_pixels, settings.precision, weights=weights
            )
            return Loaded(
                translator,
                threading.Lock(),
                lambda direction: files.read_options(settings, translator, [direction]),
                lambda direction: Output(value_range=translator.value_ranges(direction)[1]),
                lambda direction: result_options(
                    translator.translation(direction).channels[1], translator.value_ranges(direction)[1]
                ),
            )

        # A run may be made anew under its name, and end at the same step.
        written = os.stat(f'{checkpoint.prefix}.index').st_mtime_ns
        return self._kept.get((name, checkpoint.prefix, written, weights), load)

    def about(self, name: str, epoch: str, direction: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """What is known about a model: its measures, and its settings that are not defaults, each with its value."""
        config, checkpoint = self.config(name), checkpoints.find(self._folder / name, epoch)
        found = card.measures(pathlib.Path(self._settings.results_dir) / name, checkpoint.step, direction)
        changed = [
            (field.name, str(getattr(config, field.name)))
            for field in dataclasses.fields(config)
            if getattr(config, field.name) != field.default and field.name not in _NOT_SHOWN
        ]
        return (
            [(what, f'{value:.4g}') for what, value, _ in found],
            [('step', f'{checkpoint.step:,}'), ('model', config.model), *changed],
        )


class Exported:
    """Exported models; raises UserError if there are none in settings.model_dir."""

    def __init__(self, settings: AppConfig):
        self._settings, self._folders = settings, find_exported(pathlib.Path(settings.model_dir))
        self._kept = _Kept(settings.kept_models)

    @property
    def names(self) -> list[str]:
        """The models."""
        return list(self._folders)

    def config(self, name: str) -> Optional[Config]:
        """Not known."""
        return None

    def directions(self, name: str) -> Sequence[str]:
        """A model has one, which its name says."""
        return (name,)

    def checkpoints(self, name: str) -> list[str]:
        """The version that is used."""
        return [self._folders[name].name]

    def weights(self, name: str) -> Sequence[str]:
        """There is no choice."""
        return ('average',)

    def load(self, name: str, epoch: str, weights: str) -> Loaded:
        """A model; raises UserError if it cannot be loaded."""

        def load():
            translator = ExportedTranslator(self._folders[name], name)
            options = translator.read_options(self._settings.color_profile, self._settings.max_image_pixels)
            of_result = result_options(translator.translation().channels[1], None)
            return Loaded(
                translator, threading.Lock(), lambda _: options, lambda _: Output('auto', 'png'), lambda _: of_result
            )

        return self._kept.get((name, os.stat(self._folders[name] / 'saved_model.pb').st_mtime_ns), load)

    def about(self, name: str, epoch: str, direction: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Its folder; what else is known is in its model card."""
        return [], [('folder', str(self._folders[name])), ('version', epoch)]


def result_options(channels: int, value_range: Optional[tuple[float, float]]) -> ReadOptions:
    """How a result is read to be shown: with the profile that it was stored with, as browsers apply it."""
    return ReadOptions((channels,), value_range, kept_profile=profiles.of_channels(channels) or None)


class _Kept:
    """Keeps the models that were used last."""

    def __init__(self, number: int):
        self._number, self._lock = number, threading.Lock()
        self._models: collections.OrderedDict = collections.OrderedDict()

    def get(self, key, load: Callable[[], Loaded]) -> Loaded:
        """The model of a key, loaded if it is not there; two users at once do not load it twice."""
        with self._lock:
            if key not in self._models:
                while len(self._models) >= self._number:  # before the next one is loaded, which needs the memory
                    self._models.popitem(last=False)
                self._models[key] = load()
            self._models.move_to_end(key)
            return self._models[key]
