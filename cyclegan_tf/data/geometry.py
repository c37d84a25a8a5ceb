"""How images are resized and cropped: the exact sizes of the reference's five ways to preprocess."""

from __future__ import annotations

import dataclasses

PREPROCESS = ('resize_and_crop', 'crop', 'scale_width', 'scale_width_and_crop', 'none')


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The sizes of one way to preprocess, in pixels.

    Attributes:
        preprocess: 'resize_and_crop': resize to a square of load_size, then crop a square of crop_size; 'crop': only
            crop; 'scale_width': resize to a width of load_size, keeping the proportions; 'scale_width_and_crop': the
            same, then crop; 'none': only round the sides to what the networks take.
        load_size, crop_size: see above.
        multiple: the number of which both sides have to be multiples if images are not cropped.
        least: the shortest side that the networks take, a multiple of `multiple`.
    """

    preprocess: str
    load_size: int
    crop_size: int
    multiple: int = 4
    least: int = 8

    @property
    def crops(self) -> bool:
        """Whether a square of crop_size is cropped from every image, so that all results have the same size."""
        return self.preprocess in ('resize_and_crop', 'crop', 'scale_width_and_crop')

    def loaded(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which an image is resized before it is cropped."""
        if self.preprocess == 'resize_and_crop':
            return self.load_size, self.load_size
        if self.preprocess == 'crop':
            # Departs from the reference: it fails on images smaller than the crop; here they are enlarged.
            factor = max(1.0, self.crop_size / width, self.crop_size / height)
            return tuple(side if factor == 1 else max(self.crop_size, round(side * factor)) for side in (width, height))
        if self.preprocess == 'none':
            return self.rounded(width, height)
        if width != self.load_size or height < self.crop_size:
            width, height = self.load_size, int(max(self.load_size * height / width, self.crop_size))
        # Departs from the reference: sides are rounded if images are not cropped, since the networks need it.
        return (width, height) if self.crops else self.rounded(width, height)

    def uncropped(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image that is translated rather than trained on: it is not cropped."""
        if self.preprocess == 'resize_and_crop':
            return self.rounded(self.crop_size, self.crop_size)
        if self.preprocess.startswith('scale_width'):
            return dataclasses.replace(self, preprocess='scale_width').loaded(width, height)
        return self.rounded(width, height)

    def rounded(self, width: int, height: int) -> tuple[int, int]:
        """Sides rounded to the nearest multiple (ties to the even one, as in the reference), but at least `least`."""
        return tuple(max(round(side / self.multiple) * self.multiple, self.least) for side in (width, height))

    def enlarges(self, width: int, height: int) -> bool:
        """Whether an image has to be enlarged: it is smaller than the crop, or than what the networks take."""
        return min(width, height) < (self.crop_size if self.crops else self.least)
