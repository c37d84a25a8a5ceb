"""A generator for other runtimes: LiteRT (TensorFlow Lite) on phones, and ONNX."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.shapes import least_side, pad_to_multiple

_ONNX_OPSET = 17  # the oldest in which every operation of the networks is one of ONNX's own


def to_tflite(network: tf.keras.Model, input_channels: int, side: int, quantize: str) -> bytes:
    """A file for LiteRT's interpreter with its built-in operations only.

    Takes float32 [1, side, side, input_channels] in [-1, 1] and gives float32 [1, side, side, output_channels].

    Args:
        network: the generator.
        input_channels: of its images.
        side: of the images, in pixels.
        quantize: 'none'; 'float16': weights are kept in that; 'dynamic': weights are kept in 8 bits, and convolutions
            computed in them.

    Raises:
        UserError: the network cannot take images of this size.
    """
    least = least_side(network.side_multiple)
    if side % network.side_multiple or side < least:
        raise UserError(
            f'`image_size` ({side}) is no multiple of {network.side_multiple} from {least} on, which the network '
            f'needs; set it to one.'
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
    """An ONNX model, 'images' -> 'translated', float32 [n, h, w, channels] in [-1, 1], of any n, h and w.

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

    # tf2onnx replaces a last transposition to channels-last of one channel by a Reshape to five dimensions and a
    # Squeeze, and loses the Squeeze in about one conversion of twenty (1.17, depending on the order of a set). So
    # it leaves the channels first, and the transposition is appended here.
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
    """The variables alone, for converters that would save all of Keras; and a function to trace."""
    module = tf.Module()
    module.variables_of_network = list(network.variables)
    return module, lambda images: network(images, training=False)


@contextlib.contextmanager
def _plain_layers(network: tf.keras.Model) -> Iterator[None]:
    """What is traced of a network meanwhile has simple operations, which converters know, where there is a choice."""
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
    """Keeps the converters' reports of each of their steps, in Python and in C++, from the terminal.

    What they raise is raised.
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
