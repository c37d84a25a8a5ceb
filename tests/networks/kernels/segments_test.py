"""Gradients that compute activations again: they are the same, and take less memory."""

import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.distribution.devices import set_graph_optimizer
from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_generator
from cyclegan_tf.networks.generators import GENERATORS
from tests.helpers import program
from tests.helpers.small_models import FEW_BLOCKS, xla_modules

SEED = tf.constant([[3, 4], [5, 6]])


def gradients(network, x, jit_compile=False):
    """Of a value of what the network makes of what it makes of x, in a graph: by weights, then by x."""

    def compute(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, *network.trainable_variables])
            twice = network(network(x, training=True, seed=SEED), training=True, seed=SEED + 1)
            value = tf.reduce_mean(twice * tf.cast(tf.range(3), twice.dtype)) * 1000  # which float16 holds
        return tape.gradient(value, [*network.trainable_variables, x])

    return [gradient.numpy() for gradient in tf.function(compute, autograph=False, jit_compile=jit_compile)(x)]


def small(name, **settings):
    """A network with all that a large one has: two blocks, or six halvings, one with dropout."""
    with mock.patch.dict(GENERATORS, FEW_BLOCKS, unet_128=('unet', 6)):
        return make_generator(name, **{'filters': 4, **settings})


def pair(name, **settings):
    """The same network without and with recomputation."""
    return [small(name, init_gain=0.1, seed=1, recompute_grads=again, **settings) for again in (False, True)]


@pytest.mark.slow
@pytest.mark.own_process  # for the options of TensorFlow that it sets
@pytest.mark.parametrize(
    'precision, share, name, norm, use_dropout',
    [
        ('float64', 1e-12, 'resnet_6blocks', 'instance', True),
        ('float64', 1e-12, 'unet_128', 'instance', True),
        ('float32', 1e-4, 'resnet_6blocks', 'instance', False),
        ('float32', 1e-4, 'unet_128', 'none', False),
        ('bfloat16', 2**-6, 'resnet_6blocks', 'instance', False),
        ('float16', 2**-9, 'resnet_6blocks', 'none', False),
        ('float16', 2**-9, 'unet_128', 'instance', False),
    ],
)
def test_gradients_are_the_same(photographs, name, precision, share, norm, use_dropout):
    tf.config.experimental.enable_op_determinism()
    set_graph_optimizer('CPU')  # one that makes one operation of two rounds otherwise
    if precision == 'float64':
        tf.keras.backend.set_floatx('float64')
        tf.keras.mixed_precision.set_global_policy('float64')
        precision = 'float32'  # no mixed one
    x = tf.constant(photographs(2, 64, 64), tf.keras.backend.floatx())
    kept, again = pair(name, norm=norm, precision=precision, use_dropout=use_dropout)
    expected, found = gradients(kept, x), gradients(again, x)
    assert len(found) == len(expected) and np.abs(expected[0]).max() > 0
    names = [variable.name for variable in kept.trainable_variables] + ['x']
    for variable, one, other in zip(names, expected, found):
        if norm == 'none':
            np.testing.assert_array_equal(one, other, err_msg=variable)
        # Where more than two gradients come together, as in the norm, TensorFlow adds them up in another order in
        # another graph: two units of the last place.
        elif 'bias' not in variable:  # before a norm they have no gradient but rounding
            np.testing.assert_allclose(other, one, rtol=0, atol=share * np.abs(one).max(), err_msg=variable)


# Two blocks are layers 10 and 11, and 20 is the image.
@pytest.mark.parametrize(
    'norm, layers, ignored',
    [
        ('instance', (20, 0, 4, 8, 11), ()),
        ('none', (4, 1, 16, 4), ()),  # what is behind it has no gradient
        ('instance', (11, 10), ()),
        ('instance', (8, 10, 5), (5,)),
        ('instance', (0,), ()),  # no weight is read
    ],
)
def test_gradients_that_come_in_at_several_layers_are_the_same(float64, photographs, norm, layers, ignored):
    x = tf.constant(photographs(2, 32, 40))

    def gradients_from_layers(network):
        @tf.function(autograph=False)
        def compute(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = dict(enumerate(zip(layers, network(x, training=True, seed=SEED, layers=layers))))
                used = [(i + 1) * tf.reduce_mean(y**3) for i, (layer, y) in outputs.items() if layer not in ignored]
                value = tf.add_n(used)
            return tape.gradient(value, [x, *network.trainable_variables])

        return compute(x)

    expected, found = map(gradients_from_layers, pair('resnet_6blocks', norm=norm, use_dropout=True))
    assert np.abs(expected[0]).max() > 0
    for one, other in zip(expected, found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 * max(1, np.abs(one).max()))


@pytest.mark.slow
@pytest.mark.own_process
@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_gradients_are_the_same_under_xla(photographs, tmp_path, monkeypatch, name):
    xla_modules(monkeypatch, tmp_path)
    x = tf.constant(photographs(2, 64, 64), tf.float32)
    for one, other in zip(*(gradients(network, x, jit_compile=True) for network in pair(name, norm='none'))):
        assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(one)


@pytest.mark.slow
@pytest.mark.own_process
def test_xla_computes_activations_again(tmp_path, monkeypatch):
    xla_modules(monkeypatch, tmp_path)

    x = tf.zeros([1, 32, 32, 3])

    def compiled(network):
        def compute(x):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(network.trainable_variables)
                value = tf.reduce_mean(tf.square(network(x, training=True)))
            return tape.gradient(value, network.trainable_variables)

        tf.function(compute, autograph=False).get_concrete_function(x)  # which is not what XLA needs
        function = tf.function(compute, autograph=False, jit_compile=True)
        text = function.experimental_get_compiler_ir(x)
        return text('hlo').count(' opt-barrier('), text('optimized_hlo').count(' convolution(')

    once, again = map(compiled, pair('resnet_6blocks', norm='none'))
    assert (once[0], again[0]) == (0, 1 + 2 + 1)
    assert again[1] > once[1]  # not of all segments: for CPUs XLA drops barriers before it merges for the last time


@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_the_gradient_of_images_is_computed_only_where_it_is_asked_for(name):
    network = small(name)
    watched = network.trainable_variables

    @tf.function(autograph=False)
    def step(x, of_x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, *watched] if of_x else watched)
            y = network(x, training=True)
        return tape.gradient(y, [x, *watched] if of_x else watched)

    for of_x in (True, False):
        graph = step.get_concrete_function(tf.zeros([1, 64, 64, 3]), of_x).graph
        (first,) = [op for op in graph.get_operations() if op.type == 'Conv2DBackpropInput']
        assert bool(first.outputs[0].consumers()) == of_x  # what nobody consumes is not run


# All at once; or what is before the blocks, each of the two, and what is behind them.
@pytest.mark.parametrize('again, calls', [(True, 1), (False, 4)])
def test_a_network_is_in_the_graph_once_however_often_it_is_called(again, calls):
    network = small('resnet_6blocks', recompute_grads=again)

    @tf.function(autograph=False)
    def three_times(x):
        return network(network(network(x, training=True), training=True), training=True)

    assert functions_called(three_times) == (3 * calls, calls)


def test_a_pass_that_stops_before_the_end_shares_its_functions_with_one_that_does_not():
    network = small('resnet_6blocks')
    function = tf.function(
        lambda x: (network(x, training=True), network(x, training=True, layers=(11, 9))), autograph=False
    )
    assert functions_called(function) == (4 + 3, 4)


def functions_called(function):
    """How many calls its graph has, and of how many functions."""
    graph = function.get_concrete_function(tf.zeros([1, 32, 32, 3])).graph
    called = [op.get_attr('f').name for op in graph.get_operations() if 'PartitionedCall' in op.type]
    return len(called), len(set(called))


def test_batch_norm_is_refused():
    with pytest.raises(UserError, match='`recompute_grads` .True. would update the running statistics'):
        make_generator('resnet_6blocks', filters=4, norm='batch', recompute_grads=True)


MEASURE = """
import pathlib, re, sys
import cyclegan_tf
import tensorflow as tf
from cyclegan_tf.networks import make_generator

network = make_generator('resnet_6blocks', filters=8, recompute_grads=sys.argv[1] == 'again')

@tf.function(autograph=False)
def step(x):
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(network(network(network(x, training=True), training=True), training=True) ** 2)
    return tape.gradient(value, network.trainable_variables)

def peak():
    # Not getrusage's, which begins with that of the process which started this one.
    return int(re.search(r'VmHWM:\\s*(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])

step(tf.zeros([1, 32, 32, 3]))  # what graphs and kernels take is not measured
small = peak()
step(tf.random.stateless_uniform([2, 256, 256, 3], [1, 2]))
print(peak() - small)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='/proc is of Linux')
def test_the_peak_memory_falls():
    taken = {}
    for kind in ('kept', 'again'):
        status, output, error = program.run_python('-c', MEASURE, kind)
        assert status == 0, error
        taken[kind] = int(output.split()[-1])
    assert taken['again'] < 0.6 * taken['kept'], taken
