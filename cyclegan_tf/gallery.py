"""The results page: one static file beside the pictures."""

from __future__ import annotations

import dataclasses
import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Optional
from urllib.parse import quote

_STYLE = """
:root { color-scheme: light dark; --ground: #fafaf8; --ink: #1d1d1b; --soft: #6d6d66; --line: #deded8; }
@media (prefers-color-scheme: dark) { :root { --ground: #161615; --ink: #ecece6; --soft: #9b9b92; --line: #34342f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .25rem; font-size: 1.25rem; }
p { margin: .25rem 0; color: var(--soft); }
nav a { color: inherit; margin-right: 1rem; }
section > article { border-top: 1px solid var(--line); padding: .9rem 0 1.1rem; content-visibility: auto;
  contain-intrinsic-size: auto 330px; }
h3 { margin: 0 0 .5rem; font-size: .95rem; font-weight: 600; overflow-wrap: anywhere; }
h3 span { color: var(--soft); font-weight: 400; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: .75rem; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { margin-top: .3rem; font-size: .8rem; color: var(--soft); }
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """One image and what was made of it.

    Attributes:
        name: of the image.
        pictures: caption -> path of a picture relative to the page, in order.
        note: a measure, or nothing.
    """

    name: str
    pictures: Mapping[str, str]
    note: str = ''


@dataclasses.dataclass(frozen=True)
class Section:
    """One direction: its title, an introduction and its rows."""

    title: str
    introduction: str
    rows: Sequence[Row]


def write_page(
    path: pathlib.Path, title: str, introduction: str, sections: Sequence[Section], sizes: Optional[tuple[int, int]]
) -> None:
    """Writes the page; it works from disk and asks nothing of any other place.

    Args:
        path: of the page.
        title, introduction: its head.
        sections: its body.
        sizes: width and height of all pictures, so that the page does not jump while they load; None if they differ.
    """
    links = ''.join(f'<a href="#{_anchor(s.title)}">{html.escape(s.title)}</a>' for s in sections)
    body = '\n'.join(_section(section, sizes) for section in sections)
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f'<h1>{html.escape(title)}</h1>\n<p>{html.escape(introduction)}</p>\n<nav>{links}</nav>\n{body}\n'
        f'</body>\n</html>\n'
    )
    partial = path.with_name(f'.{path.name}.part')
    partial.write_text(page, encoding='utf-8')
    partial.replace(path)


def _section(section: Section, sizes: Optional[tuple[int, int]]) -> str:
    size = f' width="{sizes[0]}" height="{sizes[1]}"' if sizes else ''
    articles = []
    for row in section.rows:
        figures = ''.join(
            f'<figure><a href="{quote(path)}"><img src="{quote(path)}" alt="{html.escape(f"{row.name}, {caption}")}" '
            f'loading="lazy" decoding="async"{size}></a><figcaption>{html.escape(caption)}</figcaption></figure>'
            for caption, path in row.pictures.items()
        )
        note = f' <span>{html.escape(row.note)}</span>' if row.note else ''
        articles.append(f'<article><h3>{html.escape(row.name)}{note}</h3><div class="row">{figures}</div></article>')
    return (
        f'<section id="{_anchor(section.title)}">\n<h2>{html.escape(section.title)}</h2>\n'
        f'<p>{html.escape(section.introduction)}</p>\n' + '\n'.join(articles) + '\n</section>'
    )


def _anchor(title: str) -> str:
    return ''.join(letter if letter.isalnum() else '-' for letter in title.lower())
