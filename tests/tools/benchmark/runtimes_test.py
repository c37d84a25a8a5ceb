"""Exported generators in other runtimes make the pictures that ours makes; runtimes that are missing are left out."""

import numpy as np
import onnx
import pytest
from benchmark import common, runtimes, settings
from benchmark.run import make_run
from benchmark.serving import write

import cyclegan_tf
from cyclegan_tf.settings.models import CycleGANConfig
from tests.helpers.served_models import photograph

WIDTH, HEIGHT = 48, 32


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """A folder with the files of all kinds in 'models', and the run that they are made from."""
    folder = tmp_path_factory.mktemp('runtimes')
    run = folder / 'checkpoints' / 'benchmark'
    make_run(CycleGANConfig(dataroot='demo', name='benchmark', netG='resnet_6blocks', ngf=4), run.parent)
    images = [photograph(HEIGHT, WIDTH, name)[None].astype(np.float32) / 127.5 - 1 for name in ('chelsea', 'coffee')]
    exported = write(folder, 'exported', '--format=onnx')
    runtimes.write_models(list(runtimes.FILES), folder / 'models', run, lambda: exported, images)
    return folder / 'models', run


# In levels of 255. Where everything is in 8 bits, the variances of norms are lost.
@pytest.mark.parametrize(
    'kind, least, most',
    [
        ('onnxruntime', 0, 0.01),
        ('openvino', 0, 0.01),
        ('onnxruntime int8', 0.1, 4),
        ('openvino int8', 0.1, 4),
        ('litert int8', 0.1, 8),
        ('litert int8 convolutions', 0.1, 4),
    ],
)
def test_pictures_are_ours(models, kind, least, most):
    if kind.startswith('openvino'):
        pytest.importorskip('openvino')
    folder, run = models
    image = photograph(HEIGHT, WIDTH)
    picture = runtimes.load(kind, folder / runtimes.FILES[kind], WIDTH, HEIGHT)(image)
    ours = cyclegan_tf.load(run).translate_floats(image[None].astype(np.float32) / 127.5 - 1, 'AtoB')[0]
    assert picture.shape == ours.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.float32
    assert np.isfinite(picture).all() and np.abs(picture).max() <= 1
    assert least <= np.abs(picture - ours).mean() * 127.5 <= most


def test_both_quantizers_lose_the_same_on_convolutions_alone_and_more_on_everything(models):
    folder, _ = models
    kinds = ('onnxruntime', 'onnxruntime int8', 'litert int8 convolutions', 'litert int8')
    load = [runtimes.load(kind, folder / runtimes.FILES[kind], WIDTH, HEIGHT) for kind in kinds]
    exact, *quantized = (translate(photograph(HEIGHT, WIDTH)) for translate in load)
    one, other, everything = (np.abs(picture - exact).mean() * 127.5 for picture in quantized)
    assert other == pytest.approx(one, rel=0.1) and everything > 1.25 * max(one, other)


def test_weights_are_in_8_bits(models):
    folder, _ = models
    sizes = {name: (folder / name).stat().st_size for name in set(runtimes.FILES.values())}
    assert len(sizes) == 4 and sorted(path.name for path in folder.iterdir()) == sorted(sizes)
    assert all(size < sizes['float32.onnx'] for name, size in sizes.items() if name.endswith('.tflite'))
    # Of so small a network, the ONNX file in 8 bits may be the larger one: it describes each scale.
    for name, kind in (('float32.onnx', onnx.TensorProto.FLOAT), ('int8.onnx', onnx.TensorProto.INT8)):
        kernels = [
            one for one in onnx.load(folder / name).graph.initializer if len(one.dims) == 4 and max(one.dims) > 1
        ]
        assert len(kernels) > 10 and {kernel.data_type for kernel in kernels} == {kind}, name


def test_only_the_files_of_the_kinds_are_made(tmp_path):
    def exported():
        path = tmp_path / 'exported.onnx'
        path.write_bytes(b'a model')
        return path

    runtimes.write_models(['openvino'], tmp_path / 'models', tmp_path / 'run', exported, [])
    assert [path.name for path in (tmp_path / 'models').iterdir()] == ['float32.onnx']


def test_every_kind_has_a_file():
    assert tuple(runtimes.FILES) == settings.RUNTIME_TRANSLATIONS
    assert runtimes.describe('litert int8').startswith('tensorflow 2.')


@pytest.mark.parametrize(
    'missing, left',
    [
        ('openvino', ['torch', 'onnxruntime', 'onnxruntime int8', 'litert int8']),
        ('tf2onnx', ['torch', 'litert int8']),
    ],
)
def test_runtimes_without_their_packages_are_left_out(monkeypatch, capsys, missing, left):
    monkeypatch.setattr(common, 'version', lambda package: None if package == missing else '1.0')
    kinds = ['torch', 'onnxruntime', 'openvino', 'onnxruntime int8', 'openvino int8', 'litert int8']
    assert runtimes.installed(kinds) == left
    said = capsys.readouterr().err
    assert f"openvino is left out: {missing} is not installed (pip install '.[onnx,runtimes]').\n" in said
    assert said.count('\n') == (1 if missing == 'openvino' else 2)
    assert runtimes.installed(['torch']) == ['torch'] and not capsys.readouterr().err
