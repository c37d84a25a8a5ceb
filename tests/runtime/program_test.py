"""What every program does around its work, in real processes; see also start_test.py and the tests of programs."""

import os

import pytest

from tests.helpers import program

# It opens a file, into which nothing else must go.
PROGRAM = """
import os, sys
from cyclegan_tf.runtime.program import run_program

def main(path):
    with open(path, 'w') as file:
        print('printed')
        print('error', file=sys.stderr, flush=True)
        for number in (1, 2):
            os.write(number, b'from C++\\n')
        assert sys.stdin.read() == ''
        file.write('whole')
    return 3

run_program('program', lambda argv: argv[1], main)
"""


@pytest.mark.parametrize('closed', [(), (1,), (2,), (0, 1, 2)])
def test_standard_streams_may_be_closed(tmp_path, closed):
    def close():
        for number in closed:
            os.close(number)

    path = tmp_path / 'file'
    status, output, error = program.run_python('-c', PROGRAM, path, preexec_fn=close)
    assert status == 3, error
    assert path.read_text() == 'whole'
    assert output == ('' if 1 in closed else 'printed\nfrom C++\n')
    assert error == ('' if 2 in closed else 'error\nfrom C++\n')
