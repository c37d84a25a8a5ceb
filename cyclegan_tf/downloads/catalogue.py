"""What the authors of CycleGAN, pix2pix and CUT have published: names, addresses, and what each is."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Optional

from cyclegan_tf.errors import UserError

MIRROR = 'http://efrosgans.eecs.berkeley.edu'  # the authors' host, which every path below is on


@dataclasses.dataclass(frozen=True)
class Weights:
    """A published generator.

    Attributes:
        about: what it translates.
        path: of its file on the authors' host.
        size: of that file, in words.
        flags: those of tools/import_torch_weights.py that make a run of it, but for the file.
        file_flag: the flag that takes the file.
        member: the folder of the generator, if the file is an archive of several runs.
    """

    about: str
    path: str
    size: str
    flags: tuple[str, ...] = ()
    file_flag: str = 'g_a'
    member: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes:
        about: its domains.
        path: of its archive on the authors' host; None: they may not hand it on.
        size: of the archive, in words.
        parts: the folders that it has.
        one_of: folders of which it has at least one.
        tfds: its name in TensorFlow Datasets, if it is there.
        flags: those of training, but for its folder and the name of the run.
    """

    about: str
    path: Optional[str]
    size: str
    parts: tuple[str, ...] = ('trainA', 'trainB', 'testA', 'testB')
    one_of: tuple[str, ...] = ()
    tfds: Optional[str] = None
    flags: tuple[str, ...] = ()


def _of_cycle_gan(about: Mapping[str, str]) -> dict[str, Weights]:
    return {name: Weights(what, f'cyclegan/pretrained_models/{name}.pth', '45 MB') for name, what in about.items()}


def _of_pix2pix(about: Mapping[str, tuple[str, str]]) -> dict[str, Weights]:
    return {
        f'pix2pix_{name}': Weights(
            what, f'pix2pix/models-pytorch/{name}.pth', '218 MB', ('--model=pix2pix', f'--direction={direction}'), 'g'
        )
        for name, (what, direction) in about.items()
    }


def _of_cut(about: Mapping[str, tuple[str, str]]) -> dict[str, Weights]:
    return {
        f'{mode.lower()}_{name}': Weights(
            what,
            'CUT/pretrained_models.tar',
            '273 MB, one archive for all six',
            ('--model=cut', f'--CUT_mode={mode}', f'--direction={direction}'),
            'g',
            f'{name}_{mode.lower()}_pretrained',
        )
        for name, (what, direction) in about.items()
        for mode in ('CUT', 'FastCUT')
    }


# Those of CycleGAN: scripts/download_cyclegan_model.sh of the PyTorch program. Each is a generator of its own, so that
# the run's domain A is what it reads, also where the data set of a similar name has it as B.
# Those of pix2pix: scripts/download_pix2pix_model.sh. Their direction is that between the halves of the data set's
# images: facades and maps show photographs in the left half, night2day the night.
# Those of CUT: experiments/pretrained_launcher.py of its program, whose README names the folders in the archive.
WEIGHTS: dict[str, Weights] = {
    **_of_cycle_gan(
        {
            'apple2orange': 'apples to oranges',
            'orange2apple': 'oranges to apples',
            'summer2winter_yosemite': 'Yosemite in summer to winter',
            'winter2summer_yosemite': 'Yosemite in winter to summer',
            'horse2zebra': 'horses to zebras',
            'zebra2horse': 'zebras to horses',
            'monet2photo': 'paintings by Monet to photographs',
            'style_monet': 'photographs to the style of Monet',
            'style_cezanne': 'photographs to the style of Cezanne',
            'style_ukiyoe': 'photographs to the style of Ukiyo-e',
            'style_vangogh': 'photographs to the style of Van Gogh',
            'sat2map': 'aerial photographs to maps',
            'map2sat': 'maps to aerial photographs',
            'cityscapes_photo2label': 'photographs of streets to labels',
            'cityscapes_label2photo': 'labels to photographs of streets',
            'facades_photo2label': 'photographs of facades to labels',
            'facades_label2photo': 'labels to photographs of facades',
            'iphone2dslr_flower': 'flowers taken with a phone to shallow depth of field',
        }
    ),
    **_of_pix2pix(
        {
            'edges2shoes': ('edges to photographs of shoes', 'AtoB'),
            'sat2map': ('aerial photographs to maps', 'AtoB'),
            'map2sat': ('maps to aerial photographs', 'BtoA'),
            'facades_label2photo': ('labels to photographs of facades', 'BtoA'),
            'day2night': ('places by day to night', 'BtoA'),
        }
    ),
    **_of_cut(
        {
            'cityscapes': ('labels to photographs of streets', 'BtoA'),
            'horse2zebra': ('horses to zebras', 'AtoB'),
            'cat2dog': ('cats to dogs', 'AtoB'),
        }
    ),
}


def _unpaired(name: str, about: str, size: str) -> DataSet:
    return DataSet(about, f'cyclegan/datasets/{name}.zip', size, tfds=f'cycle_gan/{name}')


def _pairs(name: str, about: str, size: str, direction: str = 'AtoB') -> DataSet:
    flags = ('--model=pix2pix', f'--direction={direction}')
    return DataSet(about, f'pix2pix/datasets/{name}.tar.gz', size, ('train',), ('val', 'test'), flags=flags)


# The data sets of datasets/download_cyclegan_dataset.sh, download_pix2pix_dataset.sh and CUT's download_cut_dataset.sh;
# ae_photos has no images for training. The direction is that of the authors' published generator.
DATA: dict[str, DataSet] = {
    'apple2orange': _unpaired('apple2orange', 'apples and oranges', '78 MB'),
    'summer2winter_yosemite': _unpaired('summer2winter_yosemite', 'Yosemite in summer and winter', '133 MB'),
    'horse2zebra': _unpaired('horse2zebra', 'horses and zebras', '117 MB'),
    'monet2photo': _unpaired('monet2photo', 'paintings by Monet and photographs', '305 MB'),
    'cezanne2photo': _unpaired('cezanne2photo', 'paintings by Cezanne and photographs', '280 MB'),
    'ukiyoe2photo': _unpaired('ukiyoe2photo', 'Ukiyo-e prints and photographs', '293 MB'),
    'vangogh2photo': _unpaired('vangogh2photo', 'paintings by Van Gogh and photographs', '307 MB'),
    'maps': _unpaired('maps', 'aerial photographs and maps', '1.5 GB'),
    'facades': _unpaired('facades', 'photographs and labels of facades', '35 MB'),
    'iphone2dslr_flower': _unpaired('iphone2dslr_flower', 'flowers taken with a phone and a camera', '340 MB'),
    'cityscapes': DataSet('photographs and labels of streets; from your own copy', None, '-'),
    'grumpifycat': DataSet(
        'Russian Blue cats and a grumpy one; no test images',
        'cyclegan/datasets/grumpifycat.zip',
        '19 MB',
        ('trainA', 'trainB'),
        flags=('--model=cut',),
    ),
    'pix2pix_facades': _pairs('facades', 'pairs: photographs and labels of facades', '29 MB', 'BtoA'),
    'pix2pix_maps': _pairs('maps', 'pairs: aerial photographs and maps', '239 MB'),
    'pix2pix_edges2shoes': _pairs('edges2shoes', 'pairs: edges and photographs of shoes', '2 GB'),
    'pix2pix_edges2handbags': _pairs('edges2handbags', 'pairs: edges and photographs of handbags', '8 GB'),
    'pix2pix_night2day': _pairs('night2day', 'pairs: places by night and by day', '1.9 GB', 'BtoA'),
    'pix2pix_cityscapes': DataSet(
        'pairs: photographs and labels of streets; from your own copy',
        None,
        '-',
        ('train', 'test'),
        flags=('--model=pix2pix', '--direction=BtoA'),
    ),
}


def find(word: str, name: str) -> None:
    """Checks a name.

    Args:
        word: 'weights' or 'data'.
        name: the name that was asked for.

    Raises:
        UserError: nothing of this name is published; the message has similar names.
    """
    known = {'weights': WEIGHTS, 'data': DATA}[word]
    if name not in known:
        near = _similar(name, known)
        hint = f'did you mean {" or ".join(near)}? ' if near else ''
        raise UserError(f"{word} '{name}' is not published; {hint}python -m cyclegan_tf.download list shows all names.")


def _similar(name: str, known: Iterable[str]) -> list[str]:
    """Up to three names that are like this one, or that hold it."""
    longer = [other for other in known if len(name) > 2 and name.lower() in other]
    return list(dict.fromkeys([*longer, *difflib.get_close_matches(name.lower(), known)]))[:3]


def table() -> str:
    """The names of all weights and data sets, with their sizes and a word about each."""
    lines = []
    for title, entries in (('weights', WEIGHTS), ('data', DATA)):
        lines += ['', f'python -m cyclegan_tf.download {title} NAME', '']
        rows = [(name, entry.size.partition(',')[0], entry.about) for name, entry in entries.items()]
        names, sizes = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines += [f'  {name:{names}}  {size:>{sizes}}  {about}' for name, size, about in rows]
    return '\n'.join([*lines[1:], '', 'Sizes are approximate.'])
