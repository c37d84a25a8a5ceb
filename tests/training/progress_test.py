"""What a run remembers of its course besides its model."""

import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.training.progress import Progress


def test_another_number_of_steps_an_epoch_is_refused_once_a_step_is_done():
    progress = Progress(metrics=1)
    for step, steps in ((0, 100), (0, 120), (7, 120)):  # before the first step the images may still change
        progress.check_epoch(steps, step, 'photos')
    with pytest.raises(UserError, match='`dataroot` .photos. now gives 130 steps per epoch, .* with 120, so images'):
        progress.check_epoch(130, 8, 'photos')
