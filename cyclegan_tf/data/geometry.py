"""How large images become: the reference's five ways to preprocess, in exact sizes."""

from __future__ import annotations

import dataclasses

PREPROCESS = ('resize_and_crop', 'crop', 'scale_width', 'scale_width_and_crop', 'none')


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Sizes in pixels, of one way to preprocess.

    Attributes:
        preprocess: 'resize_and_crop': to a square of load_size, then a square of crop_size cut from it; 'crop': only
            cut; 'scale_width': to a width of load_size, keeping the proportions; 'scale_width_and_crop': the same,
            then cut; 'none': only rounded to what the networks take.
        load_size, crop_size: see above.
        multiple: of which sides have to be, where nothing is cut.
        least: side that the networks take, a multiple of `multiple`.
    """

    preprocess: str
    load_size: int
    crop_size: int
    multiple: int = 4
    least: int = 8

    @property
    def crops(self) -> bool:
        """Whether a square of crop_size is cut from every image, so that all results have one size."""
        return self.preprocess in ('resize_and_crop', 'crop', 'scale_width_and_crop')

    def loaded(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which an image is resized, before anything is cut from it."""
        if self.preprocess == 'resize_and_crop':
            return self.load_size, self.load_size
        if self.preprocess == 'crop':
            # Departs from the reference: it fails on images smaller than the crop; they are enlarged here.
            factor = max(1.0, self.crop_size / width, self.crop_size / height)
            return tuple(side if factor == 1 else max(self.crop_size, round(side * factor)) for side in (width, height))
        if self.preprocess == 'none':
            return self.rounded(width, height)
        if width != self.load_size or height < self.crop_size:
            width, height = self.load_size, int(max(self.load_size * height / width, self.crop_size))
        # Departs from the reference: rounded where nothing is cut, since the networks need it.
        return (width, height) if self.crops else self.rounded(width, height)

    def uncropped(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image that is translated rather than learnt from: nothing is cut."""
        if self.preprocess == 'resize_and_crop':
            return self.rounded(self.crop_size, self.crop_size)
        if self.preprocess.startswith('scale_width'):
            return dataclasses.replace(self, preprocess='scale_width').loaded(width, height)
        return self.rounded(width, height)

    def rounded(self, width: int, height: int) -> tuple[int, int]:
        """Each side to the nearest multiple (halves to the even one, as the reference), and at least to `least`."""
        return tuple(max(round(side / self.multiple) * self.multiple, self.least) for side in (width, height))

    def enlarges(self, width: int, height: int) -> bool:
        """Whether an image is smaller than what is cut from it, or than what the networks take."""
        return min(width, height) < (self.crop_size if self.crops else self.least)
