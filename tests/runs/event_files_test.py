"""Event files that a kill cut off, and those of a run that goes back."""

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cyclegan_tf.runs import event_files
from cyclegan_tf.runs.summaries import Summaries


def points(folder):
    """tag -> [(step, value)], as TensorBoard reads them."""
    reader = EventAccumulator(str(folder), size_guidance={'tensors': 0})
    reader.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in reader.Tensors(tag)]
        for tag in {'a', 'b'} & set(reader.Tags()['tensors'])
    }


def write(folder, *steps, step=None):
    summaries = Summaries(folder, step=step)
    for number in steps:
        summaries.scalars({'a': number, 'b': -number}, number)
    summaries.flush()
    return summaries


def test_going_back_takes_out_what_came_later(tmp_path):
    summaries = write(tmp_path, 1, 2, 3)
    write(tmp_path / 'eval', 2, 3)
    summaries.go_back(2)
    summaries.scalars({'a': 30}, 3)
    summaries.flush()
    assert points(tmp_path) == {'a': [(1, 1), (2, 2), (3, 30)], 'b': [(1, -1), (2, -2)]}
    assert points(tmp_path / 'eval') == {'a': [(2, 2)], 'b': [(2, -2)]}


def test_the_configuration_of_a_step_is_there_once(tmp_path):
    for start in (0, 4, 4, 2):
        summaries = Summaries(tmp_path, step=start)
        summaries.configuration({'name': 'run', 'lr': 0.1}, start)
        summaries.scalars({'a': start}, start)
        summaries.flush()
    reader = EventAccumulator(str(tmp_path), size_guidance={'tensors': 0})
    reader.Reload()
    assert [event.step for event in reader.Tensors('configuration')] == [0, 2]
    assert points(tmp_path)['a'] == [(0, 0), (2, 2)]


@pytest.mark.parametrize('cut', [1, 5, 30, 60])
def test_what_is_half_written_goes(tmp_path, cut):
    write(tmp_path, 1, 2)
    (path,) = event_files.find(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    write(tmp_path, 3, step=2)
    whole = cut < 45  # bytes, about, of the last point: of b
    assert points(tmp_path)['a'] == [(1, 1), *([(2, 2)] if whole else []), (3, 3)]
    assert points(tmp_path)['b'] == [(1, -1), (3, -3)]


def test_a_file_of_which_nothing_is_left_goes(tmp_path):
    write(tmp_path, 5)
    write(tmp_path, 1, step=0)
    assert len(event_files.find(tmp_path)) == 1 and points(tmp_path)['a'] == [(1, 1)]


def test_a_file_that_stays_whole_is_not_touched(tmp_path):
    write(tmp_path, 1, 2)
    (path,) = event_files.find(tmp_path)
    before = path.stat()
    write(tmp_path, 3, step=2)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_records_are_counted_from_any_position(tmp_path):
    write(tmp_path, 1)
    (path,) = event_files.find(tmp_path)
    count, end = event_files.count(path)
    assert (count, end) == (3, path.stat().st_size)  # the header, a and b
    assert event_files.count(path, end) == (0, end)
    path.write_bytes(path.read_bytes()[:-1])
    count, end = event_files.count(path)
    assert count == 2 and end < path.stat().st_size


def test_what_does_not_arrive_is_noticed(tmp_path):
    summaries = write(tmp_path, 1)
    summaries.scalars({'a': 2.0}, 2)
    (path,) = event_files.find(tmp_path)
    path.unlink()
    with pytest.raises(OSError, match='No such file'):
        summaries.flush()
    path.write_bytes(b'')  # as a full disk leaves it: TensorFlow's flush itself says nothing
    with pytest.raises(OSError, match="TensorBoard's curves could not be written"):
        summaries.flush()
