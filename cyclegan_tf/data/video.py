"""Videos: their frames with their times, one after the other, as long as they are needed, and what else is in the file.

PyAV, the extra `video`, reads and writes them.
"""

from __future__ import annotations

import dataclasses
import fractions
import glob
import importlib
import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Optional, Union

import numpy as np
from PIL import Image

from cyclegan_tf.data import decode
from cyclegan_tf.errors import UserError, first_line

ENDINGS = (
    '.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.ts', '.mts', '.m2ts', '.wmv', '.flv', '.3gp',
    '.ogv'
)  # fmt: skip
GIF = '.gif'
# FFmpeg's names of the formats that are read. Others, such as playlists, could name any file of this machine.
_FORMATS = 'mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,apng,h264,hevc,m4v,mjpeg,dv,mxf,nut,ivf,rm,mp3'
_HIGHEST_RATE = 1000  # frames a second
_MISSING = 1.0  # seconds; a file that ends so much before the time that it says has lost its end


def load_av() -> Any:
    """PyAV's module; raises UserError if it is not installed."""
    try:
        av = importlib.import_module('av')
    except ModuleNotFoundError as error:
        if error.name != 'av':
            raise
        raise UserError("videos need PyAV, which is not installed; install it with: pip install '.[video]'") from error
    av.logging.set_level(None)  # what FFmpeg would print about damaged files is said in our sentences
    return av


def find_videos(place: str) -> list[pathlib.Path]:
    """The videos that a place names: a file, a pattern that only videos match, or a folder of videos without images.

    Animated GIFs are videos if one is named as a file. Of all other places the list is empty.
    """
    path = os.path.expanduser(place)
    if os.path.isfile(path):
        return [pathlib.Path(path)] if path.lower().endswith(ENDINGS) or _is_animated(path) else []
    found = sorted(glob.glob(os.path.join(glob.escape(path), '*') if os.path.isdir(path) else path))
    found = [one for one in found if os.path.isfile(one) and not os.path.basename(one).startswith('.')]
    if os.path.isdir(path):
        found = [one for one in found if one.lower().endswith((*ENDINGS, *decode.EXTENSIONS))]
    return [pathlib.Path(one) for one in found] if all(one.lower().endswith(ENDINGS) for one in found) else []


def _is_animated(path: str) -> bool:
    if not path.lower().endswith(GIF):
        return False
    try:
        with Image.open(path) as image:
            return getattr(image, 'n_frames', 1) > 1
    except (OSError, ValueError, SyntaxError, EOFError):  # it is no image either, which is said where images are read
        return False


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How a stored frame becomes upright: transposed, then turned over along each axis."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    @classmethod
    def from_matrix(cls, matrix: Optional[np.ndarray]) -> Orientation:
        """That of a display matrix of MP4, nine integers; one that is no multiple of 90 degrees is left to players."""
        if matrix is None:
            return cls()
        a, b, _, c, d = np.sign(np.round(matrix[:5] / 2**16)).astype(int)
        if a and d and not (b or c):
            return cls(False, d < 0, a < 0)
        if b and c and not (a or d):
            return cls(True, b < 0, c < 0)
        return cls()

    def turn_upright(self, frame: np.ndarray) -> np.ndarray:
        """[h, w, c] as stored -> [h, w, c] as shown."""
        frame = frame.swapaxes(0, 1) if self.transposed else frame
        return np.ascontiguousarray(frame[self._steps])

    def turn_back(self, frame: np.ndarray) -> np.ndarray:
        """[h, w, c] as shown -> [h, w, c] as stored."""
        frame = frame[self._steps]
        return np.ascontiguousarray(frame.swapaxes(0, 1) if self.transposed else frame)

    @property
    def _steps(self) -> tuple[slice, slice]:
        return slice(None, None, -1 if self.rows_reversed else 1), slice(None, None, -1 if self.columns_reversed else 1)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame, upright: uint8 or uint16 [h, w, 3], or [h, w, 4] with alpha; with its time and its duration, in units of
    the video's time_base."""

    array: np.ndarray
    time: int
    duration: int


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something in the file that cannot be used.

    Attributes:
        what: of a frame, what it is, such as 'damaged'; of the file, a sentence without its full stop.
        time: in seconds from the file's beginning; None: not known.
        of_frame: whether it is a frame; else it is the file.
    """

    what: str
    time: Optional[float]
    of_frame: bool = True


class Video:
    """A video file, which is read once from its beginning to its end. A context that closes the file.

    Args:
        path: file.
        max_pixels: maximum number of pixels of a frame.

    Attributes:
        container, stream: PyAV's.
        others: PyAV's streams of sound and subtitles.
        is_gif: whether it is one.
        time_base: unit of times, in seconds.
        width, height: of a frame as it is stored, in pixels.
        rate: mean number of frames a second.
        is_deep: whether its colours have more than 8 bits.
        is_rgb: whether they are stored as red, green and blue.
        loop: of a GIF, how often it is repeated, 0: without end; None: it is not.
        matrix: the display matrix, nine integers, or None; players turn frames by it.
        orientation: what that means.

    Raises:
        UserError: it cannot be read, has no frames, or its frames are too large.
    """

    def __init__(self, path: pathlib.Path, max_pixels: int):
        self._av, self.path = load_av(), path
        try:
            # The whole path: FFmpeg takes what is before a colon for a protocol.
            self.container = self._av.open(
                os.path.abspath(path),
                options={'format_whitelist': _FORMATS, 'protocol_whitelist': 'file'},
            )
        except (self._av.error.FFmpegError, ValueError) as error:
            raise UserError(f'{path}: it is not a video of a known format ({reason(error)}).') from error
        try:
            self._open(max_pixels)
        except BaseException:
            self.container.close()
            raise

    def _open(self, max_pixels: int) -> None:
        still = self._av.stream.Disposition.attached_pic  # the picture of a record's cover
        streams = [one for one in self.container.streams.video if not one.disposition & still]
        best = self.container.streams.best('video')
        self.stream = best if best in streams else next(iter(streams), None)
        if self.stream is None:
            raise UserError(f'{self.path}: it has no frames.')
        self.others = [*self.container.streams.audio, *self.container.streams.subtitles]
        context = self.stream.codec_context
        if context is None:
            raise UserError(f'{self.path}: its frames are in a form that is not known here.')
        context.thread_type = 'SLICE'  # threads for whole frames would name a later frame than the damaged one
        self.is_gif = self.container.format.name == 'gif'
        self.time_base, self.width, self.height = self.stream.time_base, context.width, context.height
        if self.width * self.height > max_pixels:
            raise UserError(
                f'{self.path}: its frames have {self.width}x{self.height} pixels, more than `max_image_pixels` '
                f'({max_pixels}); raise it.'
            )
        # Some files say the unit of their times instead.
        rates = [self.stream.average_rate, self.stream.guessed_rate]
        self.rate = next((rate for rate in rates if rate and rate <= _HIGHEST_RATE), fractions.Fraction(25))
        self._usual = max(1, round(1 / (self.rate * self.time_base)))  # duration of a frame that does not say it
        # The first frame says how all are stored; what is read before it, such as sound, is kept.
        self._entries, self._before, first = self._read(), [], None
        for entry in self._entries:
            self._before.append(entry)
            if isinstance(entry, self._av.VideoFrame):
                first = entry
                break
        if first is None:
            damaged = any(isinstance(entry, Problem) for entry in self._before)
            raise UserError(f'{self.path}: {"none of its frames can be read" if damaged else "it has no frames"}.')
        matrix = first.side_data.get('DISPLAYMATRIX')
        self.loop = _loop(self.path) if self.is_gif else 0
        self.matrix = None if matrix is None else np.frombuffer(bytes(matrix), np.int32)
        self.orientation = Orientation.from_matrix(self.matrix)
        self.is_rgb = first.format.is_rgb
        self.is_deep = max(part.bits for part in first.format.components) > 8
        self._form = 'rgb48le' if self.is_deep else 'rgba' if self.is_gif else 'rgb24'

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error) -> None:
        # The generator holds the decoder and its threads, and this object holds the generator.
        self._entries.close()
        self._before = []
        self.container.close()

    @property
    def count(self) -> Optional[int]:
        """Number of its frames, as far as the file says; None: it does not."""
        if self.stream.frames:
            return self.stream.frames
        seconds = self.seconds
        return None if seconds is None else max(1, round(seconds * self.rate))

    @property
    def seconds(self) -> Optional[float]:
        """How long it lasts, as far as the file says; None: it does not."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        return self.container.duration / self._av.time_base if self.container.duration else None

    @property
    def start(self) -> fractions.Fraction:
        """Time of its beginning, in seconds, which some formats do not count from 0."""
        return fractions.Fraction(self.container.start_time or 0, self._av.time_base)

    def __iter__(self) -> Iterator[Union[Frame, Problem, Any]]:
        """Frames; packets of the other streams, as PyAV has them; and problems."""
        waiting = None  # the last frame, whose duration the next one says
        for entry in itertools.chain(self._before, self._entries):
            if not isinstance(entry, self._av.VideoFrame):
                yield entry
                continue
            if waiting is not None:
                yield dataclasses.replace(waiting, duration=entry.pts - waiting.time)
            try:
                array = entry.reformat(format=self._form, interpolation=exact_scaling(self._av)).to_ndarray()
            except self._av.error.FFmpegError as error:
                waiting = None
                yield Problem(f'in a form that cannot be read ({reason(error)})', self._seconds(entry.pts))
                continue
            waiting = Frame(self.orientation.turn_upright(array), entry.pts, entry.duration)
        if waiting is not None:
            yield waiting

    def _read(self) -> Iterator[Any]:
        """PyAV's frames, with times that rise; packets; problems."""
        before, reached = None, 0.0  # the frame before; and how far the file was read, in seconds
        first, delay = None, None  # of AVI: the first packet's time, and how much later its frame comes
        packets = self.container.demux(self.stream, *self.others)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except self._av.error.FFmpegError as error:
                yield Problem(f'it cannot be read further ({reason(error)})', self._since_start(reached), False)
                return
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != self.stream.index:  # stream_index of the last one, which is empty, is 0
                if packet.size and packet.dts is not None:
                    yield packet
                continue
            first = packet.dts if first is None else first
            try:
                frames = self.stream.decode(packet if packet.size else None)
            except self._av.error.FFmpegError:
                yield Problem('damaged', self._seconds(packet.pts))
                continue
            for frame in frames:
                time = frame.pts
                if self.container.format.name == 'avi':
                    # It has no times, but an order in which frames are decoded.
                    delay = frame.dts - first if delay is None and frame.dts is not None else delay
                    time = None if frame.dts is None else frame.dts - delay
                if time is None:
                    time = 0 if before is None else before.pts + before.duration
                frame.pts = time
                if frame.is_corrupt:
                    yield Problem('damaged', self._seconds(time))
                elif before is not None and time <= before.pts:
                    yield Problem('out of order', self._seconds(time))
                elif (frame.width, frame.height) != (self.width, self.height):
                    yield Problem(f'of another size ({frame.width}x{frame.height})', self._seconds(time))
                else:
                    frame.duration = frame.duration or self._usual
                    before = frame
                    yield frame
        # Some formats count what is before the beginning, too.
        if self.seconds is not None and self.seconds + min(0.0, float(self.start)) - reached > _MISSING:
            yield Problem('its end is missing', self._since_start(reached), False)

    def _seconds(self, time: Optional[int]) -> Optional[float]:
        return None if time is None else self._since_start(float(time * self.time_base))

    def _since_start(self, seconds: float) -> float:
        return seconds - float(self.start)


def _loop(path: pathlib.Path) -> Optional[int]:
    try:
        with Image.open(path) as image:
            return image.info.get('loop')
    except (OSError, ValueError, SyntaxError):  # Pillow reads fewer GIFs than FFmpeg
        return 0


def exact_scaling(av: Any) -> int:
    """PyAV's flags for conversions of colours that are as exact as it can: without them they are rounded down, and
    edges of colours are coarse."""
    flags = av.video.reformatter.Interpolation
    return int(flags.BICUBIC | flags.ACCURATE_RND | flags.FULL_CHR_H_INT | flags.FULL_CHR_H_INP)


def reason(error: Exception) -> str:
    """What FFmpeg says about a file, without its name."""
    return getattr(error, 'strerror', None) or first_line(error)
