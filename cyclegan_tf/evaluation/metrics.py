"""Measures that compare images, PSNR, SSIM and edge strength, or sets of features, FID and KID."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

import numpy as np

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.training import MEASURES_OF_PAIRS

# Wang, Bovik, Sheikh, Simoncelli: "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004.
_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03

_STRIP = 64  # rows of an image in memory at a time; strips that fit into the processor's cache take half the time
_ROWS = 512  # rows of a kernel matrix in memory at a time
_NEGATIVE = 1e-6  # eigenvalues of a covariance stored in float32 can be this far below zero, relative to the largest


# ---------------------------------------------------------------------------------------------------- comparing images
def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two images.

    Args:
        a, b: uint8 or uint16 [h, w, c], of the same shape and dtype.

    Returns:
        Decibels, 10 log10(peak^2 / mean squared error), peak 255 or 65535; infinite for equal images.

    Raises:
        UserError: the images differ in shape or dtype, or are of another rank or dtype.
    """
    peak = _peak(a, b)
    error = np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))
    return float('inf') if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean structural similarity of two images: Wang et al. 2004, in float64.

    The mean over channels and all positions where a Gaussian window of 11x11 with sigma 1.5 lies within the image;
    K1 = 0.01, K2 = 0.03. tf.image.ssim computes the same formula in float32, where the variances suffer from
    cancellation: it is 3e-4 off on a nearly white image.

    Args:
        a, b: uint8 or uint16 [h, w, c], of the same shape and dtype, at least 11x11.

    Returns:
        In [-1, 1]; 1 for equal images.

    Raises:
        UserError: the images differ in shape or dtype, are of another rank or dtype, or smaller than the window: with
            a smaller window the figure could not be compared with others.
    """
    peak = _peak(a, b)
    height, width, channels = a.shape
    if min(height, width) < _WINDOW:
        raise UserError(
            f'`a` ({width}x{height}) is smaller than the window of SSIM, {_WINDOW}x{_WINDOW}; leave SSIM out or '
            'enlarge the images.'
        )
    rows, total = height - _WINDOW + 1, 0.0
    for channel in range(channels):
        for top in range(0, rows, _STRIP):
            strip = slice(top, top + _STRIP + _WINDOW - 1)
            x, y = (image[strip, :, channel].astype(np.float64) for image in (a, b))
            total += _similarity(x, y, peak).sum()
    return float(total / (rows * (width - _WINDOW + 1) * channels))


def _similarity(x: np.ndarray, y: np.ndarray, peak: int) -> np.ndarray:
    """SSIM at every position of the window: float64 [h, w] twice -> [h-10, w-10]."""
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    variances = _blur(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def _blur(x: np.ndarray) -> np.ndarray:
    """The Gaussian window's weighted mean, along one axis after another: [h, w] -> [h-10, w-10]."""
    weights = np.exp(-0.5 * np.square((np.arange(_WINDOW) - _WINDOW // 2) / _SIGMA))
    weights /= weights.sum()
    height, width = (side - _WINDOW + 1 for side in x.shape)
    x = sum(weight * x[i : i + height] for i, weight in enumerate(weights))  # [h-10, w]
    return sum(weight * x[:, i : i + width] for i, weight in enumerate(weights))  # [h-10, w-10]


def edges(image: np.ndarray) -> float:
    """Edge strength of an image: the mean over pixels of the magnitude of the luminance's gradient, in float64.

    The gradient consists of the differences to the neighbour below and to the one on the right; the last row and the
    last column, which lack one, do not count. Luminance is 0.2126 R + 0.7152 G + 0.0722 B of the levels, and the mean
    over channels unless there are three. PairMeasures divides the figure of a translation by that of its true
    counterpart: below 1 it has less contrast or is blurred, above 1 it has more, or noise, or patterns.

    Args:
        image: uint8 or uint16 [h, w, c], at least 2x2.

    Returns:
        Levels, in [0, sqrt(2) peak], peak 255 or 65535; 0 for an image of one colour.

    Raises:
        UserError: the image is of another rank or dtype, or smaller than 2x2.
    """
    # Imported here, since TensorFlow comes with it, which who combines what others have measured does not need.
    from cyclegan_tf.data.channels import REC_709

    _peak(image, image)
    height, width, channels = image.shape
    if min(height, width) < 2:
        raise UserError(f'`image` ({width}x{height}) is smaller than 2x2 and has no edges; enlarge it.')
    weights, total = REC_709 if channels == 3 else [1 / channels] * channels, 0.0
    for top in range(0, height - 1, _STRIP):
        strip = image[top : top + _STRIP + 1]
        # Channel by channel: equal pixels then have equal luminance, which a matrix product does not promise.
        light = sum(weight * strip[..., i].astype(np.float64) for i, weight in enumerate(weights))
        corner = light[:-1, :-1]
        total += np.sqrt(np.square(light[1:, :-1] - corner) + np.square(light[:-1, 1:] - corner)).sum()
    return float(total / ((height - 1) * (width - 1)))


def _peak(a: np.ndarray, b: np.ndarray) -> int:
    """The largest possible value of two images; raises UserError if they cannot be compared."""
    if a.shape != b.shape:
        raise UserError(f'`a` {a.shape} and `b` {b.shape} differ in shape; resize one.')
    if a.dtype != b.dtype or a.dtype not in (np.uint8, np.uint16):
        raise UserError(f'`a` and `b` are {a.dtype} and {b.dtype}; give both as uint8 or both as uint16.')
    if a.ndim != 3 or not a.size:
        raise UserError(f'`a` has the shape {a.shape}; give an image as [height, width, channels].')
    return int(np.iinfo(a.dtype).max)


def _both_edges(picture: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    return edges(picture), edges(truth)


_OF_PAIRS = {'psnr': psnr, 'ssim': ssim, 'edges': _both_edges}


class PairMeasures:
    """Measures of pairs, each a translation and its true counterpart, which are added one after another.

    Args:
        measures: names among psnr, ssim and edges.
        small_without_ssim: leave SSIM out for images smaller than its window, instead of raising UserError.

    Attributes:
        measures: the same names.
    """

    def __init__(self, measures: Sequence[str] = MEASURES_OF_PAIRS, small_without_ssim: bool = False):
        self.measures, self._small_without_ssim = measures, small_without_ssim
        self._values: dict[str, list] = {name: [] for name in measures}
        self._pairs = 0

    def __len__(self) -> int:
        return self._pairs

    def add(self, picture: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Measures a pair: uint8 or uint16 [h, w, c] twice, of the same shape and dtype.

        Returns:
            Those of the measures that apply. psnr, in dB, and ssim: see the functions. edges: the edge strength of the
            picture divided by that of the truth.

        Raises:
            UserError: the images cannot be compared.
        """
        self._pairs += 1
        result = {}
        for name in self.measures:
            if name == 'ssim' and self._small_without_ssim and min(picture.shape[:2]) < _WINDOW:
                continue
            value = _OF_PAIRS[name](picture, truth)
            self._values[name].append(value)
            result[name] = _ratio(*value) if name == 'edges' else value
        return result

    def summary(self) -> dict[str, float]:
        """Of the measures that any pair has: the mean over pairs; edges: the ratio of both means."""
        means = {name: np.mean(values, axis=0) for name, values in self._values.items() if values}
        return {name: _ratio(*mean) if name == 'edges' else float(mean) for name, mean in means.items()}


def _ratio(strength: float, expected: float) -> float:
    """1 for equal ones, also if neither image has edges; infinite if only the truth has none."""
    if strength == expected:
        return 1.0
    return float(strength / expected) if expected else float('inf')


# --------------------------------------------------------------------------------------------------- Fréchet distance
def fid(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features: Heusel et al. 2017.

    Called FID if the features are Inception's. The estimate is biased upwards, and the more so the fewer images there
    are: compare only figures for equal numbers of images, or use `kid`.

    Args:
        a, b: features [n, d] and [m, d], at least two rows each, possibly fewer than dimensions.

    Returns:
        |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), covariances divided by n - 1; at least 0.

    Raises:
        UserError: fewer than two rows, different numbers of dimensions, values that are not finite.
    """
    a, b = _matrices(a, b)
    return frechet_of_roots(a.mean(axis=0), _root_of_samples(a), b.mean(axis=0), _root_of_samples(b))


def fid_to_gaussian(a: np.ndarray, mean_b: np.ndarray, root_b: np.ndarray) -> float:
    """`fid` of features and a Gaussian, for stored statistics of one set.

    Args:
        a: features [n, d], at least two rows.
        mean_b: [d].
        root_b: of its covariance, from `covariance_root`.

    Raises:
        UserError: shapes that do not fit, values that are not finite.
    """
    mean_b = _finite_vector('mean_b', mean_b)
    a, _ = _matrices(a, np.stack([mean_b, mean_b]))
    return frechet_of_roots(a.mean(axis=0), _root_of_samples(a), mean_b, root_b)


def covariance_root(name: str, cov: np.ndarray) -> np.ndarray:
    """A matrix whose product with its transpose, root' root, is a covariance: [d, d] -> [d, d].

    Args:
        name: what names the matrix in messages.
        cov: symmetric, positive semi-definite.

    Raises:
        UserError: it is not a covariance.
    """
    return _root_of_covariance(name, cov, len(cov))


def frechet_distance(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """`fid` of two Gaussians by their parameters, for stored statistics.

    If features are available, `fid` is more exact. With fewer images than dimensions, this function takes the roots of
    eigenvalues that are zero except for rounding, which costs about 1e-7 of the traces.

    Args:
        mean_a, mean_b: [d].
        cov_a, cov_b: [d, d], symmetric, positive semi-definite.

    Raises:
        UserError: shapes that do not fit, values that are not finite, a matrix that is not a covariance.
    """
    (mean_a, root_a), (mean_b, root_b) = (
        (_finite_vector(f'mean_{name}', mean), _root_of_covariance(f'cov_{name}', cov, len(mean)))
        for name, mean, cov in (('a', mean_a, cov_a), ('b', mean_b, cov_b))
    )
    if len(mean_a) != len(mean_b):
        raise UserError(
            f'`mean_a` has {len(mean_a)} dimensions and `mean_b` {len(mean_b)}; take both from one feature extractor.'
        )
    return frechet_of_roots(mean_a, root_a, mean_b, root_b)


def frechet_of_roots(mean_a: np.ndarray, root_a: np.ndarray, mean_b: np.ndarray, root_b: np.ndarray) -> float:
    """`fid` of two Gaussians by their means [d] and roots [any, d] of their covariances, root' root, as exact as `fid`.

    The eigenvalues of cov_a cov_b are the squares of the singular values of root_a root_b'. With singular values,
    nothing is squared before it is rounded. The square roots of eigenvalues that should be zero would be 1e-8 of the
    largest one, not 1e-16, and there can be thousands of them.
    """
    trace_of_root = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = np.square(mean_a - mean_b).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2 * trace_of_root
    return max(float(distance), 0.0)  # rounding can make the distance of equal sets negative


def _root_of_samples(x: np.ndarray) -> np.ndarray:
    """A root of the covariance of samples: [n, d] -> [min(n, d), d]."""
    x = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return x if len(x) <= x.shape[1] else np.linalg.qr(x, mode='r')


def _root_of_covariance(name: str, cov: np.ndarray, dimensions: int) -> np.ndarray:
    """A root of a covariance: [d, d] -> [d, d]."""
    cov = np.asarray(cov, np.float64)
    if cov.shape != (dimensions, dimensions):
        raise UserError(f'`{name}` has the shape {cov.shape}; with a mean of {dimensions} values, it must be square.')
    if not np.isfinite(cov).all():
        raise UserError(f'`{name}` has values that are not finite; compute it from finite features.')
    values, vectors = np.linalg.eigh(cov)
    if not np.allclose(cov, cov.T, rtol=_NEGATIVE, atol=_NEGATIVE * values[-1]) or values[0] < -_NEGATIVE * values[-1]:
        raise UserError(f'`{name}` is not a covariance; give a symmetric, positive semi-definite matrix.')
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def _finite_vector(name: str, mean: np.ndarray) -> np.ndarray:
    mean = np.asarray(mean, np.float64)
    if mean.ndim != 1 or not np.isfinite(mean).all():
        raise UserError(f'`{name}` has the shape {mean.shape} or values that are not finite; give [d] finite numbers.')
    return mean


# ------------------------------------------------------------------------------------------- kernel Inception distance
SUBSET_SIZE, SUBSETS = 1000, 100

Drawn = Iterator[tuple[np.ndarray, np.ndarray]]


class Kid(NamedTuple):
    """What `kid` returns: the estimate, which can be negative, and its standard error."""

    estimate: float
    standard_error: float


def kid(
    a: np.ndarray, b: np.ndarray, subset_size: Optional[int] = SUBSET_SIZE, subsets: int = SUBSETS, seed: int = 0
) -> Kid:
    """Squared maximum mean discrepancy of two sets of features, unbiased: Binkowski et al. 2018.

    The kernel is (x'y / d + 1)^3. Sets of more than subset_size rows are compared by random subsets without
    replacement, as in the paper; if either set has no more rows, all images are used at once. Both ways have the same
    expectation. All images at once give the smaller error and, below about ten thousand images, take less time.

    The standard error is that of the estimate for the two distributions from which the images are samples. Its square
    is the variance of the estimate's linear part (Hoeffding's projections) plus that due to the choice of subsets. It
    is correct if the distributions differ clearly, and too large if they are nearly equal: 1.4 times with all images at
    once, up to twice with small subsets. The standard deviation between subsets, which others report, is a different
    figure; divided by the root of their number it would be too small, because subsets overlap.

    Args:
        a, b: features [n, d] and [m, d], at least two rows each.
        subset_size: rows of each set in a subset; None: all images at once, for sets of any size.
        subsets: number of subsets, at least two.
        seed: seed of the choice of subsets.

    Returns:
        The estimate and its standard error.

    Raises:
        UserError: fewer than two rows, different numbers of dimensions, values that are not finite; subset_size or
            subsets below two.
    """
    a, b = _matrices(a, b)
    drawn = draw_subsets(len(a), len(b), subset_size, subsets, seed)
    if drawn is None:
        return kid_of_all(*discrepancy_of_rows(a, b))
    found = ((rows_a, rows_b, *discrepancy_of_rows(a[rows_a], b[rows_b])) for rows_a, rows_b in drawn)
    return kid_of_subsets(len(a), len(b), found)


def draw_subsets(
    n: int, m: int, subset_size: Optional[int] = SUBSET_SIZE, subsets: int = SUBSETS, seed: int = 0
) -> Optional[Drawn]:
    """The rows of each subset by which `kid` compares sets of n and m rows, int [subset_size] of each set.

    Returns:
        They, one after another; or None if all images are used at once.

    Raises:
        UserError: subset_size or subsets below two.
    """
    for name, value in (('subset_size', subset_size), ('subsets', subsets)):
        if value is not None and value < 2:
            raise UserError(f'`{name}` ({value}) is below 2; raise it.')
    if subset_size is None or min(n, m) <= subset_size:
        return None
    random = np.random.default_rng(seed)
    return (tuple(random.choice(count, subset_size, replace=False) for count in (n, m)) for _ in range(subsets))


def kid_of_all(rows_a: np.ndarray, rows_b: np.ndarray) -> Kid:
    """`kid` with all images at once, from what discrepancy_of_rows says of each."""
    variance = 4 * rows_a.var(ddof=1) / len(rows_a) + 4 * rows_b.var(ddof=1) / len(rows_b)
    return Kid(float(rows_a.mean() + rows_b.mean()), float(np.sqrt(variance)))


def kid_of_subsets(n: int, m: int, found: Iterable[Sequence[np.ndarray]]) -> Kid:
    """`kid` of sets of n and m rows by subsets.

    Args:
        found: of each subset, in their order: its rows of both sets, as from draw_subsets; and what discrepancy_of_rows
            says of each of them.
    """
    estimates, sums, counts = [], (np.zeros(n), np.zeros(m)), (np.zeros(n), np.zeros(m))
    for one in found:
        chosen, parts = one[:2], one[2:]
        estimates.append(parts[0].mean() + parts[1].mean())
        for i in range(2):
            sums[i][chosen[i]] += parts[i]
            counts[i][chosen[i]] += 1
    variance = np.var(estimates, ddof=1) / len(estimates)
    for total, count in zip(sums, counts):
        # Images in no subset cannot contribute to the estimate of the variance, but they do belong to the sample.
        variance += 4 * (total[count > 0] / count[count > 0]).var(ddof=1) / len(count)
    return Kid(float(np.mean(estimates)), float(np.sqrt(variance)))


def discrepancy_of_rows(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's part in the unbiased estimate (Gretton et al. 2012, lemma 6), the sum of both means.

    Args:
        x, y: features [n, d] and [m, d].

    Returns:
        [n] and [m]: each row's mean kernel with the other rows of its set, minus that with the other set.
    """
    x, y = _scaled(x), _scaled(y)
    (xx, _), (yy, _), (xy, yx) = _kernel_sums(x, x), _kernel_sums(y, y), _kernel_sums(x, y)
    xx, yy = ((sums - _own_kernel(z)) / (len(z) - 1) for sums, z in ((xx, x), (yy, y)))
    return xx - xy / len(y), yy - yx / len(x)


def discrepancy_of_some_rows(x: np.ndarray, own: Iterable[np.ndarray], other: Iterable[np.ndarray]) -> np.ndarray:
    """The same for some rows of a set, [k], where neither set has to fit into memory.

    Args:
        x: the features of these rows, [k, d].
        own: those of their whole set, [any, d] after [any, d].
        other: those of the other set, likewise.
    """
    x, means = _scaled(x), []
    for pieces, without in ((own, 1), (other, 0)):
        sums, rows = -_own_kernel(x) if without else np.zeros(len(x)), -without
        for piece in pieces:
            sums += _kernel_sums(x, _scaled(piece))[0]
            rows += len(piece)
        means.append(sums / rows)
    return means[0] - means[1]


def _scaled(x: np.ndarray) -> np.ndarray:
    """Features in units in which the kernel is (x'y + 1)^3."""
    return x / np.sqrt(x.shape[1])


def _own_kernel(x: np.ndarray) -> np.ndarray:
    """The kernel of each row with itself, which does not count: [n, d] -> [n]."""
    return (np.square(x).sum(axis=1) + 1) ** 3


def _kernel_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the rows and over the columns of the kernel matrix: [n, d] and [m, d] -> [n], [m]."""
    rows, columns = np.empty(len(x)), np.zeros(len(y))
    for start in range(0, len(x), _ROWS):
        products = x[start : start + _ROWS] @ y.T + 1
        kernel = products * products * products
        rows[start : start + _ROWS] = kernel.sum(axis=1)
        columns += kernel.sum(axis=0)
    return rows, columns


def _matrices(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features in float64; raises UserError if they cannot be compared."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    for name, x in (('a', a), ('b', b)):
        if x.ndim != 2 or not x.shape[1]:
            raise UserError(f'`{name}` has the shape {x.shape}; give features as [images, dimensions].')
        if len(x) < 2:
            raise UserError(f'`{name}` has the features of {len(x)} image(s); at least 2 are needed: add images.')
        broken = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(broken):
            raise UserError(
                f'`{name}` has features that are not finite for {len(broken)} image(s), the first at {broken[0]}; '
                'check the feature extractor and its `input_range`.'
            )
    if a.shape[1] != b.shape[1]:
        raise UserError(f'`a` has {a.shape[1]} dimensions and `b` {b.shape[1]}; take both from one feature extractor.')
    return a, b
