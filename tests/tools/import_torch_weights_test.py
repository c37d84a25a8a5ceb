"""What the import tool takes and what it refuses; a run of one generator."""

import dataclasses
import pathlib
from typing import ClassVar
from unittest import mock

import pytest
from absl import flags as absl_flags
from PIL import Image

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.settings.fields import changed
from cyclegan_tf.settings.models import SETTINGS
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.settings.training import Config, NetworkRole
from tests.helpers import program

torch = pytest.importorskip('torch', reason='the torch extra is not installed')
from benchmark import torch_mirror as mirror  # noqa: E402

from tests.helpers.torch_files import draw, export_weights, import_weights, photograph, save  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope='module', autouse=True)
def tiny_models():
    """None of these: the flags are those of the package's models, and of one here."""


@pytest.fixture(params=[('--g_b', 'AtoB')])
def one_generator(tmp_path, request, capsys):
    """A run that translates from B to A alone, with a folder of photographs beside it."""
    flag, direction = request.param
    network = draw(mirror.generator('resnet_6blocks', 3, 3, 4, 'instance'), 3, 32, 1)
    path = save(network, tmp_path / 'latest_net_G.pth')
    sizes = ('--load_size=36', '--crop_size=32', '--pool_size=3', '--ndf=4')
    assert import_weights(tmp_path, f'{flag}={path}', f'--direction={direction}', *sizes) == 0
    for phase in ('trainA', 'trainB', 'testA', 'testB'):
        (tmp_path / 'data' / phase).mkdir(parents=True)
        Image.fromarray(photograph(40)).save(tmp_path / 'data' / phase / 'cat.png')
    return tmp_path


def translate(directory, *flags):
    return program.run_translation(directory, '--name=run', f'--results_dir={directory}', *flags)


def pictures_of(directory):
    return sorted(path.name for path in (directory / 'run' / 'test_latest' / 'images').iterdir())


@pytest.mark.slow
@pytest.mark.parametrize('one_generator', [('--g_b', 'AtoB'), ('--g_a', 'BtoA')], indirect=True)
def test_one_generator_translates_one_direction(one_generator, capsys):
    assert 'No image can be translated AtoB before the run is trained' in capsys.readouterr().out
    data = f'--dataroot={one_generator / "data"}'
    assert translate(one_generator, data) == 0
    assert pictures_of(one_generator) == ['cat_fake_A.png', 'cat_real_B.png', 'cat_true_A.png']
    single = ('--dataset_mode=single', f'--dataroot={one_generator / "data" / "testB"}')
    for flags in ((data, '--direction=AtoB'), (data, '--direction=both'), (*single, '--direction=AtoB')):
        with pytest.raises(UserError, match='`direction` .AtoB. needs a generator .* set it to BtoA'):
            translate(one_generator, *flags)
    assert pictures_of(one_generator) == ['cat_fake_A.png', 'cat_real_B.png', 'cat_true_A.png']  # still
    assert translate(one_generator, *single, '--direction=BtoA') == 0
    assert pictures_of(one_generator) == ['cat_fake_A.png', 'cat_real_B.png']

    assert export_weights(one_generator, one_generator / 'out') == 0
    (exported,) = (one_generator / 'out').iterdir()
    assert exported.name in ('latest_net_G_A.pth', 'latest_net_G_B.pth')
    assert torch.equal(
        torch.load(exported)['model.7.weight'], torch.load(one_generator / 'latest_net_G.pth')['model.7.weight']
    )
    assert 'D_A has no weights to write' in capsys.readouterr().out


@pytest.mark.slow
def test_one_generator_can_be_trained_on_images_that_are_named_then(one_generator):
    with pytest.raises(UserError, match=r"`dataroot` \('none \(weights from PyTorch\)'\) is not a folder; set it to"):
        translate(one_generator)
    data = f'--dataroot={one_generator / "data"}'
    train = ('--name=run', '--continue_train', '--n_epochs=1', '--n_epochs_decay=0')
    with pytest.raises(UserError, match=r"`dataroot` \('none \(weights from PyTorch\)'\) is not a folder; set it to"):
        program.run_training(one_generator, *train, small=False)
    assert program.run_training(one_generator, *train, data, small=False) == 0
    assert translate(one_generator) == 0
    assert len(pictures_of(one_generator)) == 8
    with pytest.raises(UserError, match='`dataroot` .demo. is not what the run was trained with'):
        program.run_training(one_generator, *train, '--dataroot=demo', small=False)


@pytest.fixture(scope='module')
def made_files(tmp_path_factory):
    """Files of generators and discriminators by a short name, and files that are neither."""
    directory = tmp_path_factory.mktemp('files')

    def make(name, network, **how):
        save(network, directory / f'{name}.pth', **how)

    good = mirror.generator('resnet_6blocks', 3, 3, 4, 'instance')
    make('good', good)
    make('wrapped', good, prefix='module.')
    make('unet', mirror.generator('unet_128', 3, 3, 4, 'instance'))
    make('gray', mirror.generator('resnet_6blocks', 1, 3, 4, 'instance'))
    make('dropout', mirror.generator('resnet_6blocks', 3, 3, 4, 'instance', use_dropout=True))
    make('seven', mirror.Resnet(3, 3, 4, 7, 'instance'))
    make('judge', mirror.discriminator('basic', 3, 4, 3, 'batch'))
    make('same', mirror.discriminator('basic', 3, 4, 3, 'instance'))
    make('instance', mirror.discriminator('basic', 1, 4, 3, 'instance'))
    make('of pairs', mirror.discriminator('basic', 6, 4, 3, 'instance'))
    state = good.state_dict()
    torch.save({**state, 'model.4.bias': state['model.4.bias'] * float('nan')}, directory / 'nan.pth')
    torch.save({**state, 'model.4.bias': state['model.4.bias'] * 1j}, directory / 'complex.pth')
    torch.save({**state, 'model.4.bias': state['model.4.bias'].to_sparse()}, directory / 'sparse.pth')
    torch.save(good, directory / 'whole.pth')
    odd = {key: value for key, value in state.items() if key != 'model.4.bias'}
    odd.update({'model.23.weight': torch.zeros([3, 4, 5, 5]), 'model.99.weight': torch.zeros([3])})
    torch.save(odd, directory / 'odd.pth')
    torch.save({'model': odd, 'epoch': 3}, directory / 'nested.pth')
    torch.save({'features.0.weight': torch.zeros([8, 3, 3, 3])}, directory / 'vgg.pth')
    (directory / 'cut.pth').write_bytes((directory / 'good.pth').read_bytes()[:5000])
    (directory / 'text.pth').write_text('<html>404: not found</html>')
    return directory


@pytest.fixture
def files(made_files, tmp_path, monkeypatch):
    """A folder for runs; made_files is the working directory."""
    monkeypatch.chdir(made_files)
    return tmp_path


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--g_a=odd.pth'], r'model.4.bias is missing, of shape \[8\]\n.* model.23.weight has shape \[3, 4, 5, 5\], '
                            r'not \[3, 4, 7, 7\]\n.* model.99.weight is unexpected$'),
        (['--g_a=seven.pth'], r'nearest .*\n  model.16.conv_block.1.weight is unexpected'),
        (['--g_a=good.pth', '--netG=resnet_9blocks', '--norm=batch', '--ngf=64'],
         r"`ngf` \(64\) is not what `g_a` \('.*good.pth'\) holds \(4\)"),
        (['--g_a=good.pth', '--netG=unet_128'], r'`netG` \(unet_128\) is not what .* holds \(resnet_6blocks\)'),
        (['--g_a=dropout.pth', '--no_dropout'], r'`no_dropout` \(True\) is not what .* holds \(False\)'),
        (['--g_a=good.pth', '--input_nc=1'], r'`input_nc` \(1\) is not what .* holds \(3\)'),
        (['--g_a=good.pth', '--g_b=unet.pth'], r'`g_b` .* holds netG unet_128, `g_a` .* holds resnet_6blocks'),
        (['--g_a=good.pth', '--g_b=gray.pth'], r'`g_b` .* holds output_nc 1, `g_a` .* holds 3'),
        (['--g_a=good.pth', '--d_a=judge.pth', '--norm=batch'], r'`norm` \(batch\) is not what `g_a` .* holds'),
        (['--g_a=good.pth', '--d_a=judge.pth', '--normD=none'], r'`normD` \(none\) is not what `d_a` .* holds \(batch'),
        (['--g_a=good.pth', '--d_a=judge.pth', '--d_b=same.pth'], r'`d_b` .* normD instance, `d_a` .* holds batch'),
        (['--g_a=judge.pth'], r"`g_a` \('.*judge.pth'\) holds a discriminator; set it to the file of a generator"),
        (['--g_a=good.pth', '--d_b=good.pth'], '`d_b` .* holds a generator'),
        (['--g_a=vgg.pth'], r'`g_a` .* holds no layer of a generator \(its first keys: features.0.weight\)'),
        (['--g_a=whole.pth'], r'`g_a` .* cannot be read as weights \(UnpicklingError\)'),
        (['--g_a=nested.pth'], '`g_a` .* holds something other than a state_dict'),
        (['--g_a=nan.pth'], r'`g_a` .* holds weights that are not finite \(model.4.bias\)'),
        (['--g_a=complex.pth'], r'`g_a` .* holds tensors that are sparse or complex \(model.4.bias\)'),
        (['--g_a=sparse.pth'], r'`g_a` .* holds tensors that are sparse or complex \(model.4.bias\)'),
        (['--g_a=cut.pth'], '`g_a` .* cannot be read as weights'),
        (['--g_a=text.pth'], '`g_a` .* cannot be read as weights'),
        (['--g_a=nowhere.pth'], r"`g_a` \('.*nowhere.pth'\) is not a file"),
        (['--d_a=judge.pth'], '`g_a` .* or `g_b` is required'),
        (['--g_a=good.pth', '--continue_train'], '`continue_train` .True. is of training'),
        (['--g_a=good.pth', '--preprocess=none'], '`preprocess` .none. leaves open .* set --pool_size=0'),
        (['--g_a=gray.pth', '--lambda_identity=0.5'], '`lambda_identity` .* needs equal channels'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_written(files, flags, message):
    with pytest.raises(UserError, match=f'(?s){message}'):
        import_weights(files / 'runs', *flags)
    assert not (files / 'runs').exists()


def test_what_fits_is_taken_without_a_flag(files):
    assert import_weights(files / 'runs', '--g_a=wrapped.pth', '--ndf=4') == 0
    config = load_config(files / 'runs' / 'run')
    assert (config.netG, config.ngf, config.norm, config.lambda_identity) == ('resnet_6blocks', 4, 'instance', 0.5)
    with pytest.raises(UserError, match="run '.*run' holds a checkpoint, which is never overwritten; set another"):
        import_weights(files / 'runs', '--g_a=good.pth')

    flags = ('--g_a=gray.pth', '--d_b=instance.pth', '--netD=n_layers', '--ngf=4', '--input_nc=1')
    assert import_weights(files / 'runs', *flags, name='gray') == 0
    config = load_config(files / 'runs' / 'gray')
    assert (config.input_nc, config.output_nc, config.lambda_identity) == (1, 3, 0)
    assert (config.netD, config.n_layers_D, config.ndf) == ('n_layers', 3, 4)

    assert import_weights(files / 'runs', '--g_a=good.pth', '--d_a=judge.pth', name='two norms') == 0
    assert load_config(files / 'runs' / 'two norms').norms == {'generator': 'instance', 'discriminator': 'batch'}
    assert import_weights(files / 'runs', '--g_a=good.pth', '--norm=instance', '--normD=none', name='given') == 0
    assert load_config(files / 'runs' / 'given').norms == {'generator': 'instance', 'discriminator': 'none'}

    assert import_weights(files / 'runs', '--g_a=good.pth', '--norm=batch', '--normG=instance', name='both') == 0
    assert load_config(files / 'runs' / 'both').norms == {'generator': 'instance', 'discriminator': 'batch'}

    (files / 'file').touch()
    with pytest.raises(UserError, match='`checkpoints_dir` .* cannot be written .*; set it to another'):
        import_weights(files / 'file', '--g_a=good.pth')


def test_nothing_is_exported_over_a_file(files):
    import_weights(files, '--g_a=good.pth', '--ndf=4', '--crop_size=32', '--preprocess=none', '--pool_size=0')
    (files / 'latest_net_G_A.pth').write_text('precious')
    with pytest.raises(UserError, match="latest_net_G_A.pth' exists, and is never overwritten; set `output` to"):
        export_weights(files, files)
    assert (files / 'latest_net_G_A.pth').read_text() == 'precious'
    with pytest.raises(UserError, match='`output` .*text.pth.* cannot be written'):
        export_weights(files, pathlib.Path('text.pth').absolute())
    with pytest.raises(UserError, match='`epoch` .3.; it has checkpoints of epochs: none'):
        export_weights(files, files / 'out', '--epoch=3')


# ---------------------------------------------------------------------------------------------------- of one direction
@dataclasses.dataclass(frozen=True)
class OneWayConfig(Config):
    """Of a model that only these tests know: one generator, and a discriminator of pairs."""

    networks: ClassVar = {'G': NetworkRole('generator', ('A',), 'B'), 'D': NetworkRole('discriminator', ('A', 'B'))}

    pool_size: int = changed(Config, 'pool_size', 0)


class OneWay(BaseModel):
    """It is never trained."""

    players_of = {'G': ('G',), 'D': ('D',)}
    loss_names = ('G', 'D')
    plateau_losses = ('G',)


@pytest.fixture
def one_way():
    with mock.patch.dict(SETTINGS, {'one_way': OneWayConfig}), mock.patch.dict(MODELS, {'one_way': OneWay}):
        yield ('--model=one_way', '--ndf=4')


def test_the_files_are_those_of_the_models_networks(files, one_way, capsys):
    assert import_weights(files, *one_way, '--g=good.pth', '--d=of pairs.pth') == 0
    text = capsys.readouterr().out
    assert 'G: resnet_6blocks with 4 filters' in text and 'D: basic with 4 filters' in text
    assert 'Without a file' not in text
    config = load_config(files / 'run')
    assert (type(config), config.netG, config.ngf, config.input_nc) == (OneWayConfig, 'resnet_6blocks', 4, 3)
    assert export_weights(files, files / 'out') == 0
    for name, original in (('G', 'good.pth'), ('D', 'of pairs.pth')):
        state, expected = torch.load(files / 'out' / f'latest_net_{name}.pth'), torch.load(original)
        assert list(state) == list(expected) and all(torch.equal(state[key], expected[key]) for key in expected)

    assert import_weights(files, *one_way, '--g=good.pth', '--direction=BtoA', name='back') == 0
    assert 'Without a file, so with initial weights as in a new training: D\nRun' in capsys.readouterr().out


@pytest.mark.parametrize(
    'flags, error, message',
    [
        (['--d=of pairs.pth'], UserError, r"^`g` \(''\) is required; set it to the file of a generator"),
        (['--g=good.pth', '--d=instance.pth'], UserError, r'has shape \[4, 1, 4, 4\], not \[4, 6, 4, 4\]'),
        (['--g=good.pth', '--d_a=judge.pth'], absl_flags.Error, '^`d_a` is a flag of model cycle_gan, not of one_way'),
        (['--g=good.pth', '--lambda_A=1'], absl_flags.Error, '^`lambda_A` is a flag of model cycle_gan, not of one'),
        (
            ['--g=good.pth', '--model=cycle_gan'],
            absl_flags.Error,
            '^`g` is a flag of models pix2pix, cut and one_way, not of',
        ),
    ],
)
def test_files_that_are_not_the_models_are_refused(files, one_way, flags, error, message):
    with pytest.raises(error, match=message):
        import_weights(files / 'runs', *one_way, *flags)
    assert not (files / 'runs').exists()
