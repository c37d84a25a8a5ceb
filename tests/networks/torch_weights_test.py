"""Keys, shapes and axes are the PyTorch program's; the architecture is found from them. PyTorch is not needed here."""

import pathlib
import sys

import numpy as np
import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_discriminator, make_generator, make_patch_features, torch_weights
from tests.helpers import reference_keys

NORMS = ('instance', 'batch', 'none')
GENERATORS = [
    (name, no_dropout)
    for name in ('resnet_9blocks', 'resnet_6blocks', 'unet_256', 'unet_128')
    for no_dropout in ((True, False) if name.startswith('resnet') else (True,))
]
DISCRIMINATORS = [('basic', 3), ('n_layers', 1), ('n_layers', 2), ('n_layers', 5), ('pixel', 3)]


def resampling(antialias):
    return tuple('antialias' if blurs else plain for blurs, plain in zip(antialias, ('stride', 'deconv')))


def generator(
    name='resnet_6blocks',
    no_dropout=True,
    norm='instance',
    channels=(3, 2),
    filters=4,
    seed=1,
    antialias=(False, False),
):
    """A network and its slots."""
    how = dict(zip(('downsample', 'upsample'), resampling(antialias)))
    network = make_generator(name, *channels, filters=filters, norm=norm, use_dropout=not no_dropout, seed=seed, **how)
    return network, torch_weights.generator_slots(name, not no_dropout, *antialias)


def discriminator(name='basic', layers=3, norm='instance', seed=1, antialias=False):
    how = dict(norm=norm, seed=seed, downsample=resampling([antialias])[0])
    network = make_discriminator(name, 2, filters=4, num_layers=layers, **how)
    return network, torch_weights.discriminator_slots(name, layers, antialias)


def patch_features(seed=1):
    return make_patch_features('mlp_sample', [3, 8, 16], 5, seed=seed), torch_weights.patch_features_slots(3)


def of_any_size(state):
    """The same keys with numbers that tell each value from every other."""
    return {key: np.arange(value.size, dtype=value.dtype).reshape(value.shape) for key, value in state.items()}


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize(
    'make, layers',
    [
        (lambda norm: generator('resnet_9blocks', True, norm), reference_keys.RESNET_9BLOCKS),
        (lambda norm: generator('resnet_6blocks', False, norm), reference_keys.RESNET_6BLOCKS_DROPOUT),
        (lambda norm: generator('unet_128', True, norm), reference_keys.UNET_128),
        (lambda norm: discriminator('basic', 3, norm), reference_keys.BASIC),
        (lambda norm: discriminator('n_layers', 3, norm), reference_keys.BASIC),
        (lambda norm: discriminator('pixel', 3, norm), reference_keys.PIXEL),
        (
            lambda norm: generator('resnet_6blocks', True, norm, antialias=(True, True)),
            reference_keys.CUT_RESNET_6BLOCKS,
        ),
        (lambda norm: discriminator('basic', 3, norm, antialias=True), reference_keys.CUT_BASIC),
    ],
)
def test_keys_are_the_references_in_its_order(make, layers, norm):
    state = torch_weights.state_dict(*make(norm))
    assert list(state) == reference_keys.reference_keys(layers, norm)
    integers = {key for key, value in state.items() if value.dtype != np.float32}
    assert integers == {key for key in state if key.endswith('num_batches_tracked')}


def test_axes_are_pytorchs():
    network, slots = generator('resnet_6blocks', norm='none')
    state = torch_weights.state_dict(network, slots)
    assert state['model.1.weight'].shape == (4, 3, 7, 7) and state['model.1.weight'].flags.c_contiguous
    assert state['model.16.weight'].shape == (16, 8, 3, 3)  # transposed: [in, out, kernel, kernel]
    assert state['model.23.weight'].shape == (2, 4, 7, 7) and state['model.23.bias'].shape == (2,)
    assert state['model.1.weight'][3, 2, 6, 1] == network.conv_in.kernel.numpy()[6, 1, 2, 3]
    assert state['model.16.weight'][15, 7, 2, 1] == network.ups[0].kernel.numpy()[2, 1, 7, 15]


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name, no_dropout', GENERATORS)
def test_generator_is_recognised(name, no_dropout, norm):
    network, slots = generator(name, no_dropout, norm)
    guess = torch_weights.guess_generator(torch_weights.state_dict(network, slots))
    expected = {'netG': name, 'norm': norm, 'ngf': 4}
    if name.startswith('resnet'):
        expected.update(no_dropout=no_dropout, downsample='stride', upsample='deconv')
    assert (guess.settings, guess.channels, guess.exact) == (expected, (3, 2), True)
    assert not torch_weights.differences(network, slots, torch_weights.state_dict(network, slots))
    other = torch_weights.guess_discriminator(torch_weights.state_dict(network, slots))
    assert other is None or not other.exact


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name, layers', DISCRIMINATORS)
def test_discriminator_is_recognised(name, layers, norm):
    state = torch_weights.state_dict(*discriminator(name, layers, norm))
    guess = torch_weights.guess_discriminator(state)
    expected = {'netD': name, 'norm': norm, 'ndf': 4}
    if name != 'pixel':
        expected.update(n_layers_D=layers, downsample='stride')
    assert (guess.settings, guess.channels[0], guess.exact) == (expected, 2, True)
    other = torch_weights.guess_generator(state)
    assert other is None or not other.exact


@pytest.mark.parametrize('antialias', [(True, True), (True, False), (False, True)])
def test_networks_with_blurs_are_recognised(antialias):
    for no_dropout in (True, False):
        guess = torch_weights.guess_generator(
            torch_weights.state_dict(*generator(no_dropout=no_dropout, antialias=antialias))
        )
        found = [guess.settings[name] for name in ('no_dropout', 'downsample', 'upsample')]
        assert found == [no_dropout, *resampling(antialias)] and guess.exact
    guess = torch_weights.guess_discriminator(
        torch_weights.state_dict(*discriminator('n_layers', 2, antialias=antialias[0]))
    )
    assert guess.settings['downsample'] == resampling(antialias)[0] and guess.exact


def test_filters_of_blurs_are_written_and_looked_at():
    network, slots = generator(antialias=(True, True))
    state = torch_weights.state_dict(network, slots)
    down, up = state['model.7.filt'], state['model.18.filt']
    assert down.shape == (8, 1, 3, 3) and up.shape == (16, 1, 4, 4) and down.dtype == up.dtype == np.float32
    np.testing.assert_array_equal(down[3, 0] * 16, [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    np.testing.assert_array_equal(up[9, 0] * 16, np.outer([1, 3, 3, 1], [1, 3, 3, 1]))
    assert not torch_weights.differences(network, slots, state)
    state['model.7.filt'] = down * 1.01
    state['model.11.filt'] = state['model.11.filt'][:, :, :2]
    del state['model.22.filt']
    assert torch_weights.differences(network, slots, state) == [
        'model.7.filt is another blur than the one that this program has',
        'model.11.filt has shape [16, 1, 2, 3], not [16, 1, 3, 3]',
        'model.22.filt is missing, of shape [8, 1, 4, 4]',
    ]


def test_patch_features_are_recognised():
    network, slots = patch_features()
    state = torch_weights.state_dict(network, slots)
    assert list(state) == [f'mlp_{i}.{k}.{name}' for i in range(3) for k in (0, 2) for name in ('weight', 'bias')]
    assert state['mlp_1.0.weight'].shape == (5, 8) and state['mlp_2.2.weight'].shape == (5, 5)
    guess = torch_weights.guess_patch_features(state)
    assert (guess.settings, guess.exact) == ({'netF': 'mlp_sample', 'netF_nc': 5}, True)
    assert torch_weights.guess_generator(state) is None and torch_weights.guess_discriminator(state) is None
    del state['mlp_1.0.bias']
    assert not torch_weights.guess_patch_features(state).exact
    assert torch_weights.guess_patch_features({'model.1.weight': np.zeros(3)}) is None


@pytest.mark.parametrize(
    'make',
    [
        lambda seed: generator(norm='batch', seed=seed),
        lambda seed: generator('unet_128', seed=seed),
        lambda seed: generator(antialias=(True, True), seed=seed),
        patch_features,
    ]
    + [lambda seed, name=name: discriminator(name, norm='batch', seed=seed) for name in ('basic', 'pixel')],
)
def test_weights_go_in_and_come_out_unchanged(make):
    network, slots = make(1)
    state = of_any_size(torch_weights.state_dict(network, slots))
    assert len(torch_weights.state_dict(network, slots)) >= len(network.variables)
    torch_weights.assign(network, slots, state)
    back = torch_weights.state_dict(network, slots)
    for key, value in state.items():
        if not key.endswith('filt'):
            np.testing.assert_array_equal(back[key], 0 if key.endswith('tracked') else value, err_msg=key)


def test_every_difference_is_told():
    network, slots = generator()
    state = torch_weights.state_dict(network, slots)
    del state['model.4.bias'], state['model.12.conv_block.5.weight']
    state['model.23.weight'] = state['model.23.weight'][:1]
    state['model.7.weight'] = state['model.7.weight'].ravel()
    state |= {'model.30.weight': np.zeros(3), 'model.1.running_mean': np.zeros(4)}  # statistics of a convolution
    guess = torch_weights.guess_generator(state)
    assert guess.settings['netG'] == 'resnet_6blocks' and guess.settings['norm'] == 'instance' and not guess.exact
    assert torch_weights.differences(network, slots, state) == [
        'model.4.bias is missing, of shape [8]',
        'model.7.weight has shape [1152], not [16, 8, 3, 3]',
        'model.12.conv_block.5.weight is missing, of shape [16, 16, 3, 3]',
        'model.23.weight has shape [1, 4, 7, 7], not [2, 4, 7, 7]',
        'model.30.weight is unexpected',
        'model.1.running_mean is unexpected',
    ]


@pytest.mark.parametrize('norm, dropped', [('instance', 3), ('batch', 1), ('none', 0)])
def test_what_old_files_have_besides_is_dropped(norm, dropped):
    network, slots = generator(norm=norm)
    state = torch_weights.state_dict(network, slots)
    state = {key: value for key, value in state.items() if 'tracked' not in key}  # not before PyTorch 0.4.1
    assert not torch_weights.differences(network, slots, state)
    names = ('num_batches_tracked', 'running_mean', 'running_var')
    added = {f'model.2.{name}': np.zeros(()) for name in names if f'model.2.{name}' not in state}
    guess = torch_weights.guess_generator(state | added)
    assert guess.settings['norm'] == norm and guess.exact
    unexpected = torch_weights.differences(network, slots, state | added)
    assert len(unexpected) == len(added) - dropped


def test_prefix_of_data_parallel_is_taken_off():
    state = torch_weights.state_dict(*generator())
    wrapped = {f'module.{key}': value for key, value in state.items()}
    assert torch_weights.without_prefix(wrapped).keys() == torch_weights.without_prefix(state).keys() == state.keys()
    assert torch_weights.without_prefix(wrapped | {'other': 0}).keys() == {*wrapped, 'other'}


def test_foreign_keys_are_no_network():
    assert torch_weights.guess_generator({'features.0.weight': np.zeros([8, 3, 3, 3])}) is None
    assert torch_weights.guess_discriminator({}) is None


def test_tools_say_that_pytorch_is_missing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / 'tools'))
    monkeypatch.setitem(sys.modules, 'torch', None)  # what makes `import torch` fail
    import export_torch_weights
    import import_torch_weights

    with pytest.raises(UserError, match="PyTorch is not installed, .* extra 'torch': pip install"):
        import_torch_weights.main(import_torch_weights.parse(['import', f'--g_a={tmp_path}/x.pth']))
    with pytest.raises(UserError, match="PyTorch is not installed, .* extra 'torch': pip install"):
        export_torch_weights.main(export_torch_weights.ExportConfig(output=str(tmp_path)))
