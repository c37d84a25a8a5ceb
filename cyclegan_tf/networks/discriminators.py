"""PatchGAN discriminators: images [b, h, w, c] -> logits [b, h', w', 1], one for each patch, without a sigmoid."""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.antialias import Down
from cyclegan_tf.networks.convolutions import Conv
from cyclegan_tf.networks.initializers import Initializers, build
from cyclegan_tf.networks.layers import leaky_relu
from cyclegan_tf.networks.norms import make_norm, norm_wants_bias
from cyclegan_tf.networks.precision import computed_in, full_precision
from cyclegan_tf.networks.shapes import check_images


class NLayerDiscriminator(tf.keras.Model):
    """4x4 convolutions: num_layers of stride 2, then two of stride 1 (Isola et al. 2017).

    With 3 layers, each logit judges a patch of 70x70 pixels.

    Args:
        input_channels: channels of the images.
        filters: channels after the first convolution; each further one doubles them, up to 8 * filters.
        num_layers: number of convolutions with stride 2.
        norm: 'instance', 'batch' or 'none'.
        initializers: makes the initializers of the weights.
        norm_form: implementation of instance norm, see norms.instance_norm.
        antialias: instead of a stride of 2, a stride of 1 and a blur that halves the sides behind the activation, as
            CUT has it.

    Call: images float [b, h, w, input_channels] in [-1, 1] -> logits float [b, h', w', 1] with
    h' = h // 2**num_layers - 2; w' likewise. Raises UserError for images that are too small to give a logit.
    """

    def __init__(
        self, input_channels, filters, num_layers, norm, initializers, norm_form='fast', antialias=False, **kwargs
    ):
        super().__init__(**kwargs)
        self._input_channels = input_channels
        self._smallest_side = 3 * 2**num_layers
        use_bias = norm_wants_bias(norm)
        kernel = initializers.kernel
        stride = 1 if antialias else 2
        self.conv_in = Conv(filters, 4, stride, 1, kernel_initializer=kernel())
        widths = [filters * min(2**n, 8) for n in range(1, num_layers + 1)]
        strides = [stride] * (num_layers - 1) + [1]
        self.convs = [
            Conv(width, 4, stride, 1, use_bias=use_bias, kernel_initializer=kernel())
            for width, stride in zip(widths, strides)
        ]
        self.norms = [make_norm(norm, initializers, norm_form) for _ in self.convs]
        self.blurs = [Down() for _ in range(num_layers)] if antialias else []
        self.conv_out = Conv(1, 4, 1, 1, kernel_initializer=kernel())

    def call(self, x, training=False):
        check_images(x, self._input_channels, smallest_side=self._smallest_side)
        x = self._halved(leaky_relu(self.conv_in(x)), 0)  # [b, h/2, w/2, f]
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms), 1):
            x = self._halved(leaky_relu(norm(conv(x), training=training)), i)  # [b, h/4, w/4, 2f], ...
        return full_precision(self.conv_out(x))  # [b, h', w', 1]

    def _halved(self, x, index):
        return self.blurs[index](x) if index < len(self.blurs) else x


class PixelDiscriminator(tf.keras.Model):
    """1x1 convolutions, which judge the colour of each pixel on its own.

    Args: as for NLayerDiscriminator, without num_layers.

    Call: images float [b, h, w, input_channels] in [-1, 1] -> logits float [b, h, w, 1].
    """

    def __init__(self, input_channels, filters, norm, initializers, norm_form='fast', **kwargs):
        super().__init__(**kwargs)
        self._input_channels = input_channels
        use_bias = norm_wants_bias(norm)
        self.conv_1 = Conv(filters, 1, kernel_initializer=initializers.kernel())
        self.conv_2 = Conv(filters * 2, 1, use_bias=use_bias, kernel_initializer=initializers.kernel())
        self.norm = make_norm(norm, initializers, norm_form)
        self.conv_3 = Conv(1, 1, use_bias=use_bias, kernel_initializer=initializers.kernel())

    def call(self, x, training=False):
        check_images(x, self._input_channels)
        x = leaky_relu(self.conv_1(x))  # [b, h, w, f]
        x = leaky_relu(self.norm(self.conv_2(x), training=training))  # [b, h, w, 2f]
        return full_precision(self.conv_3(x))  # [b, h, w, 1]


def make_discriminator(
    name: str,
    input_channels: int = 3,
    filters: int = 64,
    num_layers: int = 3,
    norm: str = 'instance',
    init_type: str = 'normal',
    init_gain: float = 0.02,
    seed: Optional[int] = None,
    twice_differentiable: bool = False,
    precision: str = 'float32',
    antialias: bool = False,
) -> tf.keras.Model:
    """Builds a discriminator and initialises its weights.

    Args:
        name: 'basic' (three layers), 'n_layers' or 'pixel'.
        input_channels: channels of the images.
        filters: channels after the first convolution; those of later layers, except the last, are multiples of it.
        num_layers: number of convolutions with stride 2; used by 'n_layers' only.
        norm, init_type, init_gain, seed, precision: as for make_generator.
        twice_differentiable: make the second derivative correct too, as a gradient penalty needs; slower.
        antialias: antialiased downsampling, see NLayerDiscriminator; 'pixel' has none.

    Returns:
        A model, float [b, h, w, input_channels] in [-1, 1] -> logits float [b, h', w', 1].

    Raises:
        UserError: the name, norm, init_type or precision is unknown, or num_layers is below 1.
    """
    if name not in DISCRIMINATORS:
        raise UserError(f"discriminator name '{name}' is not one of: {', '.join(DISCRIMINATORS)}.")
    if num_layers < 1:
        raise UserError(f'`num_layers` ({num_layers}) must be at least 1; raise it.')
    initializers = Initializers(init_type, init_gain, seed)
    form = 'formula' if twice_differentiable else 'fast'
    with computed_in(precision):
        if name == 'pixel':
            model = PixelDiscriminator(input_channels, filters, norm, initializers, form)
        else:
            num_layers = 3 if name == 'basic' else num_layers
            model = NLayerDiscriminator(input_channels, filters, num_layers, norm, initializers, form, antialias)
        side = 8 * 2**num_layers
        build(model, [1, side, side, input_channels])
    return model


DISCRIMINATORS = ('basic', 'n_layers', 'pixel')
