"""The files of translated videos: H.264 in MP4, MOV or Matroska, VP9 in WebM, or an animated GIF."""

from __future__ import annotations

import contextlib
import fractions
import functools
import os
import pathlib
from collections.abc import Iterable
from typing import Any, Optional

import numpy as np

from cyclegan_tf.data.video import GIF, Frame, Problem, Video, exact_scaling, load_av

_FORMATS = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm', GIF: 'gif'}
ENDINGS = tuple(_FORMATS)
_TURNED = ('mp4', 'mov')  # formats whose players turn frames by a display matrix
_HUNDREDTHS = fractions.Fraction(1, 100)  # unit of a GIF's times, in seconds
# FFmpeg's numbers of colour spaces, curves and ranges. Colours that are no YUV, such as a GIF's, become what videos
# usually have, with sRGB's curve.
_RGB, _BT709, _SRGB_CURVE, _LIMITED = 0, 1, 13, 1
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # a colour space's -> its matrix's in FFmpeg's scaler
_BT601_MATRIX = 5  # which the scaler takes for frames that do not say theirs
_OF_THE_FILE = {'major_brand', 'minor_version', 'compatible_brands', 'encoder', 'duration'}  # metadata of it alone


def ending_for(video: Video, preferred: Optional[str] = None) -> str:
    """The ending of a translation's name: the preferred one, by default the video's own, if such a file can be written
    and can hold the sound; else .mp4, or .mkv for sound that only this can hold; .mp4 if none can hold it."""
    if video.is_gif and preferred is None:
        return GIF
    own = preferred or video.path.suffix.lower()
    of_choice = [*([own] if own in _FORMATS else []), '.mp4', '.mkv']
    return next((ending for ending in of_choice if not refused_sound(video, ending)), '.mp4')


def refused_sound(video: Video, ending: str) -> list[str]:
    """The forms of sound that a file with this ending cannot hold; a GIF has no sound, which is no refusal."""
    sounds = [stream for stream in video.others if stream.type == 'audio' and ending != GIF]
    return [_form_of(stream) for stream in sounds if not _holds(ending, stream)]


def endings_that_hold(video: Video) -> list[str]:
    """The endings of files that can hold all of a video's sound."""
    return [ending for ending in _FORMATS if ending != GIF and not refused_sound(video, ending)]


def _form_of(stream: Any) -> str:
    return 'an unknown form' if stream.codec_context is None else stream.codec_context.name


def _holds(ending: str, stream: Any) -> bool:
    return stream.codec_context is not None and stream.codec_context.name in _codecs(_FORMATS[ending])


@functools.cache
def _codecs(container: str) -> set[str]:
    output = load_av().open(os.devnull, 'w', format=container)
    with contextlib.closing(output):
        return output.supported_codecs


class VideoWriter:
    """Writes a video with the times, orientation, colours, sound and metadata of another one. A context.

    If the context is left with an error, the file is not complete. Sound that the format cannot hold is left out.

    Args:
        path: file to write.
        ending: of ENDINGS; says the format, whatever the path's own ending is.
        video: the other video.
        crf: quality, less is better; see the flag.

    Attributes:
        problems: what could not be copied.
    """

    def __init__(self, path: pathlib.Path, ending: str, video: Video, crf: int):
        self._av, self._video, self._crf = load_av(), video, crf
        self._format = _FORMATS[ending]
        self._is_gif = ending == GIF
        self._time_base = _HUNDREDTHS if self._is_gif else video.time_base
        self._turns_back = self._format in _TURNED and video.matrix is not None
        self._stream: Any = None
        self._graph: Any = None
        self.problems: list[Problem] = []
        self._waiting: list[Any] = []
        self._last: Optional[int] = None
        self._last_copied: dict[int, int] = {}  # by the numbers of streams
        options = {'loop': str(-1 if video.loop is None else video.loop)} if self._is_gif else {}
        # The whole path: FFmpeg takes what is before a colon for a protocol.
        self._output = self._av.open(os.path.abspath(path), 'w', format=self._format, options=options)
        self._copied = [] if self._is_gif else [one for one in video.others if _holds(ending, one)]
        self._output.metadata.update(
            {key: value for key, value in video.container.metadata.items() if key not in _OF_THE_FILE}
        )

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, *error) -> None:
        try:
            if kind is None and self._stream is not None:
                self._encode(None)
        finally:
            self._output.close()

    # ------------------------------------------------------------------------------------------------------- what goes
    def write(self, frame: Frame) -> bool:
        """Writes a frame, upright as it was read; all have one size. False: it has no place of its own, as in a GIF,
        which shows at most a hundred frames a second."""
        array = self._video.orientation.turn_back(frame.array) if self._turns_back else frame.array
        if self._stream is None:
            self._begin(array)
        time, duration = self._rescaled(frame)
        if self._last is not None and time <= self._last:
            return False
        self._last = time
        one = self._av.VideoFrame.from_ndarray(array, format=_form(array))
        if not self._is_gif:
            one = one.reformat(
                format=self._stream.pix_fmt,
                dst_colorspace=self._matrix,
                dst_color_range=self._stream.codec_context.color_range or _LIMITED,
                interpolation=exact_scaling(self._av),
            )
            self._tag(one)
        one.pts, one.duration, one.time_base = time, duration, self._time_base
        self._encode(one)
        return True

    def copy(self, packet: Any) -> None:
        """Copies a packet of sound or subtitles as it is, if the format holds such."""
        if self._stream is None:
            self._waiting.append(packet)
            return
        index = packet.stream.index
        target = self._targets.get(index)
        if target is None:
            return
        shift = round(self._video.start / packet.time_base)
        seconds = None if packet.pts is None else float((packet.pts - shift) * packet.time_base)
        if packet.dts - shift < self._last_copied.get(index, packet.dts - shift):
            self.problems.append(Problem('sound that goes back in time is left out', seconds, False))
            return
        self._last_copied[index] = packet.dts - shift
        packet.pts, packet.dts = None if packet.pts is None else packet.pts - shift, packet.dts - shift
        packet.stream = target
        try:
            self._output.mux(packet)
        except (self._av.error.InvalidDataError, self._av.error.ArgumentError, ValueError):
            self.problems.append(Problem('damaged sound is left out', seconds, False))

    # --------------------------------------------------------------------------------------------------------- details
    def _begin(self, array: np.ndarray) -> None:
        height, width = array.shape[:2]
        video, name = self._video, {'gif': 'gif', 'webm': 'libvpx-vp9'}.get(self._format, 'libx264')
        options = {} if self._is_gif else {'crf': str(self._crf)}
        if name == 'libvpx-vp9':
            options.update({'b': '0', 'row-mt': '1', 'deadline': 'good', 'cpu-used': '4'})
        stream = self._output.add_stream(name, rate=video.rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = 'pal8' if self._is_gif else _pixel_format(array, name)
        stream.time_base = stream.codec_context.time_base = self._time_base
        stream.codec_context.flags |= self._av.codec.context.Flags.frame_duration
        stream.codec_context.thread_type = 'AUTO'
        stream.metadata.update(_without_own(video.stream.metadata))
        if not self._is_gif:
            self._describe(stream.codec_context)
            ratio = self._ratio_of_pixels(width, height)
            if ratio is not None:
                stream.codec_context.sample_aspect_ratio = ratio
        if self._turns_back:
            stream.set_display_matrix([int(value) for value in video.matrix])
        self._stream, self._targets = stream, {}
        for source in self._copied:
            target = self._output.add_stream_from_template(source)
            target.metadata.update(_without_own(source.metadata))
            target.disposition = source.disposition
            self._targets[source.index] = target
        if not self._is_gif and video.container.chapters():
            self._output.set_chapters(video.container.chapters())
        for packet in self._waiting:
            self.copy(packet)
        self._waiting = []

    def _ratio_of_pixels(self, width: int, height: int) -> Optional[fractions.Fraction]:
        """The shape of the pixels of stored frames of this size, so that the picture keeps its own; None: they are
        squares, or of unknown shape."""
        video, ratio = self._video, self._video.stream.sample_aspect_ratio
        if not ratio or ratio == 1:
            return None
        shape = fractions.Fraction(video.width, video.height) * ratio
        if video.orientation.transposed and not self._turns_back:
            shape = 1 / shape
        return (shape * height / width).limit_denominator(2**15)

    def _describe(self, context: Any) -> None:
        """Sets the colour tags: the video's, or those of what its colours become."""
        source = self._video.stream.codec_context
        if source.colorspace == _RGB or self._video.is_rgb or self._video.is_gif:
            tags = (_BT709, _BT709, _SRGB_CURVE, _LIMITED)
        else:
            tags = (source.colorspace, source.color_primaries, source.color_trc, source.color_range)
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
        self._matrix = _MATRICES.get(tags[0], _BT601_MATRIX)
        self._tags = tags

    def _tag(self, frame: Any) -> None:
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = self._tags

    def _rescaled(self, frame: Frame) -> tuple[int, int]:
        """A frame's time and duration in units of the file."""
        unit = self._video.time_base
        start = frame.time * unit - self._video.start
        end = start + frame.duration * unit
        first, last = (round(time / self._time_base) for time in (start, end))
        return first, max(1, last - first)

    def _encode(self, frame: Any) -> None:
        """Encodes a frame; None: what is still waiting."""
        for one in self._with_palettes(frame) if self._is_gif else [frame]:
            for packet in self._stream.encode(one):
                self._output.mux(packet)

    def _with_palettes(self, frame: Any) -> Iterable[Any]:
        """Frames in 256 colours that are chosen for each of them."""
        if frame is None:
            return [None]
        if self._graph is None:
            graph = self._av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=self._time_base
            )
            both = graph.add('split')
            palette = graph.add('palettegen', 'stats_mode=single')
            painted = graph.add('paletteuse', 'new=1')
            sink = graph.add('buffersink')
            source.link_to(both)
            both.link_to(palette, 0, 0)
            both.link_to(painted, 1, 0)
            palette.link_to(painted, 0, 1)
            painted.link_to(sink)
            graph.configure()
            self._graph = graph
        self._graph.vpush(frame)
        found = []
        while True:
            try:
                found.append(self._graph.vpull())
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return found


def _without_own(metadata: Any) -> dict[str, str]:
    """A stream's metadata without what every file says of its own."""
    own = {'handler_name', 'vendor_id', 'encoder', 'duration', 'number_of_bytes', 'number_of_frames'}
    return {key: value for key, value in metadata.items() if key.lower().split('-')[0] not in own and key[:1] != '_'}


def _form(array: np.ndarray) -> str:
    return {('uint8', 3): 'rgb24', ('uint16', 3): 'rgb48le', ('uint8', 4): 'rgba'}[array.dtype.name, array.shape[-1]]


def _pixel_format(array: np.ndarray, codec: str) -> str:
    """What players can show: 4:2:0; a frame of an odd side only fits 4:4:4."""
    odd = array.shape[0] % 2 or array.shape[1] % 2
    deep = array.dtype == np.uint16 and codec == 'libx264'
    return f'yuv{"444" if odd else "420"}p{"10le" if deep else ""}'
