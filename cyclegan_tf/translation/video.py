"""Translates videos frame by frame; only a few frames are in memory at a time."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

import numpy as np
from PIL import Image

from cyclegan_tf.data import video
from cyclegan_tf.data.channels import set_channels
from cyclegan_tf.data.levels import to_float, to_levels
from cyclegan_tf.data.names import distinct_paths
from cyclegan_tf.data.pictures import MAX_PIXELS
from cyclegan_tf.data.preprocess import resize
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import signals
from cyclegan_tf.runtime.console import count, progress_bar
from cyclegan_tf.runtime.files import make_folder, whole_file
from cyclegan_tf.settings.translation import TranslateConfig
from cyclegan_tf.translation.files import Outcome
from cyclegan_tf.translation.translator import Translator
from cyclegan_tf.translation.video_output import ENDINGS, VideoWriter, ending_for, endings_that_hold, refused_sound

_HALF_LIFE = 0.5  # seconds in which the share of former frames in the statistics of norms is halved
_SIDE = 16  # pixels of the small pictures by which cuts are found
_CUT = 0.1  # mean difference of two of these, as a share of white, from which on there is a cut
_MOST_CRF, _MOST_CRF_OF_H264 = {'.webm': 63, video.GIF: 2**31}, 51  # that the encoders take; GIFs have none


@dataclasses.dataclass(frozen=True)
class VideoOutcome(Outcome):
    """The outcome for videos: number of frames written, and a line for each problem."""

    @property
    def complaint(self) -> str:
        """The problems in a sentence."""
        return 'Not everything could be translated, see above.'

    @property
    def lines(self) -> list[str]:
        """The problems, each on a line."""
        return list(self.problems)


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """How videos are translated.

    Attributes:
        size: (width, height) to which upright frames are resized first; None: they are not resized.
        max_frames: number of frames of a video after which it ends; None: all are translated.
        max_image_pixels: maximum number of pixels of a frame.
        crf, smooth_statistics: see the flags.
    """

    size: Optional[tuple[int, int]] = None
    max_frames: Optional[int] = None
    max_image_pixels: int = MAX_PIXELS
    crf: int = TranslateConfig.crf
    smooth_statistics: bool = TranslateConfig.smooth_statistics


def translate_videos(settings: TranslateConfig, translator: Translator, videos: Sequence[pathlib.Path]) -> VideoOutcome:
    """Translates the videos of --input."""
    video.load_av()  # raises UserError where it is not installed, before anything is written
    first = translator.translation() if settings.direction is None else None
    directions = [one.name for one in ([first] if first else translator.choose(settings.direction))]
    for name in ('output_depth', 'output_format'):
        if getattr(settings, name) != 'auto':
            raise UserError(
                f'`{name}` ({getattr(settings, name)}) is for images, but `input` names videos; leave it out.'
            )
    output = settings.output or str(pathlib.Path(settings.results_dir) / settings.name / f'files_{settings.epoch}')
    is_file = output.lower().endswith((*ENDINGS, *video.ENDINGS)) and not os.path.isdir(output)
    if is_file and not output.lower().endswith(ENDINGS):
        raise UserError(f"`output` ('{output}') is of no format that can be written; end it in {', '.join(ENDINGS)}.")
    if is_file and len(videos) * len(directions) > 1:
        raise UserError(
            f"`output` ('{output}') is one file, but {len(videos) * len(directions)} videos would be written; set it "
            f'to a folder.'
        )
    options = VideoOptions(
        settings.resized,
        settings.num_test,
        settings.max_image_pixels or translator.config.max_image_pixels or MAX_PIXELS,
        settings.crf,
        settings.smooth_statistics,
    )
    folder = pathlib.Path(output).parent if is_file else pathlib.Path(output)
    make_folder('output' if settings.output else 'results_dir', settings.output or settings.results_dir, folder)
    signals.interrupt()  # what is written until then is deleted
    written, problems, targets = 0, [], {}
    stems = dict(zip(videos, distinct_paths([path.stem for path in videos])))
    for path, direction in itertools.product(videos, directions):
        inner = folder / direction if len(directions) > 1 else folder
        try:
            targets[path, direction] = (
                pathlib.Path(output) if is_file else with_ending(path, inner / stems[path], options)
            )
        except UserError as error:
            if len(videos) == 1:
                raise
            problems.append(str(error))
            break
    _refuse_overwriting(videos, targets.values(), output)
    for (path, direction), target in targets.items():
        try:
            frames, found = translate_video(translator, path, direction, target, options)
        except UserError as error:
            if len(videos) == 1:
                raise
            problems.append(str(error))
            continue
        written += frames
        problems += found
        print(f'Wrote {count(frames, "frame")} to {target} ({direction}).')
    return VideoOutcome(written, problems)


def with_ending(path: pathlib.Path, stem: pathlib.Path, options: VideoOptions, preferred: str = '') -> pathlib.Path:
    """A path for a video's translation: `stem` with the ending that suits the video, see ending_for.

    Raises:
        UserError: it cannot be read.
    """
    with video.Video(path, options.max_image_pixels) as one:
        return stem.with_name(stem.name + ending_for(one, preferred or None))


def _refuse_overwriting(videos: Sequence[pathlib.Path], targets: Iterable[pathlib.Path], output: str) -> None:
    read = {os.path.realpath(path) for path in videos}
    for target in targets:
        if os.path.realpath(target) in read:
            raise UserError(
                f"`output` ('{output}') would overwrite '{target}', a video that is read; set it to another place."
            )
        if target.is_dir():
            raise UserError(
                f"`output` ('{output}') would write '{target}', which is a folder; set it to another place."
            )


def translate_video(
    translator: Translator,
    path: pathlib.Path,
    direction: str,
    target: pathlib.Path,
    options: VideoOptions,
) -> tuple[int, list[str]]:
    """Translates a video.

    Args:
        translator: translates its frames; an exported model's (translation.exported) does, too.
        path: the video.
        direction: such as 'AtoB'.
        target: file to write, whose name ends in one of video_output.ENDINGS.
        options: how.

    Returns:
        The number of frames, and a line for each problem of the video.

    Raises:
        UserError: it cannot be translated at all; or the target cannot be written, or cannot hold sound that another
            format can.
    """
    channels_in, channels_out = translator.translation(direction).channels
    if not {channels_in, channels_out} <= {1, 3} or any(translator.value_ranges(direction)):
        raise UserError(
            f'{path}: frames of videos are gray or colour, but this run translates {channels_in} channels to '
            f'{channels_out}, or values of a range; translate images instead.'
        )
    ending = target.suffix.lower()
    most = _MOST_CRF.get(ending, _MOST_CRF_OF_H264)
    if options.crf > most:
        raise UserError(f'`crf` ({options.crf}) exceeds {most}, the most that {ending} takes; lower it.')
    with video.Video(path, options.max_image_pixels) as one:
        refused, others = refused_sound(one, ending), endings_that_hold(one)
        if refused and others:
            raise UserError(
                f"`output` ('{target}') cannot hold sound of the form {refused[0]} of {path}; set it to a file that "
                f'ends in {" or ".join(others)}.'
            )
        lines = [f'sound of the form {form} cannot be copied into any of these formats; left out' for form in refused]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as partial:
                with VideoWriter(partial, ending, one, options.crf) as writer:
                    frames, problems = _translate(translator, one, direction, writer, options, ending == video.GIF)
                if not frames:
                    raise UserError(f'{path}: none of its frames can be used.')
        except (video.load_av().error.FFmpegError, OSError) as error:
            raise UserError(
                f"'{target}' cannot be written ({video.reason(error)}); correct that and repeat."
            ) from error
    return frames, [f'{path}: {line}' for line in (*lines, *_lines(problems))]


def _translate(translator, source, direction, writer, options, keeps_alpha) -> tuple[int, list[video.Problem]]:
    """Writes all frames and what goes with them; returns the number of frames and the problems."""
    frames, problems, translate = 0, [], _FrameTranslator(translator, direction, source, options)
    total = min(filter(None, (source.count, options.max_frames)), default=None)
    with progress_bar(what=source.path.name, total=total, keep=True, unit='frames') as bar:
        bar.update(0)  # a listener is told of the frames before it is told of the first one's tiles
        for entry in source:
            if isinstance(entry, video.Problem):
                problems.append(entry)
            elif isinstance(entry, video.Frame):
                if frames == options.max_frames:
                    break
                array = resize(entry.array, *options.size) if options.size else entry.array
                result = translate(array, entry.time)
                if keeps_alpha and array.shape[-1] == 4:
                    result = np.concatenate([result, array[..., 3:]], axis=-1)
                frames += writer.write(dataclasses.replace(entry, array=result))
                bar.update()
            else:
                writer.copy(entry)
    return frames, problems + writer.problems


def kept_share(seconds: float) -> float:
    """The share of the former frames in the statistics of a frame that comes so much later."""
    return 0.5 ** (seconds / _HALF_LIFE)


class _FrameTranslator:
    """Translates a video's frames in their order, with statistics of norms that change slowly."""

    def __init__(self, translator, direction, source, options):
        self._translator, self._direction = translator, direction
        self._time_base, self._name = float(source.time_base), source.path.stem
        smooths = getattr(translator, 'smooths_statistics', lambda direction: False)  # an exported model cannot
        self._smooths = options.smooth_statistics and smooths(direction)
        self._before: Optional[tuple[np.ndarray, int]] = None  # the former frame's small picture, and its time

    def __call__(self, frame: np.ndarray, time: int) -> np.ndarray:
        """uint8 or uint16 [h, w, 3 or 4] -> [h, w, 3] of the same type."""
        channels = self._translator.translation(self._direction).channels[0]
        image = to_float(set_channels(frame, channels))
        if self._smooths:
            result = self._translator.translate_frame(image, self._direction, self._kept(image, time), self._name)
        else:
            result = self._translator.translate_floats(image[None], self._direction, [self._name])[0]
        levels = to_levels(result, frame.dtype)
        return np.repeat(levels, 3, axis=-1) if levels.shape[-1] == 1 else levels

    def _kept(self, image: np.ndarray, time: int) -> float:
        """The share of the former frames in the statistics for this one; 0 at the beginning and after a cut."""
        gray = Image.fromarray(image.mean(axis=-1))
        small = np.asarray(gray.resize((_SIDE, _SIDE), Image.BOX))
        before, self._before = self._before, (small, time)
        if before is None or np.abs(small - before[0]).mean() / 2 > _CUT:
            return 0.0
        return kept_share((time - before[1]) * self._time_base)


def _lines(problems: Iterable[video.Problem]) -> Iterator[str]:
    """Problems in words; neighbouring frames with the same one are one line."""
    for (of_frame, what), same in itertools.groupby(problems, lambda one: (one.of_frame, one.what)):
        times = [one.time for one in same]
        known = sorted(time for time in times if time is not None)
        first, last = (_clock(known[index]) if known else 'a time that is not known' for index in (0, -1))
        if not of_frame:
            yield f'{what}, at {first}' if len(times) == 1 else f'{what}, from {first} to {last}'
        elif len(times) == 1:
            yield f'the frame at {first} is {what}; it is left out'
        else:
            yield f'{len(times)} frames from {first} to {last} are {what}; they are left out'


def _clock(seconds: float) -> str:
    return f'{int(seconds // 60)}:{seconds % 60:06.3f}'
