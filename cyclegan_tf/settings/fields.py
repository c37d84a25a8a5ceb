"""What a setting is: a field with a default, a meaning and bounds; and the checks of what is given for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

from cyclegan_tf.errors import UserError

# The headings of --help, in its order; behind them come those of the models. The first two are what --helpshort shows.
GROUPS = ('run', 'data', 'networks', 'losses', 'training', 'evaluation', 'files', 'devices')

PRECISIONS = ('float32', 'bfloat16', 'float16')


def setting(
    default: Any,
    meaning: str,
    group: str = 'run',
    choices: Optional[Sequence[str]] = None,
    minimum: Optional[float] = None,
    fixed: bool = False,
) -> Any:
    """A field of a Config.

    Args:
        default: the value unless given.
        meaning: for --help: what it is, without its name.
        group: of GROUPS: where --help lists it. What one model alone has stands under the model's name.
        choices: the values allowed.
        minimum: the least number allowed.
        fixed: a run that is continued cannot change it.
    """
    if group not in GROUPS:
        raise ValueError(f"group '{group}' is not one of: {', '.join(GROUPS)}")
    metadata = {'meaning': meaning, 'group': group, 'choices': choices, 'minimum': minimum, 'fixed': fixed}
    return dataclasses.field(default=default, metadata=metadata)


def same(config_class: type, name: str) -> Any:
    """A field of another class, as it is there: `name: str = same(Config, 'name')`."""
    return changed(config_class, name, config_class.__dataclass_fields__[name].default)


def changed(config_class: type, name: str, default: Any) -> Any:
    """A field of a class before, with another default: `netG: str = changed(Config, 'netG', 'unet_256')`."""
    return dataclasses.field(default=default, metadata=config_class.__dataclass_fields__[name].metadata)


def split_names(setting_name: str, value: str, choices: Sequence[str]) -> tuple[str, ...]:
    """'psnr,ssim' -> its names; 'none' -> no name.

    Raises:
        UserError: a name that is not one of the choices.
    """
    names = () if value == 'none' else tuple(name.strip() for name in value.split(','))
    for name in names:
        if name not in choices:
            raise UserError(f"`{setting_name}` ('{name}') is not one of: {', '.join(choices)}, or none.")
    return names


def validate_epoch(epoch: str, others: Sequence[str] = ('latest', 'best')) -> None:
    """Raises UserError for what is neither one of these words nor the number of an epoch."""
    if epoch not in others and not epoch.isdecimal():
        words = ', '.join(f"'{word}'" for word in others)
        raise UserError(f"`epoch` ('{epoch}') is neither {words} nor a number.")


def validate_fields(config: Any) -> None:
    """Raises UserError for a value that is not one of its field's choices or below its minimum."""
    for field in dataclasses.fields(config):
        value, choices, minimum = getattr(config, field.name), field.metadata['choices'], field.metadata['minimum']
        if choices is not None and value is not None and value not in choices:
            raise UserError(f"{field.name} '{value}' is not one of: {', '.join(choices)}.")
        if minimum is not None and value is not None and value < minimum:
            raise UserError(f'`{field.name}` ({value}) is below {minimum}; raise it.')
