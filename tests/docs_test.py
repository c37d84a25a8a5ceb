"""README and the pages of docs/ tell what there is: flags, commands, files, links; and their code sketches work."""

import argparse
import re
import runpy
import shlex
import shutil
import sys
import textwrap

import pytest

from cyclegan_tf import download
from cyclegan_tf.runtime import program as running
from cyclegan_tf.settings.app import AppConfig
from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.export import ExportConfig
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.models import SETTINGS
from cyclegan_tf.settings.reference_flags import REFUSED, REFUSED_IN_TRAINING
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig
from tests.helpers import program
from tests.helpers.image_files import encode, picture

ROOT = program.ROOT
PATHS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PATHS}
ARCHITECTURE = PAGES['docs/architecture.md']
PROGRAMS = {'train': Config, 'translate': TranslateConfig, 'evaluate': EvaluateConfig, 'export': ExportConfig,
            'app': AppConfig}  # fmt: skip
# Of other programs: TensorBoard, tools/test.sh, Docker, Slurm, Spark, and the PyTorch program with which pages compare.
OTHERS = {'logdir', 'nightly', 'extras', 'spark', 'eval', 'build', 'gpus', 'rm', 'user', 'array', 'archives', 'conf',
          'driver'}  # fmt: skip
# New files of architecture.md's sketches.
SKETCHED = {
    'cyclegan_tf/models/paired.py', 'tests/models/paired_test.py', 'cyclegan_tf/data/archive.py',
    'tests/data/archive_test.py',
}  # fmt: skip
FENCE = re.compile(r'^( *)```(\w*)\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)


def blocks(text, kind=''):
    """The contents of the fenced blocks of a kind, without the indentation of a list."""
    return [textwrap.dedent(body) for _, found, body in FENCE.findall(text) if found == kind]


def prose(text):
    """The text without its fenced blocks."""
    return FENCE.sub('', text)


def commands(text):
    """Command lines in blocks and in code between backticks, which may be broken into lines there."""
    spans = [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', prose(text))]
    lines = [line for block in blocks(text) for line in block.splitlines()]
    return {line for line in (*spans, *lines) if re.match(r'(python -m cyclegan_tf\.|(python|bash) tools/)\w', line)}


COMMANDS = sorted(set().union(*map(commands, PAGES.values())))


# ------------------------------------------------------------------------------------------------- flags and commands
def test_every_flag_that_is_named_exists():
    paths = [*ROOT.glob('cyclegan_tf/**/*.py'), *ROOT.glob('tools/**/*.py')]
    source = '\n'.join(path.read_text() for path in paths)
    settings = set(re.findall(r'^    (\w+): .+ = setting\(', source, re.MULTILINE))
    settings |= {network.lower() for model in SETTINGS.values() for network in model.networks}  # files of weights
    settings |= {name for model in SETTINGS.values() for name in model.other_names}
    assert {'lambda_A', 'g_b', 'concurrency', 'kinds'} <= settings
    known = settings | set(REFUSED) | {'help', 'helpshort', 'helpfull', 'flagfile'} | OTHERS
    named = {(page, name) for page in PAGES for name in re.findall(r'(?<![\w-])--([A-Za-z]\w*)', PAGES[page])}
    assert len({name for _, name in named}) > 60
    assert not {(page, name) for page, name in named if name not in known and name.removeprefix('no') not in known}


@pytest.mark.parametrize('line', [line for line in COMMANDS if line.startswith('python -m')])
def test_the_commands_of_programs_are_taken(line, monkeypatch):
    monkeypatch.chdir(ROOT)  # for its flag files
    _, _, module, *flags = shlex.split(line, comments=True)
    name = module.removeprefix('cyclegan_tf.')
    if name == 'download':  # its first words are no flags
        download.parse([module, *flags])
        return
    needed = ['--dataroot=demo'] if name == 'train' else []  # a run that goes on has it from its directory
    try:
        parse(PROGRAMS[name], [module, *needed, *flags])
    except SystemExit as ended:
        assert not ended.code and any(flag.startswith('--help') for flag in flags)


class Parsed(Exception):
    """A tool has parsed its flags, and is to do nothing else."""


@pytest.mark.parametrize('line', [line for line in COMMANDS if ' tools/' in line and 'test.sh' not in line])
def test_the_commands_of_tools_are_taken(line, monkeypatch):
    shell, script, *flags = shlex.split(line, comments=True)
    path = (ROOT / script).with_suffix('.py')  # demo.sh hands its flags to demo.py
    assert (ROOT / script).is_file() and path.is_file()
    # A run that goes on has to be there, and most commands of pages are about none that is.
    flags = [flag for flag in flags if flag != '--continue_train']

    def only_parse(name, parse_argv, main):
        parse_argv([name, *sys.argv[1:]])
        raise Parsed

    def parse_args(parser):
        real(parser)
        raise Parsed

    real = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(running, 'run_program', only_parse)
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
    monkeypatch.setattr(sys, 'argv', [str(path), *flags])
    monkeypatch.chdir(ROOT)
    with pytest.raises(Parsed):
        runpy.run_path(str(path), run_name='__main__')
    if '--' in flags:  # what follows is handed to training
        parse(Config, ['train', *flags[flags.index('--') + 1 :]], REFUSED_IN_TRAINING)


# -------------------------------------------------------------------------------------------------- files and headings
def test_readme_is_short():
    assert len(PAGES['README.md'].splitlines()) <= 200


def test_the_tree_names_every_file_and_no_other():
    tree = ARCHITECTURE[ARCHITECTURE.index('## The tree') :].split('```')[1]
    paths = [*ROOT.glob('cyclegan_tf/**/*.py'), *ROOT.glob('tools/**/*.py'), *ROOT.glob('tools/*.sh')]
    names = {path.name for path in paths} - {'__init__.py'}
    assert len(names) > 100
    assert set(re.findall(r'\b[\w]+\.(?:py|sh)\b', tree)) == names


@pytest.mark.parametrize('page', PAGES)
def test_paths_between_backticks_are_there(page):
    named = re.findall(r'`((?:cyclegan_tf|tools|tests|docs|flags)/[\w./]*)`', prose(PAGES[page]))
    assert not [name for name in named if not (ROOT / name).exists() and name not in SKETCHED]


def anchors(text):
    """Those of a page's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', prose(text), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r'\]\(([^)\s]+)\)', prose(PAGES[page])) if '://' not in link]
    for link in links:
        path, _, anchor = link.partition('#')
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.resolve().is_relative_to(ROOT) and target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text()), link
    if page == 'README.md':
        assert {path.relative_to(ROOT).as_posix() for path in PATHS} - {'README.md', 'docs/training_step.md'} <= {
            link.partition('#')[0] for link in links
        }


@pytest.mark.parametrize('page', [page for page in PAGES if page.startswith('docs/')])
def test_a_page_begins_with_what_it_covers(page):
    assert re.match(r'# .+\n\nThis page (covers|lists) ', PAGES[page])


# ----------------------------------------------------------------------------------------------------- the sketches
def apply(change, folder):
    """Applies a sketch, '--- FILE' and lines that begin with ' ', '-' or '+', to a file in a folder."""
    first, *lines = change.splitlines()
    path = folder / first.removeprefix('--- ')
    old, new = (''.join(line[1:] + '\n' for line in lines if line[:1] != other) for other in '+-')
    text = path.read_text()
    assert text.count(old) == 1, f'{path}: {old!r}'
    path.write_text(text.replace(old, new))


@pytest.fixture(scope='module')
def extended(tmp_path_factory):
    """A copy of the package with all of architecture.md's sketches in it."""
    folder = tmp_path_factory.mktemp('extended')
    shutil.copytree(ROOT / 'cyclegan_tf', folder / 'cyclegan_tf', ignore=shutil.ignore_patterns('__pycache__'))
    changes = blocks(ARCHITECTURE, 'diff')
    added = re.findall(r'^ *`(\S+)`:\n\n', ARCHITECTURE, re.MULTILINE)
    assert len(changes) > 9 and len(added) == len(blocks(ARCHITECTURE, 'python')) == 2
    for change in changes:
        apply(change, folder)
    for path, text in zip(added, blocks(ARCHITECTURE, 'python')):
        (folder / path).write_text(text)
    return folder


def test_the_sketches_add_flags_to_help(extended):
    status, output, error = program.run_python(
        '-m', 'cyclegan_tf.train', '--help', '--model=paired', cwd=extended, real=True, PYTHONPATH=str(extended)
    )
    assert status == 0, error
    own = output[output.index('\nmodel paired:') :]
    assert '--lambda_pair:' in own and '--lambda_edges:' not in output
    assert '<lsgan|vanilla|wgangp|hinge|lsgan_chi>' in output and 'a ZIP archive' in ' '.join(output.split())
    assert "(default: 'aligned')" in output


USE_OF_SKETCHES = """
import zipfile
import tensorflow as tf
from cyclegan_tf.data import demo, decode, sources
from cyclegan_tf.models import MODELS
from cyclegan_tf.networks.generators import GENERATORS
from cyclegan_tf.settings.run_flags import parse_training

with zipfile.ZipFile('images.zip', 'w') as file:
    for part in ('trainA', 'trainB'):
        for index in (1, 0):
            file.writestr(f'{part}/deep/{index}.png', PNG)
a, b = sources.open_domains('images.zip', 'train')
assert a.names == b.names == ('deep/0', 'deep/1') and decode.to_array(a.picture(0)).shape == (32, 32, 3)

GENERATORS['resnet_6blocks'] = 'resnet', 2  # TensorFlow takes its time for each block
small = '--dataroot=demo --load_size=32 --crop_size=32 --pool_size=0'.split()
small += '--netG=resnet_6blocks --ngf=2 --ndf=2 --netD=n_layers --n_layers_D=1'.split()
pair = [tf.random.stateless_uniform([1, 32, 32, 3], [0, i], -1, 1) for i in range(2)]
strategy = tf.distribute.MirroredStrategy(['/cpu:0'])
for flags in (('--model=paired', '--gan_mode=lsgan_chi'), ('--lambda_edges=3', '--lambda_identity=0')):
    config, _ = parse_training(['train', *small, *flags])
    with strategy.scope():
        model = MODELS[config.model](config)
    step = tf.function(lambda a, b: strategy.run(model.train_step, (a, b)))
    found = dict(zip(model.metric_names, step(*pair).numpy()))
    assert all(found[f'gradient_norm/{name}'] > 0 for name in 'GD'), found
    positive = [name for name in model.loss_names if 'idt' not in name]
    assert all(found[f'loss/{name}'] > 0 for name in positive), found
"""


@pytest.mark.slow
def test_the_sketches_train_and_read(extended, tmp_path):
    code = f'PNG = {encode(picture(32), "PNG")!r}\n{USE_OF_SKETCHES}'
    status, _, error = program.run_python('-c', code, cwd=tmp_path, real=True, PYTHONPATH=str(extended))
    assert status == 0, error
