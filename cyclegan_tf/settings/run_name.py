"""The name of a run's directory: the run's name, and a suffix with the values of settings filled in."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from cyclegan_tf.errors import UserError


def fill_in(name: str, suffix: str, settings: Mapping[str, Any]) -> str:
    """('run', '{netG}_{load_size}', settings) -> 'run_resnet_9blocks_286'; the name alone if there is no suffix.

    Raises:
        UserError: the suffix names something that is not a setting, or is not a format string that Python can read.
    """
    if not suffix:
        return name
    try:
        wanted = [field for _, field, _, _ in string.Formatter().parse(suffix) if field is not None]
        unknown = next((field for field in wanted if field not in settings), None)
        filled = suffix.format(**settings) if unknown is None else None
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(
            f"`suffix` ('{suffix}') cannot be filled in ({error}); write names of settings in braces, as in '{{netG}}'."
        ) from error
    if unknown is not None:
        raise UserError(f"`suffix` ('{suffix}') names '{unknown}', which is not a setting; correct it.")
    return f'{name}_{filled}'
