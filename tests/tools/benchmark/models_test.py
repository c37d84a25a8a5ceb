"""The benchmark that compares the models' steps."""

import json

import pytest
from benchmark import models
from benchmark.settings import MODEL_KINDS

from tests.helpers import program

TOOL = str(program.ROOT / 'tools' / 'benchmark.py')


@pytest.mark.nightly
@pytest.mark.slow
def test_each_model_is_compared_with_cycle_gan():
    flags = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--crop_size=32', '--repeats=1')
    status, output, error = program.run_python(TOOL, 'models', *flags, '--kinds=cycle_gan,FastCUT')
    assert status == 0, error
    result = json.loads(output)
    rows, ratios = result['steps'], result['ratios']
    assert list(rows) == ['cycle_gan', 'FastCUT'] and result['settings']['crop_size'] == 32
    assert list(ratios) == ['step FastCUT / cycle_gan', 'memory FastCUT / cycle_gan']
    assert ratios['step FastCUT / cycle_gan'] == rows['FastCUT']['seconds'] / rows['cycle_gan']['seconds']
    assert all(row['peak_bytes'] > 100e6 for row in rows.values())


@pytest.mark.parametrize('kind', MODEL_KINDS)
def test_a_kind_is_the_step_of_its_model(kind):
    values = {'netG': 'resnet_6blocks', 'ngf': 4, 'ndf': 4, 'crop_size': 256, 'batch_size': 1}
    step, config = models.settings(kind, values)
    training = config.training()
    assert step == ('torch' if kind.startswith('torch ') else 'float32')
    model = kind.removeprefix('torch ')
    assert training.model == ('cut' if 'CUT' in model else model)
    assert training.netG == ('unet_256' if model == 'pix2pix' else 'resnet_6blocks') and training.ngf == 4
    if 'CUT' in model:
        assert training.nce_idt == (model == 'CUT') and training.flip_equivariance == (model == 'FastCUT')
