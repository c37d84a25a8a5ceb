"""Running means of weights against their recursion."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.models import averages
from cyclegan_tf.networks import make_generator
from tests.helpers.small_models import images, make, snapshot


def test_the_mean_follows_its_recursion_with_statistics_of_batch_norm():
    network, average = (make_generator('resnet_6blocks', filters=2, norm='batch', seed=1) for _ in range(2))
    rng, decay = np.random.default_rng(0), 0.3
    expected = snapshot(average.variables)
    for step in range(6):
        for variable in network.variables:
            variable.assign(rng.normal(size=variable.shape))
        averages.update(average, network, decay, tf.constant(step, tf.int64), None)
        d = min(decay, (1 + step) / (10 + step))
        expected = [d * mean + (1 - d) * value.numpy() for mean, value in zip(expected, network.variables)]
    for found, right in zip(average.variables, expected):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    assert len(expected) > len(average.trainable_variables) > 10  # the others are running statistics


def test_a_skipped_step_leaves_the_mean():
    network, average = (make_generator('resnet_6blocks', filters=2, seed=seed) for seed in (1, 2))
    before = snapshot(average.variables)
    averages.update(average, network, 0.5, tf.constant(3, tf.int64), tf.constant(False))
    assert all(np.array_equal(a, b) for a, b in zip(before, snapshot(average.variables)))
    averages.update(average, network, 0.5, tf.constant(3, tf.int64), tf.constant(True))
    moved = zip(before, snapshot(average.variables))
    assert not any(np.array_equal(a, b) for a, b in moved if a.ndim == 4)  # biases are zero in both


@pytest.mark.parametrize('model', ['tiny_cycle_gan', 'tiny_cut', 'tiny_pix2pix'])
def test_a_model_translates_with_the_mean_of_what_its_generators_were(photographs, model):
    small, step = make(model=model, ema_decay=0.2, lr=0.01, no_dropout=True)
    generators = small.averages()
    assert set(generators) == {name for name in small.networks() if name.startswith('G')}
    expected = {name: snapshot(small.networks()[name].variables) for name in generators}
    for t in range(3):
        step(*images(photographs))
        d = min(0.2, (1 + t) / (10 + t))
        for name, means in expected.items():
            now = snapshot(small.networks()[name].variables)
            expected[name] = [d * mean + (1 - d) * value for mean, value in zip(means, now)]
    x = images(photographs)[0]
    for name, average in generators.items():
        for found, right in zip(average.variables, expected[name]):
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(small.infer(name, x), average(x), atol=1e-6)
        assert not np.allclose(small.networks()[name](x), average(x), atol=1e-4)
    assert {one.network_name: one.network for one in small.translations.values()} == generators


@pytest.mark.own_process
def test_two_replicas_have_the_same_mean_as_one(float64, photographs):
    pair, found = images(photographs, batch=2, dtype=np.float64), []
    for devices in (('/cpu:0',), ('/cpu:0', '/cpu:1')):
        small, step = make(devices, model='tiny_cycle_gan', ema_decay=0.2, batch_size=2, norm='batch', lr=1e-4)
        for _ in range(3):
            step(*pair)
        found.append([v for average in small.averages().values() for v in snapshot(average.variables)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-9)
