"""Videos are translated frame by frame; what else is in their files is kept."""

import os
import pathlib
import re
import signal
import time

import numpy as np
import pytest
from PIL import Image

import cyclegan_tf
from cyclegan_tf.errors import UserError
from cyclegan_tf.translation import video
from tests.helpers import program, videos
from tests.helpers.served_models import make_run

pytestmark = pytest.mark.extras


class Unchanged:
    """Takes the place of a translator."""

    channels = (3, 3)

    def translation(self, direction):
        return self

    def value_ranges(self, direction):
        return None, None

    def translate_floats(self, images, direction, names):
        assert images.dtype == np.float32 and images.shape[-1] == 3
        return images


class Inverted(Unchanged):
    def translate_floats(self, images, direction, names):
        return -images[..., :1]


def translate(path, target, translator=None, **options):
    """Translates with a translator that changes nothing, to a file or with the ending that suits the video; returns the
    file, and what translate_video returns."""
    options = video.VideoOptions(**options)
    target = target if target.suffix else video.with_ending(path, target, options)
    return target, *video.translate_video(translator or Unchanged(), path, 'AtoB', target, options)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('checkpoints'), 'both', init_gain=0.03)


def run_translation(run, *flags):
    return program.run_translation(run.parent, '--name=both', *flags)


# ---------------------------------------------------------------------------------------------------- what else is kept
@pytest.mark.parametrize(
    'ending, container, settings',
    [
        ('.mp4', 'mp4', {}),
        ('.mov', 'mov', {'tags': (6, 6, 6, 1)}),
        ('.mkv', 'matroska', {'tags': (5, 5, 6, 2), 'sound': 'pcm_s16le'}),
        ('.mp4', 'mp4', {'pixels': 'yuv420p10le', 'tags': (9, 9, 16, 1)}),
    ],
)
def test_times_sound_colours_and_metadata_are_kept(tmp_path, ending, container, settings):
    path = tmp_path / f'clip{ending}'
    pictures = videos.pan(30)
    videos.write(path, pictures, container, metadata={'title': 'Ä walk'}, **settings)
    target, frames, problems = translate(path, tmp_path / 'out' / 'clip', crf=1)
    assert target == tmp_path / 'out' / f'clip{ending}' and (frames, problems) == (30, [])
    before, after = (videos.decoded(one) for one in (path, target))
    assert after[1] == pytest.approx(before[1], abs=0.0011)
    changes = [np.abs(one.astype(float) - other).mean() for one, other in zip(before[0], after[0])]
    assert max(changes) < 1.5
    for what in ('codec', 'pixels', 'tags', 'rotation'):
        assert after[2][what] == before[2][what]
    assert after[2]['seconds'] == pytest.approx(before[2]['seconds'], abs=0.002)
    metadata = {key.lower(): value for key, value in after[2]['metadata'].items()}
    assert metadata['title'] == 'Ä walk'
    sound = [videos.packets(one, 'audio') for one in (path, target)]
    assert sound[0][1] == sound[1][1] and sound[0][0] == pytest.approx(sound[1][0], abs=0.0011)


def test_frames_are_translated_upright_and_stored_as_they_were(tmp_path):
    pictures = videos.pan(4)
    videos.write(tmp_path / 'a.mp4', [np.ascontiguousarray(np.rot90(one, -1)) for one in pictures], rotation=90)
    seen = []

    class Upright(Unchanged):
        def translate_floats(self, images, direction, names):
            seen.append(images.shape)
            return images

    target, _, _ = translate(tmp_path / 'a.mp4', tmp_path / 'b', Upright(), crf=1)
    frames, _, about = videos.decoded(target)
    assert seen == [(1, 48, 64, 3)] * 4 and about['rotation'] == 90 and frames[0].shape == (64, 48, 3)
    assert np.abs(frames[0].astype(float) - np.rot90(pictures[0], -1)).mean() < 4
    # Where players do not turn frames, they are stored upright.
    target, _, _ = translate(tmp_path / 'a.mp4', tmp_path / 'b.mkv', crf=1)
    frames, _, about = videos.decoded(target)
    assert about['rotation'] == 0 and np.abs(frames[0].astype(float) - pictures[0]).mean() < 4


def test_gray_results_odd_sides_a_size_and_a_number_of_frames(tmp_path):
    videos.write(tmp_path / 'a.mp4', videos.pan(40))
    target, frames, _ = translate(tmp_path / 'a.mp4', tmp_path / 'b.mp4', Inverted(), size=(51, 33), max_frames=4)
    pictures, _, about = videos.decoded(target)
    assert frames == len(pictures) == 4 and pictures[0].shape == (33, 51, 3) and about['pixels'] == 'yuv444p'
    assert np.ptp(pictures[0].astype(int), axis=-1).max() < 6
    assert about['seconds'] < 0.6  # the sound ends, too
    expected = 255 - np.asarray(Image.fromarray(videos.pan(1)[0]).resize((51, 33), Image.BICUBIC))[..., 0]
    assert np.abs(pictures[0][..., 0] - expected.astype(float)).mean() < 4


def test_the_ending_follows_what_the_sound_needs(tmp_path):
    videos.write(tmp_path / 'a.avi', videos.pan(3), 'avi', sound='pcm_s16le', tags=(2, 2, 2, 0))
    assert translate(tmp_path / 'a.avi', tmp_path / 'out')[0] == tmp_path / 'out.mp4'
    with pytest.raises(
        UserError, match=r'sound of the form pcm_s16le of .*a.avi; set it to a file that ends in .mp4 or'
    ):
        translate(tmp_path / 'a.avi', tmp_path / 'out.webm')
    videos.write(tmp_path / 'quiet.mp4', videos.pan(3), sound=None)
    target, frames, _ = translate(tmp_path / 'quiet.mp4', tmp_path / 'out.webm')
    assert videos.decoded(target)[2]['codec'].endswith('vp9') and frames == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.avi', 'out.mp4', 'out.webm', 'quiet.mp4']


def test_animated_gifs_come_and_go_with_their_times_and_transparency(tmp_path):
    pictures = [Image.fromarray(np.dstack([one, np.full(one.shape[:2], 255, np.uint8)])) for one in videos.pan(6)]
    for picture in pictures:
        picture.paste((0, 0, 0, 0), (0, 0, 20, 20))
    durations = [50, 120, 50, 200, 50, 300]
    pictures[0].save(
        tmp_path / 'a.gif', save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=2
    )
    target, frames, problems = translate(tmp_path / 'a.gif', tmp_path / 'b')
    assert target == tmp_path / 'b.gif' and (frames, problems) == (6, [])
    with Image.open(target) as moved:
        found = []
        assert moved.info['loop'] == 0
        for number in range(moved.n_frames):
            moved.seek(number)
            found.append(moved.info['duration'])
            colours = np.asarray(moved.convert('RGBA'))
            assert (colours[:20, :20, 3] == 0).all() and (colours[25:, 25:, 3] == 255).all()
            change = np.abs(colours[25:, 25:, :3].astype(float) - np.asarray(pictures[number])[25:, 25:, :3])
            assert change.mean() < 12
    assert found[:-1] == durations[:-1]
    # A GIF becomes a video, and a video a GIF.
    target, _, _ = translate(tmp_path / 'a.gif', tmp_path / 'c.mp4')
    frames, times, about = videos.decoded(target)
    assert times == pytest.approx(np.cumsum([0, *durations[:-1]]) / 1000, abs=0.001) and about['tags'][0] == 1
    assert frames[0][5, 5].min() > 245  # what is transparent becomes white
    target, frames, _ = translate(target, tmp_path / 'd.gif')
    assert frames == 6 and Image.open(target).n_frames == 6


def test_sound_that_no_format_holds_is_left_out_and_said(tmp_path):
    videos.write(tmp_path / 'a.wmv', videos.pan(4), 'asf', sound='wmav2', codec='wmv2', tags=(2, 2, 2, 0))
    target, frames, problems = translate(tmp_path / 'a.wmv', tmp_path / 'out')
    assert (
        target.name == 'out.mp4'
        and frames == 4
        and problems
        == [f'{tmp_path}/a.wmv: sound of the form wmav2 cannot be copied into any of these formats; left out']
    )


def test_sound_that_goes_back_is_left_out_and_said(tmp_path):
    videos.write(tmp_path / 'a.ts', videos.pan(10), 'mpegts')
    (tmp_path / 'twice.ts').write_bytes((tmp_path / 'a.ts').read_bytes() * 2)
    target, frames, problems = translate(tmp_path / 'twice.ts', tmp_path / 'out.mp4')
    assert frames >= 10 and any('sound that goes back in time is left out, from 0:00.' in line for line in problems)


def test_the_shape_of_pixels_is_kept_also_if_frames_are_resized(tmp_path):
    import av

    videos.write(tmp_path / 'a.mkv', videos.pan(2), 'matroska', sound=None, ratio=(4, 3))
    for ending, size in (('mkv', None), ('mp4', None), ('mp4', (86, 48))):
        target, _, _ = translate(tmp_path / 'a.mkv', tmp_path / f'out.{ending}', size=size)
        with av.open(str(target)) as file:
            shown = file.streams.video[0]
            ratio = shown.sample_aspect_ratio or 1
            assert float(shown.width * ratio / shown.height) == pytest.approx(16 / 9, rel=0.01), (ending, size)


def test_tracks_keep_their_names_and_which_is_the_default(tmp_path):
    import av
    from av.stream import Disposition

    videos.write(tmp_path / 'a.mp4', videos.pan(3))
    with av.open(str(tmp_path / 'a.mp4')) as source, av.open(str(tmp_path / 'b.mkv'), 'w') as output:
        wanted = [source.streams.video[0], source.streams.audio[0], source.streams.audio[0]]
        targets = [output.add_stream_from_template(one) for one in wanted]
        targets[1].metadata['title'], targets[2].metadata['title'] = 'Comments', 'Main'
        targets[1].disposition, targets[2].disposition = Disposition(0), Disposition.default
        packets = [one for one in source.demux() if one.dts is not None]
        for packet in packets:
            packet.stream = targets[packet.stream.index]
            output.mux(packet)
    target, _, _ = translate(tmp_path / 'b.mkv', tmp_path / 'out.mkv')
    with av.open(str(target)) as file:
        found = [(one.metadata['title'], bool(one.disposition & Disposition.default)) for one in file.streams.audio]
    assert found == [('Comments', False), ('Main', True)]


@pytest.mark.parametrize('loop', [None, 0, 3])
def test_gifs_repeat_as_often_as_before(tmp_path, loop):
    pictures = [Image.fromarray(one) for one in videos.pan(3)]
    told = {} if loop is None else {'loop': loop}
    pictures[0].save(tmp_path / 'a.gif', save_all=True, append_images=pictures[1:], duration=100, **told)
    target, _, _ = translate(tmp_path / 'a.gif', tmp_path / 'b.gif')
    assert Image.open(target).info.get('loop') == loop


# ----------------------------------------------------------------------------------------------------------- statistics
def test_statistics_change_slowly_in_time_and_begin_anew_at_a_cut(tmp_path):
    kept = []

    class Smoothing(Unchanged):
        def smooths_statistics(self, direction):
            return True

        def translate_frame(self, image, direction, share, name):
            assert (direction, name) == ('AtoB', 'cut')
            kept.append(share)
            return image

    scene = videos.pan(1)[0]
    videos.write(tmp_path / 'cut.mkv', [scene] * 3 + [255 - scene] * 3, 'matroska', sound=None)
    translate(tmp_path / 'cut.mkv', tmp_path / 'out.mkv', Smoothing())
    assert [kept[number] for number in (0, 3)] == [0, 0]
    # A half is left after half a second.
    assert [kept[number] for number in (1, 2, 4, 5)] == pytest.approx(
        [0.5 ** (step / 12800 / 0.5) for step in (1200, 512, 1200, 512)], abs=0.002
    )
    kept.clear()
    translate(tmp_path / 'cut.mkv', tmp_path / 'out.mkv', Smoothing(), smooth_statistics=False)
    assert kept == []


# ------------------------------------------------------------------------------------------------------------ programs
def test_the_program_translates_a_file_a_pattern_and_both_directions(run, tmp_path, capsys):
    for name in ('a', 'b'):
        videos.write(tmp_path / f'{name}.mp4', videos.pan(3))
    assert run_translation(run, f'--input={tmp_path}/a.mp4', f'--output={tmp_path}/one.mkv', '--direction=BtoA') == 0
    assert f'Wrote 3 frames to {tmp_path}/one.mkv (BtoA).' in capsys.readouterr().out
    expected = cyclegan_tf.load(run).translate(videos.decoded(tmp_path / 'a.mp4')[0][0], 'BtoA')
    result = videos.decoded(tmp_path / 'one.mkv')[0][0].astype(float)
    brightness = [(picture @ (0.2126, 0.7152, 0.0722)).ravel() for picture in (result, expected)]
    assert np.corrcoef(brightness)[0, 1] > 0.95
    flags = [f'--input={tmp_path}/*.mp4', f'--output={tmp_path}/out', '--direction=both', '--num_test=2']
    assert run_translation(run, *flags) == 0
    assert sorted(str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.*')) == [
        'AtoB/a.mp4', 'AtoB/b.mp4', 'BtoA/a.mp4', 'BtoA/b.mp4'
    ]  # fmt: skip


def test_files_of_a_folder_never_overwrite_each_other_or_what_is_read(run, tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    for name in ('a.mp4', 'a.mp4.mkv', 'b.gif.mp4'):
        videos.write(folder / name, videos.pan(2), 'matroska' if name.endswith('mkv') else 'mp4')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="would overwrite '.*a.mp4', a video that is read; set it to another place"):
        run_translation(run, f'--input={folder}', f'--output={folder}')
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert run_translation(run, f'--input={folder}', f'--output={tmp_path}/out') == 0
    assert sorted(os.listdir(tmp_path / 'out')) == ['a.mp4', 'a.mp4.mkv', 'b.gif.mp4']
    assert videos.decoded(tmp_path / 'out' / 'b.gif.mp4')[2]['codec'] == 'h264'


def test_a_damaged_frame_is_a_sentence_and_the_rest_is_translated(run, tmp_path, capsys):
    times = videos.write(tmp_path / 'a.mp4', videos.pan(12))
    videos.damage(tmp_path / 'a.mp4', tmp_path / 'b.mp4', [times[number][0] for number in (5, 6)])
    with pytest.raises(UserError, match='Not everything could be translated, see above.'):
        run_translation(run, f'--input={tmp_path}/b.mp4', f'--output={tmp_path}/out.mp4')
    lines = capsys.readouterr().err
    first, last = (f'0:{times[number][0] / 12800:06.3f}' for number in (5, 6))
    assert f'b.mp4: 2 frames from {first} to {last} are damaged; they are left out' in lines
    assert len(videos.decoded(tmp_path / 'out.mp4')[0]) == 10


def test_wrong_uses_are_one_sentence(run, tmp_path):
    for name in ('a', 'b'):
        videos.write(tmp_path / f'{name}.mp4', videos.pan(2))
    (tmp_path / 'text.mp4').write_text('no video')
    before = (tmp_path / 'a.mp4').read_bytes()
    for flags, message in (
        (['--input={0}/a.mp4', '--output={0}/a.mp4'], "would overwrite '.*a.mp4', a video that is read; set"),
        (['--input={0}/[ab].mp4', '--output={0}/out.mp4'], 'is one file, but 2 videos would be written; set it to a f'),
        (
            ['--input={0}/a.mp4', '--output={0}/o', '--output_depth=16'],
            '`output_depth` .16. is for images, but `input` n',
        ),
        (['--input={0}/text.mp4', '--output={0}/out.mp4'], 'text.mp4: it is not a video of a known format'),
        (['--input={0}/a.mp4', '--output={0}/a.mp4/x'], '`output` .* cannot be written'),
    ):
        with pytest.raises(UserError, match=message):
            run_translation(run, *[flag.format(tmp_path) for flag in flags])
    assert (tmp_path / 'a.mp4').read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ['a.mp4', 'b.mp4', 'text.mp4']


@pytest.mark.parametrize(
    'number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_a_translation_that_is_stopped_leaves_no_half_file(run, tmp_path, number, status):
    videos.write(tmp_path / 'a.mp4', videos.pan(40) * 20)
    (tmp_path / 'out.mp4').write_text('from before')
    process = program.start(
        'translate', '--name=both', f'--checkpoints_dir={run.parent}', f'--input={tmp_path}/a.mp4',
        f'--output={tmp_path}/out.mp4'
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list(tmp_path.glob('.*.part')):
        assert time.monotonic() < until and process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(60) == status
    assert (tmp_path / 'out.mp4').read_text() == 'from before'
    left = [name for name in os.listdir(tmp_path) if name not in ('a.mp4', 'out.mp4')]
    if number == signal.SIGKILL:  # nobody is left to delete it; its name is hidden, and no video's
        assert len(left) == 1 and re.fullmatch(rf'\..+-{process.pid}-\d+\.part', left[0])
    else:
        assert left == []


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--output={0}/out.avi'], r"`output` .'.*out.avi'. is of no format that can be written; end it in .mp4, .m4v"),
        (['--output={0}/out.webm', '--crf=64'], r'`crf` .64. exceeds 63, the most that .webm takes; lower it'),
        (['--output={0}/out.mp4', '--crf=52'], r'`crf` .52. exceeds 51, the most that .mp4 takes; lower it'),
        (['--output={0}/taken'], r"would write '.*a.mp4', which is a folder; set it to another place"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(run, tmp_path, flags, message):
    videos.write(tmp_path / 'a.mp4', videos.pan(2), sound=None)
    (tmp_path / 'taken' / 'a.mp4').mkdir(parents=True)
    with pytest.raises(UserError, match=message):
        run_translation(run, f'--input={tmp_path}/a.mp4', *[flag.format(tmp_path) for flag in flags])


def test_names_with_a_colon_are_no_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    videos.write(tmp_path / '12:30.mp4', videos.pan(2))
    target, frames, _ = translate(pathlib.Path('12:30.mp4'), pathlib.Path('o:ut.mp4'))
    assert frames == 2 and target.exists()


def test_memory_does_not_grow_with_length(tmp_path):
    import psutil

    videos.write(tmp_path / 'a.mkv', videos.pan(40, 128, 128) * 40, 'matroska', sound=None, steps=(512,))
    process, seen = psutil.Process(), []

    class Watched(Unchanged):
        def translate_floats(self, images, direction, names):
            seen.append(process.memory_info().rss)
            return images

    translate(tmp_path / 'a.mkv', tmp_path / 'b.mkv', Watched())
    # A frame takes 49 kB as it is stored; the encoder holds some dozens of them.
    assert len(seen) == 1600 and max(seen[800:]) - max(seen[200:800]) < 20_000_000


def test_runs_of_other_channels_are_refused(tmp_path):
    class Bands(Unchanged):
        channels = (5, 3)

    with pytest.raises(UserError, match='this run translates 5 channels to 3, or values of a range; translate images'):
        translate(pathlib.Path('a.mp4'), tmp_path / 'b.mp4', Bands())
