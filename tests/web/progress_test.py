"""How far a translation is, as the page says it."""

import pytest

from cyclegan_tf.web.progress import Progress


class Told:
    """What the page would show, at times that the test sets."""

    def __init__(self):
        self.now, self.shown = 100.0, []
        self.progress = Progress(lambda done, **words: self.shown.append((done, words)), lambda: self.now)

    def tell(self, now, *what):
        """The last share and its description after it was told something at a time."""
        self.now = now
        self.progress.tell(*what)
        done, words = self.shown[-1]
        return done, words.get('desc')


def test_the_time_that_is_left_follows_from_the_time_since_the_first():
    told = Told()
    # Ten seconds to the first tile, with the compilation; from then on two for each.
    assert told.tell(10, 'tiles', 1, 50) == (0.02, '1 of 50 tiles')
    assert told.tell(12, 'tiles', 2, 50) == (0.04, '2 of 50 tiles, about 1:36 left')
    assert told.tell(28, 'tiles', 10, 50) == (0.2, '10 of 50 tiles, about 1:20 left')
    assert told.tell(106, 'tiles', 49, 50) == (0.98, '49 of 50 tiles, about 0:02 left')
    assert told.tell(108, 'tiles', 50, 50) == (1.0, '50 of 50 tiles')
    told = Told()
    told.tell(0, 'frames', 0, 5000)
    told.tell(30, 'frames', 1, 5000)
    assert told.tell(31, 'frames', 2, 5000)[1] == '2 of 5000 frames, about 1:23:18 left'


@pytest.mark.parametrize('outer', ['pictures', 'frames'])
def test_tiles_move_the_bar_of_what_they_are_part_of(outer):
    told = Told()
    shares = [told.tell(0, outer, 0, 2)]
    for tile in (1, 2, 3, 4):
        shares.append(told.tell(tile, 'tiles', tile, 4))
    shares.append(told.tell(4, outer, 1, 2))
    shares.append(told.tell(5, 'tiles', 1, 4))
    assert shares == [
        (0, f'0 of 2 {outer}'),
        (0.125, f'0 of 2 {outer}'),
        (0.25, f'0 of 2 {outer}, about 0:06 left'),
        (0.375, f'0 of 2 {outer}, about 0:05 left'),
        (0.5, f'0 of 2 {outer}, about 0:04 left'),
        (0.5, f'1 of 2 {outer}, about 0:04 left'),
        (0.625, f'1 of 2 {outer}, about 0:03 left'),
    ]


def test_a_clip_among_pictures_is_within_them_and_what_is_one_says_nothing():
    told = Told()
    told.tell(0, 'pictures', 1, 4)
    told.tell(1, 'frames', 1, 2)
    assert told.tell(2, 'tiles', 2, 4) == (1 / 4 + 1 / 8 + 1 / 16, '1 of 4 pictures, about 0:06 left')
    seen = len(told.shown)
    told.progress.tell('pictures', 0, 1)
    told.progress.tell('images', 1, 1)
    told.progress.tell('tiles', 1, 1)
    assert len(told.shown) == seen


def test_frames_whose_number_is_not_known_are_counted():
    told = Told()
    told.progress.tell('frames', 1, None)
    told.progress.tell('tiles', 1, 9)
    told.progress.tell('frames', 2, None)
    assert told.shown == [((number, None), {'unit': 'frames'}) for number in (1, 1, 2)]
