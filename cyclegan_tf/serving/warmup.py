"""Warm-up requests, which TensorFlow Serving sends to an exported model before it answers others."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Collection, Iterator
from types import ModuleType

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError

PATH = 'assets.extra/tf_serving_warmup_requests'  # in the model's folder, where TensorFlow Serving looks for it

# Maximum sides of the pictures in the requests:
_SIDE = 256  # encoded: the paper's size
_SMALL_SIDE = 64  # pixels and floats, which would otherwise take a megabyte on disk


def import_messages() -> tuple[ModuleType, ModuleType]:
    """TensorFlow Serving's prediction_log_pb2 and predict_pb2.

    Raises:
        UserError: the package that has them is missing.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise UserError(
            "tensorflow-serving-api is not installed, which the warm-up requests need; install cyclegan_tf's extra "
            "'serving' (pip install '.[serving]'), or export without them: --nowarmup."
        ) from error
    return prediction_log_pb2, predict_pb2


def write(
    model_directory: pathlib.Path, model: str, signatures: Collection[str], input_channels: int, max_pixels: int
) -> None:
    """Writes a file of one request for each signature and format.

    Args:
        model_directory: folder of the SavedModel.
        model: the name under which it is served.
        signatures: the signatures that it has.
        input_channels: channels that translate_floats takes.
        max_pixels: maximum pixels of an image that the model accepts: the server cannot load a model that refuses a
            request.
    """
    prediction_log_pb2, predict_pb2 = import_messages()
    path = model_directory / PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, name, value in _requests(input_channels, math.isqrt(max_pixels)):
            if signature not in signatures:
                continue
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, signature
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def _requests(input_channels: int, max_side: int) -> Iterator[tuple[str, str, object]]:
    """Signature, name of its input, value; sides are at most `max_side`."""
    picture = _picture(min(_SIDE, max_side))
    for encoded in (tf.io.encode_jpeg(picture), tf.io.encode_png(picture)):
        yield 'serving_default', 'image_bytes', [encoded.numpy()]
    small = _picture(min(_SMALL_SIDE, max_side))
    yield 'translate_images', 'images', small[None]
    floats = np.repeat(small[None, ..., :1].astype(np.float32) / 127.5 - 1, input_channels, axis=-1)
    yield 'translate_floats', 'images', floats
    yield 'translate_values', 'values', floats


def _picture(side: int) -> np.ndarray:
    """A gradient of colours, uint8 [side, side, 3]."""
    sweep = np.linspace(0, 255, side).astype(np.uint8)
    rows, columns = np.meshgrid(sweep, sweep, indexing='ij')
    return np.stack([rows, columns, rows[:, ::-1]], axis=-1)
