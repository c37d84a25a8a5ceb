"""The name of a run's directory: the run's name, and a suffix into which settings are filled."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from cyclegan_tf.errors import UserError


def fill_in(name: str, suffix: str, settings: Mapping[str, Any]) -> str:
    """('run', '{netG}_{load_size}', settings) -> 'run_resnet_9blocks_286'; without a suffix the name as it is.

    Raises:
        UserError: the suffix names what is no setting, or is no format that Python can read.
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
        raise UserError(f"`suffix` ('{suffix}') names '{unknown}', which is no setting; mend it.")
    return f'{name}_{filled}'
