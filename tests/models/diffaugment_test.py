"""Differentiable augmentation against its formulas: what is drawn, for which image, and that gradients flow."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.models import diffaugment
from cyclegan_tf.ops.random import integers

ALL = ('color', 'translation', 'cutout')


def uniform(seed, places):
    return integers([7], seed, 2**24).numpy()[places] / 2**24


def test_color_changes_brightness_then_saturation_then_contrast(photographs):
    x, seeds = photographs(2, 16, 16).astype(np.float64), tf.constant([[1, 2], [3, 4]])
    found = diffaugment.augment(tf.constant(x), seeds, ['color'], 3).numpy()
    for image, seed, result in zip(x, seeds, found):
        brightness, saturation, contrast = uniform(seed, slice(3))
        image = image + brightness - 0.5
        mean = image.mean(-1, keepdims=True)
        image = mean + 2 * saturation * (image - mean)
        np.testing.assert_allclose(result, image.mean() + (contrast + 0.5) * (image - image.mean()), atol=1e-12)


def test_translation_moves_by_up_to_an_eighth_of_each_side():
    height, width = 16, 24
    x = np.arange(1.0, height * width + 1).reshape(1, height, width, 1)
    shifts = set()
    for seed in range(60):
        found = diffaugment.augment(tf.constant(x), tf.constant([[seed, 7]]), ['translation'], 1).numpy()
        (dy, dx) = np.floor(uniform(tf.constant([seed, 7]), slice(3, 5)) * (5, 7)).astype(int) - (2, 3)
        padded = np.pad(x, [[0, 0], [3, 3], [3, 3], [0, 0]])
        np.testing.assert_array_equal(found, padded[:, 3 - dy : 3 - dy + height, 3 - dx : 3 - dx + width])
        shifts.add((dy, dx))
    assert {dy for dy, _ in shifts} == set(range(-2, 3)) and {dx for _, dx in shifts} == set(range(-3, 4))


@pytest.mark.parametrize('height, width', [(16, 24), (9, 6)])
def test_cutout_clears_a_rectangle_of_half_of_each_side(height, width):
    sizes = int(height / 2 + 0.5), int(width / 2 + 0.5)
    firsts = set()
    for seed in range(80):
        kept = diffaugment.augment(tf.ones([1, height, width, 2]), tf.constant([[seed, 0]]), ['cutout'], 2).numpy()
        expected = np.ones((height, width))
        first = [
            int(number * (side + 1 - size % 2)) - size // 2
            for number, side, size in zip(uniform(tf.constant([seed, 0]), slice(5, 7)), (height, width), sizes)
        ]
        expected[tuple(slice(max(start, 0), start + size) for start, size in zip(first, sizes))] = 0
        np.testing.assert_array_equal(kept, np.repeat(expected[None, ..., None], 2, axis=-1))
        firsts.add(tuple(first))
    assert len(firsts) > 20


def test_an_images_changes_depend_on_its_own_seed_alone(photographs):
    x, seeds = tf.constant(photographs(3, 32, 32)), tf.constant([[1, 2], [3, 4], [1, 2]])
    together = diffaugment.augment(x, seeds, ALL, 3)
    for i in range(3):
        alone = diffaugment.augment(x[i : i + 1], seeds[i : i + 1], ALL, 3)
        np.testing.assert_allclose(together[i], alone[0], atol=1e-6)
    same = diffaugment.augment(tf.repeat(x[:1], 3, axis=0), seeds, ALL, 3)
    np.testing.assert_allclose(same[0], same[2], atol=1e-6)
    assert np.abs(same[0] - same[1]).max() > 0.1


def test_of_a_pair_only_the_judged_image_changes_its_colours(photographs):
    pair, seeds = tf.constant(photographs(2, 32, 32)), tf.constant([[1, 2], [3, 4]])
    pair = tf.concat([pair, pair], axis=-1)
    found = diffaugment.augment(pair, seeds, ['color'], 3)
    np.testing.assert_array_equal(found[..., :3], pair[..., :3])
    np.testing.assert_array_equal(found[..., 3:], diffaugment.augment(pair[..., 3:], seeds, ['color'], 3))
    moved = diffaugment.augment(pair, seeds, ['translation', 'cutout'], 3)
    np.testing.assert_array_equal(moved[..., :3], moved[..., 3:])


@pytest.mark.parametrize('jit_compile', [False, True])
def test_gradients_flow_compiled_or_not(photographs, jit_compile):
    x, seeds = tf.constant(photographs(2, 16, 16)), tf.constant([[1, 2], [3, 4]])

    @tf.function(jit_compile=jit_compile, autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = diffaugment.augment(x, seeds, ['translation', 'cutout'], 3)
        return y, tape.gradient(y, x)

    # A sum's gradient is one for each pixel that is still in the image, and those pixels keep their values.
    y, found = gradient(x)
    assert set(np.unique(found)) == {0.0, 1.0}
    np.testing.assert_allclose(np.sort(y[y != 0]), np.sort(x[found == 1][x[found == 1] != 0]), rtol=1e-6)
    np.testing.assert_array_equal(y, diffaugment.augment(x, seeds, ['translation', 'cutout'], 3))
