"""Exported generators in other runtimes, for the benchmark `translate`: ONNX Runtime, OpenVINO and LiteRT.

In float32, ONNX Runtime and OpenVINO run the file that cyclegan_tf.export writes. In 8 bits both run one other file,
which ONNX Runtime's static quantization makes of it, and LiteRT runs files that TensorFlow's converter makes. These are
calibrated on images of the run's training set.

In 8 bits, norms lose the variance of their input. Therefore only convolutions are quantized, but for the kind
'litert int8', which has nothing but integers.

Each runtime is told the size of the images beforehand, and to use as many threads as there are processors.
"""

from __future__ import annotations

import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmark import common

# Kind -> its file in the folder of the models.
FILES = {
    'onnxruntime': 'float32.onnx',
    'openvino': 'float32.onnx',
    'onnxruntime int8': 'int8.onnx',
    'openvino int8': 'int8.onnx',
    'litert int8': 'int8.tflite',
    'litert int8 convolutions': 'int8_convolutions.tflite',
}

# First word of a kind -> the package that runs its file, and those that are needed besides to make it.
_NEEDS = {
    'onnxruntime': ('onnxruntime', 'tf2onnx'),
    'openvino': ('openvino', 'onnxruntime', 'tf2onnx'),
    'litert': ('tensorflow',),
}

# The operations of LiteRT that remain in float32 where only convolutions are quantized: norms, residuals and the end.
_IN_FLOAT = ('MEAN', 'SQUARED_DIFFERENCE', 'RSQRT', 'MUL', 'ADD', 'NEG', 'SUB', 'TANH')

Generator = Callable[[np.ndarray], np.ndarray]  # uint8 [h, w, 3] -> float32 [h, w, 3] in [-1, 1]


def installed(kinds: Sequence[str]) -> list[str]:
    """The kinds without those of runtimes for which packages are not installed; prints which."""
    left_out = set()
    for runtime in dict.fromkeys(kind.split()[0] for kind in kinds if kind in FILES):
        missing = [package for package in _NEEDS[runtime] if common.version(package) is None]
        if missing:
            common.say(f"{runtime} is left out: {missing[0]} is not installed (pip install '.[onnx,runtimes]').")
            left_out.add(runtime)
    return [kind for kind in kinds if kind not in FILES or kind.split()[0] not in left_out]


def describe(kind: str) -> str:
    """The package that runs a kind, with its version."""
    package = _NEEDS[kind.split()[0]][0]
    return f'{package} {common.version(package)}'


# -------------------------------------------------------------------------------------------------------- the files
def write_models(
    kinds: Sequence[str],
    folder: pathlib.Path,
    run: pathlib.Path,
    exported: Callable[[], pathlib.Path],
    images: Sequence[np.ndarray],
) -> None:
    """Writes the files of these kinds into a folder.

    Args:
        kinds: keys of FILES.
        folder: the folder of the models, which is made.
        run: the run's directory, CHECKPOINTS_DIR/NAME.
        exported: exports the run as ONNX, and returns the path.
        images: the images to calibrate on, each float32 [1, h, w, 3] in [-1, 1], of the size that is measured.
    """
    files = {FILES[kind] for kind in kinds}
    folder.mkdir()
    if {'float32.onnx', 'int8.onnx'} & files:
        exported().rename(folder / 'float32.onnx')
    if 'int8.onnx' in files:
        common.say('Quantizing for ONNX Runtime and OpenVINO ...')
        quantize_onnx(folder / 'float32.onnx', folder / 'int8.onnx', images)
    for name in sorted(files):
        if name.endswith('.tflite'):
            common.say(f'Quantizing for LiteRT ({name}) ...')
            (folder / name).write_bytes(to_litert(run, images, everything=name == 'int8.tflite'))


def quantize_onnx(source: pathlib.Path, target: pathlib.Path, images: Sequence[np.ndarray]) -> None:
    """Writes an ONNX model with convolutions in 8 bits, with a scale for each output channel of the weights."""
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self._images = iter(images)

        def get_next(self):
            image = next(self._images, None)
            return None if image is None else {'images': image}

    # It advises an optimization beforehand, of which nothing applies here: a session does the same when it loads.
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            source,
            target,
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=['Conv', 'ConvTranspose'],
            per_channel=True,
        )
    finally:
        logging.disable(logging.NOTSET)


def to_litert(run: pathlib.Path, images: Sequence[np.ndarray], everything: bool) -> bytes:
    """Converts a run's generator from A to B to a LiteRT file in 8 bits, whose input and output are float32.

    Args:
        run: the run's directory.
        images: see write_models.
        everything: quantize all operations, and not only convolutions.
    """
    import tensorflow as tf

    import cyclegan_tf

    network = cyclegan_tf.load(run).translation('AtoB').network
    for layer in network.submodules:
        if hasattr(layer, 'plain'):  # simple operations, which the converter knows
            layer.plain = True
    module = tf.Module()  # with the variables alone: all of Keras would be saved with the network
    module.variables_of_network = list(network.variables)
    function = tf.function(lambda images: network(images, training=False), autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec(images[0].shape, tf.float32, name='images'))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)

    def calibration() -> Iterator[list[np.ndarray]]:
        return ([image] for image in images)

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if everything:
        return converter.convert()
    # The converter itself cannot leave operations out; its debugger can.
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=calibration,
        debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=list(_IN_FLOAT)),
    )
    return debugger.get_nondebug_quantized_model()


# ------------------------------------------------------------------------------------------------------ worker process
def load(kind: str, path: pathlib.Path, width: int, height: int) -> Generator:
    """The generator of a file, in the runtime of this kind."""
    translate = _LOADERS[kind.split()[0]](path, width, height)
    return lambda image: translate(image[None].astype(np.float32) / 127.5 - 1)[0]


def _load_onnxruntime(path: pathlib.Path, width: int, height: int) -> Generator:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    for name, side in (('batch', 1), ('height', height), ('width', width)):
        options.add_free_dimension_override_by_name(name, side)
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, {'images': images})[0]


def _load_openvino(path: pathlib.Path, width: int, height: int) -> Generator:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([1, height, width, 3])
    # By itself it computes in bfloat16 where the processor can.
    hints = {'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': os.cpu_count()}
    request = core.compile_model(model, 'CPU', hints).create_infer_request()
    return lambda images: request.infer([images])[0]


def _load_litert(path: pathlib.Path, width: int, height: int) -> Generator:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

    def translate(images):
        interpreter.set_tensor(given['index'], images)
        interpreter.invoke()
        return interpreter.get_tensor(result['index'])

    return translate


_LOADERS = {'onnxruntime': _load_onnxruntime, 'openvino': _load_openvino, 'litert': _load_litert}
