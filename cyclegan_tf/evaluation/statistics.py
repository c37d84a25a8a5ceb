"""What FID and KID need to know of the real images, and its files, as clean-fid and pytorch-fid have them."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Optional

import numpy as np

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.evaluation import metrics
from cyclegan_tf.evaluation.features import Extractor
from cyclegan_tf.runtime.files import write_whole

_ABOUT = ('extractor', 'resizing')


@dataclasses.dataclass(frozen=True)
class Statistics:
    """The features of some images, or their mean and covariance, or all of that.

    Attributes:
        where: what names them in messages.
        features: float [n, d], or None.
        mean: float64 [d], or None where there are features.
        cov: float64 [d, d], divided by n - 1, or None where there are features.
    """

    where: str
    features: Optional[np.ndarray] = None
    mean: Optional[np.ndarray] = None
    cov: Optional[np.ndarray] = None

    def fid(self, vectors: np.ndarray) -> float:
        """metrics.fid of features [m, d] and these; raises UserError as that does."""
        if self.features is not None:
            return metrics.fid(vectors, self.features)
        return metrics.fid_to_gaussian(vectors, self.mean, self.cov)

    def kid(self, vectors: np.ndarray) -> metrics.Kid:
        """metrics.kid of features [m, d] and these.

        Raises:
            UserError: as metrics.kid does; or there are no features.
        """
        if self.features is None:
            raise UserError(
                f'{self.where} holds a mean and a covariance, which is enough for fid alone; set `metrics` to fid, or '
                f'save the statistics anew from images.'
            )
        return metrics.kid(vectors, self.features)

    def save(self, path: pathlib.Path, about: Mapping[str, str]) -> None:
        """Writes mu and sigma, as pytorch-fid and clean-fid read them, and feats, as clean-fid reads them for KID.

        Args:
            path: of the file, .npz.
            about: how the features were made; `load` compares it.

        Raises:
            OSError: it cannot be written.
        """
        features = np.asarray(self.features, np.float64)
        arrays = {'mu': features.mean(axis=0), 'sigma': np.cov(features, rowvar=False)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays, feats=features, **{name: np.asarray(about[name]) for name in _ABOUT})
        write_whole(path, buffer.getvalue())


def load_or_make(path: Optional[pathlib.Path], extractor: Extractor, make: Callable[[], np.ndarray]) -> Statistics:
    """Reads a file; or makes features, and the file.

    Args:
        path: of the file; None: no file.
        extractor: makes the features.
        make: returns features of real images, [n, d].

    Raises:
        UserError: the file cannot be read or written, see `load`; or there are no features, see `make`.
    """
    about = {'extractor': extractor.identity, 'resizing': extractor.resizing}
    if path is not None and path.exists():
        return load(path, about, extractor.dimensions)
    made = Statistics('the real images', make())
    if path is not None:
        try:
            made.save(path, about)
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise UserError(f"`statistics` ('{path}') cannot be written ({reason}); set it to another.") from error
    return made


def load(path: pathlib.Path, about: Mapping[str, str], dimensions: int) -> Statistics:
    """Reads a file of this program, of pytorch-fid (mu, sigma) or of clean-fid (mu, sigma; or feats, for KID).

    Args:
        path: of the file.
        about: how the features are made that will be compared; the files of other programs do not say it.
        dimensions: length of these features.

    Raises:
        UserError: it is no such file, or was made in another way.
    """
    where = f"`statistics` ('{os.fspath(path)}')"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f'{where} cannot be read ({first_line(error)}); set it to a file .npz of statistics, or to a new name.'
        ) from error
    features, mean, cov = (arrays.get(name) for name in ('feats', 'mu', 'sigma'))
    if features is None and (mean is None or cov is None):
        raise UserError(f'{where} holds neither mu and sigma nor feats; set it to a file of statistics.')
    for name in _ABOUT:
        if name in arrays and str(arrays[name]) != about[name]:
            raise UserError(
                f'{where} was made with the {name} {arrays[name]}, but this one is {about[name]}; set it to a new name.'
            )
    shapes = {'feats': (features, (None, dimensions)), 'mu': (mean, (dimensions,)), 'sigma': (cov, (dimensions,) * 2)}
    for name, (array, shape) in shapes.items():
        if array is None:
            continue
        if array.ndim != len(shape) or any(side not in (None, found) for side, found in zip(shape, array.shape)):
            raise UserError(
                f'{where} holds {name} of the shape {array.shape}, but features have {dimensions} dimensions; set it '
                f'to statistics of the same network.'
            )
        if array.dtype.kind not in 'fiu' or not np.isfinite(array).all():
            raise UserError(f'{where} holds {name} with values that are not finite numbers; set it to another file.')
    return Statistics(where, features, mean, cov)
