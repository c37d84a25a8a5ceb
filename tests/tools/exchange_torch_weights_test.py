"""Weights from PyTorch's files translate as they do in PyTorch, train as a start, and go back unchanged."""

import copy
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.networks import torch_weights
from cyclegan_tf.networks.generators import GENERATORS
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.settings.run_flags import load_config, parse_training
from tests.helpers import program, reference_keys
from tests.helpers.small_models import FEW_BLOCKS

torch = pytest.importorskip('torch', reason='the torch extra is not installed')
from benchmark import torch_mirror as mirror  # noqa: E402
from benchmark import torch_steps  # noqa: E402

from tests.helpers.torch_files import draw, export_weights, import_weights, photograph, save  # noqa: E402

pytestmark = pytest.mark.torch

# netG, norm, channels of B, netD, side. Each generator, discriminator and norm once: every norm in every network is
# compared with PyTorch where networks and torch_weights are tested. 'old instance': the files carry running statistics
# of instance norms.
CASES = [
    ('resnet_9blocks', 'old instance', 3, 'basic', 64),
    pytest.param('resnet_6blocks', 'batch', 1, 'n_layers', 64, marks=pytest.mark.nightly),
    ('unet_128', 'none', 3, 'pixel', 128),
    ('unet_256', 'instance', 3, 'basic', 256),
]


def make_mirrors(name, norm, channels=3, filters=4, kind='basic', side=64):
    """The four networks by name; A has 3 channels, B `channels`."""
    torch.manual_seed(5)
    mirrors = {}
    for role, (inputs, outputs) in {'G_A': (3, channels), 'G_B': (channels, 3)}.items():
        mirrors[role] = draw(mirror.generator(name, inputs, outputs, filters, norm), inputs, side, len(mirrors))
    for role, inputs in {'D_A': channels, 'D_B': 3}.items():
        mirrors[role] = draw(
            mirror.discriminator(kind, inputs, 5, 2 if kind == 'n_layers' else 3, norm), inputs, side, 7
        )
    return mirrors


def networks_of(directory, epoch='latest'):
    """The run's settings, and its four networks with their weights."""
    config = load_config(directory / 'run')
    model = MODELS[config.model](dataclasses.replace(config, pool_size=0))
    checkpoints.restore_networks(model, checkpoints.find(directory / 'run', epoch))
    return config, model.networks()


def mirrored(network, images):
    """What PyTorch makes of float [n, h, w, c]."""
    with torch.no_grad():
        return mirror.to_numpy(network(mirror.to_torch(images.astype(np.float32))))


def read_levels(path):
    picture = np.asarray(Image.open(path))
    return picture[..., None] if picture.ndim == 2 else picture


@pytest.mark.slow
@pytest.mark.parametrize('name, norm, channels, kind, side', CASES)
def test_translation_is_pytorchs_and_the_way_back_exact(tmp_path, name, norm, channels, kind, side):
    statistics, norm = norm.startswith('old'), norm.split()[-1]
    mirrors = make_mirrors(name, norm, channels, kind=kind, side=side)
    # Both file formats, for a generator and a discriminator each.
    flags = [
        f'--{role.lower()}={save(network, tmp_path / f"{role}.pth", role.endswith("A"), statistics)}'
        for role, network in mirrors.items()
    ]
    assert import_weights(tmp_path, *flags, f'--load_size={side}', f'--crop_size={side}', '--pool_size=2') == 0

    config, networks = networks_of(tmp_path)
    found = (config.netG, config.ngf, config.netD, config.ndf, config.norm, config.input_nc, config.output_nc)
    assert found == (name, 4, kind, 5, norm, 3, channels) and config.no_dropout
    assert kind != 'n_layers' or config.n_layers_D == 2

    photo = photograph(side)
    inputs = {'A': photo, 'B': photo if channels == 3 else photo[..., 1:2]}
    for role, domain in (('G_A', 'A'), ('G_B', 'B'), ('D_A', 'B'), ('D_B', 'A')):
        images = inputs[domain][None] / np.float32(127.5) - 1
        expected = mirrored(mirrors[role], images)
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(networks[role](tf.constant(images)).numpy(), expected, rtol=0, atol=1e-4)

    for domain in 'AB':
        (tmp_path / f'test{domain}').mkdir()
        Image.fromarray(photo).save(tmp_path / f'test{domain}' / 'cat.png')
    program.run_translation(tmp_path, '--name=run', f'--dataroot={tmp_path}', f'--results_dir={tmp_path}/results')
    pictures = tmp_path / 'results' / 'run' / 'test_latest' / 'images'
    for role, a, b in (('G_A', 'A', 'B'), ('G_B', 'B', 'A')):
        real, fake = (read_levels(pictures / f'cat_{label}.png') for label in (f'real_{a}', f'fake_{b}'))
        if real.shape[-1] == 3:
            np.testing.assert_array_equal(real, photo)
        expected = (mirrored(mirrors[role], real[None] / np.float32(127.5) - 1)[0] + 1) * 127.5
        assert fake.shape == expected.shape and np.abs(fake - np.round(expected)).max() <= 1

    assert export_weights(tmp_path, tmp_path / 'out') == 0
    assert len(list((tmp_path / 'out').iterdir())) == 4
    for role, network in mirrors.items():
        state = torch.load(tmp_path / 'out' / f'latest_net_{role}.pth', weights_only=True)
        assert list(state) == list(network.state_dict())
        for key, value in network.state_dict().items():
            assert state[key].dtype == value.dtype, key
            assert torch.equal(state[key], value) or key.endswith('num_batches_tracked'), key
        network.load_state_dict(state, strict=True)


@pytest.mark.parametrize('norm', ['instance', 'batch', 'none'])
def test_the_mirrors_keys_are_the_references(norm):
    made = {
        reference_keys.RESNET_9BLOCKS: mirror.generator('resnet_9blocks', 3, 3, 4, norm),
        reference_keys.RESNET_6BLOCKS_DROPOUT: mirror.generator('resnet_6blocks', 3, 3, 4, norm, use_dropout=True),
        reference_keys.UNET_128: mirror.generator('unet_128', 3, 3, 4, norm),
        reference_keys.BASIC: mirror.discriminator('basic', 3, 4, 3, norm),
        reference_keys.PIXEL: mirror.discriminator('pixel', 3, 4, 3, norm),
    }
    for layers, network in made.items():
        assert list(network.state_dict()) == reference_keys.reference_keys(layers, norm)


SMALL = ('--load_size=36', '--crop_size=32', '--pool_size=3', '--num_threads=2', '--dataroot=demo', '--seed=4',
         '--max_dataset_size=3', '--n_epochs=1', '--n_epochs_decay=0', '--no_dropout=false',
         '--lambda_identity=0')  # fmt: skip


@pytest.mark.nightly
@pytest.mark.slow
def test_training_from_imported_weights_is_training_from_those_weights(tmp_path, monkeypatch):
    for name, value in FEW_BLOCKS.items():
        monkeypatch.setitem(GENERATORS, name, value)
    architecture = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--norm=batch', '--netD=n_layers', '--n_layers_D=1')
    argv = ['train', f'--checkpoints_dir={tmp_path / "new"}', '--name=run', *SMALL, *architecture]
    config, _ = parse_training(argv)
    flags = []
    for name, network in MODELS[config.model](config).networks().items():
        if config.networks[name].kind == 'generator':
            slots = torch_weights.generator_slots('resnet_6blocks', use_dropout=True)
        else:
            slots = torch_weights.discriminator_slots('n_layers', 1)
        state = {key: torch.from_numpy(value) for key, value in torch_weights.state_dict(network, slots).items()}
        torch.save(state, tmp_path / name)
        flags.append(f'--{name.lower()}={tmp_path / name}')
    # The architecture is seen in the files, dropout too. Another gain: not one weight would be drawn as it is there.
    flags += ['--init_gain=0.5', *[flag for flag in SMALL if 'dropout' not in flag]]
    assert import_weights(tmp_path / 'imported', *flags) == 0
    assert checkpoints.find(tmp_path / 'imported' / 'run', 'latest').step == 0

    assert program.run_training(tmp_path / 'new', '--name=run', *SMALL, *architecture, small=False) == 0
    assert program.run_training(tmp_path / 'imported', '--name=run', '--continue_train', small=False) == 0
    expected, actual = (program.weights(tmp_path / place / 'run') for place in ('new', 'imported'))
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
    # What is exported after training is what was trained.
    assert export_weights(tmp_path / 'imported', tmp_path / 'out', '--epoch=1') == 0
    state = torch.load(tmp_path / 'out' / '1_net_D_B.pth', weights_only=True)
    kernel = actual['model/d_b/conv_in/kernel/.ATTRIBUTES/VARIABLE_VALUE']
    np.testing.assert_array_equal(state['model.0.weight'], kernel.transpose(3, 2, 0, 1))


# --------------------------------------------------------------------------------------------------- pix2pix and CUT
def pix2pix_mirrors(side=128):
    torch.manual_seed(3)
    return {
        'G': draw(mirror.generator('unet_128', 3, 3, 4, 'batch'), 3, side, 1),
        'D': draw(mirror.discriminator('basic', 6, 5, 3, 'batch'), 6, side, 2),
    }


def cut_mirrors(side=64, antialias=(True, True)):
    torch.manual_seed(4)
    generator = mirror.generator('resnet_6blocks', 3, 3, 4, 'instance', antialias=antialias)
    return {
        'G': draw(generator, 3, side, 1),
        'F': mirror.PatchFeatures([3, 8, 16, 16, 16], 7),
        'D': draw(mirror.discriminator('basic', 3, 5, 3, 'instance', antialias[0]), 3, side, 2),
    }


def import_all(directory, model, mirrors, *flags):
    """Makes a run of the mirrors' weights."""
    files = [f'--{name.lower()}={save(network, directory / f"{name}.pth")}' for name, network in mirrors.items()]
    assert import_weights(directory, f'--model={model}', *files, *flags) == 0
    return load_config(directory / 'run')


@pytest.mark.parametrize('model', ['pix2pix', 'cut'])
def test_files_of_one_direction_go_in_and_come_out_unchanged(tmp_path, model, capsys):
    mirrors = {'pix2pix': pix2pix_mirrors, 'cut': cut_mirrors}[model]()
    side = {'pix2pix': 128, 'cut': 64}[model]
    config = import_all(tmp_path, model, mirrors, f'--load_size={side}', f'--crop_size={side}')
    said = capsys.readouterr().out
    if model == 'cut':
        assert (config.ngf, config.ndf, config.netF_nc, config.antialiased) == (4, 5, 7, (True, True))
        assert config.norms == {'generator': 'instance', 'discriminator': 'instance'}
        assert 'F: mlp_sample with 7 features for each of the layers 0,4,8,12,16' in said and ', antialiased' in said
    else:
        assert (config.netG, config.norm, config.ngf, config.no_dropout) == ('unet_128', 'batch', 4, False)
    images = photograph(side)[None] / np.float32(127.5) - 1
    _, networks = networks_of(tmp_path)
    for name in ('G', 'D'):
        x = np.concatenate([images, images], axis=-1) if (model, name) == ('pix2pix', 'D') else images
        expected = mirrored(mirrors[name], x)
        np.testing.assert_allclose(networks[name](tf.constant(x)).numpy(), expected, rtol=0, atol=1e-4)
    assert export_weights(tmp_path, tmp_path / 'out') == 0
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {f'latest_net_{name}.pth' for name in mirrors}
    for name, network in mirrors.items():
        state = torch.load(tmp_path / 'out' / f'latest_net_{name}.pth', weights_only=True)
        assert list(state) == list(network.state_dict())
        for key, value in network.state_dict().items():
            assert state[key].dtype == value.dtype and state[key].shape == value.shape, key
            assert torch.equal(state[key], value) or key.endswith('num_batches_tracked'), key
        network.load_state_dict(state, strict=True)


def test_a_published_generator_translates_as_in_pytorch_with_the_images_statistics(tmp_path):
    network = draw(mirror.generator('unet_256', 3, 3, 4, 'batch'), 3, 256, 1)
    assert import_weights(tmp_path, '--model=pix2pix', f'--g={save(network, tmp_path / "g.pth")}') == 0
    assert load_config(tmp_path / 'run').netG == 'unet_256'
    Image.fromarray(photograph(256)).save(tmp_path / 'cat.png')
    x = mirror.to_torch(photograph(256)[None] / np.float32(127.5) - 1)
    for flag, training in (('--eval', False), ('--notest_dropout', True)):
        place = tmp_path / flag
        program.run_translation(tmp_path, '--name=run', f'--input={tmp_path / "cat.png"}', f'--output={place}', flag)
        with torch.no_grad():
            expected = (mirror.to_numpy(network.train(training)(x))[0] + 1) * 127.5
        assert np.abs(read_levels(place / 'cat.png') - np.round(expected)).max() <= 1
        assert expected.std() > 5


def settle_directions(optimizer, moves):
    """Adam's first step is of full length however small a gradient is. Where one is as small as the rounding of its
    layer's, its sign, and with it a difference of two steps' lengths, is chance; there the sign is made `moves`'s.

    Args:
        optimizer: of PyTorch, before its first step.
        moves: parameter to what another program's first step added to it.
    """

    def hook(*_):
        settled = 0
        for parameter in optimizer.param_groups[0]['params']:
            gradient = parameter.grad
            doubtful = (gradient.abs() < 1e-4 * gradient.abs().max()) & (gradient != 0)
            parameter.grad = torch.where(doubtful, -gradient.abs() * moves[parameter].sign(), gradient)
            settled += int(doubtful.sum()) if gradient.ndim > 1 else 0
        assert settled < 0.01 * sum(parameter.numel() for parameter in optimizer.param_groups[0]['params'])
        handle.remove()

    handle = optimizer.register_step_pre_hook(hook)


@pytest.mark.slow
@pytest.mark.parametrize('model', ['pix2pix', pytest.param('cut', marks=pytest.mark.nightly)])
def test_four_steps_from_files_to_files_are_pytorchs_to_its_own_rounding(tmp_path, model):
    side = {'pix2pix': 128, 'cut': 64}[model]
    mirrors = {'pix2pix': pix2pix_mirrors, 'cut': cut_mirrors}[model]()
    images = {}
    for domain in 'AB':
        (tmp_path / 'data' / f'train{domain}').mkdir(parents=True)
        regions = list(demo.regions('test', domain).values())
        images[domain] = [regions[i][i : i + side, 3 * i : 3 * i + side] for i in range(4)]
        for i, pixels in enumerate(images[domain]):
            Image.fromarray(pixels).save(tmp_path / 'data' / f'train{domain}' / f'{i}.png')
    flags = ('--serial_batches', '--no_flip', '--preprocess=none', f'--dataroot={tmp_path / "data"}', '--max_steps=4')
    flags += {
        'pix2pix': ('--dataset_mode=paired', '--no_dropout'),
        'cut': ('--num_patches=100000',),  # more than there are, so that all are taken
    }[model]
    import_all(tmp_path, model, mirrors, *flags)
    states = [{name: network.state_dict() for name, network in mirrors.items()}]  # before each step and after the last
    for steps in range(1, 5):
        run = ('--name=run', '--continue_train', f'--max_steps={steps}')
        assert program.run_training(tmp_path, *run, small=False) == 0
        assert export_weights(tmp_path, tmp_path / f'out{steps}') == 0
        states.append({
            name: torch.load(tmp_path / f'out{steps}' / f'latest_net_{name}.pth', weights_only=True) for name in mirrors
        })  # fmt: skip

    def trained(dtype, disturbed=False):
        """The state dicts after each step in PyTorch. It begins with the program's weights, as several steps together
        enlarge rounding; the optimizers' moments are PyTorch's own from the first step to the last.

        Args:
            dtype: in which all is computed.
            disturbed: begin with weights that differ by some roundings of float32.
        """
        networks = {name: copy.deepcopy(network).to(dtype).train() for name, network in mirrors.items()}
        for module in networks['G'].modules():
            if isinstance(module, torch.nn.ReLU) and model == 'cut':
                module.inplace = True
        trainer = {'pix2pix': torch_steps.Pix2Pix, 'cut': torch_steps.CUT}[model](networks)
        moves = {
            parameter: states[1][name][key] - states[0][name][key]
            for name, network in networks.items()
            for key, parameter in network.named_parameters()
        }
        for optimizer in [trainer.adam_d, *(trainer.adams if model == 'cut' else [trainer.adam_g])]:
            settle_directions(optimizer, moves)
        for i in range(4):
            for name, network in networks.items():
                network.load_state_dict(states[i][name])
                for parameter in network.parameters() if disturbed else ():
                    parameter.data *= 1 + 2.0**-22 * torch.randn_like(parameter)
            pair = [mirror.to_torch(images[d][i][None] / np.float32(127.5) - 1).to(dtype) for d in 'AB']
            places = [torch.arange(n) for n in (70 * 70, 64 * 64, 32 * 32, 16 * 16, 16 * 16)]
            trainer.step(*pair, *([(places, places)] if model == 'cut' else []))
            yield {name: copy.deepcopy(network.state_dict()) for name, network in networks.items()}

    # A single activation that rounding moves across zero changes gradients a hundred times as much as all the others'
    # rounding. In one run in float32 that may happen or not; so rounding is the most of some runs.
    rounded = zip(trained(torch.float32), *(trained(torch.float64, disturbed=True) for _ in range(4)))
    for before, after, exact, others in zip(states, states[1:], trained(torch.float64), rounded):
        for name, state in before.items():
            # Biases in front of an instance norm learn rounding alone.
            weights = [key for key, value in state.items() if value.ndim > 1]
            statistics = [key for key in state if key.endswith(('running_mean', 'running_var'))]
            for keys in filter(None, (weights, statistics)):
                error, learned, *roundings = (
                    sum((x[key].double() - exact[name][key]).norm() ** 2 for key in keys) ** 0.5
                    for x in (after[name], state, *(other[name] for other in others))
                )
                rounding = max(roundings)
                assert error <= 6 * rounding and learned > 10 * error, (name, error, rounding, learned)


def test_networks_with_blurs(tmp_path):
    mirrors = cut_mirrors()
    files = [f'--{name.lower()}={save(mirrors[name], tmp_path / name)}' for name in 'GD']
    assert import_weights(tmp_path, f'--g_a={tmp_path / "G"}', name='cycle') == 0
    assert load_config(tmp_path / 'cycle').antialiased == (True, True)
    with pytest.raises(UserError, match='holds a discriminator; set it to the file of a generator'):
        import_weights(tmp_path, '--model=cut', f'--g={tmp_path / "D"}')
    with pytest.raises(UserError, match='holds a generator; set it to the file of a network of patch features'):
        import_weights(tmp_path, '--model=cut', files[0], f'--f={tmp_path / "G"}')
    save(mirrors['F'], tmp_path / 'F')
    with pytest.raises(
        UserError, match=r'`f` .* does not fit mlp_sample with 7 features .*:\n  mlp_2.0.weight is miss'
    ):
        short = {key: value for key, value in mirrors['F'].state_dict().items() if 'mlp_2.0.w' not in key}
        torch.save(short, tmp_path / 'short')
        import_weights(tmp_path, '--model=cut', files[0], f'--f={tmp_path / "short"}')
    blurred = mirrors['G'].state_dict()
    blurred['model.7.filt'] = blurred['model.7.filt'] * 1.1
    torch.save(blurred, tmp_path / 'blurred')
    with pytest.raises(UserError, match='model.7.filt is another blur than the one that this program has'):
        import_weights(tmp_path, '--model=cut', f'--g={tmp_path / "blurred"}')
    # Without a blur in upsampling, and norms that differ.
    other = draw(mirror.generator('resnet_6blocks', 3, 3, 4, 'batch', antialias=(True, False)), 3, 64, 1)
    assert import_weights(tmp_path, '--model=cut', f'--g={save(other, tmp_path / "other")}', files[1], name='b') == 0
    config = load_config(tmp_path / 'b')
    assert (config.downsample, config.upsample) == ('antialias', 'deconv')
    assert config.norms == {'generator': 'batch', 'discriminator': 'instance'}
