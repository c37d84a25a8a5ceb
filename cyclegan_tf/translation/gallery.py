"""The results page and the page of a training: one static file beside the pictures, by the template gallery.html."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Optional
from urllib.parse import quote

import jinja2

from cyclegan_tf.runtime.files import sync, whole_file
from cyclegan_tf.translation import charts as drawing

SMALL = 256  # pixels; a picture whose longer side goes into it more than once is enlarged that many times

CARD = round(SMALL * 1.5)  # pixels; a comparison on a card is no wider

CAPTIONS = 64  # pixels that a row is higher than its pictures


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file that the page shows.

    Attributes:
        path: relative to the page.
        width, height: in pixels, so that the page does not jump while the picture loads.
        data: the file with all channels and values, relative to the page; None if the picture is all there is.
    """

    path: str
    width: int
    height: int
    data: Optional[str] = None

    @property
    def enlarged(self) -> int:
        """How many times larger it is shown; more than once without blur."""
        return max(1, SMALL // max(self.width, self.height))


@dataclasses.dataclass(frozen=True)
class Row:
    """One image and what was made of it.

    Attributes:
        name: of the image.
        pictures: caption -> picture, in order; the first two are compared unless others are chosen.
        note: its measures in words, or nothing.
        scores: measure -> value, by which rows can be ordered.
    """

    name: str
    pictures: Mapping[str, Picture]
    note: str = ''
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def width(self) -> int:
        """Pixels of the widest picture, as it is shown."""
        return max((picture.width * picture.enlarged for picture in self.pictures.values()), default=0)


@dataclasses.dataclass(frozen=True)
class Section:
    """One direction: its title, an introduction, its rows, and what the overview says of it (caption -> value)."""

    title: str
    introduction: str
    rows: Sequence[Row]
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """Its name in addresses."""
        return ''.join(letter if letter.isalnum() else '-' for letter in self.title.lower())

    @property
    def row_height(self) -> int:
        """Pixels that a row is expected to need, by the first one."""
        shown = [picture.height * picture.enlarged for row in self.rows[:1] for picture in row.pictures.values()]
        return max(shown, default=0) + CAPTIONS


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# A file's name that is no UTF-8 holds surrogates, which stand for its bytes.
_ENVIRONMENT.filters['url'] = lambda path: quote(path, errors='surrogateescape')


def write_page(
    path: pathlib.Path,
    title: str,
    introduction: str,
    sections: Sequence[Section],
    links: Optional[Mapping[str, str]] = None,
    charts: Sequence[drawing.Chart] = (),
    about_charts: str = '',
) -> None:
    """Writes the page; it works from disk, asks nothing of any other place, and is readable without scripts.

    Args:
        path: of the page.
        title, introduction: its head.
        sections: its body.
        links: caption -> path relative to the page, of further files.
        charts: curves, shown before the rows.
        about_charts: an introduction to these.

    Raises:
        OSError: the page cannot be written; a previous one is unchanged.
    """
    measures = list(dict.fromkeys(name for section in sections for row in section.rows for name in row.scores))
    page = _ENVIRONMENT.get_template('gallery.html').render(
        title=title,
        introduction=introduction,
        sections=sections,
        measures=measures,
        links=links or {},
        largest=CARD,
        charts=charts,
        about_charts=about_charts,
        drawing=drawing,
    )
    with whole_file(path) as partial:
        # Surrogates cannot be written as text, only in an address.
        partial.write_text(page, encoding='utf-8', errors='replace')
        sync([partial])
