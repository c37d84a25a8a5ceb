"""ICC profiles: which colours an image's numbers mean, and conversion to sRGB by Little CMS."""

from __future__ import annotations

from collections.abc import Collection
from typing import Optional

import imagecodecs
import numpy as np

# The colour spaces of ICC.1:2022 (7.2.6) that images of 8 or 16 bits have -> their name in imagecodecs, and channels.
_SPACES = {'RGB ': ('rgb', 3), 'GRAY': ('gray', 1), 'CMYK': ('cmyk', 4)}


def color_space(profile: Optional[bytes]) -> str:
    """The colour space of a profile: 'RGB ', 'GRAY', 'CMYK'; empty if there is no profile, or none that can be used."""
    if not profile or profile[36:40] != b'acsp':  # the signature in every profile's header
        return ''
    space = profile[16:20].decode('latin1')
    return space if space in _SPACES else ''


def of_channels(channels: int) -> str:
    """The colour space of an image with this number of channels; empty if it has none."""
    return {1: 'GRAY', 2: 'GRAY', 3: 'RGB ', 4: 'RGB '}.get(channels, '')


def kept(
    color_profile: str, result_channels: Collection[int], value_range: Optional[tuple[float, float]]
) -> Optional[str]:
    """What images that are translated are read with: ReadOptions.kept_profile.

    Args:
        color_profile: 'keep' or 'srgb', as --color_profile.
        result_channels: the numbers of channels of what an image becomes.
        value_range: the range of the images' values, which are no colours; None: they are levels.
    """
    spaces = {of_channels(channels) for channels in result_channels}
    if value_range is not None or '' in spaces:
        return None  # bands and values mean no colours that a profile could change
    return spaces.pop() if color_profile == 'keep' and len(spaces) == 1 else ''


def converts(profile: Optional[bytes], colours: int, kept: Optional[str]) -> bool:
    """Whether a profile converts an image to sRGB.

    Args:
        profile: the image's profile.
        colours: the image's channels without alpha and other bands.
        kept: ReadOptions.kept_profile.
    """
    return kept is not None and _fits(profile, colours) and color_space(profile) != kept


def apply(
    samples: np.ndarray, profile: Optional[bytes], colours: int, kept: Optional[str]
) -> tuple[np.ndarray, Optional[bytes]]:
    """Converts an image to sRGB if its profile does (see `converts`).

    Args:
        samples: uint8 or uint16 [h, w, c], of which the first channels are the colours.
        profile, colours, kept: as `converts`.

    Returns:
        The image; and the profile that says what its colours then mean, None if there is none.
    """
    if converts(profile, colours, kept):
        try:
            return np.concatenate([_to_srgb(samples[..., :colours], profile), samples[..., colours:]], axis=-1), None
        except (ValueError, RuntimeError):
            return samples, None  # a damaged profile says nothing
    return samples, profile if kept is not None and _fits(profile, colours) else None


def _fits(profile: Optional[bytes], colours: int) -> bool:
    space = color_space(profile)
    return bool(space) and _SPACES[space][1] == colours


def _to_srgb(samples: np.ndarray, profile: bytes) -> np.ndarray:
    """uint8 or uint16 [h, w, c] -> the same type, [h, w, 3]; a damaged profile is a ValueError or RuntimeError."""
    space, _ = _SPACES[color_space(profile)]
    gray = samples.shape[-1] == 1
    converted = imagecodecs.cms_transform(
        np.ascontiguousarray(samples[..., 0] if gray else samples),
        profile,
        imagecodecs.cms_profile('srgb'),
        colorspace=space,
        outcolorspace='rgb',
    )
    return converted.reshape(*samples.shape[:2], 3)


def lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """Converts CIE L*a*b* under D50 to sRGB: uint16 [h, w, 3] -> uint16 [h, w, 3].

    Args:
        lab: L from 0 to 65535 for 0 to 100; a and b as 257 times their value plus 128, as ICC encodes them.
    """
    lab4, srgb = imagecodecs.cms_profile('lab4'), imagecodecs.cms_profile('srgb')
    return imagecodecs.cms_transform(np.ascontiguousarray(lab), lab4, srgb, colorspace='lab', outcolorspace='rgb')
