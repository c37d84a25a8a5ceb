"""Measures exported models in this process: python tools/benchmark.py serving [--sizes=128,256,512] [--batches=1,4]

First the SavedModel, by size of image and of batch, with requests of PNGs (serving_default) and of pixels
(translate_images). Then one image through every precision of it and every other format. The models have initial
weights, which are as fast as trained ones. Kinds take turns, and medians are reported. Requests come one after another.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmark import common
from benchmark.run import make_run, picture
from benchmark.settings import ServingConfig, numbers
from cyclegan_tf import export
from cyclegan_tf.settings.export import PRECISIONS, QUANTIZATIONS, ExportConfig
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.models import CycleGANConfig

_NAME = 'benchmark'  # of the run


def main(config: ServingConfig) -> int:
    """Prints tables, and the result as JSON; returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        run = CycleGANConfig(dataroot='demo', name=_NAME, netG=config.netG, ngf=config.ngf)
        make_run(run, pathlib.Path(folder, 'checkpoints'))
        result = {
            'machine': common.machine(gpu=bool(tf.config.list_physical_devices('GPU'))),
            'settings': common.settings_of(config),
            'requests': measure_requests(pathlib.Path(folder), config),
            'formats': measure_formats(pathlib.Path(folder), config),
        }
    return common.finish(result, config.json)


def measure_requests(folder: pathlib.Path, config: ServingConfig) -> list[dict[str, Any]]:
    """Seconds of a request, by signature, size and batch."""
    signatures = tf.saved_model.load(str(write(folder, 'requests'))).signatures
    calls = {}
    sides, batches = (numbers(name, getattr(config, name)) for name in ('sizes', 'batches'))
    for side, batch in itertools.product(sides, batches):
        image = picture(side)
        encoded = tf.constant([tf.io.encode_png(image).numpy()] * batch)
        pixels = tf.constant(np.stack([image] * batch))
        calls['serving_default', side, batch] = lambda e=encoded: signatures['serving_default'](image_bytes=e)
        calls['translate_images', side, batch] = lambda p=pixels: signatures['translate_images'](images=p)
    rows = []
    for (signature, side, batch), seconds in common.calls_in_turns(calls, config.repeats).items():
        row = {'signature': signature, 'size': side, 'batch': batch, **common.summary(seconds)}
        rows.append({**row, 'images_per_second': batch / row['seconds']})
    for row in sorted(rows, key=lambda row: (row['signature'], row['size'], row['batch'])):
        common.say(
            f'{row["signature"]:<16} {row["size"]:>5} x {row["batch"]}: {row["seconds"]:.3f} s '
            f'({row["least"]:.3f} to {row["most"]:.3f}), {row["images_per_second"]:.2f} images/s'
        )
    return rows


def measure_formats(folder: pathlib.Path, config: ServingConfig) -> list[dict[str, Any]]:
    """Seconds for one image, and bytes on disk, of every format."""
    side = config.format_size
    floats = (picture(side)[None] / 127.5 - 1).astype(np.float32)  # [1, h, w, 3]
    calls, sizes = {}, {}
    for precision in PRECISIONS:
        path = write(folder, precision, f'--precision={precision}')
        calls[f'saved_model {precision}'] = saved_model_call(path, floats)
        sizes[f'saved_model {precision}'] = sum(file.stat().st_size for file in path.rglob('*') if file.is_file())
    for quantize in QUANTIZATIONS:
        path = write(folder, f'tflite_{quantize}', '--format=tflite', f'--image_size={side}', f'--quantize={quantize}')
        calls[f'tflite {quantize}'] = tflite_call(path, floats)
        sizes[f'tflite {quantize}'] = path.stat().st_size
    if has_onnx():
        path = write(folder, 'onnx', '--format=onnx')
        calls['onnx'] = onnx_call(path, floats)
        sizes['onnx'] = path.stat().st_size
    measured = {kind: common.summary(seconds) for kind, seconds in common.calls_in_turns(calls, config.repeats).items()}
    first = measured['saved_model float32']['seconds']
    rows = [
        {'format': kind, 'bytes': sizes[kind], **of_one, 'ratio': of_one['seconds'] / first}
        for kind, of_one in measured.items()
    ]
    for row in rows:
        common.say(
            f'{row["format"]:<20} {row["bytes"] / 1e6:6.1f} MB, {row["seconds"]:.3f} s ({row["least"]:.3f} to '
            f'{row["most"]:.3f}), {row["ratio"]:.2f} of float32'
        )
    return rows


# ----------------------------------------------------------------------------------------------------------- the models
def write(folder: pathlib.Path, name: str, *flags: str) -> pathlib.Path:
    """Exports the run; returns the model's folder or file."""
    argv = ['export', f'--name={_NAME}', f'--checkpoints_dir={folder / "checkpoints"}', f'--output={folder / name}']
    settings = parse(ExportConfig, [*argv, '--direction=AtoB', '--nowarmup', *flags])
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        export.main(settings)
    (path,) = (folder / name).iterdir()
    return path / '1' if path.is_dir() else path


def saved_model_call(path: pathlib.Path, floats: np.ndarray) -> Callable[[], Any]:
    """Runs a SavedModel once."""
    function, images = tf.saved_model.load(str(path)).signatures['translate_floats'], tf.constant(floats)
    return lambda: function(images=images)


def tflite_call(path: pathlib.Path, floats: np.ndarray) -> Callable[[], Any]:
    """Runs a LiteRT file once, in as many threads as there are processors."""
    interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()

    def call():
        interpreter.set_tensor(given['index'], floats)
        interpreter.invoke()

    return call


def onnx_call(path: pathlib.Path, floats: np.ndarray) -> Callable[[], Any]:
    """Runs an ONNX model once."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda: session.run(None, {'images': floats})


def has_onnx() -> bool:
    """Whether ONNX models can be made and run here."""
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError:
        common.say('onnx: not measured, tf2onnx or onnxruntime is not installed')
        return False
    return True
