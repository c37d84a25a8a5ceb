"""What any of a network's stages computes is handed out, and nothing behind it is computed."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_generator


@pytest.mark.parametrize(
    'name, layers, message',
    [
        ('resnet_6blocks', (0, 25), r'`layers` .0,25. contains 25; the layers of this generator .* from 0 to 24'),
        ('resnet_6blocks', (-1,), r'`layers` .-1. contains -1; the layers of this generator .* from 0 to 24'),
        (
            'unet_128',
            (0, 4),
            r'`layers` .0,4. are indices .* which a U-Net is not; make a generator with name resnet_9blocks',
        ),
    ],
)
def test_layers_that_a_generator_has_not_are_refused(name, layers, message):
    network = make_generator(name, filters=4)
    for training in (False, True):
        with pytest.raises(UserError, match=message):
            network(tf.zeros([1, 128, 128, 3]), training=training, layers=layers)


def test_layers_are_handed_out_in_the_order_asked_for(photographs):
    network = make_generator('resnet_6blocks', filters=4, init_gain=0.1)
    x = tf.constant(photographs(1, 32, 40), tf.float32)
    for training in (False, True):
        image, padded, block, again = network(x, training=training, layers=(24, 0, 10, 24))
        np.testing.assert_array_equal(image, network(x, training=training))
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(padded, tf.pad(x, [[0, 0], [3, 3], [3, 3], [0, 0]], 'REFLECT'))
        assert block.shape == (1, 8, 10, 16)


# Up to layer 4 there are two convolutions, up to 12 three and those of three blocks.
@pytest.mark.parametrize('layers, convolutions', [((0,), 0), ((4, 0), 2), ((0, 4, 8, 12), 3 + 2 * 3)])
@pytest.mark.parametrize('training, again', [(False, False), (True, False), (True, True)])
def test_nothing_is_computed_behind_the_last_layer(layers, convolutions, training, again):
    network = make_generator('resnet_6blocks', filters=4, recompute_grads=again)
    function = tf.function(lambda x: network(x, training=training, layers=layers), autograph=False)
    graph = function.get_concrete_function(tf.zeros([1, 32, 32, 3])).graph
    first = network.trainable_variables[: 2 * convolutions]  # each has a kernel and a bias
    assert {variable.ref() for variable in graph.variables} == {variable.ref() for variable in first}
    definition = graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    assert sum(node.op == 'Conv2D' for body in bodies for node in body) == convolutions
