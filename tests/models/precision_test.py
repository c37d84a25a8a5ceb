"""Training in float16: what overflows is skipped, by all replicas, and what does not comes close to float32."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from tests.helpers.small_models import images, make, snapshot

FITS = 2.0**6  # a scale at which nothing overflows in these small models, whose few pixels have large gradients


def make_half(scale, **settings):
    """A small model in float16 that begins with this scale, and its step."""
    model, step = make(precision='float16', **settings)
    for loss_scale in (model.loss_scale_g, model.loss_scale_d):
        loss_scale.scale.assign(scale)
    return model, step


@pytest.mark.own_process
@pytest.mark.parametrize('replicas', [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_an_overflow_skips_the_step_and_halves_the_scale_until_it_fits(photographs, replicas):
    devices = ('/cpu:0', '/cpu:1')[:replicas]
    model, step = make(devices, batch_size=replicas, precision='float16', lambda_A=40.0)
    pair, before = images(photographs, batch=replicas), snapshot(model.variables_of('G'))
    scale, steps = model.loss_scale_g.scale, 0
    while not model.optimizer_g.iterations.numpy():
        assert scale.numpy() == 2.0 ** (15 - steps)
        for old, variable in zip(before, model.variables_of('G')):
            for copy in getattr(variable, 'values', [variable]):
                np.testing.assert_array_equal(old, copy.numpy())
        metrics, steps = step(*pair), steps + 1
        assert np.isfinite(list(metrics.values())).all() and steps < 15
        assert (metrics['gradient_norm/G'] == 0) == (model.optimizer_g.iterations.numpy() == 0)
    assert steps > 1 and scale.numpy() == 2.0 ** (16 - steps)
    assert model.learning_rates()['loss_scale/G'] == scale.numpy()
    # The other optimizer has a scale of its own.
    assert model.optimizer_d.iterations.numpy() > 1 and model.learning_rates()['loss_scale/D'] > scale.numpy()
    assert not np.array_equal(before[0], model.variables_of('G')[0].numpy())
    for variable in model.variables_of('G'):
        copies = [copy.numpy() for copy in getattr(variable, 'values', [variable])]
        np.testing.assert_array_equal(copies[0], copies[-1])


def test_gradients_that_do_not_fit_at_a_scale_of_one_are_reported_as_they_are(photographs):
    model, step = make_half(1.0, lambda_A=1e7)
    before = snapshot(model.variables_of('G'))
    metrics = step(*images(photographs))
    assert not np.isfinite(metrics['gradient_norm/G']) and np.isfinite(metrics['loss/cycle_A'])
    for old, variable in zip(before, model.variables_of('G')):
        np.testing.assert_array_equal(old, variable.numpy())


@pytest.mark.slow
def test_float16_trains_as_float32_does(photographs):
    pair = images(photographs)
    (full, step), (half, half_step) = make(), make_half(FITS)
    for _ in range(5):
        expected, found = step(*pair), half_step(*pair)
    assert found != expected
    for name in full.metric_names:
        if name.startswith('loss/'):
            assert found[name] == pytest.approx(expected[name], rel=0.15, abs=0.02), name
    assert half.optimizer_g.iterations.numpy() == half.optimizer_d.iterations.numpy() == 5
    assert {v.dtype for v in half.variables_of('G') + half.variables_of('D')} == {tf.float32}


def test_the_gradient_norm_is_that_of_the_losses_themselves(photographs):
    pair = images(photographs)
    # Without norms, whose gradients through so few pixels float16 itself has up to 3 % off.
    expected, found = make(norm='none')[1](*pair), make_half(FITS, norm='none')[1](*pair)
    for name in ('gradient_norm/G', 'gradient_norm/D'):
        assert found[name] == pytest.approx(expected[name], rel=0.002)


def test_wgangp_is_refused_in_float16():
    with pytest.raises(UserError, match='`precision` .float16. cannot represent the gradients of the gradient penalty'):
        make(precision='float16', gan_mode='wgangp')
