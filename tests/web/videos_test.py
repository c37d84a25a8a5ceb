"""Clips as the page translates them, without Gradio."""

import numpy as np
import pytest

from cyclegan_tf import app
from cyclegan_tf.translation import video
from cyclegan_tf.web import models
from cyclegan_tf.web import videos as clips
from tests.helpers import videos
from tests.helpers.served_models import make_run, run_export

pytestmark = pytest.mark.extras


def test_an_exported_model_translates_each_frame_by_itself(tmp_path):
    make_run(tmp_path / 'checkpoints', 'both')
    assert run_export(tmp_path / 'checkpoints', tmp_path / 'models', '--name=both', '--direction=AtoB') == 0
    # Brightness that comes and goes, which smoothed statistics follow late.
    frames = [np.uint8(one // 2 if number % 2 else one) for number, one in enumerate(videos.pan(6))]
    videos.write(tmp_path / 'clip.mkv', frames, 'matroska')
    settings = app.parse(['app', f'--model_dir={tmp_path / "models"}', f'--checkpoints_dir={tmp_path / "checkpoints"}'])
    exported = models.Exported(settings).load('both_AtoB', '1', 'average')
    assert not hasattr(exported.translator, 'smooths_statistics')
    found, problems = clips.translate(exported, str(tmp_path / 'clip.mkv'), 'both_AtoB', tmp_path / 'out', settings)
    assert (found.name, problems) == ('clip.mp4', [])
    assert videos.packets(found, 'audio')[1] == videos.packets(tmp_path / 'clip.mkv', 'audio')[1]
    run = models.Runs(settings).load('both', 'latest', 'average')
    seen, differences = videos.decoded(found)[0], []
    for smooths in (False, True):
        target = tmp_path / f'{smooths}.mp4'
        options = video.VideoOptions(smooth_statistics=smooths)
        video.translate_video(run.translator, tmp_path / 'clip.mkv', 'AtoB', target, options)
        expected = videos.decoded(target)[0]
        assert len(seen) == len(expected) == 6
        differences.append(np.mean([np.abs(one.astype(float) - other).mean() for one, other in zip(seen, expected)]))
    assert differences[0] < 1 and differences[1] > 3 * differences[0], differences
