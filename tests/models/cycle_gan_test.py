"""The step's own properties: who updates whom, replicas, XLA, directions of losses."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.models.base import BaseModel
from tests.helpers.small_models import images, make, snapshot, xla_modules


def count_calls(monkeypatch, model):
    """Returns a function: -> name of a network -> number of its calls, while steps were traced."""
    counts = dict.fromkeys(model.networks(), 0)

    def counting(name, call):
        def counted(*args, **kwargs):
            counts[name] += 1
            return call(*args, **kwargs)

        return counted

    for name, network in model.networks().items():
        monkeypatch.setattr(network, 'call', counting(name, network.call))
    return lambda: dict(counts)


@pytest.mark.parametrize('still, moving', [('generator', 'discriminator'), ('discriminator', 'generator')])
def test_an_update_touches_its_own_networks_only(photographs, still, moving):
    model, step = make()
    getattr(model, f'optimizer_{still[0]}').learning_rate = 0.0  # so that any change is the other update's
    fixed, free = (model.variables_of(kind[0].upper()) for kind in (still, moving))
    before_fixed, before_free = snapshot(fixed), snapshot(free)
    step(*images(photographs))
    for before, variable in zip(before_fixed, fixed):
        np.testing.assert_array_equal(before, variable.numpy())
    changed = [not np.array_equal(before, variable.numpy()) for before, variable in zip(before_free, free)]
    assert np.mean(changed) > 0.9
    assert not {v.ref() for v in fixed} & {v.ref() for v in free}
    assert model.step.numpy() == 1


@pytest.fixture(params=['in one batch', 'apart'])
def passes(request, monkeypatch):
    """Both ways of a step, of which small images alone would have the first."""
    if request.param == 'apart':
        monkeypatch.setattr(BaseModel, 'most_pixels_in_one_batch', {'generator': 0, 'discriminator': 0})


@pytest.mark.nightly
@pytest.mark.own_process
def test_two_replicas_equal_one_with_a_gradient_penalty(float64, photographs, passes):
    pair = images(photographs, batch=2, dtype=np.float64)
    results = []
    for devices in (('/cpu:0',), ('/cpu:0', '/cpu:1')):
        model, step = make(devices, batch_size=2, pool_size=3, gan_mode='wgangp')
        metrics = [step(*pair) for _ in range(3)]
        results.append((metrics, snapshot(v for v in model.variables_of('G') if len(v.shape) == 4)))
    for one, two in zip(*(metrics for metrics, _ in results)):
        assert two == pytest.approx(one, rel=1e-9, abs=1e-9)
    for one, two in zip(*(kernels for _, kernels in results)):
        assert np.linalg.norm(one - two) / np.linalg.norm(one) < 1e-9


@pytest.mark.nightly
@pytest.mark.own_process
def test_batch_norm_is_synchronised_over_replicas(float64, photographs):
    pair = images(photographs, batch=2, dtype=np.float64)
    results = []
    for devices in (('/cpu:0',), ('/cpu:0', '/cpu:1')):
        # The fewest passes and layers: TensorFlow takes minutes for the graph of all.
        model, step = make(devices, batch_size=2, norm='batch', lambda_identity=0, netD='n_layers', n_layers_D=1)
        results.append((step(*pair), snapshot(model.g_a.variables)))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-9)
    for one, two in zip(results[0][1], results[1][1]):
        np.testing.assert_allclose(two, one, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    'settings',
    [
        dict(model='tiny_cycle_gan'),
        dict(model='tiny_cycle_gan', no_dropout=False, accumulate_steps=2, batch_size=2, diffaugment='color,cutout'),
        dict(model='tiny_pix2pix', gan_mode='wgangp'),
        dict(num_D=2, n_layers_D=1, netD='n_layers', spectral_norm=True, recompute_grads=True),
    ],
    ids=['plain', 'dropout, micro-batches, augmentation', 'pix2pix', 'scales, spectral norm'],
)
def test_small_images_in_one_batch_give_the_step_of_one_pass_after_another(float64, photographs, monkeypatch, settings):
    count = settings.get('batch_size', 1) * settings.get('accumulate_steps', 1)
    pair, found = images(photographs, min(count, 2), dtype=np.float64), []
    pair = [tf.concat([x] * (count // len(x)), axis=0) for x in pair]
    for most in (0, 2**20):
        monkeypatch.setattr(BaseModel, 'most_pixels_in_one_batch', {'generator': most, 'discriminator': most})
        model, step = make(lr=2e-5, pool_size=0, **settings)
        calls = count_calls(monkeypatch, model)
        values = [step(*pair) for _ in range(2)]
        has_generators = settings.get('model') != 'tiny_pix2pix'
        joined = {'discriminator', *(['generator'] if has_generators else [])}
        assert model.kinds_in_one_batch == (joined if most else set())
        variables = (variable for player in model.players.values() for variable in player.variables)
        found.append(([x for of_step in values for x in of_step.values()] + snapshot(variables), calls()))
    (separate, many), (together, few) = found
    assert all(few[name] < many[name] for name in model.networks() if name != 'G'), (few, many)
    for one, other in zip(separate, together):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    'shape, settings, kinds',
    [
        ([1, 64, 64], {}, {'generator', 'discriminator'}),
        ([2, 64, 64], {}, {'generator'}),
        ([1, 96, 96], {}, set()),
        ([1, 32, 32], dict(norm='batch'), set()),
        ([1, 32, 32], dict(normG='batch'), {'discriminator'}),
        ([1, 32, 32], dict(normD='batch'), {'generator'}),
        ([1, 32, 32], dict(norm='none'), {'generator', 'discriminator'}),
        ([1, None, None], {}, set()),
    ],
)
def test_images_are_in_one_batch_where_they_are_small_and_norms_are_of_each(shape, settings, kinds):
    pair = [tf.TensorSpec([*shape, 3]) for _ in 'AB']
    model, _ = make(model='tiny_cycle_gan', **settings)
    assert {kind for kind in ('generator', 'discriminator') if model.in_one_batch(kind, *pair)} == kinds
    assert not model.in_one_batch('generator', pair[0], tf.TensorSpec([1, 16, 16, 3]))


def test_gpus_hold_all_variables():
    # TensorFlow puts int32 ones on the CPU, where a step that XLA compiled for a GPU cannot reach them.
    model, _ = make(precision='float16')
    assert not [variable.name for variable in model.variables if variable.dtype == tf.int32]
    optimizers = [v for optimizer in (model.optimizer_g, model.optimizer_d) for v in optimizer.variables]
    assert optimizers and not [variable.name for variable in optimizers if variable.dtype == tf.int32]


@pytest.mark.nightly
@pytest.mark.own_process
def test_xla_changes_the_first_step_by_rounding_only(photographs, tmp_path, monkeypatch, passes):
    modules = xla_modules(monkeypatch, tmp_path)
    pair = images(photographs)
    (plain, step), (compiled, fast) = make(), make(jit_compile=True)
    expected = step(*pair)
    assert fast(*pair) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for one, two in zip(plain.variables_of('G'), compiled.variables_of('G')):
        if len(one.shape) == 4:
            assert np.linalg.norm(one - two) / np.linalg.norm(one) < 1e-3
    fast(*pair)
    assert len(modules()) == 1  # another step is not compiled anew


@pytest.mark.nightly
def test_batch_norm_where_the_parts_of_a_step_are_functions(photographs):
    pair = [tf.concat([x, x], axis=0) for x in images(photographs)]  # micro-batches have the statistics of the batch
    settings = dict(norm='batch', lambda_identity=0, netD='n_layers', n_layers_D=1)
    (_, step), (parted, parted_step) = make(batch_size=2, **settings), make(accumulate_steps=2, **settings)
    running = snapshot(parted.g_a.non_trainable_variables)
    assert parted_step(*pair) == pytest.approx(step(*pair), rel=1e-4, abs=1e-4)
    for before, variable in zip(running, parted.g_a.non_trainable_variables):
        assert not np.isclose(variable.numpy(), before, rtol=1e-6, atol=0).any()


@pytest.mark.slow
def test_gray_to_colour_without_identity(photographs):
    model, step = make(model='tiny_cycle_gan', input_nc=1, lambda_identity=0.0)
    (gray, _), (_, colour) = images(photographs, channels=1), images(photographs)
    metrics = step(gray, colour)
    assert metrics['loss/idt_A'] == metrics['loss/idt_B'] == 0 and metrics['loss/cycle_A'] > 0
    rows = model.visuals(gray, colour)
    assert {name: x.shape[-1] for name, x in rows['A_to_B'].items()} == {'real_A': 1, 'fake_B': 3, 'rec_A': 1}


def test_bfloat16_takes_the_same_first_step_up_to_its_rounding(photographs):
    pair = images(photographs)
    # The instance norms of so few pixels make the gradients' norm 1 to 7 % another, by the seed.
    (full, step), (half, half_step) = make(seed=2), make(seed=2, precision='bfloat16')
    before = snapshot(half.variables_of('G'))
    expected, found = step(*pair), half_step(*pair)
    assert found != expected
    for name in full.metric_names:
        assert found[name] == pytest.approx(expected[name], rel=0.05, abs=0.01), name
    assert {v.dtype for v in half.variables_of('G') + half.variables_of('D')} == {tf.float32}
    for kernel, old, one in zip(half.variables_of('G'), before, full.variables_of('G')):
        if len(kernel.shape) == 4:  # Adam's first step is the sign of the gradient, times the rate
            moved = kernel.numpy() - old
            assert 0 < np.abs(moved).max() < 2.1e-4
            assert np.mean(np.sign(moved) == np.sign(one.numpy() - old)) > 0.8


def test_visuals_are_what_their_names_say(photographs):
    model, _ = make()
    a, b = images(photographs)
    rows = model.visuals(a, b)
    assert list(rows['A_to_B']) == ['real_A', 'fake_B', 'rec_A', 'idt_B']
    assert list(rows['B_to_A']) == ['real_B', 'fake_A', 'rec_B', 'idt_A']
    # Traced for any size, as visuals are: other operations are fused then, which rounds otherwise.
    signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]
    g_a, g_b = (tf.function(network, signature, autograph=False) for network in (model.g_a, model.g_b))
    np.testing.assert_array_equal(rows['A_to_B']['rec_A'], g_b(g_a(a)))
    np.testing.assert_array_equal(rows['A_to_B']['idt_B'], g_b(a))
    np.testing.assert_array_equal(rows['B_to_A']['idt_A'], g_a(b))


def test_learning_rates_follow_the_schedule():
    model, _ = make(n_epochs=2, n_epochs_decay=3)
    rates = []
    for epoch in range(1, 6):
        model.start_epoch(epoch)
        rates.append(model.learning_rates()['learning_rate/G'])
    np.testing.assert_allclose(rates, 2e-4 * np.array([1, 1, 0.75, 0.5, 0.25]))
