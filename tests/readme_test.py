"""README tells what there is: its flags, its commands, its map of the files."""

import pathlib
import re
import shlex

import pytest

from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.export import ExportConfig
from cyclegan_tf.settings.flags import parse
from cyclegan_tf.settings.models import SETTINGS
from cyclegan_tf.settings.reference_flags import REFUSED
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import TranslateConfig

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
PROGRAMS = {'train': Config, 'translate': TranslateConfig, 'evaluate': EvaluateConfig, 'export': ExportConfig}
# Of other programs: TensorBoard, tools/test.sh, and the PyTorch program where README compares with it.
OTHERS = {'logdir', 'nightly', 'epoch_count', 'eval'}


def test_every_flag_that_readme_names_exists():
    paths = [*ROOT.glob('cyclegan_tf/**/*.py'), *ROOT.glob('tools/**/*.py')]
    settings = {
        name for path in paths for name in re.findall(r'^    (\w+): .+ = setting\(', path.read_text(), re.MULTILINE)
    }
    settings |= {network.lower() for model in SETTINGS.values() for network in model.networks}  # files of weights
    assert {'lambda_A', 'g_b', 'concurrency', 'kinds'} <= settings
    known = settings | set(REFUSED) | {'help', 'helpshort', 'helpfull', 'flagfile'} | OTHERS
    named = set(re.findall(r'(?<![\w-])--([A-Za-z]\w*)', README))
    assert len(named) > 60
    assert not {name for name in named if name not in known and name.removeprefix('no') not in known}


@pytest.mark.parametrize('line', sorted(set(re.findall(r'^python -m cyclegan_tf\.\w+ .*$', README, re.MULTILINE))))
def test_the_commands_of_readme_are_taken(line, monkeypatch):
    monkeypatch.chdir(ROOT)  # for its flag files
    _, _, module, *flags = shlex.split(line, comments=True)
    program = module.removeprefix('cyclegan_tf.')
    needed = ['--dataroot=demo'] if program == 'train' else []  # a run that goes on has it from its directory
    parse(PROGRAMS[program], [module, *needed, *flags])


def test_the_tree_names_every_file():
    tree = README[README.index('## The tree') :].split('```')[1]
    paths = [*ROOT.glob('cyclegan_tf/**/*.py'), *ROOT.glob('tools/**/*.py'), *ROOT.glob('tools/*.sh')]
    names = {path.stem if path.suffix == '.py' else path.name for path in paths} - {'__init__'}
    assert not {name for name in names if not re.search(rf'\b{re.escape(name)}\b', tree)}
