"""What is due in a run, and when."""

import pytest

from cyclegan_tf.settings.training import Config
from cyclegan_tf.training.timetable import Timetable


def make(steps_per_epoch=10, **settings):
    return Timetable(Config(dataroot='demo', **settings), steps_per_epoch)


def test_epochs_and_their_ends():
    timetable = make(n_epochs=3, n_epochs_decay=2, epoch_count=2, save_epoch_freq=4, eval_freq=3)
    assert timetable.total_steps == 40
    assert [timetable.epoch_of(step) for step in (0, 9, 10, 39)] == [2, 2, 3, 5]
    ends = [step for step in range(41) if timetable.ends_epoch(step)]
    assert ends == [10, 20, 30, 40]
    # Of the epochs 2 to 5: every fourth or third, and the last one.
    assert [timetable.keeps(step) for step in ends] == [False, False, True, True]
    assert [timetable.measures(step) for step in ends] == [False, True, False, True]
    assert not any(make(n_epochs=3).measures(step) for step in ends)


def test_training_may_end_earlier_than_the_schedule():
    timetable = make(n_epochs=3, n_epochs_decay=2, max_steps=17, save_epoch_freq=1)
    assert (timetable.total_steps, timetable.last_step) == (50, 17)
    assert timetable.next_event(10) == 17 and not timetable.ends_epoch(17)
    assert (
        make(n_epochs=3, n_epochs_decay=2, max_steps=99).last_step == make(n_epochs=3, n_epochs_decay=2).last_step == 50
    )


@pytest.mark.parametrize('batch', [1, 3, 7])
def test_no_event_is_passed_over(batch):
    frequencies = dict(print_freq=10, display_freq=4, save_latest_freq=25)
    timetable = make(n_epochs=9, n_epochs_decay=0, batch_size=batch, profile_steps='5,8', **frequencies)
    step, seen = 0, [0]
    while step < timetable.total_steps:
        step = timetable.next_event(step)
        seen.append(step)
    for step in range(1, timetable.total_steps + 1):
        due = any(timetable.is_due(step, frequency) for frequency in frequencies.values())
        assert not (due or timetable.ends_epoch(step) or step in (1, 4, 8)) or step in seen, step
    assert sum(timetable.is_due(step, 10) for step in range(1, 91)) == min(90 * batch // 10, 90)
