"""Names of images that are told apart, and paths for results that are told apart."""

from __future__ import annotations

import collections
import itertools
import os
import pathlib
from collections.abc import Sequence


def unique_names(paths: Sequence[str]) -> list[str]:
    """Paths without suffix, except that cat.jpg and cat.png in the same folder become cat_jpg and cat_png."""
    stems = [os.path.splitext(path)[0].replace(os.sep, '/') for path in paths]
    counts = collections.Counter(stems)
    taken = {stem for stem in stems if counts[stem] == 1}
    names = []
    for stem, path in zip(stems, paths):
        name = stem
        if counts[stem] > 1:
            with_suffix = path.replace(os.sep, '/').replace('.', '_')
            candidates = itertools.chain([with_suffix], (f'{with_suffix}_{i}' for i in itertools.count(2)))
            name = next(name for name in candidates if name not in taken)  # there may be a cat_jpg.png, too
            taken.add(name)
        names.append(name)
    return names


def distinct_paths(names: Sequence[str]) -> list[str]:
    """Names as paths of PNGs or TIFFs without ending. No two are equal, even if upper and lower case are, and none is
    the folder of another."""
    folders = {str(parent).lower() for name in names for parent in pathlib.PurePosixPath(name).parents}
    taken = {folder[:-4] for folder in folders if folder.endswith(('.png', '.tif'))}
    paths = []
    for name in names:
        path, number = name, 1
        while path.lower() in taken:
            number += 1
            path = f'{name}_{number}'
        taken.add(path.lower())
        paths.append(path)
    return paths
