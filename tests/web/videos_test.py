"""Clips as the page translates them, without Gradio."""

import numpy as np
import pytest

from cyclegan_tf import app
from cyclegan_tf.web import models
from cyclegan_tf.web import videos as clips
from tests.helpers import videos
from tests.helpers.served_models import make_run, run_export

pytestmark = pytest.mark.extras


def test_an_exported_model_translates_each_frame_by_itself(tmp_path, monkeypatch):
    make_run(tmp_path / 'checkpoints', 'both')
    assert run_export(tmp_path / 'checkpoints', tmp_path / 'models', '--name=both', '--direction=AtoB') == 0
    # Brightness that comes and goes, which smoothed statistics follow late.
    frames = [np.uint8(one // 2 if number % 2 else one) for number, one in enumerate(videos.pan(6))]
    videos.write(tmp_path / 'clip.mkv', frames, 'matroska')
    settings = app.parse(['app', f'--model_dir={tmp_path / "models"}', f'--checkpoints_dir={tmp_path / "checkpoints"}'])
    exported = models.Exported(settings).load('both_AtoB', '1', 'average')
    assert not hasattr(exported.translator, 'smooths_statistics')
    seen, translate = [], exported.translator.translate_floats

    def look(images, *arguments):
        seen.append((images, translate(images, *arguments)))
        return seen[-1][1]

    monkeypatch.setattr(exported.translator, 'translate_floats', look)
    found, problems = clips.translate(exported, str(tmp_path / 'clip.mkv'), 'both_AtoB', tmp_path / 'out', settings)
    assert (found.name, problems) == ('clip.mp4', [])
    assert videos.packets(found, 'audio')[1] == videos.packets(tmp_path / 'clip.mkv', 'audio')[1]
    assert len(videos.decoded(found)[0]) == len(seen) == 6 and all(len(images) == 1 for images, _ in seen)
    translator = models.Runs(settings).load('both', 'latest', 'average').translator
    for number, (images, results) in enumerate(seen):
        np.testing.assert_allclose(results, translator.translate_floats(images, 'AtoB'), atol=1e-4)
        smoothed = translator.translate_frame(images[0], 'AtoB', kept=0.9 * bool(number))
        assert (np.abs(results[0] - smoothed).mean() > 1e-2) == bool(number)
