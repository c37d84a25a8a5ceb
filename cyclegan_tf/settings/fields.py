"""What a setting is: a field with a default, a meaning, a group and bounds; and the checks of its value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Optional

from cyclegan_tf.errors import UserError

# The headings of --help, in order; those of the models follow. --helpshort shows only the first two.
GROUPS = ('run', 'data', 'networks', 'losses', 'training', 'evaluation', 'files', 'devices')

WEIGHTS = ('average', 'last')
PRECISIONS = ('float32', 'bfloat16', 'float16')


def setting(
    default: Any,
    meaning: str,
    group: str = 'run',
    choices: Optional[Sequence[str]] = None,
    minimum: Optional[float] = None,
    fixed: bool = False,
    is_run: bool = False,
) -> Any:
    """A field of a Config.

    Args:
        default: the value if none is given.
        meaning: what the setting is, for --help, without relying on its name.
        group: its heading in --help, one of GROUPS. Settings that not all models have are listed under their models.
        choices: the allowed values.
        minimum: the smallest allowed number.
        fixed: a continued run cannot change it.
        is_run: the value is the name of a run, whose directory has to be in that of all runs.
    """
    if group not in GROUPS:
        raise ValueError(f"group '{group}' is not one of: {', '.join(GROUPS)}")
    metadata = {
        'meaning': meaning,
        'group': group,
        'choices': choices,
        'minimum': minimum,
        'fixed': fixed,
        'is_run': is_run,
    }
    return dataclasses.field(default=default, metadata=metadata)


def same(config_class: type, name: str) -> Any:
    """A copy of another class's field: `name: str = same(Config, 'name')`."""
    return changed(config_class, name, config_class.__dataclass_fields__[name].default)


def changed(config_class: type, name: str, default: Any) -> Any:
    """Another class's field with a different default: `netG: str = changed(Config, 'netG', 'unet_256')`."""
    return dataclasses.field(default=default, metadata=config_class.__dataclass_fields__[name].metadata)


def split_names(setting_name: str, value: str, choices: Sequence[str]) -> tuple[str, ...]:
    """'psnr,ssim' -> ('psnr', 'ssim'); 'none' -> ().

    Raises:
        UserError: a name is not one of the choices.
    """
    names = () if value == 'none' else tuple(name.strip() for name in value.split(','))
    for name in names:
        if name not in choices:
            raise UserError(f"`{setting_name}` ('{name}') is not one of: {', '.join(choices)}, or none.")
    return names


def parse_range(setting_name: str, value: Optional[str]) -> Optional[tuple[float, float]]:
    """'-1024,3071' -> (-1024.0, 3071.0); None -> None.

    Raises:
        UserError: it is not two finite numbers, the lower one first.
    """
    if value is None:
        return None
    try:
        low, high = (float(part) for part in value.split(','))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise UserError(f"`{setting_name}` ('{value}') is not 'LOW,HIGH', two numbers, the lower first; correct it.")
    return low, high


def parse_parts(value: Optional[str]) -> tuple[tuple[str, Optional[int]], ...]:
    """The folders of --input_folders: 'A:3,A2' -> (('A', 3), ('A2', None)); None -> ().

    Raises:
        UserError: it is no such list.
    """
    parts = []
    for part in value.split(',') if value is not None else ():
        name, colon, count = part.strip().partition(':')
        if not name or '/' in name or (colon and not (count.isdecimal() and int(count))):
            raise UserError(
                f"`input_folders` ('{value}') is not a list of folders, as in A,A2 or A:3,A2:1; correct it."
            )
        parts.append((name, int(count) if colon else None))
    return tuple(parts)


def validate_epoch(epoch: str, others: Sequence[str] = ('latest', 'best')) -> None:
    """Raises UserError for an epoch that is neither one of the words in `others` nor a number."""
    if epoch not in others and not epoch.isdecimal():
        words = ', '.join(f"'{word}'" for word in others)
        raise UserError(f"`epoch` ('{epoch}') is neither {words} nor a number.")


def validate_fields(config: Any) -> None:
    """Raises UserError for a value that is not one of its field's choices, is below its minimum, or leads elsewhere."""
    for field in dataclasses.fields(config):
        value, choices, minimum = getattr(config, field.name), field.metadata['choices'], field.metadata['minimum']
        if choices is not None and value is not None and value not in choices:
            raise UserError(f"{field.name} '{value}' is not one of: {', '.join(choices)}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f'`{field.name}` ({value}) is not a finite number; correct it.')
        parts = set(value.split('/')) if field.metadata['is_run'] and value else ()
        if '..' in parts or parts == {'.'}:
            raise UserError(
                f"`{field.name}` ('{value}') leads to another directory than the run's own; set it to a name, or set "
                f'--checkpoints_dir.'
            )
        if minimum is not None and value is not None and value < minimum:
            raise UserError(f'`{field.name}` ({value}) is below {minimum}; raise it.')
