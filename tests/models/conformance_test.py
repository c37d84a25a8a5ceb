"""What every model keeps to: devices, micro-batches, XLA and precision make no difference; who learns from what."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf import models
from tests.helpers.small_models import images, make, snapshot, xla_modules

TINY = ['tiny', 'tiny_cycle_gan', 'tiny_pix2pix', 'tiny_cut']
REAL = [name for name in models.MODELS if name not in TINY]
# With the real networks it takes minutes, and what is compared is the same.
MODELS = [*TINY, *(pytest.param(name, marks=pytest.mark.nightly) for name in REAL)]
# Few steps at a rate at which rounding stays rounding.
SETTINGS = dict(no_dropout=False, lr=2e-5, netD='n_layers', n_layers_D=1)
POOLS = {'tiny_cycle_gan': 3, 'cycle_gan': 3}
PAIRED = {'pix2pix': {'dataset_mode': 'aligned'}}


def train(photographs, model, steps=3, devices=('/cpu:0',), images_=2, **settings):
    """Metrics of some steps, [steps, metrics], and all weights afterwards."""
    pair = images(photographs, batch=2, dtype=tf.as_dtype(tf.keras.backend.floatx()).as_numpy_dtype)
    pair = [tf.concat([x, x[:, ::-1]], axis=0)[:images_] for x in pair]
    settings = {**SETTINGS, 'pool_size': POOLS.get(model, 0), **PAIRED.get(model, {}), **settings}
    model, step = make(devices, model=model, **settings)
    metrics = [list(step(*pair).values()) for _ in range(steps)]
    # Biases in front of a norm, which cancels them, learn nothing but rounding.
    kernels = [v for network in model.networks().values() for v in network.trainable_variables if len(v.shape) == 4]
    return model, np.array(metrics), snapshot(kernels)


def assert_same(one, other, bound):
    (_, metrics, kernels), (_, other_metrics, other_kernels) = one, other
    assert metrics.shape[1] > 1 and np.all(np.isfinite(metrics)) and len(kernels) > 1
    np.testing.assert_allclose(other_metrics, metrics, rtol=bound, atol=bound)
    for kernel, other_kernel in zip(kernels, other_kernels):
        assert np.linalg.norm(kernel - other_kernel) <= bound * np.linalg.norm(kernel)


@pytest.mark.own_process
@pytest.mark.parametrize('model', MODELS)
def test_two_replicas_equal_one(float64, photographs, model):
    one = train(photographs, model, batch_size=2)
    two = train(photographs, model, devices=('/cpu:0', '/cpu:1'), batch_size=2)
    assert_same(one, two, 1e-9)
    assert len(two[0].networks()) == len(two[0]._config.networks)


@pytest.mark.own_process
def test_two_replicas_equal_one_with_a_gradient_penalty(float64, photographs):
    settings = dict(batch_size=2, gan_mode='wgangp', pool_size=0)
    one = train(photographs, 'tiny_cycle_gan', **settings)
    two = train(photographs, 'tiny_cycle_gan', devices=('/cpu:0', '/cpu:1'), **settings)
    assert_same(one, two, 1e-9)
    without = train(photographs, 'tiny_cycle_gan', lambda_gp=0.0, **settings)
    assert not np.allclose(without[1], one[1], rtol=1e-3)


@pytest.mark.parametrize('model', MODELS)
def test_accumulated_micro_batches_equal_one_batch(float64, photographs, model):
    settings = dict(norm='instance')  # batch norm has the statistics of each micro-batch
    one = train(photographs, model, batch_size=2, **settings)
    assert_same(one, train(photographs, model, accumulate_steps=2, **settings), 1e-9)


@pytest.mark.own_process
def test_two_replicas_with_the_negatives_of_all_images_equal_one(float64, photographs):
    settings = dict(batch_size=2, nce_includes_all_negatives_from_minibatch=True)
    one = train(photographs, 'tiny_cut', **settings)
    two = train(photographs, 'tiny_cut', devices=('/cpu:0', '/cpu:1'), **settings)
    assert_same(one, two, 1e-9)
    without = train(photographs, 'tiny_cut', batch_size=2)
    assert not np.allclose(without[1], one[1], rtol=1e-3)


@pytest.mark.own_process
def test_two_replicas_that_accumulate_equal_one_batch(float64, photographs):
    one = train(photographs, 'tiny_cut', images_=4, batch_size=4)
    two = train(photographs, 'tiny_cut', 3, ('/cpu:0', '/cpu:1'), 4, batch_size=2, accumulate_steps=2)
    assert_same(one, two, 1e-9)


@pytest.mark.own_process
@pytest.mark.parametrize(
    'devices, model',
    [
        *((1, model) for model in TINY),
        (2, 'tiny_cut'),  # with the most parts
        *(pytest.param(2, model, marks=pytest.mark.nightly) for model in TINY if model != 'tiny_cut'),
    ],
)
def test_xla_makes_no_difference(float64, photographs, tmp_path, monkeypatch, model, devices):
    modules = xla_modules(monkeypatch, tmp_path)
    names = tuple(f'/cpu:{i}' for i in range(devices))
    plain, compiled = (train(photographs, model, 3, names, batch_size=2, jit_compile=on) for on in (False, True))
    assert_same(plain, compiled, 1e-9)
    count = len(modules())
    assert count == 1 if devices == 1 else count > 1  # the whole step, or the parts of each replica


@pytest.mark.parametrize('model', TINY)
def test_a_whole_group_is_skipped_where_half_precision_overflows_and_only_that(photographs, model):
    found, step = make(model=model, precision='float16', pool_size=0, lr=1e-3)
    pair, players, before = images(photographs), found.players, {}
    found.loss_scale_g.scale.assign(2.0**60)
    for name, player in players.items():
        before[name] = snapshot(player.variables)
    metrics = step(*pair)
    skipped = found.groups['G']
    assert skipped == {'tiny_cut': ('G', 'F')}.get(model, ('G',))
    for name, player in players.items():
        still = all(np.array_equal(a, b) for a, b in zip(before[name], snapshot(player.variables)))
        assert still == (name in skipped) and player.optimizer.iterations.numpy() == (name not in skipped)
        assert (metrics[f'gradient_norm/{name}'] == 0) == (name in skipped)
    assert found.loss_scale_g.scale.numpy() == 2.0**59
    found.loss_scale_g.scale.assign(2.0**4)
    step(*pair)
    assert all(players[name].optimizer.iterations.numpy() == 1 for name in skipped)


@pytest.mark.parametrize('model', TINY)
def test_float16_comes_close_to_float32(photographs, model):
    pair, found = images(photographs), []
    for precision in ('float32', 'float16'):
        small, step = make(model=model, precision=precision)
        for group in small.groups:
            getattr(small, f'loss_scale_{group.lower()}').scale.assign(2.0**4)
        found.append(list(step(*pair).values()))
    assert found[0] != found[1]
    np.testing.assert_allclose(found[1], found[0], rtol=0.02, atol=0.01)


# ----------------------------------------------------------------------------------------------- who learns from what
@pytest.mark.parametrize(
    'model, player',
    [
        *((model, one) for model in ('tiny_cycle_gan', 'tiny_pix2pix') for one in 'GD'),
        *(('tiny_cut', x) for x in 'GDF'),
    ],
)
def test_each_player_is_updated_by_its_own_optimizer_only(photographs, model, player):
    found, step = make(model=model)
    found.players[player].optimizer.learning_rate = 0.0
    before = {name: snapshot(one.variables) for name, one in found.players.items()}
    step(*images(photographs))
    for name, one in found.players.items():
        same = [np.array_equal(old, new) for old, new in zip(before[name], snapshot(one.variables))]
        assert all(same) if name == player else not any(same)
    references = [variable.ref() for one in found.players.values() for variable in one.variables]
    assert len(references) == len(set(references)) > 2


@pytest.mark.parametrize('accumulate', [1, 2])
@pytest.mark.parametrize(
    'model, loss, after',
    [('tiny_cycle_gan', 'G_A', False), ('tiny_pix2pix', 'G_GAN', True), ('tiny_cut', 'G_GAN', True)],
)
def test_generators_meet_the_discriminator_before_or_after_its_update(photographs, model, loss, after, accumulate):
    found = []
    for rate in (0.0, 0.1):
        small, step = make(model=model, accumulate_steps=accumulate)
        small.players['D'].optimizer.learning_rate = rate
        found.append(step(*images(photographs, batch=accumulate))[f'loss/{loss}'])
    assert (found[0] != found[1]) == after
