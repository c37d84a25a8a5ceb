"""Options of training that every model has: rates, gradients, penalties; and all of them at once."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS, diffaugment
from cyclegan_tf.settings.models import SETTINGS
from tests.helpers.small_models import images, make, snapshot

EVERY = dict(
    upsample='resize', downsample='antialias', learn_residual=True, learn_gain=True, spectral_norm=True, num_D=2,
    gan_mode='hinge', lambda_r1=0.5, lambda_zero_gp=0.1, diffaugment='color,translation,cutout', lr=2e-5, lr_D=4e-5,
    warmup_steps=2, clip_grad=1.0, ema_decay=0.9, netD='n_layers', n_layers_D=1, batch_size=2,
)  # fmt: skip
OWN = {'pix2pix': dict(dataset_mode='paired', norm='instance'), 'cut': dict(num_patches=9, netF_nc=8), 'cycle_gan': {}}


def train(photographs, model, steps=2, devices=('/cpu:0',), **settings):
    """Metrics of some steps with every option, [steps, metrics]; all kernels and singular vectors before and after."""
    pair = images(photographs, batch=2, dtype=tf.as_dtype(tf.keras.backend.floatx()).as_numpy_dtype)
    small, step = make(devices, model=model, **{**EVERY, **OWN[model.removeprefix('tiny_')], **settings})
    small.start_epoch(1)
    networks = [*small.networks().values(), *small.averages().values()]
    kernels = [v for network in networks for v in network.variables if len(v.shape) == 4 or 'u:' in v.name]
    before = snapshot(kernels)
    metrics = [list(step(*pair).values()) for _ in range(steps)]
    return np.array(metrics), before, snapshot(kernels), small


def assert_same(one, other, bound=1e-9):
    np.testing.assert_allclose(other[0], one[0], rtol=bound, atol=bound)
    for kernel, other_kernel in zip(one[2], other[2], strict=True):
        assert np.linalg.norm(kernel - other_kernel) <= bound * np.linalg.norm(kernel)


# ------------------------------------------------------------------------------------------------------ one by one
def test_discriminators_have_a_learning_rate_of_their_own():
    for model in ('tiny_cycle_gan', 'tiny_cut', 'tiny_pix2pix'):
        small, _ = make(model=model, lr=1e-3, lr_D=4e-3, n_epochs=1, n_epochs_decay=1)
        for epoch, factor in ((1, 1), (2, 0.5)):
            small.start_epoch(epoch)
            for tag, rate in small.learning_rates().items():
                assert rate == pytest.approx(factor * (4e-3 if tag == 'learning_rate/D' else 1e-3)), tag


def test_rates_rise_in_the_first_steps(photographs):
    """Adam's step is the rate times a number that does not depend on it: with a rate a quarter as large, the first
    step is a quarter as long."""
    moves = []
    for warmup in (0, 4):
        small, step = make(model='tiny_cycle_gan', warmup_steps=warmup)
        start = snapshot(small.g_a.trainable_variables)
        step(*images(photographs))
        moves.append([b - a for a, b in zip(start, snapshot(small.g_a.trainable_variables))])
    for full, quarter in zip(*moves):
        np.testing.assert_allclose(quarter, full / 4, rtol=1e-3, atol=1e-8)
    rates = []
    for _ in range(5):
        rates.append(float(small.optimizer_g._numbers(tf.float32)['lr']))
        step(*images(photographs))
    np.testing.assert_allclose(rates, np.array([2, 3, 4, 4, 4]) / 4 * small.config.lr, rtol=1e-6)


def test_gradients_are_clipped_to_a_norm(photographs):
    """Adam's first moment after a step is (1 - beta1) times the gradient that it was given."""
    norms = {}
    for clip in (0.0, 0.01, 1e6):
        small, step = make(model='tiny_cycle_gan', clip_grad=clip, pool_size=0)
        metrics = step(*images(photographs))
        for name, player in small.players.items():
            moments = [moment / (1 - small.config.beta1) for moment in player.optimizer._momentums]
            norms[clip, name] = metrics[f'gradient_norm/{name}'], float(tf.linalg.global_norm(moments))
    for name in 'GD':
        whole, given = norms[0.0, name]
        assert given == pytest.approx(whole, rel=1e-4) and whole > 0.01
        assert norms[1e6, name] == pytest.approx((whole, whole), rel=1e-4)
        assert norms[0.01, name] == pytest.approx((whole, 0.01), rel=1e-3)  # the norm before is reported


@pytest.mark.parametrize('name', ['lambda_r1', 'lambda_zero_gp'])
def test_penalties_are_part_of_the_discriminators_loss(photographs, name):
    (a, b), found = images(photographs), {}
    for weight in (0.0, 3.0):
        small, step = make(model='tiny_cycle_gan', pool_size=0, **{name: weight})
        mixes = small.mixes(small.step_seed())
        fakes, critics = [small.g_b(b), small.g_a(a)], [small.d_b, small.d_a]
        if name == 'lambda_r1':
            places, summed = [a, b], tf.reduce_sum
        else:
            places = [mix * real + (1 - mix) * fake for mix, real, fake in zip(mixes, (a, b), fakes)]
            summed = tf.reduce_mean
        expected = {}
        for domain, critic, place in zip('BA', critics, places):
            with tf.GradientTape() as tape:
                tape.watch(place)
                logits = summed(critic(place))
            norm = float(tf.reduce_sum(tape.gradient(logits, place) ** 2))
            expected[domain] = weight * (norm / 2 if name == 'lambda_r1' else norm)
        metrics = step(a, b)
        found[weight] = {domain: metrics[f'loss/D_{domain}'] for domain in 'AB'}
    for domain, penalty in expected.items():
        assert penalty > 1e-4
        assert found[3.0][domain] - found[0.0][domain] == pytest.approx(penalty, rel=1e-3, abs=1e-6)
    with pytest.raises(UserError, match=f'`precision` .float16. cannot represent the gradients .* of {name}; set'):
        make(model='tiny_cycle_gan', precision='float16', **{name: 1.0})


@pytest.mark.parametrize('model', ['tiny_cycle_gan', 'tiny_cut', 'tiny_pix2pix'])
def test_discriminators_see_images_behind_the_augmentation(photographs, monkeypatch, model):
    """Real images and fakes of a domain behind the same one; others in the generators' update, and for each domain."""
    small, step = make(model=model, diffaugment='color,cutout', pool_size=0)
    plain, seen = diffaugment.augment, []

    def recorded(images, seeds, names, coloured):
        seen.append((seeds, tuple(names), coloured, images.shape[-1]))
        return plain(images, seeds, names, coloured)

    monkeypatch.setattr(diffaugment, 'augment', recorded)
    tf.config.run_functions_eagerly(True)
    try:
        step(*images(photographs))
    finally:
        tf.config.run_functions_eagerly(False)
    counts = collections.Counter(tuple(seed) for seeds, *_ in seen for seed in seeds.numpy())
    domains = 2 if model == 'tiny_cycle_gan' else 1
    assert sorted(counts.values()) == [1] * domains + [2] * domains  # of generators; of real images and fakes
    assert {tuple(rest) for _, *rest in seen} == {(('color', 'cutout'), 3, 6 if model == 'tiny_pix2pix' else 3)}


# ----------------------------------------------------------------------------------------------------- all at once
@pytest.mark.parametrize(
    'model', ['pix2pix', *(pytest.param(name, marks=pytest.mark.nightly) for name in ('cycle_gan', 'cut'))]
)
def test_all_of_them_go_together(photographs, model):
    metrics, before, after, small = train(photographs, model, steps=1)
    assert np.all(np.isfinite(metrics)) and len(small.averages()) == (2 if model == 'cycle_gan' else 1)
    assert sum(kernel.ndim == 1 for kernel in after) == (12 if model == 'cycle_gan' else 6)  # of spectral norms
    for name in small.averages():  # the generators: biases of three gains, and of three channels that are added
        made = small.networks()[name], small.averages()[name]
        assert all((6,) in {tuple(v.shape) for v in one.variables} for one in made)
    # Nothing stands still but the singular vectors of a single number.
    assert not any(np.array_equal(a, b) for a, b in zip(before, after) if a.size > 1)
    assert all(small.slots(name) is None for name in small.networks() if name != 'F')


@pytest.mark.nightly
@pytest.mark.own_process
@pytest.mark.parametrize('model', OWN)
def test_two_replicas_equal_one_with_all_of_them(float64, photographs, model):
    assert_same(train(photographs, model), train(photographs, model, devices=('/cpu:0', '/cpu:1')))


@pytest.mark.nightly
@pytest.mark.parametrize('model', OWN)
@pytest.mark.parametrize(
    'change',
    [
        dict(batch_size=1, accumulate_steps=2),
        dict(recompute_grads=True),
        pytest.param(dict(jit_compile=True), marks=pytest.mark.own_process),
    ],
    ids=lambda change: ','.join(change),
)
def test_micro_batches_recomputing_and_xla_make_no_difference_with_all_of_them(float64, photographs, model, change):
    if 'jit_compile' in change and model != 'pix2pix':
        model = f'tiny_{model}'  # XLA takes many minutes for the whole step of the others with every option, on a CPU
    # A pool keeps what single images make of it.
    assert_same(train(photographs, model, pool_size=0), train(photographs, model, pool_size=0, **change))


@pytest.mark.nightly
@pytest.mark.parametrize('devices', [1, pytest.param(2, marks=pytest.mark.own_process)])
@pytest.mark.parametrize('model', OWN)
@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_half_precision_comes_close_with_all_of_them(photographs, model, precision, devices):
    others = dict(pool_size=0, lambda_r1=0.0, lambda_zero_gp=0.0)
    names = tuple(f'/cpu:{i}' for i in range(devices))
    found = [train(photographs, model, 1, names, precision=one, **others)[0] for one in ('float32', precision)]
    small = MODELS[model](SETTINGS[model](dataroot='demo', model=model, **OWN[model]))
    losses = len(small.loss_names)
    np.testing.assert_allclose(found[1][:, :losses], found[0][:, :losses], rtol=0.1, atol=0.03)
