"""The mean and the covariance of features as sums that combine, in any order and grouping."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Of some rows of features.

    Why a root and no covariance: FID needs roots, and of a covariance they are only known to half the digits, in which
    the distance of nearly equal sets would drown (see metrics.frechet_distance).

    Attributes:
        count: number of rows.
        mean: float64 [d].
        root: float64 [any, d], at most d rows; root' root is the sum of the squares and products of the deviations from
            the mean.
    """

    count: int
    mean: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Those of features [n, d]; n can be 0."""
        features = np.asarray(features, np.float64)
        mean = features.mean(axis=0) if len(features) else np.zeros(features.shape[1])
        return cls(len(features), mean, _short(features - mean))

    def __add__(self, other: Moments) -> Moments:
        """Those of both: Chan, Golub, LeVeque: "Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances", 1979."""
        if not self.count or not other.count:
            return other if other.count else self
        count, difference = self.count + other.count, other.mean - self.mean
        # The formula adds difference difference' n m / (n + m) to both sums of products. Products of roots that stand
        # one below the other add up likewise.
        between = difference * np.sqrt(self.count * other.count / count)
        root = _short(np.concatenate([self.root, other.root, between[None]]))
        return Moments(count, self.mean + difference * (other.count / count), root)

    @property
    def root_of_covariance(self) -> np.ndarray:
        """[any, d], for metrics.frechet_of_roots; of two rows or more."""
        return self.root / np.sqrt(self.count - 1)


def total(moments: Iterable[Moments]) -> Moments:
    """The sum of at least one."""
    return functools.reduce(Moments.__add__, moments)


def save(file: Any, moments: Moments) -> None:
    """Writes them as .npz to a binary file."""
    np.savez(file, **{field.name: getattr(moments, field.name) for field in dataclasses.fields(moments)})


def load(path: Any) -> Moments:
    """Reads what `save` has written."""
    with np.load(path) as file:
        return Moments(int(file['count']), file['mean'], file['root'])


def _short(root: np.ndarray) -> np.ndarray:
    """[n, d] -> [min(n, d), d], of the same product with its transpose."""
    return root if len(root) <= root.shape[1] else np.linalg.qr(root, mode='r')
