"""Flags and settings are the same things; flag files, precedence, refusals and exit statuses."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest
from absl import flags

from cyclegan_tf import evaluate, export, options, reference_flags, train, translate
from cyclegan_tf.config import Config, NetworkRole, changed, setting
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluate import EvaluateConfig
from cyclegan_tf.export import ExportConfig
from cyclegan_tf.model_settings import SETTINGS, CycleGANConfig
from cyclegan_tf.translate import TranslateConfig

ROOT = pathlib.Path(__file__).parent.parent

# The reference's options that training has here, with its defaults.
REFERENCE = dict(
    name='experiment_name', checkpoints_dir='./checkpoints', model='cycle_gan', epoch='latest', suffix='',
    verbose=False,
    input_nc=3, output_nc=3, ngf=64, ndf=64, netD='basic', netG='resnet_9blocks', n_layers_D=3, norm='instance',
    init_type='normal', init_gain=0.02, no_dropout=True, dataset_mode='unaligned', direction='AtoB',
    serial_batches=False, num_threads=4, batch_size=1, load_size=286, crop_size=256, max_dataset_size=None,
    preprocess='resize_and_crop', no_flip=False, n_epochs=100, n_epochs_decay=100, epoch_count=1, continue_train=False,
    beta1=0.5, lr=0.0002, gan_mode='lsgan', pool_size=50, lr_policy='linear', lr_decay_iters=50, lambda_A=10.0,
    lambda_B=10.0, lambda_identity=0.5, print_freq=100, display_freq=400, save_latest_freq=5000, save_epoch_freq=5,
)  # fmt: skip


# Those of its test program, and what else section 5 of our sheet about it names.
REFERENCE_OTHERS = (
    'dataroot phase gpu_ids use_wandb display_id display_server display_port display_env display_ncols display_winsize '
    'update_html_freq no_html load_iter save_by_iter results_dir num_test aspect_ratio eval'
).split()


def parse(*arguments):
    return options.parse_training(['train', *arguments])[0]


def test_defaults_are_the_references():
    settings = dataclasses.asdict(parse('--dataroot=demo'))
    assert {name: settings[name] for name in REFERENCE} == REFERENCE


@pytest.mark.parametrize('config', [Config, TranslateConfig, EvaluateConfig, ExportConfig])
def test_flags_bear_the_names_of_the_settings(config):
    classes = [*SETTINGS.values()] if config is Config else [config]
    names = {field.name for one in classes for field in dataclasses.fields(one)}
    assert set(options.define_flags(config)) == names | set(options.REFUSED) | {'help', 'flagfile'}


@pytest.mark.parametrize('program', [train, translate, evaluate, export])
def test_every_option_of_the_reference_is_a_flag_or_refused_with_what_to_do_instead(program):
    config, program_parse = {
        train: (CycleGANConfig, options.parse_training),
        translate: (TranslateConfig, translate.parse),
        evaluate: (EvaluateConfig, evaluate.parse),
        export: (ExportConfig, export.parse),
    }[program]
    own = {field.name for field in dataclasses.fields(config)}
    assert len(set(REFERENCE) | set(REFERENCE_OTHERS)) > 60
    for name in (set(REFERENCE) | set(REFERENCE_OTHERS)) - own:
        for arguments in ([f'--{name}=1'], [f'--{name}', '1'], [f'--{name}']):
            with pytest.raises(flags.Error, match='of the PyTorch program has no meaning here; '):
                program_parse(['program', *arguments])


# What the data sets' files set, as the paper and the reference's author say (each file cites them):
# load_size, crop_size, lambda_identity, netG, preprocess.
DATA_SETS = {
    **dict.fromkeys(
        ['apple2orange', 'cezanne2photo', 'facades', 'horse2zebra', 'maps', 'summer2winter_yosemite', 'ukiyoe2photo',
         'vangogh2photo'],
        (286, 256, 0, 'resnet_9blocks', 'resize_and_crop'),
    ),
    'monet2photo': (286, 256, 0.5, 'resnet_9blocks', 'resize_and_crop'),
    'cityscapes': (143, 128, 0, 'resnet_6blocks', 'resize_and_crop'),
    'iphone2dslr_flower': (360, 256, 0.5, 'resnet_9blocks', 'scale_width_and_crop'),
}  # fmt: skip


def test_every_flag_file_is_valid_and_says_how_to_run_it():
    paths = {path.stem: path for path in (ROOT / 'flags').glob('*.cfg')}
    assert set(paths) == {*DATA_SETS, 'demo', 'template'}
    for path in paths.values():
        parse(f'--flagfile={path}')
        assert path.read_text().startswith(f'# python -m cyclegan_tf.train --flagfile=flags/{path.name}')


@pytest.mark.parametrize('name', DATA_SETS)
def test_the_data_sets_are_trained_as_the_paper_did(name):
    config = parse(f'--flagfile={ROOT}/flags/{name}.cfg')
    found = (config.load_size, config.crop_size, config.lambda_identity, config.netG, config.preprocess)
    assert found == DATA_SETS[name]
    # All else is the default; one device, since a batch of one cannot be divided.
    assert config == CycleGANConfig(
        dataroot=f'tfds:cycle_gan/{name}', name=name, num_devices=1, load_size=found[0], crop_size=found[1],
        lambda_identity=found[2], netG=found[3], preprocess=found[4],
    )  # fmt: skip


def test_the_template_holds_the_defaults():
    assert parse(f'--flagfile={ROOT}/flags/template.cfg') == CycleGANConfig(dataroot='FOLDER', name='mine')


def test_later_flags_win_over_the_flag_file(tmp_path):
    (tmp_path / 'f.cfg').write_text('# a comment\n--dataroot=demo\n--ngf=8\n--no_flip\n')
    assert parse(f'--flagfile={tmp_path}/f.cfg', '--ngf=16').ngf == 16
    assert parse('--ngf=16', f'--flagfile={tmp_path}/f.cfg').ngf == 8
    assert parse(f'--flagfile={tmp_path}/f.cfg').no_flip


def test_saved_flags_give_the_same_settings(tmp_path):
    config = parse('--dataroot=demo', '--ngf=7', '--no_dropout=false', '--max_dataset_size=3', '--lr=1e-5')
    options.save_config(config, tmp_path)
    assert options.load_config(tmp_path) == config


def test_suffix_is_filled_in():
    config = parse('--dataroot=demo', '--name=x', '--suffix={netG}_size{load_size}')
    assert config.run_name == 'x_resnet_9blocks_size286'
    with pytest.raises(UserError, match="`suffix` .* names 'colour'"):
        parse('--dataroot=demo', '--suffix={colour}')
    for broken in ('{netG', 'netG}', '{lr:d}', '{max_dataset_size:d}', '{lr:{x}}'):
        with pytest.raises(UserError, match='`suffix` .* cannot be filled in .*; write names of settings in braces'):
            parse('--dataroot=demo', f'--suffix={broken}')


def test_a_run_with_a_suffix_is_continued_by_it_alone(tmp_path):
    config = parse('--dataroot=demo', f'--checkpoints_dir={tmp_path}', '--suffix={netG}', '--ngf=7')
    (tmp_path / config.run_name).mkdir()
    options.save_config(config, tmp_path / config.run_name)
    again = parse(f'--checkpoints_dir={tmp_path}', '--suffix={netG}', '--continue_train')
    assert (again.dataroot, again.ngf, again.run_name) == ('demo', 7, config.run_name)
    with pytest.raises(UserError, match='`suffix` .* cannot be filled in'):
        parse(f'--checkpoints_dir={tmp_path}', '--suffix={netG', '--continue_train')


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], '`dataroot` .* is required'),
        (
            ['--dataroot=demo', '--crop_size=300'],
            '`crop_size` .300. exceeds `load_size` .286.; lower it or raise load_size',
        ),
        (['--dataroot=demo', '--netG=unet_128', '--crop_size=200'], '`crop_size` .200. is no multiple of 128'),
        (['--dataroot=demo', '--crop_size=250'], '`crop_size` .250. is no multiple of 4'),
        (
            ['--dataroot=demo', '--crop_size=16'],
            '`crop_size` .16. is no multiple of 4 from 24 on, which ',
        ),
        (['--dataroot=demo', '--dataset_mode=single'], '`dataset_mode` .single. is to translate'),
        (['--dataroot=demo', '--input_nc=1'], '`lambda_identity` .0.5. needs equal channels'),
        (['--dataroot=demo', '--recompute_grads', '--norm=batch'], '`recompute_grads` .true. .* norm batch twice'),
        (['--dataroot=demo', '--batch_size=0'], '`batch_size` .0. is below 1; raise it'),
        (['--dataroot=demo', '--seed=-1'], '`seed` .-1. is below 0; raise it'),
        (['--dataroot=demo', '--epoch=first'], "`epoch` .'first'. is neither"),
        (['--dataroot=demo', '--profile_steps=5'], '`profile_steps` .* is not two numbers'),
        (['--dataroot=demo', 'photos'], "'photos' is no flag"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(*arguments)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--netG=resnet_7blocks'], 'resnet_7blocks.*resnet_9blocks|resnet_9blocks.*resnet_7blocks'),
        (['--ngff=3'], "Unknown command line flag 'ngff'. Did you mean: ngf"),
        (['--ngf=many'], 'ngf'),
        (['--flagfile=nowhere.cfg'], 'nowhere.cfg'),
        (['--gpu_ids', '0'], 'CUDA_VISIBLE_DEVICES'),
        (['--gpu_ids=0,1'], 'CUDA_VISIBLE_DEVICES'),
        (['--no_html'], 'TensorBoard'),
        (['--load_iter=5'], '--epoch'),
        (['--phase=test'], 'trainA'),
    ],
)
def test_flags_that_do_not_exist_or_have_no_meaning_here_are_refused(arguments, message):
    with pytest.raises(flags.Error, match=message):
        parse('--dataroot=demo', *arguments)


def test_help_lists_every_flag_with_its_default_and_exits_0():
    done = subprocess.run(
        [sys.executable, '-m', 'cyclegan_tf.train', '--help'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    text = ' '.join(done.stdout.split())
    for field in dataclasses.fields(CycleGANConfig):
        assert f'--{field.name}:' in text or f'--[no]{field.name}:' in text, field.name
        assert field.metadata['meaning'] in text, field.name
    assert "(default: '286')" in done.stdout
