"""The results page: one static file beside the pictures, with gallery.css and gallery.js inside."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Optional
from urllib.parse import quote

SMALL = 256  # pixels; a picture whose longer side goes into it more than once is enlarged that many times

CAPTIONS = 64  # pixels that a row is higher than its pictures

_HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file that the page shows.

    Attributes:
        path: relative to the page.
        width, height: in pixels, so that the page does not jump while the picture loads.
    """

    path: str
    width: int
    height: int

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
        note: a measure in words, or nothing.
        score: the measure, by which rows can be ordered; None if there is none.
    """

    name: str
    pictures: Mapping[str, Picture]
    note: str = ''
    score: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Section:
    """One direction: its title, an introduction, its rows, and what the overview says of it (caption -> value)."""

    title: str
    introduction: str
    rows: Sequence[Row]
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write_page(
    path: pathlib.Path,
    title: str,
    introduction: str,
    sections: Sequence[Section],
    score: str = '',
    links: Optional[Mapping[str, str]] = None,
) -> None:
    """Writes the page; it works from disk, asks nothing of any other place, and is readable without scripts.

    Args:
        path: of the page.
        title, introduction: its head.
        sections: its body.
        score: name of the rows' measure.
        links: caption -> path relative to the page, of further files.
    """
    style, script = (_HERE.joinpath(f'gallery.{kind}').read_text(encoding='utf-8') for kind in ('css', 'js'))
    further = ''.join(f' <a href="{_url(target)}">{_text(caption)}</a>' for caption, target in (links or {}).items())
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{_text(title)}</title>\n<style>\n{style}</style>\n'
        # Before anything is drawn, so that what needs the script does not appear late.
        "<script>document.documentElement.className = 'scripted'</script>\n</head>\n<body>\n"
        f'<h1>{_text(title)}</h1>\n<p>{_text(introduction)}{further}</p>\n'
        f'<div class="overview">\n{"".join(map(_card, sections))}</div>\n{_tools(sections, score)}'
        + ''.join(map(_section, sections))
        + f'{_VIEWER}<script>\n{script}</script>\n</body>\n</html>\n'
    )
    partial = path.with_name(f'.{path.name}.part')
    # A file's name that is no UTF-8 cannot be written as text, only in an address.
    partial.write_text(page, encoding='utf-8', errors='replace')
    partial.replace(path)


def _card(section: Section) -> str:
    """The overview's card: the first row's comparison and the facts."""
    facts = ''.join(
        f'<div><dt>{_text(caption)}</dt><dd>{_text(value)}</dd></div>' for caption, value in section.facts.items()
    )
    pictures = list(section.rows[0].pictures.items())[:2] if section.rows else []
    return (
        f'<div>{_comparison(pictures) if len(pictures) == 2 else ""}<div class="facts">'
        f'<h2><a href="#{_anchor(section.title)}">{_text(section.title)}</a></h2><dl>{facts}</dl></div></div>\n'
    )


def _comparison(pictures: Sequence[tuple[str, Picture]]) -> str:
    (left, first), (right, _) = pictures
    width = first.width * first.enlarged
    images = ''.join(f'<img {_image(picture, caption)}>' for caption, picture in pictures)
    return _COMPARE.format(
        style=f'--w:{min(width, round(SMALL * 1.5))}px;--ratio:{first.width}/{first.height}',
        images=images,
        left=_text(left),
        right=_text(right),
    )


def _tools(sections: Sequence[Section], score: str) -> str:
    order = ''
    if any(row.score is not None for section in sections for row in section.rows):
        order = (
            f'<label>Order <select><option value="0">by name</option><option value="1">{_text(score)}, lowest first'
            f'</option><option value="-1">{_text(score)}, highest first</option></select></label>'
        )
    return (
        '<div class="tools scripted"><label>Find <input type="search" placeholder="part of a name" autocomplete="off">'
        f'</label>{order}<output></output></div>\n'
    )


def _section(section: Section) -> str:
    shown = [picture.height * picture.enlarged for row in section.rows[:1] for picture in row.pictures.values()]
    return (
        f'<section id="{_anchor(section.title)}" style="--h:{max(shown, default=0) + CAPTIONS}px">\n'
        f'<h2>{_text(section.title)}</h2>\n<p>{_text(section.introduction)}</p>\n'
        + ''.join(map(_article, section.rows))
        + '</section>\n'
    )


def _article(row: Row) -> str:
    figures = ''.join(
        f'<figure><a href="{_url(picture.path)}"><img {_image(picture, f"{row.name}, {caption}")}></a>'
        f'<figcaption>{_text(caption)}</figcaption></figure>'
        for caption, picture in row.pictures.items()
    )
    width = max((picture.width * picture.enlarged for picture in row.pictures.values()), default=0)
    # JSON's number, since the script does not read Python's inf.
    score = '' if row.score is None else f' data-score="{json.dumps(row.score)}"'
    note = f'<p>{_text(row.note)}</p>' if row.note else ''
    button = '<button type="button" class="scripted">Compare</button>' if len(row.pictures) > 1 else ''
    return (
        f'<article{score}><header><h3>{_text(row.name)}</h3>{note}{button}</header>'
        f'<div class="row" style="--n:{len(row.pictures)};--w:{width}px">{figures}</div></article>\n'
    )


def _image(picture: Picture, description: str) -> str:
    pixels = ' class="pixels"' if picture.enlarged > 1 else ''
    return (
        f'src="{_url(picture.path)}" width="{picture.width}" height="{picture.height}" alt="{_text(description)}" '
        f'loading="lazy" decoding="async"{pixels}'
    )


def _url(path: str) -> str:
    return quote(path, errors='surrogateescape')


def _text(text: str) -> str:
    return html.escape(text)


def _anchor(title: str) -> str:
    return ''.join(letter if letter.isalnum() else '-' for letter in title.lower())


_COMPARE = (
    '<div class="compare" style="{style}">{images}<i></i><b>{left}</b><b>{right}</b><input class="scripted" '
    'type="range" min="0" max="100" step="any" value="50" autocomplete="off" '
    'aria-label="Border between {left} and {right}"></div>'
)

_VIEWER = (
    '<dialog aria-labelledby="viewed"><div><header><div><h2 id="viewed"></h2><p></p></div>'
    '<button type="button" onclick="this.closest(\'dialog\').close()">Close</button></header>'
    + _COMPARE.format(style='', images='<img alt=""><img alt="">', left='', right='')
    + '<footer><label>Left <select></select></label><label>Right <select></select></label>'
    '<span><button type="button" data-step="-1" title="key P">Previous</button>'
    '<button type="button" data-step="1" title="key N">Next</button></span></footer></div></dialog>\n'
)
