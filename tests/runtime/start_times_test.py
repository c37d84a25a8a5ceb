"""The seconds of a start begin with the process, and its phases are all of them."""

import pathlib
import re
import time

import pytest

from cyclegan_tf.runtime.start_times import StartTimes, process_seconds
from tests.helpers import program


def test_the_first_phase_begins_with_the_process():
    code = (
        'import time; time.sleep(0.4)\n'
        'from cyclegan_tf.runtime.start_times import StartTimes\n'
        'times = StartTimes(); times.mark("sleeping"); times.mark("nothing")\n'
        'time.sleep(0.3); times.mark("sleeping again")\n'
        'print(times.describe("the sleep"))'
    )
    begin = time.monotonic()
    status, output, error = program.run_python('-c', code, real=True)
    took = time.monotonic() - begin
    assert status == 0, error
    found = re.fullmatch(
        r'Start: (\S+) s to the end of the sleep, of which\n +(\S+) s  sleeping\n +(\S+) s  sleeping again\n', output
    )
    total, first, second = map(float, found.groups())
    assert 0.4 <= first + 0.05 and 0.3 <= second + 0.05 and first + second == pytest.approx(total, abs=0.15)
    assert total <= took + 0.05


def test_where_linux_does_not_tell_psutil_does():
    told, asked = process_seconds(), process_seconds(pathlib.Path('nowhere'))
    assert told > 0 and asked == pytest.approx(told, abs=2)  # psutil knows the machine's start in seconds


def test_a_name_with_brackets_and_blanks_is_no_field(tmp_path):
    real = pathlib.Path('/proc/self/stat').read_text()
    odd = tmp_path / 'stat'
    odd.write_text(f'{real.partition("(")[0]}(a ) 1 (b) {real.rpartition(")")[2]}')
    assert process_seconds(odd) == pytest.approx(process_seconds(), abs=0.5)


def test_phases_are_marked_in_turn():
    times = StartTimes()
    times.mark('before')
    time.sleep(0.12)
    times.mark('here')
    assert times.describe('it').splitlines()[-1] == '     0.1 s  here'
