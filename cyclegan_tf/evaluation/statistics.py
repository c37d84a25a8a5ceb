"""What FID and KID need to know of the real images, and its files, as clean-fid and pytorch-fid have them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.evaluation import metrics
from cyclegan_tf.evaluation.features import Extractor, about_features
from cyclegan_tf.runtime.files import make_folder, write_whole

_ABOUT = 'about'  # in files of this program: how and of which images it was made, in JSON
_PLACES = ('extractor', 'sha256')  # what about_features says that is told by the network's identity

# Files of chance bytes make NumPy and zipfile raise these.
_DAMAGED = (OSError, ValueError, TypeError, EOFError, AttributeError, LookupError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Statistics:
    """The features of some images, or their mean and covariance.

    Attributes:
        where: what names them in messages.
        features: float [n, d], or None.
        mean, root: float [d] and [d, d], the root of the covariance (see metrics.covariance_root), where there are no
            features.
    """

    where: str
    features: Optional[np.ndarray] = None
    mean: Optional[np.ndarray] = None
    root: Optional[np.ndarray] = None

    def require(self, measures: Collection[str]) -> None:
        """Raises UserError if one of kid and fid cannot be computed with these."""
        if self.features is None and 'kid' in measures:
            raise UserError(
                f'{self.where} holds a mean and a covariance, which is enough for fid alone; set `metrics` to fid, or '
                f'save the statistics anew from images.'
            )

    def fid(self, vectors: np.ndarray) -> float:
        """metrics.fid of features [m, d] and these; raises UserError as that does."""
        if self.features is not None:
            return metrics.fid(vectors, self.features)
        return metrics.fid_to_gaussian(vectors, self.mean, self.root)

    def kid(self, vectors: np.ndarray) -> metrics.Kid:
        """metrics.kid of features [m, d] and these; raises UserError as that does, and as `require`."""
        self.require(['kid'])
        return metrics.kid(vectors, self.features)


@dataclasses.dataclass(frozen=True)
class File:
    """A file of statistics, which may have to be made.

    Attributes:
        path: of the file.
        extractor: makes the features.
        images: describes the real images that it has to be of, see `describe`; None: any.
    """

    path: pathlib.Path
    extractor: Extractor
    images: Optional[Mapping[str, Any]]

    @property
    def where(self) -> str:
        """What names it in messages."""
        return f"`statistics` ('{self.path}')"

    def prepare(self, measures: Collection[str]) -> Optional[Statistics]:
        """Reads the file, or makes its folder if there is no file; before anything is computed.

        Args:
            measures: which of kid and fid will be asked for.

        Raises:
            UserError: it cannot be read or made, or was made in another way or of other images.
        """
        if not self.path.exists():
            make_folder('statistics', str(self.path), self.path.parent)
            return None
        statistics = self.load()
        statistics.require(measures)
        print(f"Features of real images: those in '{self.path}'.", flush=True)
        return statistics

    def save(self, features: np.ndarray) -> Statistics:
        """Writes mu and sigma, as pytorch-fid and clean-fid read them, and feats, as clean-fid reads them for KID.

        Args:
            features: of the real images, [n, d].

        Raises:
            UserError: it cannot be written.
        """
        wide = np.asarray(features, np.float64)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            mu=wide.mean(axis=0),
            sigma=np.cov(wide, rowvar=False),
            feats=features,
            about=np.asarray(json.dumps({**self._how(), 'images': self.images})),
        )
        try:
            write_whole(self.path, buffer.getvalue())
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise UserError(f'{self.where} cannot be written ({reason}); set it to another.') from error
        return Statistics(self.where, features)

    def load(self) -> Statistics:
        """Reads a file of this program, of pytorch-fid (mu, sigma) or of clean-fid (mu, sigma; or feats, for KID); the
        other programs' do not say how they were made.

        Raises:
            UserError: it is no such file, or was made in another way or of other images.
        """
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name]) for name in file.files}
            about = json.loads(str(arrays[_ABOUT])) if _ABOUT in arrays else {}
            about.keys()
        except _DAMAGED as error:
            raise UserError(
                f'{self.where} cannot be read ({first_line(error)}); set it to a file .npz of statistics, or to a new '
                f'name.'
            ) from error
        features, mean, cov = (arrays.get(name) for name in ('feats', 'mu', 'sigma'))
        if features is None and (mean is None or cov is None):
            raise UserError(f'{self.where} holds neither mu and sigma nor feats; set it to a file of statistics.')
        self._check_origin(about)
        d = self.extractor.dimensions
        for name, array, shape in (('feats', features, (None, d)), ('mu', mean, (d,)), ('sigma', cov, (d, d))):
            if array is None:
                continue
            if array.ndim != len(shape) or any(side not in (None, found) for side, found in zip(shape, array.shape)):
                raise UserError(
                    f'{self.where} holds {name} of the shape {array.shape}, but features have {d} dimensions; set it '
                    f'to statistics of the same network.'
                )
            if array.dtype.kind not in 'fiu' or not np.isfinite(array).all():
                raise UserError(
                    f'{self.where} holds {name} with values that are not finite numbers; set it to another file.'
                )
        if features is not None and len(features) < 2:
            raise UserError(f'{self.where} holds the features of {len(features)} image(s), which are too few; set it '
                            f'to another file.')  # fmt: skip
        if features is not None:
            return Statistics(self.where, features)
        return Statistics(self.where, mean=mean, root=metrics.covariance_root(f'{self.where}, sigma', cov))

    def _how(self) -> dict[str, Any]:
        """How the features are made, as JSON gives it back."""
        about = {name: value for name, value in about_features(self.extractor).items() if name not in _PLACES}
        return json.loads(json.dumps({'extractor': self.extractor.identity, **about}))

    def _check_origin(self, about: Mapping[str, Any]) -> None:
        for name, value in self._how().items():
            if name in about and about[name] != value:
                raise UserError(
                    f'{self.where} was made with the {name} {about[name]}, but this one is {value}; set it to a new '
                    f'name.'
                )
        of_file = about.get('images')
        if self.images is not None and of_file is not None:
            for name, value in json.loads(json.dumps(self.images)).items():
                if of_file.get(name) != value:
                    raise UserError(
                        f'{self.where} was made of other images ({name} {of_file.get(name)} instead of {value}); set '
                        f'it to a new name.'
                    )


def describe(names: Sequence[str], **others: Any) -> dict[str, Any]:
    """Describes images for File.

    Args:
        names: of the images.
        others: what else tells them from others.
    """
    digest = hashlib.sha256('\0'.join(names).encode(errors='surrogateescape')).hexdigest()
    return {'number': len(names), **others, 'names': digest[:12]}


def load_or_make(file: Optional[File], loaded: Optional[Statistics], make: Callable[[], np.ndarray]) -> Statistics:
    """What was loaded; or features, which are made and saved.

    Args:
        file: the file; None: nothing is saved.
        loaded: what its `prepare` returned.
        make: returns features of real images, [n, d].

    Raises:
        UserError: there are no features, see `make`; or the file cannot be written.
    """
    if loaded is not None:
        return loaded
    return Statistics('the real images', make()) if file is None else file.save(make())
