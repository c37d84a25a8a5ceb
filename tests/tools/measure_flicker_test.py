"""The measure of flicker: what it prints for networks of which is known how much they change a scene."""

import re

import measure_flicker
import pytest
from PIL import Image

from cyclegan_tf.errors import UserError
from tests.helpers.served_models import make_run, photograph

# Mean and maximum with the statistics of each frame, and with smoothed ones.
LINE = re.compile(
    r'^(noise|lamp): of each frame (\d+\.\d\d), at most (\d+\.\d\d); smoothed (\d+\.\d\d), at most (\d+\.\d\d)$'
)


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    """A file; few of its pixels are so dark or light that noise is cut off."""
    path = tmp_path_factory.mktemp('scene') / 'scene.png'
    Image.fromarray(photograph(32, 40)).save(path)
    return path


def measured(tmp_path, scene, capsys, gain):
    """The two lines for a generator that adds to its input what a network with weights of this scale makes of it."""
    run = make_run(tmp_path, learn_residual=True, init_gain=gain)
    assert measure_flicker.main(measure_flicker.parse(['tool', f'--run={run}', f'--image={scene}'])) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == 'AtoB: smoothed statistics have an effect: True'
    found = [LINE.match(line).groups() for line in lines]
    assert [name for name, *_ in found] == ['noise', 'lamp']
    return [tuple(map(float, figures)) for _, *figures in found]


def test_what_is_left_as_it_is_changes_as_much_as_before(tmp_path, scene, capsys):
    for mean, most, smoothed, most_smoothed in measured(tmp_path, scene, capsys, 0.0):
        # The change of the output is that of the input, wherever it is measured: 1. The largest of 24 changes is above
        # their mean, by little where it is one of noise over hundreds of values.
        assert mean == smoothed == 1.0
        assert 1.0 < most == most_smoothed < 1.3


def test_what_is_nearly_left_as_it_is_flickers_little_and_less_with_smoothed_statistics(tmp_path, scene, capsys):
    noise, lamp = measured(tmp_path, scene, capsys, 0.005)
    # To the input's change n, the network adds its own, d. Of d independent of n, the mean of |n + d| is
    # sqrt(1 + (d / n)^2) times that of |n|: the bound of docs/translation.md, 1.2, admits a d of two thirds of n.
    assert all(1.0 < one < 1.2 for one in (noise[0], noise[2]))
    # Each time that the lamp goes on or off, the far corner changes with the statistics, by less if these are smoothed.
    assert lamp[1] > lamp[3] > 1.0 and lamp[1] > 1.1 * noise[1]


def test_an_image_that_cannot_be_read_is_one_sentence(tmp_path):
    run = make_run(tmp_path)
    (tmp_path / 'text.png').write_text('no picture')
    with pytest.raises(UserError, match="`image` .'.*text.png'. cannot be read .*; correct it.$"):
        measure_flicker.main(measure_flicker.parse(['tool', f'--run={run}', f'--image={tmp_path / "text.png"}']))
