"""CI's script finds the Python that it names, or says that there is none."""

import pathlib
import re
import subprocess

SCRIPT = pathlib.Path(__file__).parent.parent.parent / '.ci' / 'run'


def find_python(version, pyenv):
    """Exit status, output and errors of a script that looks for a Python and goes on."""
    function = re.search(r'^find_python\(\) \{\n.*?^\}\n', SCRIPT.read_text(), re.MULTILINE | re.DOTALL).group()
    script = f'set -euo pipefail\n{function}found=$(find_python {version})\necho "$found"'
    done = subprocess.run(['bash', '-c', script], env={'PYENV_ROOT': str(pyenv)}, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_ci_stops_where_a_python_is_missing(tmp_path):
    error = "Python 3.1 is neither on the path nor among pyenv's versions; install it.\n"
    assert find_python('3.1', tmp_path) == (1, '', error)
    newest = tmp_path / 'versions' / '3.1.2' / 'bin' / 'python'
    newest.parent.mkdir(parents=True)
    newest.touch()
    assert find_python('3.1', tmp_path) == (0, f'{newest}\n', '')
    # A command whose variable is assigned before it runs even where the search has failed.
    assert 'PYTHON=$(' not in SCRIPT.read_text()
