"""The step's own properties: who updates whom, replicas, XLA, directions of losses."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.config import Config
from cyclegan_tf.models import MODELS


def make(devices=('/cpu:0',), jit_compile=False, **settings):
    defaults = dict(dataroot='demo', netG='resnet_6blocks', ngf=4, ndf=4, load_size=32, crop_size=32, seed=1)
    config = Config(**{**defaults, **settings})
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        model = MODELS['cycle_gan'](config, jit_compile=jit_compile)

    @tf.function
    def run(real_a, real_b):
        def step():
            i, rows = tf.distribute.get_replica_context().replica_id_in_sync_group, config.batch_size // len(devices)
            a, b = (tf.ensure_shape(x[i * rows : (i + 1) * rows], [rows, *x.shape[1:]]) for x in (real_a, real_b))
            return model.train_step(a, b)

        return strategy.experimental_local_results(strategy.run(step))[0]

    return model, lambda a, b: dict(zip(model.metric_names, run(a, b).numpy()))


def images(photographs, batch=1, channels=3, dtype=np.float32):
    pictures = photographs(4, 256, 256).astype(dtype)[..., :channels]
    return tuple(tf.constant(pictures[i : i + batch, 40:72, 40:72]) for i in (0, 2))


def snapshot(variables):
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize('still, moving', [('generator', 'discriminator'), ('discriminator', 'generator')])
def test_an_update_touches_its_own_networks_only(photographs, still, moving):
    model, step = make()
    getattr(model, f'optimizer_{still[0]}').learning_rate = 0.0  # so that any change is the other update's
    fixed, free = (getattr(model, f'{kind}_variables') for kind in (still, moving))
    before_fixed, before_free = snapshot(fixed), snapshot(free)
    step(*images(photographs))
    for before, variable in zip(before_fixed, fixed):
        np.testing.assert_array_equal(before, variable.numpy())
    changed = [not np.array_equal(before, variable.numpy()) for before, variable in zip(before_free, free)]
    assert np.mean(changed) > 0.9
    assert not {v.ref() for v in fixed} & {v.ref() for v in free}
    assert model.step.numpy() == 1


@pytest.mark.own_process
@pytest.mark.parametrize('gan_mode', ['lsgan', 'wgangp'])
def test_two_replicas_equal_one(float64, photographs, gan_mode):
    pair = images(photographs, batch=2, dtype=np.float64)
    results = []
    for devices in (('/cpu:0',), ('/cpu:0', '/cpu:1')):
        model, step = make(devices, batch_size=2, pool_size=3, gan_mode=gan_mode)
        metrics = [step(*pair) for _ in range(3)]
        results.append((metrics, snapshot(v for v in model.generator_variables if len(v.shape) == 4)))
    for one, two in zip(*(metrics for metrics, _ in results)):
        assert two == pytest.approx(one, rel=1e-9, abs=1e-9)
    for one, two in zip(*(kernels for _, kernels in results)):
        assert np.linalg.norm(one - two) / np.linalg.norm(one) < 1e-9


@pytest.mark.own_process
def test_batch_norm_is_synchronised_over_replicas(float64, photographs):
    pair = images(photographs, batch=2, dtype=np.float64)
    results = []
    for devices in (('/cpu:0',), ('/cpu:0', '/cpu:1')):
        model, step = make(devices, batch_size=2, norm='batch')
        results.append((step(*pair), snapshot(model.g_a.variables)))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-9)
    for one, two in zip(results[0][1], results[1][1]):
        np.testing.assert_allclose(two, one, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_xla_changes_the_first_step_by_rounding_only(photographs):
    pair = images(photographs)
    (plain, step), (compiled, fast) = make(), make(jit_compile=True)
    expected = step(*pair)
    assert fast(*pair) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for one, two in zip(plain.generator_variables, compiled.generator_variables):
        if len(one.shape) == 4:
            assert np.linalg.norm(one - two) / np.linalg.norm(one) < 1e-3


def test_gray_to_colour_without_identity(photographs):
    model, step = make(input_nc=1, lambda_identity=0.0)
    (gray, _), (_, colour) = images(photographs, channels=1), images(photographs)
    metrics = step(gray, colour)
    assert metrics['loss/idt_A'] == metrics['loss/idt_B'] == 0 and metrics['loss/cycle_A'] > 0
    rows = model.visuals(gray, colour)
    assert {name: x.shape[-1] for name, x in rows['A_to_B'].items()} == {'real_A': 1, 'fake_B': 3, 'rec_A': 1}


def test_visuals_are_what_their_names_say(photographs):
    model, _ = make()
    a, b = images(photographs)
    rows = model.visuals(a, b)
    assert list(rows['A_to_B']) == ['real_A', 'fake_B', 'rec_A', 'idt_B']
    assert list(rows['B_to_A']) == ['real_B', 'fake_A', 'rec_B', 'idt_A']
    np.testing.assert_array_equal(rows['A_to_B']['rec_A'], model.g_b(model.g_a(a)))
    np.testing.assert_array_equal(rows['A_to_B']['idt_B'], model.g_b(a))
    np.testing.assert_array_equal(rows['B_to_A']['idt_A'], model.g_a(b))


def test_learning_rates_follow_the_schedule():
    model, _ = make(n_epochs=2, n_epochs_decay=3)
    rates = []
    for epoch in range(1, 6):
        model.start_epoch(epoch)
        rates.append(model.learning_rates()['learning_rate/G'])
    np.testing.assert_allclose(rates, 2e-4 * np.array([1, 1, 0.75, 0.5, 0.25]))
