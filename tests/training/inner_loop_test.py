"""The loop of steps compiled by XLA, beside the same without; cycle_gan_test has the first step of the whole model."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute import mirrored_strategy

from cyclegan_tf.training.inner_loop import compile_steps
from tests.helpers.small_models import make, xla_modules

STEPS = 4
# With the fewest passes and layers, since XLA compiles for long.
SMALL = dict(netD='n_layers', n_layers_D=1, lambda_identity=0, pool_size=1)
DRAWS = dict(SMALL, gan_mode='wgangp', no_dropout=False, accumulate_steps=2)
SETTINGS = {
    'all that draws, in parts': DRAWS,
    'tiny, all that draws, in parts': dict(DRAWS, model='tiny_cycle_gan'),
    'batch norm': dict(SMALL, norm='batch'),
    # Without norms, which over 8x8 pixels enlarge float16's rounding to several percent of gradients.
    'recomputed in float16': dict(SMALL, recompute_grads=True, precision='float16', norm='none', init_gain=0.1),
}


def batches(photographs, count):
    """A stream without end of STEPS pairs of batches, cut from photographs."""
    of_all = photographs(4, 256, 256).reshape(-1, 32, 256, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    drawn = np.random.default_rng(1).choice(of_all, [2, STEPS, count], replace=False)
    return tf.data.Dataset.from_tensor_slices(tuple(drawn.astype(tf.keras.backend.floatx()))).repeat()


def open_loop(photographs, devices=('/cpu:0',), **settings):
    """A model, a stream for it, and its loop: (stream, number of steps) -> their metrics, and the time they waited."""
    model, _ = make(devices, **settings)
    strategy = model.step.distribute_strategy
    count = settings.get('batch_size', 1) * settings.get('accumulate_steps', 1)
    iterator = iter(strategy.experimental_distribute_dataset(batches(photographs, count)))
    run_steps = compile_steps(model, strategy)
    return model, iterator, run_steps


def state(model):
    """What the step has updated besides the weights, which stay: Adam's moments, and running statistics."""
    yield from (
        of_all(v for v in one.variables[1:] if len(v.shape) == 4) for one in (model.optimizer_g, model.optimizer_d)
    )
    if running := [v for network in model.networks().values() for v in network.non_trainable_variables]:
        yield of_all(running)


def of_all(variables):
    """Their values in one row."""
    return np.concatenate([variable.numpy().ravel() for variable in variables])


def operations(function, *arguments):
    """The types of the operations in the loop of a function's graph."""
    graph = function.get_concrete_function(*arguments).graph.as_graph_def()
    (loop,) = (node for node in graph.node if node.op == 'While')
    (body,) = (one for one in graph.library.function if one.signature.name == loop.attr['body'].func.name)
    return [node.op for node in body.node_def]


@pytest.mark.own_process
@pytest.mark.parametrize(
    'name',
    [
        'tiny, all that draws, in parts',
        pytest.param('recomputed in float16', marks=pytest.mark.slow),
        pytest.param('all that draws, in parts', marks=pytest.mark.nightly),
        pytest.param('batch norm', marks=pytest.mark.nightly),
    ],
)
def test_xla_compiles_the_whole_step_once(photographs, tmp_path, monkeypatch, request, name):
    modules = xla_modules(monkeypatch, tmp_path)
    half = SETTINGS[name].get('precision') == 'float16'
    if not half:
        request.getfixturevalue('float64')
    found = []
    for jit_compile in (False, True):
        model, iterator, run_steps = open_loop(photographs, jit_compile=jit_compile, **SETTINGS[name])
        # Weights that stay, so that one step does not enlarge the rounding of the one before.
        for optimizer in (model.optimizer_g, model.optimizer_d):
            optimizer.learning_rate = 0.0
        metrics = np.concatenate([run_steps(iterator, tf.constant(STEPS))[0] for _ in range(2)])
        found.append((model, metrics))
    (plain, expected), (compiled, result) = found
    losses = len(plain.loss_names)
    np.testing.assert_allclose(result[:, :losses], expected[:, :losses], rtol=4e-3 if half else 1e-9)
    np.testing.assert_array_equal(plain.pool_a.count, compiled.pool_a.count)
    for one, other in zip(state(plain), state(compiled)):
        assert np.linalg.norm(one) > 0 and np.linalg.norm(one - other) <= (0.01 if half else 1e-6) * np.linalg.norm(one)
    assert compiled.step.numpy() == 2 * STEPS
    # float16 skips the first steps, with gradients beyond what it holds.
    assert 2 < compiled.optimizer_g.iterations.numpy() == plain.optimizer_g.iterations.numpy()
    assert compiled.loss_scale_g.scale.numpy() == plain.loss_scale_g.scale.numpy()

    # Nothing but the clock and the stream is outside, and nothing inside leaves the device.
    outside = operations(run_steps, iterator, tf.constant(STEPS))
    assert outside.count('StatefulPartitionedCall') == 1
    assert not [op for op in outside if any(word in op for word in ('Variable', 'Resource', 'Conv', 'Random'))]
    (module,) = modules()
    leaving = {'send', 'recv', 'infeed', 'outfeed', 'all-reduce', 'conditional', 'while'}
    assert not leaving & set(module.replace('(', ' ').split())


@pytest.mark.own_process
def test_on_one_gpu_nothing_collective_is_compiled(photographs, monkeypatch):
    # There a strategy acts in another way when XLA compiles; it takes the CPU for a GPU here.
    monkeypatch.setattr(mirrored_strategy, '_is_gpu_device', lambda device: True)
    _, iterator, run_steps = open_loop(photographs, jit_compile=True, **SMALL)
    graph = run_steps.get_concrete_function(iterator, tf.constant(1)).graph
    everywhere = {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    assert 'ResourceApplyAdam' in everywhere
    assert not [op for op in everywhere if 'Collective' in op or 'Nccl' in op]


@pytest.mark.nightly  # models/conformance_test has the same of tiny models
@pytest.mark.own_process
def test_with_two_replicas_xla_compiles_losses_and_gradients(float64, photographs, tmp_path, monkeypatch):
    modules = xla_modules(monkeypatch, tmp_path)
    found = []
    for jit_compile in (False, True):
        model, iterator, run_steps = open_loop(
            photographs, ('/cpu:0', '/cpu:1'), batch_size=2, jit_compile=jit_compile, **SMALL
        )
        found.append(run_steps(iterator, tf.constant(1))[0])
        if jit_compile:
            compiled = len(modules())
            run_steps(iterator, tf.constant(STEPS))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    assert compiled == len(modules()) == 4  # for generators and discriminators, on two devices each


@pytest.mark.own_process
def test_a_loop_that_was_traced_ahead_is_not_traced_again(photographs):
    _, iterator, run_steps = open_loop(photographs, **dict(SMALL, model='tiny_cycle_gan'))
    run_steps.get_concrete_function(iterator, tf.constant(1))
    for count in (1, STEPS):
        run_steps(iterator, tf.constant(count))
    assert run_steps.experimental_get_tracing_count() == 1
