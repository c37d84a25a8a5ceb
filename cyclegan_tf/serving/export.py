"""Writes generators as SavedModels in numbered versions, or as files for other runtimes, atomically."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.files import unique_name, write_whole
from cyclegan_tf.serving import card, conversion, signatures, warmup
from cyclegan_tf.serving.card import Exported
from cyclegan_tf.settings.export import ExportConfig


def export(exported: Exported, settings: ExportConfig) -> None:
    """Writes one model for each direction.

    Raises:
        UserError: the version exists already, or the output cannot be written. In both cases, nothing is written.
    """
    paths = {name: pathlib.Path(settings.output) / f'{settings.name}_{name}' for name in exported.translations}
    try:
        (write_models if settings.format == 'saved_model' else write_files)(exported, paths, settings)
    except tf.errors.OpError as error:
        reason = ' '.join(error.message.split())
        raise UserError(f"`output` ('{settings.output}') cannot be written ({reason}); set it to another.") from error


def write_models(exported: Exported, models: dict[str, pathlib.Path], settings: ExportConfig) -> None:
    """Writes a version of each direction's SavedModel into its folder."""
    version = find_version(list(models.values()), settings.version)
    with contextlib.ExitStack() as stack:
        folders = {direction: stack.enter_context(unfinished(model, version)) for direction, model in models.items()}
        for direction, folder in progress_bar(folders.items(), 'Exporting', unit='models'):
            write_model(exported, direction, folder, models[direction].name, settings)
        for direction, folder in folders.items():
            publish(folder, models[direction] / str(version))
            print(models[direction] / str(version))


def write_files(exported: Exported, stems: dict[str, pathlib.Path], settings: ExportConfig) -> None:
    """Writes each direction's generator as one file for another runtime, atomically."""
    paths = {direction: stem.with_name(f'{stem.name}.{settings.format}') for direction, stem in stems.items()}
    for path in paths.values():
        if path.exists():
            raise UserError(f"'{path}' exists, and is never overwritten; set `output` to another directory.")
    for direction, path in progress_bar(paths.items(), 'Converting', unit='models'):
        translation = exported.translations[direction]
        network, channels = translation.network, translation.channels[0]
        if settings.format == 'tflite':
            data = conversion.to_tflite(network, channels, settings.image_size, settings.quantize)
        else:
            data = conversion.to_onnx(network, channels)
        write_whole(path, data)
        print(path)
        for what, value_range in zip(('input', 'output'), exported.value_ranges[direction]):
            if value_range is not None:
                print(f'Range of the {what} values, which are -1 and 1: {value_range[0]:g} to {value_range[1]:g}.')


def write_model(exported: Exported, direction: str, folder: pathlib.Path, name: str, settings: ExportConfig) -> None:
    """Writes the SavedModel of a direction with its warm-up requests and its card into a folder.

    Afterwards, the network has the precision of the settings.
    """
    translation = exported.translations[direction]
    network = translation.network
    if settings.precision != 'float32':
        signatures.lower_precision(network, settings.precision)
    ranges = exported.value_ranges[direction]
    stacked = exported.config.input_folders is not None
    servable = signatures.Servable(network, translation.channels[0], settings.max_pixels, ranges, stacked)
    calls = servable.signatures()
    tf.saved_model.save(servable, str(folder), signatures=calls)
    if settings.warmup:
        warmup.write(folder, name, calls, servable.input_channels, settings.max_pixels)
    (folder / 'MODEL.md').write_text(card.model_card(exported, direction, name, settings))


# -------------------------------------------------------------------------------------------------------------- folders
def find_version(models: list[pathlib.Path], asked: Optional[int]) -> int:
    """The version under which all models of an export are written.

    Args:
        models: their folders, which may not exist yet.
        asked: the requested version; None: one above all existing versions.

    Raises:
        UserError: the requested version exists.
    """
    if asked is None:
        taken = [
            int(path.name) for model in models if model.is_dir() for path in model.iterdir() if path.name.isdigit()
        ]
        return max(taken, default=0) + 1
    for model in models:
        _refuse_existing(model / str(asked))
    return asked


@contextlib.contextmanager
def unfinished(model: pathlib.Path, version: int) -> Iterator[pathlib.Path]:
    """A context with an empty folder to write a version in; the folder is deleted afterwards, if it is still there.

    It lies next to the model's folder, not inside it, where a server may be watching.
    """
    folder = model.parent / f'.{model.name}-{version}.{unique_name()}.part'
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: pathlib.Path, version: pathlib.Path) -> None:
    """Moves a finished folder to its place atomically.

    Raises:
        UserError: the version has been created in the meantime.
    """
    version.parent.mkdir(parents=True, exist_ok=True)
    _refuse_existing(version)
    os.rename(folder, version)  # fails if the folder has been created since the check, unless it is empty


def _refuse_existing(version: pathlib.Path) -> None:
    if version.exists():
        raise UserError(
            f"`version` ({version.name}) exists: '{version}' is never overwritten; set it to another, or leave it out "
            f'for the next number.'
        )
