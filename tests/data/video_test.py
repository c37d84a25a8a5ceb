"""Which places name videos, and what is read of them; what is damaged is named."""

import gc
import pathlib
import weakref

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf.data import video
from cyclegan_tf.errors import UserError
from tests.helpers import videos

LIMIT = 10**6


def read(path):
    """The frames, the packets and the problems of a video."""
    with video.Video(pathlib.Path(path), LIMIT) as one:
        entries = list(one)
    frames = [entry for entry in entries if isinstance(entry, video.Frame)]
    problems = [entry for entry in entries if isinstance(entry, video.Problem)]
    return frames, [entry for entry in entries if not isinstance(entry, (video.Frame, video.Problem))], problems


# -------------------------------------------------------------------------------------------------------------- places
def test_files_patterns_and_folders_of_videos_are_told_from_images(tmp_path):
    def names(place):
        return [path.name for path in video.find_videos(str(place))]

    for name in ('b.mp4', 'a.MOV', 'sub/c.mkv', 'mixed/d.mp4', 'mixed/e.png', 'empty/notes.txt', 'odd[1].webm'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    (tmp_path / 'sub' / '.c.mkv').write_bytes(b'')
    assert names(tmp_path / 'b.mp4') == ['b.mp4'] and names(tmp_path / 'odd[1].webm') == ['odd[1].webm']
    assert names(tmp_path) == ['a.MOV', 'b.mp4', 'odd[1].webm']
    assert names(tmp_path / '*.mp4') == ['b.mp4'] and names(tmp_path / 'sub') == ['c.mkv']
    assert names(tmp_path / 'mixed') == [] == names(tmp_path / 'mixed' / '*')
    assert names(tmp_path / 'empty') == [] == names(tmp_path / '*.avi') == names(tmp_path / 'nowhere')


def test_a_gif_is_a_video_if_it_moves_and_is_named(tmp_path):
    pictures = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 99)]
    pictures[0].save(tmp_path / 'still.gif')
    pictures[0].save(tmp_path / 'moves.gif', save_all=True, append_images=pictures[1:])
    (tmp_path / 'broken.gif').write_bytes(b'GIF89a')
    assert video.find_videos(str(tmp_path / 'moves.gif')) == [tmp_path / 'moves.gif']
    for place in ('still.gif', 'broken.gif', '', '*.gif'):
        assert video.find_videos(str(tmp_path / place)) == []


def test_without_the_library_a_sentence_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(video.importlib, 'import_module', missing)
    with pytest.raises(UserError, match=r'videos need PyAV, which is not installed; install it with'):
        video.load_av()


# --------------------------------------------------------------------------------------------------------- orientation
@pytest.mark.parametrize('rows, columns', [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize('transposed', [False, True])
def test_every_orientation_is_turned_upright_and_back(transposed, rows, columns):
    # x' = a x + c y and y' = b x + d y say where a stored pixel is shown.
    a, d = (-1 if columns else 1), (-1 if rows else 1)
    matrix = np.array([0, d, 0, a, 0, 0, 0, 0, 2**14] if transposed else [a, 0, 0, 0, d, 0, 0, 0, 2**14]) * 2**16
    stored = np.arange(6).reshape(2, 3, 1)
    orientation = video.Orientation.from_matrix(matrix)
    shown = orientation.turn_upright(stored)
    places = {tuple(place): stored[place[1], place[0], 0] for place in np.ndindex(3, 2)}
    b, c = (d, a) if transposed else (0, 0)
    a, d = (0, 0) if transposed else (a, d)
    moved = {(a * x + c * y, b * x + d * y): value for (x, y), value in places.items()}
    least = np.min(list(moved), axis=0)
    for (x, y), value in moved.items():
        assert shown[y - least[1], x - least[0], 0] == value
    np.testing.assert_array_equal(orientation.turn_back(shown), stored)


def test_an_oblique_matrix_is_left_to_players():
    assert video.Orientation.from_matrix(np.array([46341, 46341, 0, -46341, 46341, 0, 0, 0, 2**30])) == (
        video.Orientation()
    )


# ------------------------------------------------------------------------------------------------------------- reading
@pytest.mark.extras
def test_frames_come_with_their_times_and_colours(tmp_path):
    pictures = videos.pan(9)
    times = videos.write(tmp_path / 'a.mp4', pictures)
    frames, packets, problems = read(tmp_path / 'a.mp4')
    assert [frame.time for frame in frames] == [time for time, _ in times] and problems == []
    assert len(packets) == len(videos.packets(tmp_path / 'a.mp4', 'audio')[0]) > 3
    assert max(np.abs(frame.array.astype(float) - one).mean() for frame, one in zip(frames, pictures)) < 3
    with video.Video(tmp_path / 'a.mp4', LIMIT) as one:
        assert one.count == 9 and one.seconds == pytest.approx(sum(times[-1]) / 12800) and one.start == 0
        assert (one.width, one.height, one.is_deep, one.is_gif) == (64, 48, False, False)


@pytest.mark.extras
@pytest.mark.parametrize('tags', [(1, 1, 1, 1), (6, 6, 6, 1), (6, 6, 6, 2), (2, 2, 2, 0)])
def test_colours_are_read_as_the_file_says(tmp_path, tags):
    patches = np.zeros((48, 64, 3), np.uint8)
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (250, 250, 250), (5, 5, 5), (128, 128, 128)]
    for index, colour in enumerate(colours):
        patches[:, 10 * index : 10 * index + 10] = colour
    videos.write(tmp_path / 'a.mkv', [patches] * 3, container='matroska', tags=tags, sound=None)
    frames, _, _ = read(tmp_path / 'a.mkv')
    for index, colour in enumerate(colours):
        np.testing.assert_allclose(frames[0].array[24, 10 * index + 5], colour, atol=4)


@pytest.mark.extras
def test_turned_and_deep_videos_are_upright_and_keep_their_depth(tmp_path):
    pictures = videos.pan(4)
    turned = [np.ascontiguousarray(np.rot90(one, -1)) for one in pictures]
    videos.write(tmp_path / 'a.mp4', turned, rotation=90, pixels='yuv420p10le')
    frames, _, _ = read(tmp_path / 'a.mp4')
    assert frames[0].array.dtype == np.uint16
    assert max(np.abs(one.array / 257 - picture).mean() for one, picture in zip(frames, pictures)) < 3


@pytest.mark.extras
def test_an_avi_whose_frames_have_no_times_is_read_in_order(tmp_path):
    pictures = videos.pan(12)
    videos.write(tmp_path / 'a.avi', pictures, container='avi', sound='pcm_s16le', tags=(2, 2, 2, 0))
    frames, _, problems = read(tmp_path / 'a.avi')
    assert len(frames) == 12 and problems == [] and all(np.diff([frame.time for frame in frames]) == 1)
    assert max(np.abs(frame.array.astype(float) - one).mean() for frame, one in zip(frames, pictures)) < 3


@pytest.mark.extras
def test_damaged_frames_are_named_with_their_times_and_left_out(tmp_path):
    times = videos.write(tmp_path / 'a.mp4', videos.pan(20))
    videos.damage(tmp_path / 'a.mp4', tmp_path / 'b.mp4', [times[number][0] for number in (7, 13)])
    frames, packets, problems = read(tmp_path / 'b.mp4')
    assert [(one.what, one.of_frame) for one in problems] == [('damaged', True)] * 2
    assert [one.time for one in problems] == pytest.approx([times[7][0] / 12800, times[13][0] / 12800])
    assert [frame.time for frame in frames] == [time for time, _ in times if time not in (times[7][0], times[13][0])]
    assert len(packets) == len(videos.packets(tmp_path / 'a.mp4', 'audio')[0])


@pytest.mark.extras
def test_a_file_that_has_lost_its_end_says_so(tmp_path):
    times = videos.write(tmp_path / 'a.mkv', videos.pan(40) * 2, container='matroska')
    data = (tmp_path / 'a.mkv').read_bytes()
    (tmp_path / 'b.mkv').write_bytes(data[: len(data) // 2])
    frames, _, problems = read(tmp_path / 'b.mkv')
    assert 10 < len(frames) < 70
    assert [(one.what, one.of_frame) for one in problems] == [('its end is missing', False)]
    assert problems[0].time == pytest.approx(times[len(frames)][0] / 12800, abs=0.3)


@pytest.mark.extras
def test_what_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / 'text.mp4').write_text('no video')
    videos.write(tmp_path / 'a.mp4', videos.pan(2))
    for path, limit, message in (
        (tmp_path / 'text.mp4', LIMIT, r'text.mp4: it is not a video of a known format \(Invalid data'),
        (tmp_path / 'nowhere.mp4', LIMIT, r'nowhere.mp4: it is not a video of a known format \(No such file'),
        (tmp_path / 'a.mp4', 99, r'its frames have 64x48 pixels, more than `max_image_pixels` \(99\); raise it'),
    ):
        with pytest.raises(UserError, match=message):
            video.Video(path, limit)


@pytest.mark.extras
def test_all_frames_are_read_where_the_sound_comes_first(tmp_path):
    import av

    videos.write(tmp_path / 'a.mp4', videos.pan(12))
    with av.open(str(tmp_path / 'a.mp4')) as source, av.open(str(tmp_path / 'b.mkv'), 'w') as output:
        targets = {}
        for one in (source.streams.audio[0], source.streams.video[0]):
            targets[one.index] = output.add_stream_from_template(one)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
    frames, packets, problems = read(tmp_path / 'b.mkv')
    assert len(frames) == 12 and problems == [] and packets


@pytest.mark.extras
def test_times_before_zero_and_a_long_last_frame_are_no_problem(tmp_path):
    times = videos.write(tmp_path / 'a.mkv', videos.pan(4), 'matroska', sound=None, steps=(512, 512, 512, 32000))
    frames, _, problems = read(tmp_path / 'a.mkv')
    assert len(frames) == 4 and problems == [] and [one.duration for one in frames[:3]] == [40, 40, 40]
    videos.write(tmp_path / 'b.ts', videos.pan(6), 'mpegts', sound=None, start=-20000)
    frames, _, problems = read(tmp_path / 'b.ts')
    assert len(frames) == 6 and problems == [] and len(times) == 4


@pytest.mark.extras
def test_a_form_that_is_not_known_is_one_sentence(tmp_path):
    videos.write(tmp_path / 'a.mp4', videos.pan(2), sound=None)
    (tmp_path / 'b.mp4').write_bytes((tmp_path / 'a.mp4').read_bytes().replace(b'avc1', b'zzz1'))
    with pytest.raises(UserError, match='b.mp4: its frames are in a form that is not known here'):
        video.Video(tmp_path / 'b.mp4', LIMIT)


@pytest.mark.extras
@pytest.mark.parametrize('place', ['{0}/secret.ts', 'file://{0}/secret.ts', 'secret.ts'])
def test_lists_of_other_files_are_no_videos(tmp_path, place):
    videos.write(tmp_path / 'secret.ts', videos.pan(6), 'mpegts')
    segment = f'#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{place.format(tmp_path)}\n#EXT-X-ENDLIST\n'
    (tmp_path / 'list.mp4').write_text(segment)
    (tmp_path / 'concat.mp4').write_text(f"ffconcat version 1.0\nfile '{place.format(tmp_path)}'\n")
    for name in ('list.mp4', 'concat.mp4'):
        with pytest.raises(UserError, match='it is not a video of a known format'):
            video.Video(tmp_path / name, LIMIT)


@pytest.mark.extras
def test_the_decoder_goes_with_its_video(tmp_path):
    videos.write(tmp_path / 'a.mp4', videos.pan(4))
    gc.disable()
    try:
        with video.Video(tmp_path / 'a.mp4', LIMIT) as one:
            next(iter(one))
        gone = weakref.ref(one)
        del one
        assert gone() is None
    finally:
        gc.enable()
