"""What augmentation policies do to images, and that it depends on the numbers handed in alone."""

import keras_cv
import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.data import policies
from cyclegan_tf.errors import UserError
from tests.helpers import program

MIDDLE, LAST = policies.NUMBERS // 2, policies.NUMBERS - 1
ROUNDING = 0.01  # levels of 255; 0.0007 is the most that was seen of images of 32x32
COMPILING = [name for name, policy in policies.POLICIES.items() if policy.compiles]

# As TensorFlow 2.15 with Keras 2.15 and TensorFlow 2.21 with tf-keras 2.21 both give them.
FINGERPRINTS = {
    'light': [117.881, 165.735, 149.266, 159.173],
    'color': [113.689, 139.246, 150.418, 148.812],
    'affine': [141.898, 158.592, 159.898, 148.551],
    'erase': [136.0, 154.333, 159.667, 150.112],
    'strong': [119.424, 141.247, 179.072, 122.696],
}

every_policy = pytest.mark.parametrize('name', policies.POLICIES)


@pytest.fixture
def images(photographs):
    """(count, channels) -> float32 [count, 32, 32, channels] in [0, 255], the fourth channel unlike the others."""

    def make(count=4, channels=3):
        pictures = np.round((photographs(count, 160, 160)[:, 64:160:3, 64:160:3] + 1) * 127.5).astype(np.float32)
        return tf.constant(np.concatenate([pictures, 255 - pictures[..., :1]], axis=-1)[..., :channels])

    return make


def draw(policy, count=4, seed=0):
    return tf.random.stateless_uniform([count, policy.num_random], [seed, 7], 0, policies.NUMBERS, tf.int32)


def close(x, y, most=ROUNDING):
    np.testing.assert_allclose(x, y, rtol=0, atol=most)


def middle_but(policy, others, count=4):
    """Numbers that change nothing, but for some columns: {2: LAST}."""
    return tf.constant([[others.get(i, MIDDLE) for i in range(policy.num_random)]] * count, tf.int32)


# ------------------------------------------------------------------------------------------ the numbers decide, alone
@every_policy
def test_same_numbers_give_the_same_images_and_others_give_others(images, name):
    policy = policies.make_policy(name, 3)
    first = policy(images(), draw(policy))
    for again in (policy, policies.make_policy(name, 3)):
        np.testing.assert_array_equal(first, again(images(), draw(policy)))
    seen = [policy(images(), draw(policy, seed=seed)).numpy() for seed in range(8)]
    # Half of the images are not erased, others always change.
    for i in range(4):
        assert len({one[i].tobytes() for one in seen}) >= (3 if name == 'erase' else 8)


@every_policy
def test_every_number_counts_and_none_may_lack(images, name):
    policy = policies.make_policy(name, 3)
    start = draw(policy, 1, seed=3).numpy()
    start[:, 0] = 0  # which erases
    for column in range(policy.num_random):
        changed = start.copy()
        changed[:, column] = (changed[:, column] + MIDDLE) % policies.NUMBERS
        assert not np.allclose(policy(images(1), start), policy(images(1), changed), atol=0.5), column
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        policy(images(1), start[:, 1:])


@every_policy
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_an_image_is_changed_alike_alone_and_in_any_batch(images, name, channels):
    policy = policies.make_policy(name, channels)
    batch, numbers = images(4, channels), draw(policy)
    together = policy(batch, numbers)
    for order in ([0], [1], [2], [3], [2, 0, 3, 3, 1]):
        close(policy(tf.gather(batch, order), tf.gather(numbers, order)), tf.gather(together, order))


@every_policy
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_shape_type_and_range_stay(images, name, channels):
    policy = policies.make_policy(name, channels)
    batch = tf.concat([images(4, channels), tf.zeros([1, 32, 32, channels]), tf.fill([1, 32, 32, channels], 255.0)], 0)
    for numbers in (draw(policy, 6), tf.fill([6, policy.num_random], 0), tf.fill([6, policy.num_random], LAST)):
        result = policy(batch, numbers)
        assert result.dtype == tf.float32 and result.shape == batch.shape
        assert np.all(np.isfinite(result)) and np.min(result) >= 0 and np.max(result) <= 255


@every_policy
def test_numbers_in_the_middle_change_nothing(images, name):
    policy = policies.make_policy(name, 3)
    close(policy(images(), middle_but(policy, {})), images())


def fingerprint(name):
    """The mean level of the upper half of four patterns that no decoder has a part in, under fixed numbers."""
    image, row, column, channel = np.indices([4, 32, 32, 3])
    pattern = ((29 * image + 7 * row + 3 * column + 40 * channel) % 256).astype(np.float32)
    policy = policies.make_policy(name, 3)
    return policy(tf.constant(pattern), draw(policy, seed=5)).numpy()[:, :16].mean(axis=(1, 2, 3))


@every_policy
def test_results_are_the_same_on_both_stacks_and_whatever_keras_precision(name, request):
    close(fingerprint(name), FINGERPRINTS[name])
    request.getfixturevalue('float64')
    close(fingerprint(name), FINGERPRINTS[name])


# ------------------------------------------------------------------------------------- wherever it runs, it is the same
@every_policy
def test_a_parallel_map_gives_what_eager_calls_give(images, name):
    policy, batch = policies.make_policy(name, 3), images()

    def change(step):
        return policy(batch, draw(policy, seed=step))

    for _ in range(2):  # traced twice
        stream = tf.data.Dataset.range(6).map(change, num_parallel_calls=4)
        assert stream.element_spec.shape == [4, 32, 32, 3]
        for step, result in enumerate(stream):
            close(result, change(step))


@every_policy
def test_height_and_width_may_be_unknown_when_traced(images, name):
    policy = policies.make_policy(name, 3)
    specs = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, policy.num_random], tf.int32)]
    traced = tf.function(policy, input_signature=specs)
    for count, crop in ((4, 32), (3, 20)):
        batch, numbers = images(count)[:, :crop], draw(policy, count)
        close(traced(batch, numbers), policy(batch, numbers))


@pytest.mark.parametrize('name', COMPILING)
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_xla_gives_what_plain_execution_gives(images, name, channels):
    policy, batch = policies.make_policy(name, channels), images(4, channels)
    compiled = tf.function(policy, jit_compile=True)
    for seed in range(5):
        close(compiled(batch, draw(policy, seed=seed)), policy(batch, draw(policy, seed=seed)))


@pytest.mark.parametrize('name', sorted(set(policies.POLICIES) - set(COMPILING)))
def test_policies_that_are_said_not_to_compile_do_not(images, name):
    policy = policies.make_policy(name, 3)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)):
        tf.function(policy, jit_compile=True)(images(), draw(policy))


@pytest.mark.slow
def test_a_hundred_draws_compile_once_and_importing_says_nothing(tmp_path):
    # XLA writes one file for each module that it compiles.
    code = (
        'from cyclegan_tf.data import policies\n'
        'import tensorflow as tf\n'
        f'for name in {COMPILING}:\n'
        '    policy = policies.make_policy(name, 3)\n'
        '    change = tf.function(policy, jit_compile=True)\n'
        '    for number in range(0, 2**24, 2**24 // 100):\n'
        '        change(tf.zeros([2, 16, 16, 3]), tf.fill([2, policy.num_random], number))\n'
        '    assert change.experimental_get_tracing_count() == 1\n'
    )
    flags = f'--xla_dump_to={tmp_path} --xla_dump_hlo_as_text'
    status, output, error = program.run_python('-c', code, XLA_FLAGS=flags)
    assert (status, output) == (0, ''), error
    compiled = [p.name for p in tmp_path.iterdir() if p.name.endswith('before_optimizations.txt')]
    assert len(compiled) == len(COMPILING), compiled


# ---------------------------------------------------------------------------------------------------- what they change
def test_color_is_kerascvs_color_jitter(images):
    policy = policies.make_policy('color', 3)
    end = LAST / MIDDLE - 1
    b, c, s = (end * strength for strength in (policies.BRIGHTNESS, policies.CONTRAST, policies.SATURATION))
    share = (1 + s) / (2 + s)
    jitter = keras_cv.layers.RandomColorJitter((0, 255), (b, b), (-c, c), (share, share), 0)
    close(policy(images(), middle_but(policy, {0: LAST, 1: LAST, 2: LAST})), jitter(images()), 0.05)


@pytest.mark.parametrize('number, degrees', [(0, -360 * policies.HUE), (LAST, 360 * policies.HUE)])
def test_color_turns_the_hue_both_ways(images, number, degrees):
    policy = policies.make_policy('color', 3)
    turned = policy(images(), middle_but(policy, {3: number}))
    before, after = (tf.image.rgb_to_hsv(x / 255).numpy() for x in (images(), turned))
    vivid = (before[..., 1] > 0.2) & (before[..., 2] > 0.2)
    angles = (after[..., 0] - before[..., 0])[vivid] * 360
    close((angles + 180) % 360 - 180, np.full_like(angles, degrees), 0.05)


@pytest.mark.parametrize('name', ['light', 'color'])
def test_color_leaves_the_geometry(images, name):
    policy = policies.make_policy(name, 3)
    flat = policy(tf.fill([64, 8, 8, 3], 100.0) * [1.0, 0.8, 0.5], draw(policy, 64)).numpy()
    close(flat, np.broadcast_to(flat[:, :1, :1], flat.shape))
    numbers = draw(policy)
    close(policy(images()[:, ::-1, 4:], numbers)[:, ::-1], policy(images()[:, :, 4:], numbers))
    # Spread as far as documented, and not farther.
    change, most = flat[:, 0, 0].max(-1) - 100, 255 * policies.BRIGHTNESS
    assert np.all(np.abs(change) < most + 0.01) and change.min() < -0.9 * most and change.max() > 0.9 * most


def test_light_keeps_gray_gray_and_color_is_light_for_gray_images(images):
    gray, colour = images(4, 1), policies.make_policy('color', 1)
    numbers = draw(colour)
    light = policies.make_policy('light', 1)(gray, numbers[:, :2])
    close(colour(gray, numbers), light)
    repeated = policies.make_policy('light', 3)(tf.repeat(gray, 3, axis=-1), numbers[:, :2])
    close(repeated, tf.repeat(light, 3, axis=-1))


def test_alpha_is_no_colour(images):
    batch, colour = images(4, 4), policies.make_policy('color', 4)
    result = colour(batch, draw(colour))
    np.testing.assert_array_equal(result[..., 3], batch[..., 3])
    close(result[..., :3], policies.make_policy('color', 3)(batch[..., :3], draw(colour)))
    for name in ('affine', 'erase'):  # but part of the geometry
        policy = policies.make_policy(name, 4)
        result = policy(batch, draw(policy, seed=3))
        close(result[..., 3:], policies.make_policy(name, 1)(batch[..., 3:], draw(policy, seed=3)))
        assert not np.allclose(result[..., 3], batch[..., 3], atol=1)


@pytest.mark.parametrize(
    'column, strength, layer, transformations',
    [
        (0, policies.ZOOM, 'RandomZoom', {'height_zooms': (1, 1), 'width_zooms': (1, 1)}),
        (1, 2 * np.pi * policies.ROTATION, 'RandomRotation', {'angles': (0, 1)}),
        (2, policies.TRANSLATION, 'RandomTranslation', {'height_translations': (0, 0), 'width_translations': (0, 1)}),
        (3, policies.TRANSLATION, 'RandomTranslation', {'height_translations': (0, 1), 'width_translations': (0, 0)}),
    ],
)
def test_affine_is_kerascvs_zoom_rotation_and_translation(images, column, strength, layer, transformations):
    policy = policies.make_policy('affine', 3)
    single = getattr(keras_cv.layers, layer)(*[0] * len(transformations))
    batch = images()[:, :24]  # wider than high
    for number in (0, 3_000_000, LAST):
        amount = (number / MIDDLE - 1) * strength
        shape = [4] if layer == 'RandomRotation' else [4, 1]
        given = {name: tf.fill(shape, np.float32(rest + k * amount)) for name, (rest, k) in transformations.items()}
        expected = single.augment_images(batch, transformations=given)
        close(policy(batch, middle_but(policy, {column: number})), expected, 0.05)


def test_affine_turns_about_the_centre_then_shifts():
    # A dot in the middle is moved by the shift alone, whatever the turn and the zoom.
    policy = policies.make_policy('affine', 1)
    image = np.zeros((1, 65, 65, 1), np.float32)
    image[0, 31:34, 31:34] = 255
    mass = policy(image, tf.constant([[LAST, LAST, LAST, 0]])).numpy()[0, ..., 0]
    centre = [np.average(x, weights=mass) for x in np.mgrid[:65, :65]]
    close(centre, [32 - 65 * policies.TRANSLATION, 32 + 65 * policies.TRANSLATION], 0.05)


def test_erase_turns_rectangles_gray_in_half_of_the_images():
    policy = policies.make_policy('erase', 3)
    erased = policy(tf.zeros([4000, 32, 32, 3]), draw(policy, 4000)).numpy() == policies.ERASE_LEVEL
    assert np.all(erased == erased[..., :1])
    rows, columns = erased[..., 0].any(axis=2), erased[..., 0].any(axis=1)
    np.testing.assert_array_equal(erased[..., 0], rows[:, :, None] & columns[:, None, :])
    heights = rows.sum(axis=1)
    assert np.mean(heights > 0) == pytest.approx(0.5, abs=0.03)
    assert heights.max() == 32 // 4 and np.median(heights[heights > 0]) == 6
    # Everywhere alike, but less at the borders.
    frequency = erased[:, 8:24, 8:24, 0].mean(axis=0)
    assert frequency.min() > 0.01 and frequency.max() < 0.027


def test_erase_fits_large_and_narrow_images():
    policy = policies.make_policy('erase', 1)
    erased = policy(tf.zeros([200, 16, 2048, 1]), draw(policy, 200)).numpy()[..., 0] > 0
    lefts = np.array([mask.any(axis=0).argmax() for mask in erased if mask.any()])
    assert lefts.min() < 200 and lefts.max() > 1600 and abs(np.median(lefts) - 900) < 250
    assert erased.any(axis=2).sum(axis=1).max() == 16 // 4
    assert 400 < erased.any(axis=1).sum(axis=1).max() <= 2048 // 4


def test_strong_is_color_then_affine(images):
    color, affine, strong = (policies.make_policy(name, 3) for name in ('color', 'affine', 'strong'))
    numbers = draw(strong)
    close(strong(images(), numbers), affine(color(images(), numbers[:, :4]), numbers[:, 4:]))


def test_unknown_policies_are_named():
    with pytest.raises(UserError, match="augment 'colour' is not one of: light, color, affine, erase, strong"):
        policies.make_policy('colour', 3)
