"""The curves as text: whole lines, cut to a step, and the same after a kill as without one."""

import csv
import json

import pytest

from cyclegan_tf.runs.scalar_log import ScalarLog
from tests.helpers import program


def rows(folder):
    with open(folder / 'scalars.csv', newline='') as file:
        header, *found = csv.reader(file)
    assert header == ['step', 'tag', 'value']
    return [(int(step), tag, float(value)) for step, tag, value in found]


def objects(folder):
    return [json.loads(line) for line in (folder / 'scalars.jsonl').read_text().splitlines()]


def test_points_are_appended_and_cut_to_a_step(tmp_path):
    log = ScalarLog(tmp_path, writes=True)
    log.add({'loss/G': 0.1, 'eval/a, "b"': float('nan')}, 1)
    log.add({'loss/G': 1 / 3}, 2)
    log.add({'eval/kid': 2.0, 'loss/G': 4.0}, 2)
    log.add({'loss/G': 5.0}, 3)
    log.flush()
    assert rows(tmp_path)[0] == (1, 'loss/G', 0.1) and rows(tmp_path)[2] == (2, 'loss/G', 1 / 3)
    assert objects(tmp_path)[0] == {'step': 1, 'loss/G': 0.1, 'eval/a, "b"': 'nan'}
    # A kill left half a line.
    for name in ('scalars.csv', 'scalars.jsonl'):
        with open(tmp_path / name, 'a') as file:
            file.write('{"step": 3, "lo' if name.endswith('jsonl') else '3,los')
    ScalarLog(tmp_path, writes=False).cut(2, again=('eval/',))
    assert [row[:2] for row in rows(tmp_path)] == [(1, 'loss/G'), (1, 'eval/a, "b"'), (2, 'loss/G'), (2, 'loss/G')]
    assert objects(tmp_path)[1:] == [{'step': 2, 'loss/G': 1 / 3}, {'step': 2, 'loss/G': 4.0}]
    before = (tmp_path / 'scalars.jsonl').read_bytes()
    ScalarLog(tmp_path, writes=True).cut(2)
    assert (tmp_path / 'scalars.jsonl').read_bytes() == before
    ScalarLog(tmp_path, writes=True).cut(0)
    assert rows(tmp_path) == [] == objects(tmp_path)


def test_who_does_not_write_leaves_no_file(tmp_path):
    log = ScalarLog(tmp_path, writes=False)
    log.add({'loss/G': 1.0}, 1)
    log.cut(1)
    log.flush()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_rows_of_one_that_was_not(tmp_path, image_folders):
    flags = [f'--dataroot={image_folders}', '--print_freq=1', '--display_freq=100', '--save_latest_freq=2', '--seed=3']
    for name in ('whole', 'killed'):
        program.run_training(tmp_path, *flags, f'--name={name}', '--log_csv', '--max_steps=4')
    # As if it had gone on to the middle of a line of step 6 before the kill.
    log = ScalarLog(tmp_path / 'killed', writes=True)
    log.add({'loss/D_A': 9.0}, 5)
    with open(tmp_path / 'killed' / 'scalars.csv', 'a') as file:
        file.write('6,loss/D')
    for name in ('whole', 'killed'):
        program.run_training(tmp_path, f'--name={name}', '--continue_train', '--max_steps=6')
    whole, killed = (
        [row for row in rows(tmp_path / name) if row[1].startswith('loss')] for name in ('whole', 'killed')
    )
    assert whole == killed and {row[0] for row in whole} == {1, 2, 3, 4, 5, 6}
    assert len(objects(tmp_path / 'whole')) == len(objects(tmp_path / 'killed')) == 6
    # They are the points of TensorBoard's curves.
    shown = program.events(tmp_path / 'killed')
    points = {
        (step, tag): float(value)
        for tag, of_tag in shown.items()
        for step, value in of_tag
        if getattr(value, 'shape', None) == () and value.dtype.kind == 'f'
    }
    assert points == pytest.approx({(step, tag): value for step, tag, value in rows(tmp_path / 'killed')}, rel=1e-5)
