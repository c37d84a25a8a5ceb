"""What was chosen for this machine when networks were called, in words."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Optional

import tensorflow as tf

from cyclegan_tf.networks.convolutions import Conv3x3
from cyclegan_tf.runtime import allocator

_ONEDNN = {'0': 'off', '1': 'on'}


def describe(networks: Iterable[tf.keras.Model], kinds_in_one_batch: Optional[Collection[str]] = None) -> str:
    """The precision, the implementations of convolutions, the memory's pages, and the threads, in one line.

    Args:
        networks: networks that have been called, or traced.
        kinds_in_one_batch: of a training step, BaseModel.kinds_in_one_batch; None: there is no step.
    """
    precisions, chosen = set(), []
    for network in networks:
        for layer in network.submodules:
            if isinstance(layer, tf.keras.layers.Conv2D):
                precisions.add(layer.compute_dtype)
            if isinstance(layer, Conv3x3) and layer.chose_winograd is not None:
                chosen.append(layer.chose_winograd)
    onednn = os.environ.get('TF_ENABLE_ONEDNN_OPTS')
    threads = [
        f'{tf.config.threading.get_inter_op_parallelism_threads() or "as many as cores"} for operations at once',
        f'{tf.config.threading.get_intra_op_parallelism_threads() or "as many as cores"} within an operation',
    ]
    joined = ' and '.join(f'{kind}s' for kind in sorted(kinds_in_one_batch or [])) or 'no networks'
    huge = allocator.bytes_in_huge_pages()
    pages = '' if huge is None else f'; {huge / 1e6:,.0f} MB of memory in huge pages'
    batches = '' if kinds_in_one_batch is None else f'; images of several passes in one batch: {joined}'
    return (
        f'Chosen for this machine: convolutions in {", ".join(sorted(precisions))}, {sum(chosen)} of {len(chosen)} of '
        f"3x3 and stride 1 by Winograd's algorithm; oneDNN {_ONEDNN.get(onednn, 'as TensorFlow decides')} "
        f'(TF_ENABLE_ONEDNN_OPTS){batches}{pages}; threads: {", ".join(threads)}.'
    )
