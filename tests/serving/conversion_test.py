"""Generators in other runtimes agree with the served model; sizes; what is refused."""

import sys

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

import cyclegan_tf
from cyclegan_tf.data.levels import to_float
from cyclegan_tf.errors import UserError
from cyclegan_tf.serving import conversion
from cyclegan_tf.settings.export import QUANTIZATIONS, ExportConfig
from tests.helpers.served_models import make_run, photograph, run_export


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The directory of runs 'resnet', 'unet', whose A is gray, and 'cut', whose generator has blurs."""
    directory = tmp_path_factory.mktemp('runs')
    make_run(directory, 'resnet', init_gain=0.1)
    make_run(directory, 'unet', init_gain=0.1, netG='unet_128', input_nc=1, lambda_identity=0.0, direction='BtoA')
    make_run(directory, 'cut', model='cut', netG='resnet_6blocks', ngf=4, init_type='normal', init_gain=0.1)
    return directory


def images(channels, height=128, width=128):
    """float32 [2, height, width, channels]."""
    pictures = [photograph(height, width), photograph(height, width, 'coffee')]
    return to_float(np.stack(pictures))[..., :channels]


# Each kind of network, each direction and each quantization at least once.
@pytest.mark.parametrize(
    'name, direction, quantize, most, mean',
    [
        ('resnet', 'AtoB', 'none', 1e-3, 1e-4),
        ('resnet', 'AtoB', 'dynamic', None, 2 * 0.02),
        ('unet', 'BtoA', 'none', 1e-3, 1e-4),
        ('unet', 'BtoA', 'float16', 1e-2, 1e-3),
        ('cut', 'AtoB', 'none', 1e-3, 1e-4),
    ],
)
def test_tflite_agrees(runs, tmp_path, name, direction, quantize, most, mean):
    flags = [f'--name={name}', '--format=tflite', '--image_size=128', f'--quantize={quantize}']
    assert run_export(runs, tmp_path, *flags, f'--direction={direction}') == 0
    (path,) = tmp_path.iterdir()
    assert path.name == f'{name}_{direction}.tflite'
    # Without delegates: the built-in operations alone.
    interpreter = tf.lite.Interpreter(
        str(path), experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    loaded = cyclegan_tf.load(runs / name)
    for image in images(loaded.translation(direction).channels[0])[:, None]:
        interpreter.set_tensor(given['index'], image)
        interpreter.invoke()
        difference = np.abs(interpreter.get_tensor(result['index']) - loaded.translate_floats(image, direction))
        assert difference.mean() < mean and (most is None or difference.max() < most)


def test_tflite_sizes_go_down_with_quantization(runs):
    network = cyclegan_tf.load(runs / 'unet').translation('AtoB').network
    none, half, dynamic = (len(conversion.to_tflite(network, 3, 128, kind)) for kind in QUANTIZATIONS)
    weights = 4 * sum(int(tf.size(variable)) for variable in network.variables)
    assert weights < none < weights + 100_000
    assert abs(half - none / 2) < 50_000 and abs(dynamic - none / 4) < 50_000


def test_onnx_agrees_at_any_size(runs, tmp_path):
    for name, direction in (('resnet', 'AtoB'), ('unet', 'AtoB'), ('cut', 'AtoB')):
        assert run_export(runs, tmp_path, f'--name={name}', '--format=onnx', f'--direction={direction}') == 0
        session = onnxruntime.InferenceSession(
            str(tmp_path / f'{name}_{direction}.onnx'), providers=['CPUExecutionProvider']
        )
        (given,), (result,) = session.get_inputs(), session.get_outputs()
        loaded = cyclegan_tf.load(runs / name)
        channels = loaded.translation(direction).channels
        for value, last in ((given, channels[0]), (result, channels[1])):
            assert value.shape == ['batch', 'height', 'width', last]
        for size in ((128, 128), (33, 70), (2, 3)):
            batch = images(channels[0], *size)
            (answer,) = session.run(None, {'images': batch})
            np.testing.assert_allclose(answer, loaded.translate_floats(batch, direction), atol=1e-3, err_msg=str(size))
        # A single pixel is its own mean: its norm magnifies rounding, so that only the shape can be compared.
        assert session.run(None, {'images': batch[:, :1, :1]})[0].shape == (2, 1, 1, channels[1])


def test_a_missing_package_is_named(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2onnx', None)  # what makes the import fail
    with pytest.raises(UserError, match="tf2onnx is not installed, .* extra 'onnx'"):
        run_export(runs, tmp_path / 'out', '--name=resnet', '--format=onnx')
    assert not (tmp_path / 'out').exists()


def test_files_are_never_overwritten(runs, tmp_path):
    (tmp_path / 'resnet_BtoA.tflite').write_text('kept')
    with pytest.raises(UserError, match="resnet_BtoA.tflite' exists, and is never overwritten; set `output`"):
        run_export(runs, tmp_path, '--name=resnet', '--format=tflite', '--image_size=32')
    assert [path.read_text() for path in tmp_path.iterdir()] == ['kept']


@pytest.mark.parametrize('name, side', [('resnet', 130), ('resnet', 4), ('unet', 64)])
def test_sizes_that_do_not_fit_are_refused(runs, tmp_path, name, side):
    with pytest.raises(UserError, match=f'`image_size` .{side}. is not a multiple of'):
        run_export(runs, tmp_path / 'out', f'--name={name}', '--format=tflite', f'--image_size={side}')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'quantize': 'float16'}, '`quantize` .float16. is for format tflite; leave it out'),
        ({'format': 'onnx', 'precision': 'float16'}, '`precision` .float16. is for format saved_model; leave it out'),
        ({'format': 'tflite', 'version': 3}, '`version` .3. is for format saved_model; leave it out'),
        ({'format': 'onnx', 'max_pixels': 65536}, '`max_pixels` .65536. is for format saved_model; leave it out'),
        ({'format': 'onnx', 'image_size': 128}, '`image_size` .128. is for format tflite; leave it out'),
    ],
)
def test_settings_of_other_formats_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ExportConfig(output='x', **settings)
