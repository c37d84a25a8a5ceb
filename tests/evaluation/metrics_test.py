"""Measures against their definitions, closed forms and other implementations."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from skimage.metrics import structural_similarity
from sklearn.metrics.pairwise import polynomial_kernel

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import metrics


@pytest.fixture(scope='module')
def picture():
    """uint8 [h, w, 3], a photograph."""
    return next(iter(demo.regions('test', 'A').values()))


def spoilt(image, amount):
    noise = np.random.default_rng(0).normal(0, amount, image.shape)
    return np.clip(image + noise, 0, np.iinfo(image.dtype).max).astype(image.dtype)


# ------------------------------------------------------------------------------------------------ image against image
def test_psnr_of_sixteen_bits_has_their_peak():
    x = np.zeros((4, 4, 3), np.uint16)
    assert metrics.psnr(x, x + 5) == pytest.approx(20 * np.log10(65535 / 5))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('size', [(11, 11), (40, 29), (1100, 50)])  # the last is more than two strips
@pytest.mark.parametrize('channels', [1, 3])
def test_ssim_equals_scikit_image(picture, dtype, size, channels):
    factor = np.iinfo(dtype).max // 255
    repeated = picture.take(range(size[0]), axis=0, mode='wrap').take(range(size[1]), axis=1, mode='wrap')
    a = repeated[..., :channels].astype(dtype) * dtype(factor)
    for b in (spoilt(a, 12 * factor), a):
        expected = structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255 * factor,
            channel_axis=-1,
        )  # fmt: skip
        assert metrics.ssim(a, b) == pytest.approx(expected, rel=0, abs=1e-12)


def test_ssim_is_exact_where_variances_cancel():
    """On nearly white images, where float32 is 3e-4 off."""
    random = np.random.default_rng(0)
    a, b = (255 - (random.random((64, 64, 1)) < 0.01).astype(np.uint8) for _ in range(2))
    deep = metrics.ssim(a.astype(np.uint16) * 257, b.astype(np.uint16) * 257)
    assert metrics.ssim(a, b) == pytest.approx(deep, rel=0, abs=1e-12) and metrics.ssim(a, b) < 0.9999


@pytest.mark.parametrize('measure', [metrics.psnr, metrics.ssim])
@pytest.mark.parametrize(
    'a, b, message',
    [
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 15, 3), np.uint8), 'differ in shape; resize one'),
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint16), 'are uint8 and uint16; give both'),
        (np.zeros((16, 16, 3), np.float32), np.zeros((16, 16, 3), np.float32), 'are float32 and float32; give both'),
        (np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8), r'`a` has the shape \(16, 16\); give an image as'),
    ],
)
def test_images_that_cannot_be_compared_are_refused(measure, a, b, message):
    with pytest.raises(UserError, match=message):
        measure(a, b)


def test_ssim_of_images_smaller_than_its_window_is_refused():
    x = np.zeros((10, 20, 3), np.uint8)
    with pytest.raises(UserError, match=r'`a` \(20x10\) is smaller than the window of SSIM, 11x11; leave SSIM out'):
        metrics.ssim(x, x)


def test_edges_against_closed_forms():
    columns, rows = np.meshgrid(np.arange(80), np.arange(150))  # the rows are more than two strips
    ramp = (rows + columns)[..., None].astype(np.uint8)
    assert metrics.edges(ramp) == pytest.approx(np.sqrt(2), rel=1e-12)  # one level down and one to the right
    stripes = (255 * (columns % 2))[..., None]
    assert metrics.edges(stripes.astype(np.uint8)) == 255
    # One bright row: gradients of two of 149 rows, those above it and its own.
    line = np.where(rows == 70, 65535, 0)[..., None].astype(np.uint16)
    assert metrics.edges(line) == pytest.approx(2 * 65535 / 149, rel=1e-12)


@pytest.mark.parametrize(
    'weights', [(0.2126, 0.7152, 0.0722), (0.5, 0.5), (0.25,) * 4, (0.2,) * 5], ids=['colour', 'two', 'four', 'five']
)
def test_edges_of_several_channels_are_those_of_their_luminance(weights):
    step = np.arange(2)[None, :, None] * np.ones((2, 1, 1), int)  # one column is brighter than the other
    for channel, weight in enumerate(weights):
        image = (100 * step * (np.arange(len(weights)) == channel)).astype(np.uint8)
        assert metrics.edges(image) == pytest.approx(100 * weight, rel=1e-12)


def test_an_image_of_one_colour_has_no_edges_whatever_the_colour_and_the_size():
    for side in (2, 7, 33, 70):
        assert metrics.edges(np.full((side, side, 3), (83, 171, 9), np.uint8)) == 0


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((4, 4, 3), np.float32), 'are float32 and float32; give both as uint8'),
        (np.zeros((4, 4), np.uint8), r'has the shape \(4, 4\)'),
        (np.zeros((4, 1, 3), np.uint8), r'`image` \(1x4\) is smaller than 2x2'),
    ],
)
def test_images_without_edges_to_measure_are_refused(image, message):
    with pytest.raises(UserError, match=message):
        metrics.edges(image)


def test_pairs_are_measured_one_by_one_and_all_together(picture):
    of_pairs = metrics.PairMeasures()
    assert of_pairs.summary() == {} and len(of_pairs) == 0
    dark = picture // 2
    first, second = of_pairs.add(dark, picture), of_pairs.add(spoilt(dark, 20), dark)
    assert list(first) == ['psnr', 'ssim', 'edges'] and first['psnr'] == metrics.psnr(dark, picture)
    assert first['ssim'] == metrics.ssim(dark, picture)
    # Half the light is half the strength, but for rounding; noise adds to it.
    assert first['edges'] == pytest.approx(0.5, abs=0.05) and second['edges'] > 1.5
    found = of_pairs.summary()
    assert len(of_pairs) == 2 and found['psnr'] == pytest.approx((first['psnr'] + second['psnr']) / 2)
    assert found['ssim'] == pytest.approx((first['ssim'] + second['ssim']) / 2)
    strengths = [metrics.edges(image) for image in (dark, spoilt(dark, 20), picture, dark)]
    assert found['edges'] == pytest.approx((strengths[0] + strengths[1]) / (strengths[2] + strengths[3]))


def test_edges_of_pairs_without_any():
    flat, line = np.zeros((12, 12, 1), np.uint8), np.eye(12, dtype=np.uint8)[..., None]
    of_pairs = metrics.PairMeasures(['edges'])
    assert of_pairs.add(flat, flat) == {'edges': 1} and of_pairs.summary() == {'edges': 1}
    assert of_pairs.add(line, flat) == {'edges': np.inf} and of_pairs.summary() == {'edges': np.inf}
    assert of_pairs.add(flat, line) == {'edges': 0} and of_pairs.summary() == {'edges': 1}


def test_ssim_of_small_pairs_is_left_out_if_allowed():
    small, large = (np.zeros((side, 20, 3), np.uint8) for side in (10, 20))
    of_pairs = metrics.PairMeasures(small_without_ssim=True)
    assert set(of_pairs.add(small, small)) == {'psnr', 'edges'} and set(of_pairs.summary()) == {'psnr', 'edges'}
    assert of_pairs.add(large, large)['ssim'] == 1 and of_pairs.summary()['ssim'] == 1
    with pytest.raises(UserError, match='smaller than the window of SSIM'):
        metrics.PairMeasures().add(small, small)


# --------------------------------------------------------------------------------------------------- Fréchet distance
def with_moments(random, count, mean, root):
    """Features [count, d] of which the mean is `mean` and the covariance root root', exactly."""
    x = random.normal(size=(count, len(mean)))
    x -= x.mean(axis=0)
    x = np.linalg.qr(x)[0] * np.sqrt(count - 1)  # orthonormal columns of mean zero
    return x @ root.T + mean


def test_fid_of_features_with_given_moments_is_the_closed_form():
    random = np.random.default_rng(0)
    # Covariances that commute: tr((cov_a cov_b)^(1/2)) is the sum of the products of deviations along common axes.
    axes = np.linalg.qr(random.normal(size=(6, 6)))[0]
    deviations = random.uniform(0.1, 3, size=(2, 6))
    means = random.normal(size=(2, 6))
    a, b = (with_moments(random, n, m, axes * s) for n, m, s in zip((50, 30), means, deviations))
    expected = np.square(means[0] - means[1]).sum() + np.square(deviations[0] - deviations[1]).sum()
    assert metrics.fid(a, b) == pytest.approx(expected, rel=1e-12)
    # Two dimensions, any covariances: tr(M^(1/2)) = (tr M + 2 det(M)^(1/2))^(1/2).
    roots = random.normal(size=(2, 2, 2))
    a, b = (with_moments(random, 20, np.zeros(2), root) for root in roots)
    cov_a, cov_b = (root @ root.T for root in roots)
    trace = np.sqrt(np.trace(cov_a @ cov_b) + 2 * np.sqrt(np.linalg.det(cov_a @ cov_b)))
    expected = np.trace(cov_a) + np.trace(cov_b) - 2 * trace
    assert metrics.fid(a, b) == pytest.approx(expected, rel=1e-12)
    zero = np.zeros(2)
    assert metrics.frechet_distance(zero, cov_a, zero, cov_b) == pytest.approx(expected, rel=1e-12)


def test_fid_with_fewer_images_than_dimensions_keeps_its_precision():
    random = np.random.default_rng(0)
    u, v = random.normal(size=(2, 500))
    # Covariances 2 u u' and 2 v v'.
    expected = 2 * (u @ u + v @ v) - 4 * abs(u @ v)
    assert metrics.fid(np.stack([u, -u]), np.stack([v, -v])) == pytest.approx(expected, rel=1e-12)
    a = random.normal(size=(20, 500))
    assert metrics.fid(a, a[::-1]) < 1e-11
    stored = metrics.frechet_distance(a.mean(axis=0), np.cov(a.T), a.mean(axis=0), np.cov(a.T))
    assert 0 <= stored < 1e-6 * np.square(a).sum()


@pytest.mark.parametrize('counts', [(300, 200), (40, 50), (40, 200)])
def test_fid_equals_the_formula_with_scipys_matrix_square_root(counts):
    random = np.random.default_rng(0)
    mix = random.normal(size=(64, 64)) / 8
    a, b = random.normal(size=(counts[0], 64)), random.normal(size=(counts[1], 64)) @ mix + 0.2
    (mean_a, cov_a), (mean_b, cov_b) = ((x.mean(axis=0), np.cov(x.T)) for x in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert metrics.fid(a, b) == pytest.approx(expected, rel=1e-6)
    assert metrics.fid(b, a) == pytest.approx(metrics.fid(a, b), rel=1e-12)
    assert metrics.frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------------- kernel Inception distance
def kernel(x, y):
    return (x @ y / len(x) + 1) ** 3


def test_kid_equals_a_loop_over_all_pairs():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(7, 5)), random.normal(size=(9, 5)) + 0.3
    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(z, 2)]) for z in (a, b)]
    between = np.mean([kernel(x, y) for x, y in itertools.product(a, b)])
    assert metrics.kid(a, b).estimate == pytest.approx(sum(within) - 2 * between, rel=1e-12)


def test_kid_equals_scikit_learns_kernel():
    """On more images than there are in memory at a time."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(1100, 16)), random.normal(size=(600, 16)) * 1.1
    kernels = [polynomial_kernel(x, y, degree=3, gamma=1 / 16, coef0=1) for x, y in ((a, a), (b, b), (a, b))]
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernels[:2]]
    expected = sum(within) - 2 * kernels[2].mean()
    assert metrics.kid(a, b, subset_size=None).estimate == pytest.approx(expected, rel=1e-10)


def test_kid_is_unbiased():
    """The mean over every sample of two small populations, drawn with replacement, is the populations' distance."""
    random = np.random.default_rng(0)
    p, q = random.normal(size=(3, 2)), random.normal(size=(3, 2))
    means = [np.mean([kernel(x, y) for x, y in itertools.product(*pair)]) for pair in ((p, p), (q, q), (p, q))]
    estimates = [
        metrics.kid(p[list(i)], q[list(j)]).estimate
        for i in itertools.product(range(3), repeat=2)
        for j in itertools.product(range(3), repeat=3)
    ]
    assert np.mean(estimates) == pytest.approx(means[0] + means[1] - 2 * means[2], rel=1e-12)


def gaussian_kernel_mean(mean_x, cov_x, mean_y, cov_y):
    """E (x'y / d + 1)^3 for independent Gaussians, by their first three moments."""
    moments = []
    for mean, cov in ((mean_x, cov_x), (mean_y, cov_y)):
        third = np.einsum('i,j,k->ijk', mean, mean, mean)
        for pattern in ('i,jk->ijk', 'j,ik->ijk', 'k,ij->ijk'):
            third = third + np.einsum(pattern, mean, cov)
        moments.append((mean, cov + np.outer(mean, mean), third))
    first, second, third = (np.sum(x * y) / len(mean_x) ** k for k, (x, y) in enumerate(zip(*moments), 1))
    return third + 3 * second + 3 * first + 1


@pytest.mark.parametrize(
    'counts, subset_size, loosest',
    [((30, 400), None, 1.15), ((400, 30), None, 1.15), ((120, 100), 60, 1.15), ((300, 300), 20, 1.4)],
)
def test_kid_of_gaussians_is_the_closed_form_within_its_standard_error(counts, subset_size, loosest):
    random = np.random.default_rng(0)
    means, roots = random.normal(size=(2, 4)), random.normal(size=(2, 4, 4)) / 2
    one, two = ((mean, root @ root.T) for mean, root in zip(means, roots))
    expected = (
        gaussian_kernel_mean(*one, *one) + gaussian_kernel_mean(*two, *two) - 2 * gaussian_kernel_mean(*one, *two)
    )
    draws = np.array(
        [
            metrics.kid(*(random.normal(size=(n, 4)) @ r.T + m for n, m, r in zip(counts, means, roots)),
                        subset_size=subset_size, subsets=20, seed=i)
            for i in range(400)
        ]
    )  # fmt: skip
    estimates, errors = draws.T
    assert abs(estimates.mean() - expected) < 3.5 * estimates.std() / np.sqrt(len(draws))
    # The error that is claimed is the one that is made; the deviation of 400 draws is known to some 5 %.
    assert 0.85 < np.sqrt(np.mean(errors**2)) / estimates.std() < loosest


def test_kid_by_subsets_is_repeatable_and_near_that_of_all_images():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(300, 8)), random.normal(size=(200, 8)) + 0.2
    once = metrics.kid(a, b, subset_size=100, subsets=50, seed=3)
    assert once == metrics.kid(a, b, subset_size=100, subsets=50, seed=3)
    assert once != metrics.kid(a, b, subset_size=100, subsets=50, seed=4)
    every = metrics.kid(a, b, subset_size=None)
    assert once.estimate != every.estimate
    assert abs(once.estimate - every.estimate) < every.standard_error < once.standard_error < 2 * every.standard_error


def test_kid_of_small_sets_takes_all_images():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(300, 8)), random.normal(size=(20, 8))
    assert metrics.kid(a, b, subset_size=20, seed=1) == metrics.kid(a, b, subset_size=None, seed=2)


@pytest.mark.parametrize('measure', [metrics.fid, metrics.kid])
@pytest.mark.parametrize(
    'a, b, message',
    [
        (np.ones((1, 4)), np.ones((3, 4)), r'`a` has the features of 1 image\(s\); at least 2 are needed'),
        (np.ones((3, 4)), np.ones((0, 4)), r'`b` has the features of 0 image\(s\); at least 2 are needed'),
        (np.ones((3, 4)), np.ones((3, 5)), '`a` has 4 dimensions and `b` 5; take both from one feature extractor'),
        (np.ones((3, 4)), np.ones(4), r'`b` has the shape \(4,\); give features as'),
        (np.ones((2, 1)), [[1.0], [np.nan]], r'`b` .* not finite for 1 image\(s\), the first at 1; check'),
        ([[np.inf], [np.nan]], np.ones((2, 1)), r'`a` .* not finite for 2 image\(s\), the first at 0; check'),
    ],
)
def test_features_that_cannot_be_compared_are_refused(measure, a, b, message):
    with pytest.raises(UserError, match=message):
        measure(a, b)


@pytest.mark.parametrize('argument', ['subset_size', 'subsets'])
def test_kid_of_too_few_or_too_small_subsets_is_refused(argument):
    with pytest.raises(UserError, match=rf'`{argument}` \(1\) is below 2; raise it'):
        metrics.kid(np.ones((3, 4)), np.ones((3, 4)), **{argument: 1})


@pytest.mark.parametrize(
    'change, message',
    [
        ({'mean_b': np.zeros(3)}, r'`cov_b` has the shape \(2, 2\); with a mean of 3 values'),
        ({'mean_b': np.zeros(3), 'cov_b': np.eye(3)}, '`mean_a` has 2 dimensions and `mean_b` 3; take both from'),
        ({'mean_a': np.array([0, np.inf])}, '`mean_a` .* not finite'),
        ({'mean_a': np.zeros((2, 1))}, r'`mean_a` has the shape \(2, 1\)'),
        ({'cov_a': np.diag([1, np.nan])}, '`cov_a` has values that are not finite'),
        ({'cov_a': np.diag([1, -1])}, '`cov_a` is not a covariance'),
        ({'cov_b': np.array([[1, 0.5], [0, 1]])}, '`cov_b` is not a covariance'),
    ],
)
def test_moments_that_are_none_are_refused(change, message):
    moments = {'mean_a': np.zeros(2), 'cov_a': np.eye(2), 'mean_b': np.zeros(2), 'cov_b': np.eye(2)}
    with pytest.raises(UserError, match=message):
        metrics.frechet_distance(**{**moments, **change})
