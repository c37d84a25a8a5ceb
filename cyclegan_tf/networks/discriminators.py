"""PatchGAN discriminators: images [b, h, w, c] -> logits [b, h', w', 1], one for each patch, without a sigmoid."""

from __future__ import annotations

import functools
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.antialias import Down
from cyclegan_tf.networks.convolutions import Conv, SpectralConv
from cyclegan_tf.networks.initializers import Initializers, build
from cyclegan_tf.networks.layers import leaky_relu, pad_zero
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
        spectral_norm: divide every kernel by its largest singular value, see SpectralConv.

    Call: images float [b, h, w, input_channels] in [-1, 1] -> logits float [b, h', w', 1] with
    h' = h // 2**num_layers - 2; w' likewise. Raises UserError for images that are too small to give a logit.
    """

    def __init__(
        self,
        input_channels,
        filters,
        num_layers,
        norm,
        initializers,
        norm_form='fast',
        antialias=False,
        spectral_norm=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._input_channels = input_channels
        self._smallest_side = 3 * 2**num_layers
        use_bias = norm_wants_bias(norm)
        conv = _convolution(initializers, spectral_norm)
        stride = 1 if antialias else 2
        self.conv_in = conv(filters, 4, stride, 1)
        widths = [filters * min(2**n, 8) for n in range(1, num_layers + 1)]
        strides = [stride] * (num_layers - 1) + [1]
        self.convs = [conv(width, 4, stride, 1, use_bias=use_bias) for width, stride in zip(widths, strides)]
        self.norms = [make_norm(norm, initializers, norm_form) for _ in self.convs]
        self.blurs = [Down() for _ in range(num_layers)] if antialias else []
        self.conv_out = conv(1, 4, 1, 1)

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

    Args: as for NLayerDiscriminator, without num_layers and antialias.

    Call: images float [b, h, w, input_channels] in [-1, 1] -> logits float [b, h, w, 1].
    """

    def __init__(self, input_channels, filters, norm, initializers, norm_form='fast', spectral_norm=False, **kwargs):
        super().__init__(**kwargs)
        self._input_channels = input_channels
        use_bias = norm_wants_bias(norm)
        conv = _convolution(initializers, spectral_norm)
        self.conv_1 = conv(filters, 1)
        self.conv_2 = conv(filters * 2, 1, use_bias=use_bias)
        self.norm = make_norm(norm, initializers, norm_form)
        self.conv_3 = conv(1, 1, use_bias=use_bias)

    def call(self, x, training=False):
        check_images(x, self._input_channels)
        x = leaky_relu(self.conv_1(x))  # [b, h, w, f]
        x = leaky_relu(self.norm(self.conv_2(x), training=training))  # [b, h, w, 2f]
        return full_precision(self.conv_3(x))  # [b, h, w, 1]


class MultiscaleDiscriminator(tf.keras.Model):
    """Several discriminators, of which each but the first sees the images at half the size of the one before it
    (pix2pixHD, Wang et al. 2018): the last one judges large structures.

    Args:
        discriminators: the discriminators, for the full size first.

    Call: images as for one of them -> a list of their logits.
    """

    def __init__(self, discriminators, **kwargs):
        super().__init__(autocast=False, **kwargs)  # images are halved in float32
        self.scales = discriminators

    def call(self, x, training=False):
        logits = []
        for index, discriminator in enumerate(self.scales):
            x = halve(x) if index else x
            logits.append(discriminator(x, training=training))
        return logits


def halve(images: tf.Tensor) -> tf.Tensor:
    """Means of 3x3 pixels around every second one, at the border of those that there are: AvgPool2d(3, stride=2,
    padding=1, count_include_pad=False) of pix2pixHD.

    Args:
        images: float [b, h, w, c].

    Returns:
        float [b, (h + 1) // 2, (w + 1) // 2, c].
    """
    pool = functools.partial(tf.nn.avg_pool2d, ksize=3, strides=2, padding='VALID')
    return pool(pad_zero(images, 1)) / pool(pad_zero(tf.ones_like(images[:1, :, :, :1]), 1))


def _convolution(initializers: Initializers, spectral_norm: bool):
    """What makes the convolutions of a discriminator."""

    def make(*args, **kwargs):
        kwargs.update(kernel_initializer=initializers.kernel())
        return SpectralConv(*args, seed=initializers.next_seed(), **kwargs) if spectral_norm else Conv(*args, **kwargs)

    return make


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
    downsample: str = 'stride',
    spectral_norm: bool = False,
    num_scales: int = 1,
) -> tf.keras.Model:
    """Builds a discriminator and initialises its weights.

    Args:
        name: 'basic' (three layers), 'n_layers' or 'pixel'.
        input_channels: channels of the images.
        filters: channels after the first convolution; those of later layers, except the last, are multiples of it.
        num_layers: number of convolutions with stride 2; used by 'n_layers' only.
        norm, init_type, init_gain, seed, precision: as for make_generator.
        twice_differentiable: make the second derivative correct too, as a gradient penalty needs; slower.
        downsample: 'stride', or 'antialias' for blurs, see NLayerDiscriminator; 'pixel' has nothing to downsample.
        spectral_norm: spectral normalisation of every convolution, see SpectralConv.
        num_scales: number of discriminators, see MultiscaleDiscriminator.

    Returns:
        A model, float [b, h, w, input_channels] in [-1, 1] -> logits float [b, h', w', 1]; with several scales, a list
        of such logits.

    Raises:
        UserError: the name, norm, init_type or precision is unknown, or num_layers is below 1.
    """
    if name not in DISCRIMINATORS:
        raise UserError(f"discriminator name '{name}' is not one of: {', '.join(DISCRIMINATORS)}.")
    if num_layers < 1:
        raise UserError(f'`num_layers` ({num_layers}) must be at least 1; raise it.')
    initializers = Initializers(init_type, init_gain, seed)
    form = 'formula' if twice_differentiable else 'fast'
    num_layers = 3 if name == 'basic' else num_layers

    def make():
        if name == 'pixel':
            return PixelDiscriminator(input_channels, filters, norm, initializers, form, spectral_norm)
        return NLayerDiscriminator(
            input_channels, filters, num_layers, norm, initializers, form, downsample == 'antialias', spectral_norm
        )

    with computed_in(precision):
        model = make() if num_scales == 1 else MultiscaleDiscriminator([make() for _ in range(num_scales)])
        side = 8 * 2 ** (num_layers + num_scales - 1)
        build(model, [1, side, side, input_channels])
    return model


DISCRIMINATORS = ('basic', 'n_layers', 'pixel')
