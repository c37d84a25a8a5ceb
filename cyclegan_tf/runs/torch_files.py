"""Reads the weights that PyTorch has saved, with PyTorch, the extra `torch`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from cyclegan_tf.errors import UserError


def import_torch() -> Any:
    """Imports PyTorch, which only users of its files need to have; raises UserError if it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "PyTorch is not installed, but is needed to read and write its files; install cyclegan_tf's extra 'torch': "
            "pip install '.[torch]'."
        ) from error
    return torch


def read_state(path: str, where: str) -> dict[str, np.ndarray]:
    """Reads a file with a state_dict.

    Args:
        path: file.
        where: what names it in messages.

    Returns:
        float32 arrays by key.

    Raises:
        UserError: PyTorch is missing; the file is missing or damaged, or holds something else.
    """
    torch = import_torch()
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(f'{where} is not a file; set it to one that the PyTorch program has saved.')
    try:
        # weights_only: otherwise a pickle from the internet could run any code.
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file can make the reader raise any exception
        reason = getattr(error, 'strerror', None) or type(error).__name__  # PyTorch's messages are pages long
        raise UserError(
            f'{where} cannot be read as weights ({reason}); set it to an undamaged file with a state_dict, as the '
            f'PyTorch program saves it.'
        ) from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise UserError(
            f'{where} holds something other than a state_dict; set it to a file with nothing but the weights.'
        )
    odd = [key for key, value in loaded.items() if value.layout != torch.strided or value.is_complex()]
    if odd:
        raise UserError(f'{where} holds tensors that are sparse or complex ({", ".join(odd)}); set it to another file.')
    state = {key: value.detach().to(torch.float32).numpy() for key, value in loaded.items()}
    broken = [key for key, value in state.items() if not np.isfinite(value).all()]
    if broken:
        raise UserError(f'{where} holds weights that are not finite ({", ".join(broken)}); set it to another file.')
    return state
