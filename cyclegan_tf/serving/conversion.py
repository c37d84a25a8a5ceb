"""Converts a generator for other runtimes: LiteRT (TensorFlow Lite) on phones, and ONNX."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.shapes import least_side, pad_to_multiple

_ONNX_OPSET = 17  # the oldest in which ONNX itself has every operation of the networks


def to_tflite(network: tf.keras.Model, input_channels: int, side: int, quantize: str) -> bytes:
    """Converts a generator to a file for LiteRT's interpreter that uses built-in operations only.

    The model takes float32 [1, side, side, input_channels] in [-1, 1] and returns float32
    [1, side, side, output_channels].

    Args:
        network: the generator.
        input_channels: channels of its input images.
        side: side of the images, in pixels.
        quantize: 'none'; 'float16': weights are stored in float16; 'dynamic': weights are stored in 8 bits, and
            convolutions are computed in 8 bits.

    Raises:
        UserError: the network cannot take images of this size.
    """
    least = least_side(network.side_multiple)
    if side % network.side_multiple or side < least:
        raise UserError(
            f'`image_size` ({side}) is not a multiple of {network.side_multiple} and at least {least}, as the network '
            f'needs; set it to one that is.'
        )
    module, call = _plain(network)
    spec = tf.TensorSpec([1, side, side, input_channels], tf.float32, name='images')
    with _plain_layers(network):
        function = tf.function(call, autograph=False).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize != 'none':
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == 'float16':
        converter.target_spec.supported_types = [tf.float16]
    with _silence():
        return converter.convert()


def to_onnx(network: tf.keras.Model, input_channels: int) -> bytes:
    """Converts a generator to an ONNX model for any batch size, height and width.

    The model maps 'images' to 'translated', both float32 [n, h, w, channels] in [-1, 1].

    Raises:
        UserError: tf2onnx is missing.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise UserError(
            "tf2onnx is not installed, which --format=onnx needs; install cyclegan_tf's extra 'onnx': "
            "pip install '.[onnx]'."
        ) from error
    _, call = _plain(network)

    def translate(images):
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        padded = pad_to_multiple(images, network.side_multiple)
        return {'channels_first': call(padded)[:, :height, :width]}

    # If the output has one channel, tf2onnx replaces the final transposition to channels-last by a Reshape to five
    # dimensions and a Squeeze, and loses the Squeeze in about one of twenty conversions (1.17, depending on the order
    # of a set). Therefore it is asked for channels first, and the transposition is appended here.
    spec = tf.TensorSpec([None, None, None, input_channels], tf.float32, name='images')
    with _silence(), _plain_layers(network):
        model, _ = tf2onnx.convert.from_function(
            tf.function(translate, autograph=False), [spec], opset=_ONNX_OPSET, outputs_as_nchw=['channels_first']
        )
    graph = model.graph
    graph.node.append(onnx.helper.make_node('Transpose', ['channels_first'], ['translated'], perm=[0, 2, 3, 1]))
    sizes = ['batch', 'height', 'width']
    for place, name in enumerate(sizes):
        graph.input[0].type.tensor_type.shape.dim[place].dim_param = name
    channels = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info('translated', onnx.TensorProto.FLOAT, [*sizes, channels])
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _plain(network: tf.keras.Model) -> tuple[tf.Module, Callable]:
    """A module with only the variables, since converters would otherwise save all of Keras; and a function to trace."""
    module = tf.Module()
    module.variables_of_network = list(network.variables)
    return module, lambda images: network(images, training=False)


@contextlib.contextmanager
def _plain_layers(network: tf.keras.Model) -> Iterator[None]:
    """A context in which layers that have a choice are traced with simple operations, which converters support."""
    layers = [layer for layer in network.submodules if hasattr(layer, 'plain')]
    for layer in layers:
        layer.plain = True
    try:
        yield
    finally:
        for layer in layers:
            layer.plain = False


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """A context that hides the converters' reports of each step, in Python and in C++, from the terminal.

    Exceptions still propagate.
    """
    loggers = [logging.getLogger(name) for name in ('tensorflow', 'tf2onnx', 'absl')]
    levels = [logger.level for logger in loggers]
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        try:
            os.dup2(sink.fileno(), 2)
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
