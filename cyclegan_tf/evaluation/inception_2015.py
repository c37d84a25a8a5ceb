"""The Inception network of 2015 with which published FID and KID are computed, as a Keras model.

It is the graph of Google's classify_image_graph_def.pb up to its layer pool3. It departs from Szegedy et al. 2016 and
from Keras's InceptionV3 in its pooling, and its weights are others. They are read from the file into which
pytorch-fid and torch-fidelity ported them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

import numpy as np
import tensorflow as tf

SIDE = 299  # pixels
WEIGHTS_AT = 'https://github.com/mseitzer/pytorch-fid/releases/download'
RELEASE = 'fid_weights'  # in that place
WEIGHTS = 'pt_inception-2015-12-05-6726825d.pth'  # ends in the beginning of its SHA-256

_EPSILON = 1e-3  # of the batch norms
_COUNTER = 'num_batches_tracked'  # PyTorch's, of no use here
_CLASSIFIER = ('fc.weight', 'fc.bias')  # behind the features

# Name of a convolution in a block -> filters, size, and stride where that is not 1. Those of one branch follow each
# other. 1 is 1x1; strided convolutions have no padding.
_Branch = dict[str, tuple]


class Inception2015:
    """The network with random weights, until `assign` sets them.

    Attributes:
        model: float32 [n, 299, 299, 3] in [-1, 1] -> float32 [n, 2048], the means of the last maps over positions.
    """

    def __init__(self):
        # PyTorch's name of a convolution with its batch norm -> both layers.
        self._layers: dict[str, tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]] = {}
        images = tf.keras.Input((SIDE, SIDE, 3))
        x = self._convolution(images, 'Conv2d_1a_3x3', 32, 3, 2, 'valid')
        x = self._convolution(x, 'Conv2d_2a_3x3', 32, 3, padding='valid')
        x = self._convolution(x, 'Conv2d_2b_3x3', 64, 3)
        x = _max_pool(x, 2)
        x = self._convolution(x, 'Conv2d_3b_1x1', 80, 1)
        x = self._convolution(x, 'Conv2d_4a_3x3', 192, 3, padding='valid')
        x = _max_pool(x, 2)
        for name, pooled in (('Mixed_5b', 32), ('Mixed_5c', 64), ('Mixed_5d', 64)):
            x = self._of_35x35(x, name, pooled)
        x = self._to_17x17(x, 'Mixed_6a')
        for name, inner in (('Mixed_6b', 128), ('Mixed_6c', 160), ('Mixed_6d', 160), ('Mixed_6e', 192)):
            x = self._of_17x17(x, name, inner)
        x = self._to_8x8(x, 'Mixed_7a')
        x = self._of_8x8(x, 'Mixed_7b', _average_pool)
        x = self._of_8x8(x, 'Mixed_7c', _max_pool)  # of this graph alone; the paper has an average here
        self.model = tf.keras.Model(images, tf.keras.layers.GlobalAveragePooling2D()(x), name='inception_2015')

    def _convolution(self, x, name: str, filters: int, size, stride: int = 1, padding: str = 'same'):
        """Convolution, batch norm, ReLU."""
        convolution = tf.keras.layers.Conv2D(filters, size, stride, padding, use_bias=False)
        norm = tf.keras.layers.BatchNormalization(epsilon=_EPSILON)
        self._layers[name] = (convolution, norm)
        return tf.nn.relu(norm(convolution(x), training=False))

    def _branch(self, x, block: str, layers: _Branch):
        for name, (filters, size, *stride) in layers.items():
            x = self._convolution(x, f'{block}.{name}', filters, size, *(*stride, 'valid') if stride else ())
        return x

    def _of_35x35(self, x, block: str, pooled: int):
        return _join(
            self._branch(x, block, {'branch1x1': (64, 1)}),
            self._branch(x, block, {'branch5x5_1': (48, 1), 'branch5x5_2': (64, 5)}),
            self._branch(x, block, {'branch3x3dbl_1': (64, 1), 'branch3x3dbl_2': (96, 3), 'branch3x3dbl_3': (96, 3)}),
            self._branch(_average_pool(x), block, {'branch_pool': (pooled, 1)}),
        )

    def _to_17x17(self, x, block: str):
        double = {'branch3x3dbl_1': (64, 1), 'branch3x3dbl_2': (96, 3), 'branch3x3dbl_3': (96, 3, 2)}
        return _join(
            self._branch(x, block, {'branch3x3': (384, 3, 2)}), self._branch(x, block, double), _max_pool(x, 2)
        )

    def _of_17x17(self, x, block: str, inner: int):
        wide, high = (1, 7), (7, 1)
        single = {'branch7x7_1': (inner, 1), 'branch7x7_2': (inner, wide), 'branch7x7_3': (192, high)}
        double = {
            'branch7x7dbl_1': (inner, 1),
            'branch7x7dbl_2': (inner, high),
            'branch7x7dbl_3': (inner, wide),
            'branch7x7dbl_4': (inner, high),
            'branch7x7dbl_5': (192, wide),
        }
        return _join(
            self._branch(x, block, {'branch1x1': (192, 1)}),
            self._branch(x, block, single),
            self._branch(x, block, double),
            self._branch(_average_pool(x), block, {'branch_pool': (192, 1)}),
        )

    def _to_8x8(self, x, block: str):
        large = {
            'branch7x7x3_1': (192, 1),
            'branch7x7x3_2': (192, (1, 7)),
            'branch7x7x3_3': (192, (7, 1)),
            'branch7x7x3_4': (192, 3, 2),
        }
        return _join(
            self._branch(x, block, {'branch3x3_1': (192, 1), 'branch3x3_2': (320, 3, 2)}),
            self._branch(x, block, large),
            _max_pool(x, 2),
        )

    def _of_8x8(self, x, block: str, pool):
        def forked(y, name: str):
            """Two convolutions of the same input, along one axis each."""
            return [
                self._convolution(y, f'{block}.{name}{way}', 384, size) for way, size in zip('ab', ((1, 3), (3, 1)))
            ]

        double = self._branch(x, block, {'branch3x3dbl_1': (448, 1), 'branch3x3dbl_2': (384, 3)})
        return _join(
            self._branch(x, block, {'branch1x1': (320, 1)}),
            *forked(self._branch(x, block, {'branch3x3_1': (384, 1)}), 'branch3x3_2'),
            *forked(double, 'branch3x3dbl_3'),
            self._branch(pool(x), block, {'branch_pool': (192, 1)}),
        )

    def differences(self, state: Mapping[str, np.ndarray]) -> list[str]:
        """A line for each array of a state_dict that does not fit; none if all do.

        Args:
            state: float32 arrays by PyTorch's keys; the classifier may be missing.
        """
        shapes: dict[str, Union[tuple[int, ...], None]] = {key: None for key in _CLASSIFIER}
        for name, (convolution, _) in self._layers.items():
            height, width, inputs, outputs = convolution.kernel.shape
            shapes[f'{name}.conv.weight'] = (outputs, inputs, height, width)
            shapes.update({f'{name}.bn.{part}': (outputs,) for part in _PARTS})
        lines = [f'{key} is missing' for key, shape in shapes.items() if shape is not None and key not in state]
        for key, value in state.items():
            if key not in shapes and not key.endswith(_COUNTER):
                lines.append(f'{key} is not of this network')
            elif shapes.get(key) not in (None, value.shape):
                lines.append(f'{key} has the shape {value.shape} instead of {shapes[key]}')
        return lines

    def assign(self, state: Mapping[str, np.ndarray]) -> None:
        """Sets the weights to those of a state_dict without `differences`."""
        for name, (convolution, norm) in self._layers.items():
            convolution.set_weights([state[f'{name}.conv.weight'].transpose(2, 3, 1, 0)])
            norm.set_weights([state[f'{name}.bn.{part}'] for part in _PARTS])


# A batch norm's arrays in PyTorch, in the order of Keras's.
_PARTS = ('weight', 'bias', 'running_mean', 'running_var')


def _max_pool(x, stride: int = 1):
    return tf.keras.layers.MaxPooling2D(3, stride, 'same' if stride == 1 else 'valid')(x)


def _average_pool(x):
    """The mean of the neighbours that there are: at the border fewer than nine."""
    return tf.keras.layers.AveragePooling2D(3, 1, 'same')(x)


def _join(*branches):
    return tf.keras.layers.Concatenate()(list(branches))
