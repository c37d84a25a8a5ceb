"""The demo's scripts: whose folders they delete, and which run the flags make, without training it."""

import contextlib
import pathlib
import shlex
import subprocess
import sys

import demo
import pytest

from cyclegan_tf import app
from cyclegan_tf.errors import UserError

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'

# Stands for a Python whose environments are quickly made: pip installs nothing, or fails where there is 'offline'.
PYTHON = f"""#!/usr/bin/env bash
if [ "${{1-}} ${{2-}}" = '-m venv' ]; then
  mkdir -p "$3/bin"
  printf '#!/usr/bin/env bash\\n[ ! -e offline ]\\n' > "$3/bin/python"
  chmod +x "$3/bin/python"
else
  exec {sys.executable} "$@"
fi
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with setup.py and python."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'setup.py').touch()
    (tmp_path / 'python').write_text(PYTHON)
    (tmp_path / 'python').chmod(0o755)
    return tmp_path


def make(python='./python'):
    script = f'set -euo pipefail; . {TOOLS / "environment.sh"}; make_environment own {python} demo'
    done = subprocess.run(['bash', '-c', script, 'demo.sh'], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_an_environment_is_made_once_and_again_after_an_interruption(place):
    (place / 'offline').touch()
    assert make()[0] == 1
    (place / 'offline').unlink()
    assert make() == (0, '')  # what was left unfinished is no obstacle, and not taken for a good one
    mark = place / 'own' / 'mark'
    mark.touch()
    assert make() == (0, '') and mark.exists()
    (place / 'setup.py').write_text('# other packages\n')
    assert make() == (0, '') and not mark.exists()


def test_a_folder_that_it_did_not_make_is_kept(place):
    (place / 'own').mkdir()
    (place / 'own' / 'mine').touch()
    assert make() == (1, "'own' was not made by demo.sh; move it away.\n")
    assert (place / 'own' / 'mine').exists()


def test_the_python_that_makes_it_does_not_lie_in_it(place):
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', 'own'], check=True)
    (place / 'own' / 'made-from').write_text('other packages')
    status, error = make('own/bin/python')
    assert status == 1 and error.startswith("PYTHON (own/bin/python) lies in 'own'") and (place / 'own/bin').exists()


def started(monkeypatch, *flags):
    """What tools/demo.py runs with these flags."""
    calls = []
    monkeypatch.setattr(demo, 'run', lambda *call: calls.append(call) or 0)
    assert demo.main(demo.parse(['demo', *flags])) == 0
    return calls


def test_train_and_translate_are_told_of_one_run(place, monkeypatch, capsys):
    (train, *flags), translate = started(monkeypatch, '--name=mine', '--seed=3')
    assert (train, flags[1:]) == ('train', ['--name=mine', '--seed=3']) and flags[0].startswith('--flagfile=')
    assert translate == ('translate', '--checkpoints_dir=./checkpoints', '--name=mine', '--load_size=256')
    # What is printed is a command that opens the page on that run.
    [*_, line] = capsys.readouterr().out.splitlines()
    _, module, *rest = shlex.split(line.partition(': ')[2])
    assert line.startswith('A page') and [module, *rest] == ['-m', 'cyclegan_tf.app', '--name=mine']
    started(monkeypatch, '--name=mine', '--checkpoints_dir=some where')
    shown = shlex.split(capsys.readouterr().out.partition(': ')[2])
    assert app.parse(shown[2:]) == app.parse(['app', '--name=mine', '--checkpoints_dir=some where'])
    assert started(monkeypatch, '--preprocess=crop')[1][2:] == ('--name=demo',)  # which keeps sizes


@pytest.mark.parametrize('flags', [(), ('--dataroot=nowhere',), ('--crop_size=300',)])
def test_the_run_before_stays(place, monkeypatch, flags):
    """Whatever goes wrong; cyclegan_tf.train refuses to write over it."""
    kept = [place / path / 'file' for path in ('checkpoints/demo/latest', 'results/demo/test_latest')]
    for file in kept:
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setattr(demo, 'run', lambda *call: 1)
    with contextlib.suppress(UserError):
        assert demo.main(demo.parse(['demo', *flags])) == 1
    assert all(file.exists() for file in kept)


def test_the_demo_goes_on_with_the_settings_that_it_has(place, monkeypatch):
    last = place / 'checkpoints' / 'demo'
    last.mkdir(parents=True)
    (last / 'flags.cfg').write_text('--dataroot=demo\n--ngf=8\n')
    train, _ = started(monkeypatch, '--continue_train')
    assert train == ('train', '--name=demo', '--continue_train') and last.exists()


@pytest.mark.parametrize('flag, status', [('--help', 0), ('--ngff=3', 2), ('--eval', 2)])
def test_help_and_mistakes_delete_nothing(place, flag, status):
    last = place / 'checkpoints' / 'demo'
    last.mkdir(parents=True)
    done = subprocess.run([sys.executable, TOOLS / 'demo.py', flag], capture_output=True, text=True)
    assert done.returncode == status and last.exists(), done.stderr
    assert ('--lambda_identity' in done.stdout) == (status == 0)
    assert ('has no meaning here' in done.stderr) == (flag == '--eval')
