"""Flags and settings are the same things; flag files, precedence, refusals and exit statuses."""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
from typing import ClassVar
from unittest import mock

import pytest
from absl import flags

from cyclegan_tf import evaluate, export, train, translate
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings import flags as settings_flags
from cyclegan_tf.settings import reference_flags
from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.export import ExportConfig
from cyclegan_tf.settings.fields import GROUPS, changed, setting
from cyclegan_tf.settings.flags import define_flags
from cyclegan_tf.settings.models import SETTINGS, CUTConfig, CycleGANConfig, Pix2PixConfig
from cyclegan_tf.settings.reference_flags import REFUSED
from cyclegan_tf.settings.run_flags import load_config, parse_training, save_config
from cyclegan_tf.settings.training import Config, NetworkRole
from cyclegan_tf.settings.translation import TranslateConfig, at_test_time
from tests.helpers import program

ROOT = pathlib.Path(__file__).parents[2]

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
    no_html=False, use_wandb=False, wandb_project_name='CycleGAN-and-pix2pix',
)  # fmt: skip


# Its other options, among them those of its test program.
REFERENCE_OTHERS = (
    'dataroot phase gpu_ids display_id display_server display_port display_env display_ncols display_winsize '
    'update_html_freq load_iter save_by_iter results_dir num_test aspect_ratio eval'
).split()


@pytest.fixture(scope='module', autouse=True)
def tiny_models():
    """None of these: the settings and flags of the package alone."""


PAIRED = ('--model=pix2pix', '--dataset_mode=paired')


def parse(*arguments):
    return parse_training(['train', *arguments])[0]


# What pix2pix changes and adds there, and CUT and FastCUT in their authors' program.
PIX2PIX = dict(
    model='pix2pix', norm='batch', netG='unet_256', dataset_mode='aligned', gan_mode='vanilla', pool_size=0,
    no_dropout=False, lambda_L1=100.0,
)  # fmt: skip
CUT = dict(
    model='cut', CUT_mode='CUT', lambda_GAN=1.0, lambda_NCE=1.0, nce_idt=True, nce_layers='0,4,8,12,16',
    nce_includes_all_negatives_from_minibatch=False, netF='mlp_sample', netF_nc=256, nce_T=0.07, num_patches=256,
    flip_equivariance=False, pool_size=0, init_type='xavier', beta2=0.999,
    n_epochs=200, n_epochs_decay=200,
)  # fmt: skip
FAST_CUT = dict(
    CUT, CUT_mode='FastCUT', lambda_NCE=10.0, nce_idt=False, flip_equivariance=True, n_epochs=150, n_epochs_decay=50
)
OF_CYCLE_GAN = {'lambda_A', 'lambda_B', 'lambda_identity'}


@pytest.mark.parametrize(
    'flags_, changed_', [((), {}), (('--model=pix2pix',), PIX2PIX), (('--model=cut',), CUT)]
    + [(('--model=cut', f'--CUT_mode={mode}'), dict(FAST_CUT, CUT_mode=mode)) for mode in ('FastCUT', 'fastcut')],
)  # fmt: skip
def test_defaults_are_the_references(flags_, changed_):
    settings = dataclasses.asdict(parse('--dataroot=demo', *flags_))
    expected = {name: value for name, value in REFERENCE.items() if not (changed_ and name in OF_CYCLE_GAN)} | changed_
    assert {name: settings[name] for name in expected} == expected
    assert not changed_ or not OF_CYCLE_GAN & settings.keys()


@pytest.mark.parametrize('config', [Config, TranslateConfig, EvaluateConfig, ExportConfig])
def test_flags_bear_the_names_of_the_settings(config):
    classes = [*SETTINGS.values()] if config is Config else [config]
    names = {field.name for one in classes for field in dataclasses.fields(one)}
    names |= {name for one in classes for name in getattr(one, 'other_names', ())}
    assert set(define_flags(config)) == names | set(REFUSED) | {'help', 'helpshort', 'helpfull', 'flagfile'}


@pytest.mark.parametrize('program', [train, translate, evaluate, export])
def test_every_option_of_the_reference_is_a_flag_or_refused_with_what_to_do_instead(program):
    config, program_parse = {
        train: (CycleGANConfig, parse_training),
        translate: (TranslateConfig, translate.parse),
        evaluate: (EvaluateConfig, evaluate.parse),
        export: (ExportConfig, export.parse),
    }[program]
    own = {field.name for field in dataclasses.fields(config)}
    names = set(REFERENCE) | set(REFERENCE_OTHERS)
    assert len(names) > 60
    if program is not train:
        names |= set(PIX2PIX) | set(CUT) | {'no_antialias', 'no_antialias_up'} - {'beta2'}
    for name in names - own:
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


# direction, batch_size, n_epochs, n_epochs_decay: of the paper, as each file says.
OF_PIX2PIX = {
    'pix2pix_facades_label2photo': ('BtoA', 1, 100, 100),
    'pix2pix_sat2map': ('AtoB', 1, 100, 100),
    'pix2pix_map2sat': ('BtoA', 1, 100, 100),
    'pix2pix_edges2shoes': ('AtoB', 4, 15, 0),
    'pix2pix_day2night': ('BtoA', 4, 17, 0),
}
OF_CUT = {
    'cut_horse2zebra': 'AtoB',
    'cut_cat2dog': 'AtoB',
    'cut_grumpifycat': 'AtoB',
    'cut_cityscapes': 'BtoA',
}


def test_every_flag_file_is_valid_and_says_how_to_run_it():
    paths = {path.stem: path for path in (ROOT / 'flags').glob('*.cfg')}
    assert set(paths) == {*DATA_SETS, *OF_PIX2PIX, *OF_CUT, 'demo', 'demo_pix2pix', 'demo_cut', 'template', 'better'}
    for path in paths.values():
        parse(f'--flagfile={path}')
        program, machine, result = path.read_text().split('\n')[0].split(' -- ')
        assert program.startswith(f'# python -m cyclegan_tf.train --flagfile=flags/{path.name}') and machine and result


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


@pytest.mark.parametrize('name', OF_PIX2PIX)
def test_the_data_sets_of_pix2pix_are_trained_as_the_paper_did(name):
    config = parse(f'--flagfile={ROOT}/flags/{name}.cfg')
    direction, batch_size, n_epochs, n_epochs_decay = OF_PIX2PIX[name]
    assert config == Pix2PixConfig(
        model='pix2pix', name=name, dataroot=config.dataroot, num_devices=1, direction=direction,
        batch_size=batch_size, n_epochs=n_epochs, n_epochs_decay=n_epochs_decay,
    )  # fmt: skip


@pytest.mark.parametrize('name', OF_CUT)
def test_the_data_sets_of_cut_are_trained_by_either_mode(name):
    path = f'--flagfile={ROOT}/flags/{name}.cfg'
    given = dict(model='cut', name=name, num_devices=1, direction=OF_CUT[name])
    config = parse(path)
    assert config == CUTConfig(dataroot=config.dataroot, **given)
    for flags_ in ((path, '--CUT_mode=FastCUT'), ('--CUT_mode=FastCUT', path)):
        fast = parse(*flags_)
        assert (fast.lambda_NCE, fast.nce_idt, fast.n_epochs, fast.n_epochs_decay) == (10, False, 150, 50)


def test_better_pictures_differ_from_the_defaults_as_the_page_about_them_says():
    config, page = parse(f'--flagfile={ROOT}/flags/better.cfg'), (ROOT / 'docs' / 'quality.md').read_text()
    shown = re.search(r'^better:((?: --\S+)+)$', page, re.MULTILINE).group(1).split()
    assert parse(*shown, '--dataroot=FOLDER', '--name=better') == config


def test_the_template_holds_the_defaults():
    assert parse(f'--flagfile={ROOT}/flags/template.cfg') == CycleGANConfig(dataroot='FOLDER', name='mine')


def test_flag_files_of_other_systems_are_read_or_named(tmp_path):
    path, lines = tmp_path / 'f.cfg', '# written elsewhere\r\n--dataroot=ü馬\r\n\r\n// and\r\n --ngf=8\r\n'
    for data in (lines.encode('utf-8-sig'), lines.replace('\r', '').encode()):
        path.write_bytes(data)
        config = parse(f'--flagfile={path}')
        assert (config.dataroot, config.ngf) == ('ü馬', 8)
    path.write_bytes(b'--dataroot=\xff\n')  # a path need not be text
    assert os.fsencode(parse('-flagfile', str(path)).dataroot) == b'\xff'
    for encoding in ('utf-16', 'utf-16-be'):
        path.write_bytes(lines.encode(encoding))
        with pytest.raises(flags.Error, match="`flagfile` .'.*f.cfg'. is no UTF-8 text, but UTF-16; store it as UTF-8"):
            parse(f'--flagfile={path}')
    path.write_text(f'--ngf=8\n--flagfile={path}\n')
    with pytest.raises(flags.Error, match='includes itself'):
        parse(f'--flagfile={path}')
    with pytest.raises(flags.Error, match='--flagfile has no value'):
        parse('--flagfile')


def test_cuts_way_of_writing_flags_gets_its_sentence(tmp_path):
    (tmp_path / 'f.cfg').write_text('--model=cut\n--nce_idt False\n')
    with pytest.raises(flags.Error, match="`flagfile` .*: '--nce_idt False' is written --nce_idt=False here"):
        parse('--dataroot=demo', f'--flagfile={tmp_path}/f.cfg')
    with pytest.raises(
        UserError, match="'False' is not a flag; the value of a flag follows after =, as in --nce_idt=Fa"
    ):
        parse('--continue_train', '--nce_idt', 'False', '--name=x')


def test_cuts_flags_of_antialiasing_are_other_names(tmp_path):
    def resampling(*arguments):
        config = parse('--dataroot=demo', *arguments)
        return config.downsample, config.upsample

    assert resampling() == ('stride', 'deconv') and resampling('--model=cut') == ('antialias', 'antialias')
    assert resampling('--model=cut', '--no_antialias') == ('stride', 'antialias')
    assert resampling('--no_antialias_up=true', '--model=cut') == ('antialias', 'deconv')
    assert resampling('--model=cut', '--no_antialias_up=false', '--nono_antialias') == ('antialias', 'antialias')
    assert resampling('--model=cut', '--upsample=deconv', '--no_antialias_up') == ('antialias', 'deconv')
    assert resampling('--model=cut', '--upsample=resize', '--no_antialias_up') == ('antialias', 'deconv')
    assert resampling('--model=cut', '--no_antialias_up', '--upsample=resize') == ('antialias', 'resize')
    with pytest.raises(flags.Error, match='`no_antialias` is a flag of model cut.*, not of cycle_gan'):
        resampling('--no_antialias')
    # A run whose flags.cfg has the names that they had alone.
    save_config(parse('--dataroot=demo', '--model=cut'), tmp_path)
    text = (tmp_path / 'flags.cfg').read_text()
    assert 'no_antialias' not in text and '--upsample=antialias' in text
    old = text.replace('--upsample=antialias', '--no_antialias_up=true').replace('--downsample=antialias\n', '')
    (tmp_path / 'flags.cfg').write_text(old + '--no_antialias=false\n')
    config = load_config(tmp_path)
    assert (config.downsample, config.upsample) == ('antialias', 'deconv')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--netG=unet_256', '--upsample=antialias'], '`upsample` .antialias. is for ResNet generators, but netG is'),
        (['--netG=unet_256', '--downsample=antialias'], '`downsample` .antialias. is for ResNet generators'),
        (['--model=cut', '--netG=unet_256'], '`netG` .unet_256. is no sequence of layers'),
        (['--n_downsampling=1', '--netG=unet_128'], '`n_downsampling` .1. is for ResNet generators, but netG is unet_'),
        (['--n_downsampling=3'], '`n_downsampling` .3. exceeds 2; lower it'),
        (['--learn_gain'], '`learn_gain` .true. belongs to a change of the image; set learn_residual to true, or'),
        (
            ['--learn_residual', '--learn_gain', '--input_nc=1', '--lambda_identity=0'],
            '`learn_residual` .true. adds .*; set it and learn_gain to false',
        ),
        (['--learn_residual', '--input_nc=1', '--lambda_identity=0'], '`learn_residual` .true. adds a change to an im'),
        (['--diffaugment=color,noise'], "`diffaugment` .'noise'. is not one of: color, translation, cutout, or none"),
        (['--ema_decay=1'], '`ema_decay` .1. is not below 1; lower it'),
        (['--num_D=0'], '`num_D` .0. is below 1'),
        (['--num_D=3', '--crop_size=64', '--load_size=64'], '`crop_size` .64. has to be .* at least 96'),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse('--dataroot=demo', *arguments)


def test_a_flag_file_is_read_whatever_the_locale(tmp_path):
    (tmp_path / 'ü.cfg').write_text('--dataroot=/nowhere/ü\n--name=ü\n', encoding='utf-8')
    ascii_locale = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    arguments = ('-m', 'cyclegan_tf.train', '--flagfile=ü.cfg', f'--checkpoints_dir={tmp_path}')
    status, _, error = program.run_python(*arguments, cwd=tmp_path, real=True, **ascii_locale)
    assert status == 1 and "`dataroot` ('/nowhere/ü') is not a folder" in error and 'Traceback' not in error


def test_later_flags_win_over_the_flag_file(tmp_path):
    (tmp_path / 'f.cfg').write_text('# a comment\n--dataroot=demo\n--ngf=8\n--no_flip\n')
    assert parse(f'--flagfile={tmp_path}/f.cfg', '--ngf=16').ngf == 16
    assert parse('--ngf=16', f'--flagfile={tmp_path}/f.cfg').ngf == 8
    assert parse(f'--flagfile={tmp_path}/f.cfg').no_flip


def test_saved_flags_give_the_same_settings(tmp_path):
    config = parse('--dataroot=demo', '--ngf=7', '--no_dropout=false', '--max_dataset_size=3', '--lr=1e-5')
    save_config(config, tmp_path)
    assert load_config(tmp_path) == config


@pytest.mark.parametrize(
    'make', [lambda name: TranslateConfig(input='x', name=name), lambda name: ExportConfig(output='x', name=name)]
)
def test_a_run_is_in_the_folder_of_all_runs(make):
    for name in ('set/..run.1', './run'):  # the second does no harm, and there may be such runs
        assert make(name).name == name
    for name in ('..', '.', 'run/..'):
        with pytest.raises(UserError, match=rf"^`name` \('{name}'\) leads to another directory than .*checkpoints_dir"):
            make(name)


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
    save_config(config, tmp_path / config.run_name)
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
        (['--dataroot=demo', '--netG=unet_128', '--crop_size=200'], '`crop_size` .200. has to be a multiple of 128'),
        (['--dataroot=demo', '--crop_size=250'], '`crop_size` .250. has to be a multiple of 4'),
        (
            ['--dataroot=demo', '--crop_size=16'],
            '`crop_size` .16. has to be a multiple of 4 and at least 24 for netG ',
        ),
        (['--dataroot=demo', '--dataset_mode=single'], '`dataset_mode` .single. is for translation only'),
        (['--dataroot=demo', '--input_nc=1'], '`lambda_identity` .0.5. needs equal channels'),
        (['--dataroot=demo', '--recompute_grads', '--norm=batch'], '`recompute_grads` .true. .* of batch norm twice'),
        (['--dataroot=demo', '--batch_size=0'], '`batch_size` .0. is below 1; raise it'),
        (['--dataroot=demo', '--seed=-1'], '`seed` .-1. is below 0; raise it'),
        (['--dataroot=demo', '--beta2=1'], '`beta2` .1. is not below 1; lower it'),
        (['--dataroot=demo', '--value_range=5'], "`value_range` .'5'. is not 'LOW,HIGH', two numbers"),
        (['--dataroot=demo', '--value_range=2,1'], "`value_range` .'2,1'. is not"),
        (['--dataroot=demo', '--value_range_B=0,nan'], "`value_range_B` .'0,nan'. is not"),
        (['--dataroot=demo', '--value_range_B=0,inf'], "`value_range_B` .'0,inf'. is not"),
        (
            ['--dataroot=demo', '--value_range_B=0,9', '--dataset_mode=aligned'],
            '`value_range_B` .0,9. alone cannot be used with dataset_mode aligned',
        ),
        (['--dataroot=demo', '--epoch=first'], "`epoch` .'first'. is neither"),
        (['--dataroot=demo', '--profile_steps=5'], '`profile_steps` .* is not two numbers'),
        (['--dataroot=demo', 'photos'], "'photos' is not a flag; flags begin with"),
        (
            ['--dataroot=demo', '--model=cut', '--nce_idt', 'False'],
            "'False' is not a flag; the value of a flag follows after =, as in --nce_idt=False",
        ),
        (['--dataroot=demo', '--model=cut', '--nce_idt', 'photos'], "'photos' is not a flag; flags begin with"),
        (['--dataroot=demo', '--model=pix2pix', '--dataset_mode=unaligned'], '`dataset_mode` .unaligned. has no pairs'),
        (['--dataroot=demo', '--model=pix2pix', '--pool_size=1'], '`pool_size` .1. keeps earlier translations'),
        (
            ['--dataroot=demo', '--model=pix2pix', '--recompute_grads'],
            '`recompute_grads` .true. .* of batch norm twice',
        ),
        (['--dataroot=demo', '--model=cut', '--netG=unet_128'], '`netG` .unet_128. is no sequence of layers'),
        (['--dataroot=demo', '--model=cut', '--output_nc=1'], '`input_nc` .3. and `output_nc` .1. differ'),
        (['--dataroot=demo', '--model=cut', '--pool_size=50'], '`pool_size` .50. keeps earlier translations'),
        (['--dataroot=demo', '--model=cut', '--num_patches=0'], '`num_patches` .0. is below 1; raise it'),
        (['--dataroot=demo', '--model=cut', '--lambda_NCE=0'], '`lambda_NCE` .0.0. would leave nothing of CUT but'),
        (['--dataroot=demo', '--model=cut', '--lambda_NCE=inf'], '`lambda_NCE` .inf. is not a finite number; correct'),
        (['--dataroot=demo', '--name=..'], "`name` .'..'. leads to another directory than the run's own"),
        (['--dataroot=demo', '--lr=nan'], '`lr` .nan. is not a finite number; correct it'),
        (['--dataroot=demo', '--model=cut', '--nce_T=0'], '`nce_T` .0.0. is not above 0'),
        (['--dataroot=demo', '--model=cut', '--nce_layers=4,0'], "`nce_layers` .'4,0'. is not a list of ascending"),
        (['--dataroot=demo', '--model=cut', '--nce_layers=4,x'], "`nce_layers` .'4,x'. is not a list of ascending"),
        (
            ['--dataroot=demo', '--model=cut', '--nce_includes_all_negatives_from_minibatch', '--accumulate_steps=2'],
            '`nce_includes_all_negatives_from_minibatch` .true. needs all images of the batch at once',
        ),
        (
            ['--dataroot=demo', '--model=cut', '--normG=batch', '--recompute_grads'],
            '`recompute_grads` .true.* to false, or normG to instance',
        ),
        (['--dataroot=demo', '--norm=batch', '--recompute_grads'], '`recompute_grads` .true.* to false, or norm to i'),
        (['--dataroot=demo', '--input_folders=A,A2'], "`input_folders` .'A,A2'. needs images that are matched by name"),
        (['--dataroot=demo', *PAIRED, '--input_folders=A,B'], "`input_folders` .'A,B'. has to name different folders"),
        (['--dataroot=demo', *PAIRED, '--input_folders=A,A'], "`input_folders` .'A,A'. has to name different folders"),
        (
            ['--dataroot=demo', *PAIRED, '--input_folders=A,A2', '--input_nc=5'],
            'as in A:3,A2:3, and leave input_nc out',
        ),
        (['--dataroot=demo', *PAIRED, '--input_folders=A:3,A2'], 'as in A:3,A2:3, and leave input_nc out'),
        (['--dataroot=demo', *PAIRED, '--input_folders=A:x'], "`input_folders` .'A:x'. is not a list of folders"),
        (
            ['--dataroot=demo', '--input_feature=image', '--output_feature=other'],
            '`input_feature` .image. needs pairs; set --dataset_mode to aligned or paired, not to unaligned',
        ),
        (
            ['--dataroot=demo', *PAIRED, '--input_feature=x', '--output_feature=x'],
            '`input_feature` and `output_feature` .x. have to name two features; correct one',
        ),
        (['--dataroot=demo', '--input_feature=image'], '`input_feature` and `output_feature` name both images'),
        (['--dataroot=demo', '--max_steps=-1'], '`max_steps` .-1. is below 0'),
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
        (['--display_id=0'], 'TensorBoard'),
        (['--update_html_freq=1000'], 'after every epoch'),
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


def test_help_ends_quietly_when_nobody_reads_on():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, '-m', 'cyclegan_tf.train', '--helpshort']
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, '')


def test_help_has_headings_and_begins_with_what_is_used_most(capsys):
    texts = {}
    for flag in ('--help', '--helpshort', '--helpfull'):
        with pytest.raises(SystemExit) as caught:
            parse(flag)
        assert not caught.value.code
        texts[flag] = capsys.readouterr().out
    places = [texts['--help'].index(f'\n{group}:\n') for group in (*GROUPS, 'model cycle_gan', 'help and flag files')]
    assert places == sorted(places)
    assert 0 < texts['--help'].index('--name:') < texts['--help'].index('--seed:')
    assert '--dataroot:' in texts['--helpshort'] and '--lr:' not in texts['--helpshort']
    refused = '--gpu_ids: set the environment variable CUDA_VISIBLE_DEVICES'
    assert [refused in text for text in texts.values()] == [False, False, True]
    assert texts['--helpfull'].startswith(texts['--help'].rstrip('\n'))


@pytest.mark.parametrize('flag', ['--help', '--helpshort', '--helpfull'])
def test_help_of_a_run_that_is_not_there(flag, capsys):
    with pytest.raises(SystemExit) as caught:
        parse('--continue_train', '--name=nowhere', flag)
    assert not caught.value.code and '--continue_train' in capsys.readouterr().out.replace('[no]', '')


def test_the_short_help_has_what_is_required(capsys):
    with pytest.raises(SystemExit):
        export.parse(['export', '--helpshort'])
    assert '--output:' in capsys.readouterr().out


def test_a_heading_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="^group 'traning' is not one of: run, data"):
        setting(1, 'a number', group='traning')


# ------------------------------------------------------------------------------------------------------ several models
@dataclasses.dataclass(frozen=True)
class SketchConfig(Config):
    """Of a model that only these tests know: it changes defaults, has settings of its own and a mode."""

    networks: ClassVar = {'G': NetworkRole('generator', ('A',), 'B'), 'D': NetworkRole('discriminator', ('A', 'B'))}

    netG: str = changed(Config, 'netG', 'unet_256')
    pool_size: int = changed(Config, 'pool_size', 0)
    no_dropout: bool = changed(Config, 'no_dropout', False)
    eval_freq: int = changed(Config, 'eval_freq', 5)
    sketch_mode: str = setting('careful', 'how', choices=('careful', 'fast'))
    lambda_R1: float = setting(100.0, 'weight of the lines', minimum=0.0)
    lambda_A: float = setting(3.0, 'weight of the colours', minimum=0.0)

    @staticmethod
    def mode_defaults(values):
        return {'n_epochs': 150, 'no_flip': True, 'lambda_R1': 1.0} if values['sketch_mode'] == 'fast' else {}


@pytest.fixture
def sketch():
    with mock.patch.dict(SETTINGS, {'sketch': SketchConfig}):
        yield


SKETCH = ('--model=sketch', '--dataroot=demo')


def test_paths_in_the_home_folder_are_what_they_mean(monkeypatch, tmp_path):
    # A shell replaces ~ at the beginning of an argument, not behind a =.
    monkeypatch.setenv('HOME', '/home/me')
    (tmp_path / 'f.cfg').write_text('--checkpoints_dir=~/runs\n')
    config = parse('--dataroot=~/images', f'--flagfile={tmp_path}/f.cfg', '--name=~', '--suffix=a~/b')
    assert (config.dataroot, config.checkpoints_dir) == ('/home/me/images', '/home/me/runs')
    assert (config.name, config.suffix) == ('~', 'a~/b')


def test_a_model_has_its_own_defaults_and_all_others_of_training(sketch):
    made = SketchConfig(dataroot='demo', model='sketch')
    assert parse(*SKETCH) == made
    assert (made.netG, made.pool_size, made.no_dropout, made.lambda_R1, made.lambda_A) == ('unet_256', 0, False, 100, 3)
    shared = {field.name for field in dataclasses.fields(Config)}
    others = shared - {'model', 'netG', 'pool_size', 'no_dropout', 'eval_freq'}
    first = parse('--dataroot=demo')
    assert type(first) is CycleGANConfig and first.lambda_A == 10
    assert {name: getattr(made, name) for name in others} == {name: getattr(first, name) for name in others}
    assert not hasattr(made, 'lambda_identity') and not hasattr(first, 'lambda_R1')


def test_a_mode_changes_more_defaults(sketch):
    fast = parse(*SKETCH, '--sketch_mode=fast')
    assert fast == SketchConfig(
        dataroot='demo', model='sketch', sketch_mode='fast', n_epochs=150, no_flip=True, lambda_R1=1.0
    )


@pytest.mark.parametrize('place', ['before', 'after', 'in a file', 'in a file of a file'])
def test_what_is_given_wins_over_the_models_and_the_modes_defaults_even_where_it_is_the_programs(
    sketch, tmp_path, place
):
    # All are defaults of the program, which the model or its mode changes.
    given = ['--netG=resnet_9blocks', '--pool_size=50', '--no_dropout', '--n_epochs=100', '--nono_flip',
             '--lambda_R1=100', '--lambda_A=10']  # fmt: skip
    model = [*SKETCH, '--sketch_mode=fast']
    (tmp_path / 'given.cfg').write_text('\n'.join(given))
    (tmp_path / 'outer.cfg').write_text(f'--ngf=7\n--flagfile={tmp_path}/given.cfg\n--ndf=9\n')
    config = parse(
        *{
            'before': given + model,
            'after': model + given,
            'in a file': [f'--flagfile={tmp_path}/given.cfg', *model],
            'in a file of a file': [*model, f'--flagfile={tmp_path}/outer.cfg'],
        }[place]
    )
    assert config == SketchConfig(
        dataroot='demo', model='sketch', sketch_mode='fast', netG='resnet_9blocks', pool_size=50, no_dropout=True,
        n_epochs=100, no_flip=False, lambda_R1=100, lambda_A=10, ngf=config.ngf, ndf=config.ndf,
    )  # fmt: skip
    assert (config.ngf, config.ndf) == ((7, 9) if 'of a file' in place else (64, 64))


@pytest.mark.parametrize('mode', ['careful', 'fast'])
def test_a_run_of_another_model_is_read_back_and_continued(sketch, tmp_path, mode):
    flags_ = (f'--checkpoints_dir={tmp_path}', '--suffix={netG}_{lambda_R1}', '--model=sketch')
    config = parse('--dataroot=demo', *flags_, f'--sketch_mode={mode}', '--lambda_R1=2', '--eval_freq=3', '--no_flip')
    assert config.run_name == 'experiment_name_unet_256_2.0'
    place = tmp_path / config.run_name
    place.mkdir()
    save_config(config, place)
    assert load_config(place) == config
    names = {line.partition('=')[0][2:] for line in (place / 'flags.cfg').read_text().splitlines()[1:]}
    assert {'lambda_R1', 'sketch_mode', 'ngf', 'model'} <= names and 'lambda_identity' not in names

    # Its directory is found with the model's defaults in the name; all else comes from there.
    again, stored = parse_training(['train', *flags_, '--lambda_R1=2', '--continue_train', '--lr=0.1'])
    assert again == dataclasses.replace(stored, continue_train=True, lr=0.1) and stored == config
    # By its name alone the model is not even named, and yet its flags are known.
    by_name = ('train', f'--checkpoints_dir={tmp_path}', f'--name={config.run_name}', '--continue_train')
    again, _ = parse_training([*by_name, '--lambda_R1=4'])
    assert type(again) is SketchConfig and (again.lambda_R1, again.sketch_mode) == (4, mode)
    with pytest.raises(flags.Error, match='`lambda_identity` is a flag of model cycle_gan, not of sketch'):
        parse_training([*by_name, '--lambda_identity=0'])
    with pytest.raises(UserError, match=r'`model` \(cycle_gan\) is not what the run was trained with \(sketch\)'):
        parse_training([*by_name, '--model=cycle_gan'])


@pytest.mark.parametrize('suffix', ['{netG}', '{n_epochs}_{lambda_R1}'])
def test_a_suffix_is_filled_in_with_the_defaults_of_model_and_mode(sketch, tmp_path, suffix):
    name = {'{netG}': 'x_unet_256', '{n_epochs}_{lambda_R1}': 'x_150_1.0'}[suffix]
    flags_ = ('--model=sketch', '--sketch_mode=fast', f'--checkpoints_dir={tmp_path}', '--name=x', f'--suffix={suffix}')
    config = parse('--dataroot=demo', *flags_)
    assert config.run_name == name
    (tmp_path / name).mkdir()
    save_config(config, tmp_path / name)
    assert parse(*flags_, '--continue_train').run_name == name
    with pytest.raises(UserError, match="`suffix` .* names 'lambda_identity'"):
        parse('--dataroot=demo', *flags_, '--suffix={lambda_identity}')


def test_a_flag_of_another_model_is_refused_with_whose_it_is(sketch, tmp_path):
    (tmp_path / 'f.cfg').write_text('--lambda_identity=0.5\n')  # the default, and given all the same
    for given in ('--lambda_identity=0', f'--flagfile={tmp_path}/f.cfg'):
        for argv in ((*SKETCH, given), (given, *SKETCH)):
            with pytest.raises(flags.Error) as caught:
                parse(*argv)
            assert str(caught.value) == (
                '`lambda_identity` is a flag of model cycle_gan, not of sketch; leave it out, or set --model=cycle_gan.'
            )
    with pytest.raises(flags.Error, match='^`lambda_R1` is a flag of model sketch, not of cycle_gan; leave it out, or'):
        parse('--dataroot=demo', '--lambda_R1=3')
    assert parse(*SKETCH, '--lambda_A=7').lambda_A == 7  # both have it
    with mock.patch.dict(SETTINGS, {'etching': SketchConfig}):
        with pytest.raises(flags.Error, match='^`sketch_mode` is a flag of models sketch and etching, not of'):
            parse('--dataroot=demo', '--sketch_mode=fast')


def test_help_is_of_one_model(sketch, capsys):
    texts = {}
    for model in ('cycle_gan', 'sketch'):
        for argv in ([f'--model={model}', '--help'], ['--help', f'--model={model}']):
            with pytest.raises(SystemExit) as caught:
                parse(*argv)
            assert not caught.value.code
            texts.setdefault(model, set()).add(capsys.readouterr().out)
    (first,), (second,) = texts['cycle_gan'], texts['sketch']
    assert '--lambda_identity' in first and '--lambda_R1' not in first and "(default: 'resnet_9blocks')" in first
    assert '--lambda_identity' not in second and "(default: 'unet_256')" in second
    own = second[second.index('\nmodel sketch:') :]
    assert '--lambda_R1: weight of the lines' in own and '--sketch_mode' in own and '--netG' not in own
    assert 'gpu_ids' not in second and 'num_patches' not in second  # what has no meaning here is not listed


def test_a_later_model_has_what_was_refused(sketch):
    assert 'lambda_R1' in reference_flags.REFUSED and parse(*SKETCH, '--lambda_R1=3').lambda_R1 == 3
    with mock.patch.dict(SETTINGS, {'sincut': SketchConfig}):
        assert parse('--dataroot=demo', '--model=sincut').model == 'sincut'


# -------------------------------------------------------------------------------------------- what the models play with
def test_a_models_domains_and_channels_follow_the_direction(sketch):
    channels = ('--input_nc=1', '--output_nc=3', '--lambda_identity=0')
    there, back = (parse('--dataroot=demo', *channels, f'--direction={name}') for name in ('AtoB', 'BtoA'))
    assert (there.domains, back.domains) == (('A', 'B'), ('B', 'A'))
    assert there.channels == back.channels == {'A': 1, 'B': 3}
    assert there.translating_networks == {'AtoB': 'G_A', 'BtoA': 'G_B'}
    assert back.translating_networks == {'AtoB': 'G_B', 'BtoA': 'G_A'}
    assert parse(*SKETCH).translating_networks == {'AtoB': 'G'}
    assert parse(*SKETCH, '--direction=BtoA').translating_networks == {'BtoA': 'G'}


def test_the_best_is_kept_of_what_a_model_measures(sketch):
    assert parse(*SKETCH, '--keep_best=psnr_AtoB').keep_best == 'psnr_AtoB'
    for measure in ('psnr_BtoA', 'cycle', 'identity_AtoB'):
        with pytest.raises(UserError, match='`keep_best` .* is not one of: psnr, ssim, kid, fid, .* _AtoB'):
            parse(*SKETCH, f'--keep_best={measure}')
    for measure in ('edges', 'edges_AtoB'):
        with pytest.raises(UserError, match=f'`keep_best` .{measure}. cannot tell the best: .*; set it to another'):
            parse('--dataroot=demo', f'--keep_best={measure}', '--eval_freq=1')
    assert parse('--dataroot=demo', '--keep_best=identity_BtoA', '--eval_freq=1').keep_best == 'identity_BtoA'


def test_settings_of_a_model_are_changed_in_a_copy():
    config = dataclasses.replace(parse('--dataroot=demo'), lambda_A=1.0, ngf=3)
    assert (type(config), config.lambda_A, config.ngf) == (CycleGANConfig, 1, 3)


# -------------------------------------------------------------------------------------------------- what is not there
ABSENT = [
    *[('model', value) for value in 'fastcut sincut test colorization template'.split()],
    *[('netG', value) for value in 'stylegan2 smallstylegan2 resnet_4blocks resnet_cat'.split()],
    *[('netD', value) for value in 'patch tilestylegan2 stylegan2 tilepatch'.split()],
    *[('dataset_mode', value) for value in 'colorization template singleimage'.split()],
    *[('preprocess', value) for value in 'scale_shortside scale_shortside_and_crop zoom zoom_and_crop trim'.split()],
    ('gan_mode', 'nonsaturating'),
    ('norm', 'syncbatch'),
]


@pytest.mark.parametrize('name, value', ABSENT)
def test_a_value_of_the_pytorch_programs_that_is_not_there_is_told_from_a_mistake(name, value):
    with pytest.raises(flags.Error) as caught:
        parse('--dataroot=demo', f'--{name}={value}')
    choices = Config.__dataclass_fields__[name].metadata['choices'] or SETTINGS
    message = str(caught.value)
    assert message.startswith(f'flag --{name}={value}: ') and '\n' not in message
    assert message.endswith(f'; choose one of: {", ".join(choices)}')
    assert reference_flags.ABSENT_VALUES[name][value] in message


def test_models_that_are_not_there_say_what_to_do():
    for model, message in (
        ('fastcut', 'it is --model=cut --CUT_mode=FastCUT here; choose one of: cycle_gan, pix2pix, cut$'),
        ('test', 'it is python -m cyclegan_tf.translate --dataset_mode=single here, which needs no --model'),
        ('cutt', 'value should be one of <cycle_gan|pix2pix|cut>'),
    ):
        with pytest.raises(flags.Error, match=message):
            parse('--dataroot=demo', f'--model={model}')


# Of the templates of the reference, of SinCUT, and of the programs that come with CUT.
OF_OTHERS = (
    'lambda_regression new_dataset_option lambda_R1 stylegan2_G_num_downsampling pretrained_name evaluation_freq '
    'random_scale_max easy_label model_suffix'
).split()


@pytest.mark.parametrize('program', ['train', 'translate', 'evaluate', 'export', 'check_dataset'])
def test_flags_of_models_that_are_not_there_are_refused_with_what_to_do(program):
    program_parse = {
        'train': parse_training,
        'translate': translate.parse,
        'evaluate': evaluate.parse,
        'export': export.parse,
        'check_dataset': lambda argv: settings_flags.parse(Config, argv),
    }[program]
    for name in OF_OTHERS:
        for arguments in ([f'--{name}=1'], [f'--{name}', '1'], [f'--{name}']):
            with pytest.raises(flags.Error, match='of the PyTorch program has no meaning here; ') as caught:
                program_parse([program, *arguments])
            assert reference_flags.REFUSED[name] in str(caught.value)


@pytest.mark.parametrize('flag', ['--model=fastcut', '--lambda_NCE=1', '--netG=stylegan2', '--ngff=3'])
def test_what_is_not_there_exits_with_2_and_one_sentence_before_tensorflow_is_imported(flag):
    code = (
        'import sys; from cyclegan_tf import train\n'
        "assert 'tensorflow' not in sys.modules\n"
        "train.run_program('train', train.parse_training, lambda settings: 0)"
    )
    argv = [sys.executable, '-c', code, '--dataroot=demo', flag]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr
    assert done.stderr.startswith('train: ') and flag[2:].partition('=')[0] in done.stderr


def test_features_that_fail_in_cut_are_told_from_a_mistake():
    with pytest.raises(flags.Error, match="it fails in CUT's own program, too.*; choose one of: mlp_sample, sample"):
        parse('--dataroot=demo', '--model=cut', '--netF=reshape')


# -------------------------------------------------------------------------------------------------- pix2pix and CUT
@pytest.mark.parametrize('model', ['cycle_gan', 'cut'])
def test_one_norm_is_for_all_networks_unless_they_have_their_own(model):
    norms = [
        parse('--dataroot=demo', f'--model={model}', *more).norms
        for more in ((), ('--norm=none',), ('--norm=none', '--normD=batch'), ('--normG=batch',))
    ]
    assert [(one['generator'], one['discriminator']) for one in norms] == [
        ('instance', 'instance'), ('none', 'none'), ('none', 'batch'), ('batch', 'instance')
    ]  # fmt: skip


def test_channels_of_stacked_inputs_are_divided_among_the_folders():
    def parts(*more):
        config = parse('--dataroot=demo', *PAIRED, *more)
        return config.input_nc, config.input_parts

    assert parts() == (3, (('A', 3),))
    assert parts('--input_folders=A,A2') == (6, (('A', 3), ('A2', 3)))
    assert parts('--input_folders=A,A2', '--input_nc=2') == (2, (('A', 1), ('A2', 1)))
    assert parts('--input_folders=A:3,A_depth:1') == (4, (('A', 3), ('A_depth', 1)))
    assert parts('--input_folders=B,B2', '--direction=BtoA') == (6, (('B', 3), ('B2', 3)))


def test_jitter_ends_for_cut_alone_and_where_there_is_some():
    assert parse('--dataroot=demo', '--model=cut').last_jitter_epoch == 200
    assert parse('--dataroot=demo', '--model=cut', '--CUT_mode=FastCUT').last_jitter_epoch == 150
    for more in ('--n_epochs_decay=0', '--load_size=256', '--preprocess=crop', '--preprocess=scale_width_and_crop'):
        assert parse('--dataroot=demo', '--model=cut', more).last_jitter_epoch is None
    assert parse('--dataroot=demo').last_jitter_epoch is None


@pytest.mark.parametrize('program', [translate, evaluate])
def test_eval_turns_the_authors_way_of_testing_off(program):
    for name in ('batch_statistics', 'test_dropout'):
        with pytest.raises(UserError, match=f'`eval` .true. turns `{name}` off'):
            program.parse(['program', '--eval', f'--{name}'])
    found = [
        at_test_time(program.parse(['program', *flags_]))
        for flags_ in ((), ('--eval', '--seed=4'), ('--nobatch_statistics',), ('--test_dropout', '--seed=5'))
    ]
    assert all(one.pop('weights') == 'average' for one in found)
    assert [(*one.values(),) for one in found] == [
        (None, None, None), (False, False, 4), (False, None, None), (None, True, 5)
    ]  # fmt: skip
