"""Translates the videos that are dropped on the page."""

from __future__ import annotations

import os
import pathlib

from cyclegan_tf.data.video import Video
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.app import AppConfig
from cyclegan_tf.translation.video import VideoOptions, translate_video, with_ending
from cyclegan_tf.web.models import Loaded
from cyclegan_tf.web.pictures import GONE

_SHOWN = '.mp4'  # which browsers play


def translate(
    loaded: Loaded, path: str, direction: str, folder: pathlib.Path, settings: AppConfig
) -> tuple[pathlib.Path, list[str]]:
    """Translates a video as cyclegan_tf.translate does, as an MP4 if that can hold its sound. One that does not say how
    long it lasts is translated up to the limit.

    Returns:
        The result, in `folder`, which has the file's name, and a line for each problem.

    Raises:
        UserError: it cannot be translated; the message names the file without its folder.
    """
    if not os.path.isfile(path):
        raise UserError(GONE)
    source, name = pathlib.Path(path), os.path.basename(path)
    most = settings.max_video_seconds
    try:
        with Video(source, settings.max_image_pixels) as video:
            if video.seconds is not None and video.seconds > most:
                raise UserError(
                    f'{path}: it lasts {video.seconds:.1f} seconds, more than `max_video_seconds` ({most}); cut it, or '
                    f'translate it with cyclegan_tf.translate.'
                )
            frames = None if video.seconds is not None else max(1, round(most * video.rate))
        options = VideoOptions(max_frames=frames, max_image_pixels=settings.max_image_pixels)
        folder.mkdir(parents=True, exist_ok=True)
        with loaded.lock, loaded.out_of_memory_named():
            target = with_ending(source, folder / source.stem, options, _SHOWN)
            _, problems = translate_video(loaded.translator, source, direction, target, options)
    except UserError as error:
        raise UserError(str(error).replace(path, name)) from error
    return target, [line.replace(path, name) for line in problems]
