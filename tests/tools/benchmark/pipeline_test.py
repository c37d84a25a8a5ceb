"""The benchmark of the pipeline measures starts with as many images as it is told."""

import json

import pytest
from benchmark import pipeline
from PIL import Image

from cyclegan_tf.errors import UserError
from tests.helpers import program

TOOL = str(program.ROOT / 'tools' / 'benchmark.py')


def test_images_are_made_once_all_different_and_another_number_is_refused(tmp_path, capfd):
    root = tmp_path / 'made'
    config = pipeline.PipelineConfig(dataroot=str(root), images=5)
    assert pipeline._many_images(config, 'unused') == str(root)
    paths = sorted(root.glob('*/*.jpg'))
    assert [path.parent.name for path in paths] == ['trainA'] * 3 + ['trainB'] * 2
    assert len({path.read_bytes() for path in paths}) == 5 and Image.open(paths[0]).size == (64, 64)
    times = [path.stat().st_mtime_ns for path in paths]
    assert pipeline._many_images(config, 'unused') == str(root)
    assert [path.stat().st_mtime_ns for path in paths] == times
    assert capfd.readouterr().err.count('Making 5 images') == 1
    with pytest.raises(
        UserError, match=r'`images` \(6\) is not the number of images in `dataroot` .* which is 5; set it'
    ):
        pipeline.main(pipeline.PipelineConfig(dataroot=str(root), images=6))


@pytest.mark.nightly
@pytest.mark.slow
def test_starts_are_measured_by_phase_with_the_stream_and_the_memory_after_them(tmp_path):
    small = ('--load_size=36', '--crop_size=32', '--seconds=0.1', '--repeats=1')
    status, output, error = program.run_python(
        TOOL, 'pipeline', '--images=6', *small, f'--json={tmp_path / "result.json"}', CUDA_VISIBLE_DEVICES='-1'
    )
    assert status == 0, error
    result = json.loads(output)
    assert result == json.loads((tmp_path / 'result.json').read_text()) and result['settings']['images'] == 6
    assert list(result['starts']) == ['memory', 'disk', 'none']
    for starts in result['starts'].values():
        assert list(starts) == ['first', 'second']
        for start in starts.values():
            assert start['seconds'] == pytest.approx(sum(start['phases'].values()))
            assert start['images_per_second'] > 0 and start['cpu_seconds'] > 1 and start['peak_bytes'] > 100e6
            assert list(start['phases'])[1:] == ['looking at images', 'reading images', 'making the first batch']
