"""An exported model as what translates files: the part of a translator that these need."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.data import profiles
from cyclegan_tf.data.pictures import MAX_PIXELS, ReadOptions
from cyclegan_tf.errors import UserError, first_line


@dataclasses.dataclass(frozen=True)
class ExportedTranslation:
    """The one translation of an exported model.

    Attributes:
        name: of the model, such as 'horses_AtoB'.
        channels: of images and of results.
    """

    name: str
    channels: tuple[int, int]


class ExportedTranslator:
    """A SavedModel of cyclegan_tf.export, with the methods of translation.translator.Translator that are needed for
    images in levels of 8 or 16 bits. Images are not divided into tiles: the model itself limits their pixels.

    Args:
        folder: folder of the model's version.
        name: of the model.

    Raises:
        UserError: there is no such model, or it takes numbers of a range instead of levels.
    """

    def __init__(self, folder: pathlib.Path, name: str):
        try:
            self._model = tf.saved_model.load(str(folder))
        except (OSError, tf.errors.OpError, ValueError) as error:
            raise UserError(
                f"'{folder}' cannot be read as a SavedModel ({first_line(error)}); export it again."
            ) from error
        calls = self._model.signatures
        if 'translate_floats' not in calls:
            raise UserError(f"'{folder}' is no model of cyclegan_tf.export: it has no signature translate_floats.")
        if 'translate_values' in calls:
            raise UserError(f"'{folder}' takes numbers of a range of values, which pictures do not have.")
        self._call = calls['translate_floats']
        channels = [one.shape[-1] for one in (self._call.inputs[0], self._call.structured_outputs['images'])]
        self._translation = ExportedTranslation(name, tuple(channels))
        self.max_pixels = 2**62  # the model splits batches itself

    def read_options(self, color_profile: str, max_image_pixels: Optional[int]) -> ReadOptions:
        """How images are read for the model; see the flags of these names."""
        channels_in, channels_out = self._translation.channels
        kept_profile = profiles.kept(color_profile, [channels_out], None)
        return ReadOptions((channels_in,), max_pixels=max_image_pixels or MAX_PIXELS, kept_profile=kept_profile)

    def translation(self, direction: Optional[str] = None) -> ExportedTranslation:
        """The only one."""
        return self._translation

    def value_ranges(self, direction: str) -> tuple[None, None]:
        """Images and results are levels."""
        return None, None

    def translate_floats(self, images: np.ndarray, direction: str, names: Sequence[str] = ()) -> np.ndarray:
        """float32 [n, h, w, c] in [-1, 1] -> the same; sizes are kept.

        Raises:
            UserError: an image has too many pixels for the model.
        """
        try:
            return self._call(images=tf.constant(images))['images'].numpy()
        except tf.errors.InvalidArgumentError as error:
            said = re.search(r'assertion failed: \[(.*?)\]', error.message)  # a sentence of signatures.Servable
            raise UserError(said.group(1) if said else first_line(error)) from error


def find_exported(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The models in a folder, by name: the folder may be a version, a model with numbered versions, of which the
    highest is taken, or hold several models.

    Raises:
        UserError: it holds none.
    """
    own = _newest(folder)
    if own is not None:
        return {(folder.resolve().parent if own == folder else folder.resolve()).name: own}
    found = {path.name: _newest(path) for path in sorted(folder.glob('*')) if path.is_dir()}
    found = {name: path for name, path in found.items() if path is not None}
    if not found:
        raise UserError(f"`model_dir` ('{folder}') holds no SavedModel; set it to the output of cyclegan_tf.export.")
    return found


def _newest(folder: pathlib.Path) -> Optional[pathlib.Path]:
    """The folder itself if it is a version; else its highest version; None: it has none."""
    if (folder / 'saved_model.pb').is_file():
        return folder
    versions = [path for path in folder.glob('*/') if path.name.isdecimal() and (path / 'saved_model.pb').is_file()]
    return max(versions, key=lambda path: int(path.name), default=None)
