"""Instance norm is the same in every form, and can have the statistics of another view."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import norms, test_time


@pytest.mark.parametrize('form', ['keras', 'formula'])
def test_every_form_of_instance_norm_is_the_same(float64, photographs, form):
    x = tf.constant(photographs(2, 40, 56))
    expected = norms.instance_norm()(x)
    np.testing.assert_allclose(norms.instance_norm(form)(x), expected, rtol=0, atol=1e-13)
    mean, variance = np.mean(x, (1, 2), keepdims=True), np.var(x, (1, 2), keepdims=True)
    np.testing.assert_allclose(expected, (x - mean) / np.sqrt(variance + 1e-5), rtol=0, atol=1e-13)
    assert norms.instance_norm().weights == []


def test_the_fast_instance_norm_is_the_formula_with_statistics_in_float32(photographs):
    # Bright: statistics in half precision would be far off.
    bright = 1 + np.tile(photographs(2, 40, 56), (3, 1, 1, 1)) * [[[[1, 0.5, 2]]]]
    for dtype, exact in ((tf.float32, 5e-5), (tf.bfloat16, 2**-8), (tf.float16, 2**-10)):
        norm = norms.InstanceNorm(dtype=dtype.name)
        any_number = tf.function(norm, [tf.TensorSpec([None, None, None, 3], dtype)], autograph=False)
        for images in (1, 3, 6):
            norm.plain = False
            x = tf.cast(bright[:images], dtype)
            seen = np.asarray(tf.cast(x, tf.float64))
            expected = (seen - seen.mean((1, 2), keepdims=True)) / np.sqrt(seen.var((1, 2), keepdims=True) + 1e-5)
            results = [norm(x), any_number(x)]
            norm.plain = True
            for result in (*results, norm(x)):
                assert result.dtype == dtype
                result = tf.cast(result, tf.float64)
                np.testing.assert_allclose(result, expected, rtol=0, atol=np.abs(expected).max() * exact)


def test_the_fast_instance_norm_has_the_formulas_gradient(photographs):
    for images in (1, 6):
        seen = np.tile(photographs(2, 24, 20), (3, 1, 1, 1))[:images]
        gradients = []
        for norm, dtype in (
            (norms.InstanceNorm(), tf.float32),
            (norms.InstanceNormFormula(dtype='float64'), tf.float64),
        ):
            x = tf.constant(seen, dtype)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.reduce_sum(norm(x) ** 3 * tf.range(20, dtype=dtype)[:, None])
            gradients.append(tape.gradient(value, x))
        np.testing.assert_allclose(*gradients, rtol=0, atol=1e-4 * np.abs(gradients[1]).max())


def test_kept_statistics_are_those_of_the_image_they_were_learnt_from():
    layer = norms.make_norm('instance_thumbnail', None)
    plain = norms.make_norm('instance', None)
    x, y = (np.random.default_rng(i).normal(i, 2, (1, 6, 7, 3)).astype(np.float32) for i in (0, 1))
    np.testing.assert_allclose(layer(x, training=True), plain(x), atol=1e-5)
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    np.testing.assert_allclose(layer(y), (y - mean) / np.sqrt(variance + 1e-5), atol=1e-5)


@pytest.mark.parametrize('name', ['instance_thumbnail', 'batch_thumbnail'])
def test_kept_statistics_mix_with_new_ones(name):
    layer = norms.make_norm(name, None)
    x, y = (np.random.default_rng(i).normal(i, 2, (1, 6, 7, 3)).astype(np.float32) for i in (0, 1))
    with test_time.told(how(x, kept=None)):
        layer(x, training=True)
    with test_time.told(how(y, kept=0.75)):
        result = layer(y, training=True)
    mean, variance = (
        0.75 * getattr(x, name)(axis=(0, 1, 2)) + 0.25 * getattr(y, name)(axis=(0, 1, 2)) for name in ('mean', 'var')
    )
    np.testing.assert_allclose(result, (y - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
    np.testing.assert_allclose(layer(x), (x - mean) / np.sqrt(variance + 1e-5), atol=1e-5)


def test_what_is_not_finite_is_gone_when_nothing_is_kept():
    layer = norms.make_norm('instance_thumbnail', None)
    x = np.random.default_rng(0).normal(1, 2, (1, 6, 7, 3)).astype(np.float32)
    for images in (x * np.nan, x):
        with test_time.told(how(images, kept=0.0)):
            result = layer(images, training=True)
    np.testing.assert_allclose(result, norms.make_norm('instance', None)(x), atol=1e-5)


def how(images, kept):
    """What a network is told that is given these images, without padding."""
    size = tf.constant(images.shape[1:3])
    return test_time.TestTime(size, size, True, None, tf.zeros([2], tf.int32), kept)


@pytest.mark.own_process
def test_batch_norm_over_two_replicas_is_that_of_the_whole_batch(float64):
    images = np.random.default_rng(0).normal(1, 2, (4, 5, 6, 3))
    results = []
    for devices in (('/cpu:0',), ('/cpu:0', '/cpu:1')):
        strategy, rows = tf.distribute.MirroredStrategy(devices), 4 // len(devices)
        with strategy.scope():
            layer = norms.BatchNorm(tf.keras.initializers.RandomUniform(0.5, 1.5, seed=1))
            layer.build((None, None, None, 3))

        def replica(layer=layer, rows=rows):
            first = tf.distribute.get_replica_context().replica_id_in_sync_group * rows
            x = tf.constant(images)[first : first + rows]
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                value = tf.reduce_sum(y**3 * tf.range(6, dtype=tf.float64)[:, None])
            return y, tape.gradient(value, x)

        run = tf.function(lambda strategy=strategy, replica=replica: strategy.run(replica))
        of_images = [np.concatenate(strategy.experimental_local_results(x)) for x in run()]
        results.append([*of_images, layer.running_mean.numpy(), layer.running_variance.numpy()])
    for one, two in zip(*results):
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-9)
    y, _, mean, variance = results[0]
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(mean, 0.1 * images.mean((0, 1, 2)))
    np.testing.assert_allclose(variance, 0.9 + 0.1 * images.var((0, 1, 2), ddof=1))
