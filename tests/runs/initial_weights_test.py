"""A new training begins with the weights of another run, or of the PyTorch programs' files."""

import dataclasses

import numpy as np
import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.runs import checkpoints, initial_weights
from cyclegan_tf.runs.checkpoint_store import Checkpoints
from cyclegan_tf.settings.models import SETTINGS
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.training.progress import Progress
from tests.helpers import program


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Checkpoints of a CycleGAN with running means whose steps have moved it, and of others."""
    place = tmp_path_factory.mktemp('checkpoints')
    program.run_training(
        place, *program.REAL, '--dataroot=demo', '--name=first', '--max_steps=3', '--ema_decay=0.5', small=False
    )
    tiny = ('--dataroot=demo', '--max_steps=1')
    program.run_training(place, *tiny, '--name=other_way', '--direction=BtoA', '--seed=5')
    program.run_training(place, *tiny, '--name=half', '--seed=6')
    checkpoints.mark_untrained(place / 'half', 1, ['G_B', 'D_A', 'D_B'])
    return place


def values(network):
    return [one.numpy() for one in network.weights]


def stored(place, name, weights='last'):
    """The networks of a run's latest checkpoint."""
    config = load_config(place / name)
    model = MODELS[config.model](config)
    Checkpoints(place / name, model, Progress(len(model.metric_names)), 1).restore('latest')
    return {**model.networks(), **(model.averages() if weights == 'average' else {})}


def begin(place, like='first', model=None, **settings):
    """A new model with the settings of a run, its weights before, and the lines of initial_weights.begin."""
    old = dataclasses.asdict(load_config(place / like))
    kind = model or old['model']
    known = {field.name for field in dataclasses.fields(SETTINGS[kind])}
    config = SETTINGS[kind](
        **{
            **{name: value for name, value in old.items() if name in known},
            'model': kind,
            'checkpoints_dir': str(place),
            'seed': 9,
            **settings,
        }
    )
    model = MODELS[kind](config)
    before = {name: values(network) for name, network in model.networks().items()}
    return model, before, initial_weights.begin(model)


def assert_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others):
        np.testing.assert_array_equal(one, other)


def test_a_run_gives_all_its_networks_and_the_running_means_where_there_are_some(place):
    model, _, lines = begin(place, init_from='first', ema_decay=0.9)
    last, average = stored(place, 'first'), stored(place, 'first', 'average')
    assert np.abs(last['G_A'].weights[0].numpy() - average['G_A'].weights[0].numpy()).max() > 0
    for name in ('G_A', 'G_B'):
        assert_equal(values(model.networks()[name]), values(average[name]))
        assert_equal(values(model.averages()[name]), values(average[name]))
    for name in ('D_A', 'D_B'):
        assert_equal(values(model.networks()[name]), values(last[name]))
    assert len(lines) == 4 and all('weights of' in line and 'step 3' in line and 'all' in line for line in lines)
    assert int(model.step.numpy()) == 0


def test_a_directory_an_epoch_and_networks_without_weights(place):
    model, before, lines = begin(place, 'half', init_from=f'{place / "half"}@latest')
    assert_equal(values(model.networks()['G_A']), values(stored(place, 'half')['G_A']))
    assert_equal(values(model.networks()['G_B']), before['G_B'])
    assert lines[1:] == [f'{name}: initial weights; there is none for it.' for name in ('G_B', 'D_A', 'D_B')]


def test_networks_are_matched_by_the_folders_between_which_they_translate(place):
    model, _, lines = begin(place, 'half', init_from='other_way')
    theirs = stored(place, 'other_way')
    # Trained from B to A: what is called G_B there translates images of the folder A.
    for ours, other in (('G_A', 'G_B'), ('G_B', 'G_A'), ('D_A', 'D_B'), ('D_B', 'D_A')):
        assert_equal(values(model.networks()[ours]), values(theirs[other]))
    assert lines[0].startswith('G_A: all') and ' of G_B in run ' in lines[0]


def test_a_generator_goes_from_cyclegan_to_cut_and_back_where_they_agree(place):
    alike = dict(downsample='stride', upsample='deconv', netD='basic')
    cut, before, lines = begin(place, model='cut', init_from='first', ema_decay=0.0, pool_size=0, **alike)
    theirs = stored(place, 'first', 'average')
    assert_equal(values(cut.networks()['G']), values(theirs['G_A']))
    assert_equal(values(cut.networks()['D']), values(theirs['D_A']))
    assert 'F: initial weights; there is none for it.' in lines
    left = [line for line in lines if line.startswith('Not taken')]
    assert [line.split()[2] for line in left] == ['G_B', 'D_B'] and 'which has no counterpart here.' in left[0]
    with pytest.raises(
        UserError,
        match=r'does not fit; correct the settings, or set --init_partial .*\n  G is not as in the running mean of G_A',
    ):
        begin(
            place,
            model='cut',
            init_from='first',
            ema_decay=0.0,
            pool_size=0,
            downsample='antialias',
            upsample='antialias',
        )


def test_other_channels_only_in_part(place):
    with pytest.raises(UserError) as caught:
        begin(place, init_from='first', input_nc=1, lambda_identity=0.0)
    assert 'conv_in/kernel has shape [7, 7, 3, 4], not [7, 7, 1, 4]' in str(
        caught.value
    ) and '\n  D_B is not as in D_B' in str(caught.value)
    model, before, lines = begin(place, init_from='first', init_partial=True, input_nc=1, lambda_identity=0.0)
    theirs = values(stored(place, 'first', 'average')['G_A'])
    ours = values(model.networks()['G_A'])
    same = [one.shape == other.shape and np.array_equal(one, other) for one, other in zip(ours, theirs)]
    assert same.count(False) == 1 and ours[same.index(False)].shape == (7, 7, 1, theirs[same.index(False)].shape[-1])
    assert_equal([ours[same.index(False)]], [before['G_A'][same.index(False)]])
    assert f'G_A: {len(same) - 1} of {len(same)} weights' in lines[0]
    assert any(line.startswith('Not taken: G_A is not as in the running mean of G_A in run') for line in lines)


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'init_from': 'nowhere'}, r"`init_from` .'nowhere'. is no run in '.*', no file and no folder; set it to one."),
        ({'init_from': 'first@7'}, '7'),
        ({'init_from': '.'}, r"`init_from` .'\.'. is a folder without latest_net_\*.pth; set it to another."),
        (
            {'init_from': 'half', 'init_partial': True, 'ngf': 3, 'input_nc': 1, 'output_nc': 1},
            'holds nothing',
        ),
        ({'init_partial': True}, '`init_partial` .true. says how init_from is taken, which is not set'),
    ],
)
def test_what_cannot_be_taken_is_one_sentence(place, settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        begin(place, **settings)


@pytest.mark.slow
def test_the_program_begins_with_them_and_resumes_without(place, tmp_path, capsys):
    flags = ['--dataroot=demo', *program.REAL]
    program.run_training(
        tmp_path, *flags, '--name=second', f'--init_from={place / "first"}', '--max_steps=1', '--lr=1e-9', small=False
    )
    assert 'G_A: all' in capsys.readouterr().out
    moved, theirs = (stored(*of) for of in ((tmp_path, 'second'), (place, 'first', 'average')))
    for one, other in zip(values(moved['G_A']), values(theirs['G_A'])):
        np.testing.assert_allclose(one, other, atol=1e-6)
    program.run_training(tmp_path, *flags, '--name=second', '--continue_train', '--max_steps=2', small=False)
    assert 'G_A: all' not in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------- PyTorch's files
@pytest.mark.torch
def test_files_of_the_pytorch_programs(place, tmp_path):
    import torch

    from cyclegan_tf.networks import torch_weights

    config = load_config(place / 'first')
    source = MODELS[config.model](dataclasses.replace(config, seed=77, ema_decay=0.0))
    for name, network in source.networks().items():
        state = torch_weights.state_dict(network, source.slots(name))
        state = {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
        torch.save(state, tmp_path / f'latest_net_{name}.pth')
        if name == 'G_B':
            torch.save(state, tmp_path / 'zebra.pth')
    model, _, lines = begin(place, 'first', ema_decay=0.0, init_from=str(tmp_path))
    for name, network in model.networks().items():
        assert_equal(values(network), values(source.networks()[name]))
    assert len(lines) == 4
    cut, _, lines = begin(place, 'first', model='cut', init_from=str(tmp_path), ema_decay=0.0, pool_size=0,
                          downsample='stride', upsample='deconv')  # fmt: skip
    assert_equal(values(cut.networks()['G']), values(source.networks()['G_A']))
    assert_equal(values(cut.networks()['D']), values(source.networks()['D_A']))
    assert sum('which has no counterpart here' in line for line in lines) == 2
    # A single file, with a name of its own: the first generator.
    model, before, lines = begin(place, 'first', ema_decay=0.0, init_from=str(tmp_path / 'zebra.pth'))
    assert_equal(values(model.networks()['G_A']), values(source.networks()['G_B']))
    assert_equal(values(model.networks()['D_A']), before['D_A'])
    # And with the name of its network.
    model, before, _ = begin(place, 'first', ema_decay=0.0, init_from=str(tmp_path / 'latest_net_D_B.pth'))
    assert_equal(values(model.networks()['D_B']), values(source.networks()['D_B']))
    assert_equal(values(model.networks()['G_A']), before['G_A'])
    with pytest.raises(UserError, match='G_A has no counterpart in the PyTorch programs with these settings'):
        begin(place, 'first', ema_decay=0.0, init_from=str(tmp_path / 'zebra.pth'), upsample='resize')
    with pytest.raises(UserError, match=r'model.1.weight has shape \[4, 3, 7, 7\], not \[4, 1, 7, 7\]'):
        begin(place, 'first', ema_decay=0.0, init_from=str(tmp_path / 'zebra.pth'), input_nc=1, lambda_identity=0.0)
