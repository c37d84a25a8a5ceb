"""Keys, shapes and axes are the PyTorch program's; the architecture is found from them. PyTorch is not needed here."""

import pathlib
import sys

import numpy as np
import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks import make_discriminator, make_generator, torch_weights
from tests.helpers import reference_keys

NORMS = ('instance', 'batch', 'none')
GENERATORS = [
    (name, no_dropout)
    for name in ('resnet_9blocks', 'resnet_6blocks', 'unet_256', 'unet_128')
    for no_dropout in ((True, False) if name.startswith('resnet') else (True,))
]
DISCRIMINATORS = [('basic', 3), ('n_layers', 1), ('n_layers', 2), ('n_layers', 5), ('pixel', 3)]


def generator(name='resnet_6blocks', no_dropout=True, norm='instance', channels=(3, 2), filters=4, seed=1):
    """A network and its slots."""
    network = make_generator(name, *channels, filters=filters, norm=norm, use_dropout=not no_dropout, seed=seed)
    return network, torch_weights.generator_slots(name, not no_dropout)


def discriminator(name='basic', layers=3, norm='instance', seed=1):
    network = make_discriminator(name, 2, filters=4, num_layers=layers, norm=norm, seed=seed)
    return network, torch_weights.discriminator_slots(name, layers)


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
        expected['no_dropout'] = no_dropout
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
        expected['n_layers_D'] = layers
    assert (guess.settings, guess.channels[0], guess.exact) == (expected, 2, True)
    other = torch_weights.guess_generator(state)
    assert other is None or not other.exact


@pytest.mark.parametrize(
    'make',
    [lambda seed: generator(norm='batch', seed=seed), lambda seed: generator('unet_128', seed=seed)]
    + [lambda seed, name=name: discriminator(name, norm='batch', seed=seed) for name in ('basic', 'pixel')],
)
def test_weights_go_in_and_come_out_unchanged(make):
    network, slots = make(1)
    state = of_any_size(torch_weights.state_dict(network, slots))
    assert len(torch_weights.state_dict(network, slots)) >= len(network.variables)
    torch_weights.assign(network, slots, state)
    back = torch_weights.state_dict(network, slots)
    for key, value in state.items():
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
