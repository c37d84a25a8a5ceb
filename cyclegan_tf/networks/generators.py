"""ResNet and U-Net generators: images [b, h, w, input_channels] -> images of the same size, all in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.networks.antialias import Down, Up
from cyclegan_tf.networks.convolutions import Conv, Conv3x3, ResizeConv, UpConv
from cyclegan_tf.networks.initializers import Initializers, build
from cyclegan_tf.networks.kernels import segments
from cyclegan_tf.networks.layers import PADDINGS, apply_dropout, leaky_relu, pad_reflect
from cyclegan_tf.networks.norms import NoNorm, make_norm, norm_wants_bias
from cyclegan_tf.networks.precision import computed_in, full_precision
from cyclegan_tf.networks.shapes import check_images
from cyclegan_tf.networks.stages import Stage, StageSequence

DROPOUT_RATE = 0.5  # as in the reference
LARGEST_GAIN = 4.0  # the smallest is 1 / LARGEST_GAIN


def _changed(x: tf.Tensor, change: tf.Tensor, gain: bool) -> tf.Tensor:
    """An image with a change to it.

    Args:
        x: float [b, h, w, c] in [-1, 1].
        change: float [b, h, w, c] in [-1, 1], what is added to the image; with gain, [b, h, w, 2c]: before that, the
            logarithms to the base LARGEST_GAIN of the factors by which its pixels, counted from black, are multiplied.
        gain: whether there are such factors.

    Returns:
        float [b, h, w, c] in [-1, 1].
    """
    if gain:
        logarithm, change = tf.split(change, 2, axis=-1)
        x = (x + 1) * tf.pow(tf.cast(LARGEST_GAIN, logarithm.dtype), logarithm) - 1
    return tf.clip_by_value(x + change, -1, 1)


class ResnetBlock(tf.keras.layers.Layer):
    """x + norm(conv(pad(dropout(relu(norm(conv(pad(x)))))))), without an activation after the sum.

    Input and output: float [b, h, w, filters].
    """

    def __init__(self, filters, norm, use_dropout, padding, initializers, dropout_index):
        super().__init__()
        self._pad = PADDINGS[padding]
        self._use_dropout = use_dropout
        self._dropout_index = dropout_index
        use_bias = norm_wants_bias(norm)
        self.conv_1 = Conv3x3(filters, use_bias=use_bias, kernel_initializer=initializers.kernel())
        self.norm_1 = make_norm(norm, initializers)
        self.conv_2 = Conv3x3(filters, use_bias=use_bias, kernel_initializer=initializers.kernel())
        self.norm_2 = make_norm(norm, initializers)

    def call(self, x, training=False, seed=None):
        y = tf.nn.relu(self.norm_1(self.conv_1(self._pad(x, 1)), training=training))
        if self._use_dropout:
            y = apply_dropout(y, DROPOUT_RATE, training, seed, self._dropout_index)
        return x + self.norm_2(self.conv_2(self._pad(y, 1)), training=training)


class ResnetGenerator(tf.keras.Model):
    """Two downsampling convolutions, residual blocks, two upsampling ones (Johnson et al. 2016, as in the reference).

    Args:
        input_channels: channels of the input images.
        output_channels: channels of the output images.
        filters: channels after the first convolution; the blocks have four times as many.
        num_blocks: number of residual blocks, 9 or 6 in the reference.
        norm: 'instance', 'batch' or 'none'.
        use_dropout: apply dropout of 0.5 inside each block, in training, and outside it where test_time.TestTime says
            so.
        padding: padding inside the blocks: 'reflect', 'replicate' or 'zero'; the first and the last convolution always
            use 'reflect'.
        initializers: makes the initializers of the weights.
        recompute_grads: in training, the backward pass recomputes the activations inside each block, before the blocks
            and after them, instead of keeping them in memory.
        downsample: 'stride', by strided convolutions; or 'antialias', behind a blur, as CUT does.
        upsample: 'deconv', by transposed convolutions; 'antialias', by interpolation, as CUT does; or 'resize', by
            repeating pixels. The latter two have a convolution behind them.
        learn_residual: return clip(x + y, -1, 1) for an image x and the last layer's output y (DeblurGAN, Kupyn et al.
            2018): the layers learn what to change. Takes images whose sides are multiples of side_multiple.
        learn_gain: with learn_residual, return clip((x + 1) 4^g - 1 + y, -1, 1), where g and y, both in [-1, 1], are
            halves of the last layer's channels: each pixel is made up to four times as bright or as dark, counted from
            black, before the change is added. Such local affine functions of colour, from HDRNet (Gharbi et al. 2017,
            "Deep Bilateral Learning for Real-Time Image Enhancement"), keep edges in proportion to the light.
        n_downsampling: how often the sides of the features are halved before the blocks, and doubled behind them: 2 in
            the reference. With 0, the blocks see every pixel, and nothing has to be put together again (pix2pixHD, Wang
            et al. 2018, has an option for it, with 4 as its default).

    Attributes:
        side_multiple: 2 ** n_downsampling.

    Call: images float [b, h, w, input_channels] in [-1, 1] -> float [b, h, w, output_channels] in [-1, 1]. Sides that
    are not multiples of side_multiple are rounded up to the next multiple, as in the reference. `seed`, int [b, 2], is
    required in training with dropout. With `layers`, indices into the reference's nn.Sequential, the call returns a
    list of the outputs of these layers, in this order and in the precision of computation, and computes no layer after
    the highest.
    Raises UserError for sides that are too small for the padding, and for an index outside the sequence.
    """

    def __init__(
        self,
        input_channels,
        output_channels,
        filters,
        num_blocks,
        norm,
        use_dropout,
        padding,
        initializers,
        recompute_grads=False,
        downsample='stride',
        upsample='deconv',
        learn_residual=False,
        learn_gain=False,
        n_downsampling=2,
        **kwargs,
    ):
        super().__init__(autocast=not learn_residual, **kwargs)  # the image that is added to stays in float32
        if padding not in PADDINGS:
            raise UserError(f"padding '{padding}' is not one of: {', '.join(PADDINGS)}.")
        self.side_multiple = 2**n_downsampling
        self.output_channels = output_channels
        # The first padding mirrors 3 pixels next to the border pixel, so that sides need 4 pixels. Mirroring in the
        # blocks needs features of 2 pixels, which come from more than side_multiple pixels of the image.
        self._smallest_side = max(4, self.side_multiple + 1 if padding == 'reflect' else 1)
        self._input_channels = input_channels
        use_bias = norm_wants_bias(norm)
        kernel = initializers.kernel
        self.conv_in = Conv(filters, 7, use_bias=use_bias, kernel_initializer=kernel())
        self.norm_in = make_norm(norm, initializers)
        self._learn_residual, self._learn_gain = learn_residual, learn_gain
        widths = [filters * 2**n for n in range(n_downsampling + 1)]  # of the features at each size: f, 2f, 4f
        if downsample == 'antialias':
            self.downs = [Conv3x3(width, 1, use_bias, kernel()) for width in widths[1:]]
        else:
            self.downs = [Conv(width, 3, 2, 1, use_bias=use_bias, kernel_initializer=kernel()) for width in widths[1:]]
        self.down_norms = [make_norm(norm, initializers) for _ in self.downs]
        self.down_blurs = [Down() for _ in self.downs] if downsample == 'antialias' else []
        self.blocks = [
            ResnetBlock(widths[-1], norm, use_dropout, padding, initializers, dropout_index=i)
            for i in range(num_blocks)
        ]
        after = widths[-2::-1]
        if upsample == 'antialias':
            self.ups = [Conv3x3(width, 1, use_bias, kernel()) for width in after]
        elif upsample == 'resize':
            self.ups = [ResizeConv(width, use_bias, kernel()) for width in after]
        else:
            self.ups = [UpConv(width, 3, use_bias=use_bias, kernel_initializer=kernel()) for width in after]
        self.up_norms = [make_norm(norm, initializers) for _ in self.ups]
        self.up_blurs = [Up() for _ in self.ups] if upsample == 'antialias' else []
        self.conv_out = Conv(output_channels * (1 + learn_gain), 7, kernel_initializer=kernel())
        train = segments.make_training(lambda: self.trainable_variables, not norm.startswith('batch'), recompute_grads)
        first = len(self._stages_down())
        blocks = range(first, first + num_blocks)
        # With recomputation, the values between segments stay in memory, and the output of stage 1 is large: no
        # segment ends there.
        starts = [0, *([] if recompute_grads else [2]), *blocks, blocks.stop]
        self._sequence = StageSequence(self._stages, starts, train)

    @property
    def num_layers(self) -> int:
        """The number of layers whose outputs a call can return."""
        return len(self._stages())

    def keeps_layers(self, layers: Sequence[int]) -> bool:
        """Whether a pass through the whole network that returns these layers' outputs and, as its last layer's, the
        image gives the same values as a pass that ends at the highest of them, and another for the image."""
        return not self._learn_residual and self._sequence.keeps(max(layers))

    def _stages(self) -> list[Stage]:
        """The network's stages, at the indices of the reference's nn.Sequential. Shapes are those with
        n_downsampling 2."""
        stages = self._stages_down()
        stages += [Stage(block, takes=('training', 'seed')) for block in self.blocks]  # [b, h/4, w/4, 4f]
        for i, (conv, norm) in enumerate(zip(self.ups, self.up_norms)):  # [b, h/2, w/2, 2f], [b, h, w, f]
            stages += [*map(Stage, self.up_blurs[i : i + 1]), *self._convolution(conv, norm)]
        tanh = Stage(lambda x: tf.tanh(full_precision(x)))
        pad = Stage(lambda x: pad_reflect(x, 3))
        return [*stages, pad, Stage(self.conv_out), tanh]  # [b, h+6, w+6, f], [b, h, w, output_channels]

    def _stages_down(self) -> list[Stage]:
        """The stages ahead of the blocks."""
        pad = Stage(lambda x: pad_reflect(x, 3))
        stages = [pad, *self._convolution(self.conv_in, self.norm_in)]  # [b, h+6, w+6, c], [b, h, w, f]
        for i, (conv, norm) in enumerate(zip(self.downs, self.down_norms)):  # [b, h/2, w/2, 2f], [b, h/4, w/4, 4f]
            stages += [*self._convolution(conv, norm), *map(Stage, self.down_blurs[i : i + 1])]
        return stages

    @staticmethod
    def _convolution(conv, norm) -> list[Stage]:
        norm = Stage(norm, takes=('training',), in_place=isinstance(norm, NoNorm))  # torch.nn.Identity returns x itself
        return [Stage(conv), norm, Stage(tf.nn.relu, in_place=True)]

    def call(self, x, training=False, seed=None, layers=()):
        multiple = self.side_multiple if self._learn_residual else 1
        check_images(x, self._input_channels, self._smallest_side, multiple)
        y = self._sequence(x, training, seed, layers)
        return _changed(x, y, self._learn_gain) if self._learn_residual and not layers else y


class UnetGenerator(tf.keras.Model):
    """Downsampling to a bottleneck and upsampling back, with a skip connection by concatenation at each level.

    Args:
        input_channels, output_channels, filters, norm, initializers: as for ResnetGenerator.
        recompute_grads: as for ResnetGenerator, for the activations inside each level on the way down and up.
        upsample: 'deconv', by transposed convolutions, or 'resize', as for ResnetGenerator.
        learn_residual, learn_gain: as for ResnetGenerator.
        num_downs: number of downsampling convolutions, 7 ('unet_128') or 8 ('unet_256').
        use_dropout: apply dropout of 0.5 in the num_downs - 5 levels of 8 * filters channels above the bottleneck, when
            ResnetGenerator does.

    Call: as for ResnetGenerator, without `layers`. Raises UserError unless both sides are multiples of 2 ** num_downs.
    """

    def __init__(
        self,
        input_channels,
        output_channels,
        filters,
        num_downs,
        norm,
        use_dropout,
        initializers,
        recompute_grads=False,
        upsample='deconv',
        learn_residual=False,
        learn_gain=False,
        **kwargs,
    ):
        super().__init__(autocast=not learn_residual, **kwargs)  # the image that is added to stays in float32
        self._learn_residual, self._learn_gain = learn_residual, learn_gain
        self.side_multiple = 2**num_downs
        self.output_channels = output_channels
        self._input_channels = input_channels
        self._use_dropout = use_dropout
        self._num_downs = num_downs
        channels = [filters * min(2**level, 8) for level in range(num_downs)]  # f, 2f, 4f, 8f, 8f, ...
        use_bias = norm_wants_bias(norm)
        kernel = initializers.kernel
        # Level 0 is the outermost. Its downsampling convolution and that of the innermost level have no norm.
        self.downs = [Conv(c, 4, 2, 1, use_bias=use_bias, kernel_initializer=kernel()) for c in channels]
        self.down_norms = [make_norm(norm, initializers) for _ in range(num_downs - 2)]
        up = UpConv if upsample == 'deconv' else lambda filters, _, **kwargs: ResizeConv(filters, **kwargs)
        self.ups = [up(output_channels * (1 + learn_gain), 4, use_bias=True, kernel_initializer=kernel())]
        self.ups += [up(c, 4, use_bias=use_bias, kernel_initializer=kernel()) for c in channels[:-1]]
        self.up_norms = [make_norm(norm, initializers) for _ in range(num_downs - 1)]
        self._train = segments.make_training(
            lambda: self.trainable_variables, not norm.startswith('batch'), recompute_grads
        )

    def call(self, x, training=False, seed=None, layers=()):
        if layers:
            raise UserError(
                f'`layers` ({",".join(map(str, layers))}) are indices into a sequence of layers, which a U-Net is '
                f'not; make a generator with name resnet_9blocks.'
            )
        check_images(x, self._input_channels, multiple=self.side_multiple)
        plan = self._plan()
        (y,) = self._train(plan, x, seed) if training else segments.run(plan, x)
        return _changed(x, y, self._learn_gain) if self._learn_residual else y  # [b, h, w, output_channels]

    def _plan(self):
        levels = [
            segments.Segment(self._down, (level,), (level,), inline=level == 0) for level in range(self._num_downs)
        ]
        for level in reversed(range(self._num_downs)):
            # In the reference, the in-place LeakyReLU also changes the skip connection. That makes no difference, since
            # a ReLU follows on the way up.
            inputs = (len(levels), level) if level else (len(levels),)  # from the level below; the skip connection
            levels.append(segments.Segment(self._up, inputs, (level,)))
        return segments.Plan(levels, [len(levels)])

    def _down(self, level, x, training, seed):
        x = self.downs[level](leaky_relu(x) if level else x)  # [b, h / 2**(level+1), likewise w, channels[level]]
        return self.down_norms[level - 1](x, training=training) if 0 < level < self._num_downs - 1 else x

    def _up(self, level, x, skip=None, *, training, seed):
        x = self.ups[level](tf.nn.relu(x))  # [b, h / 2**level, w / 2**level, channels[level-1]]
        if level == 0:
            return tf.tanh(full_precision(x))
        x = self.up_norms[level - 1](x, training=training)
        if self._use_dropout and 4 <= level <= self._num_downs - 2:
            x = apply_dropout(x, DROPOUT_RATE, training, seed, level)
        return tf.concat([skip, x], axis=-1)


def make_generator(
    name: str,
    input_channels: int = 3,
    output_channels: int = 3,
    filters: int = 64,
    norm: str = 'instance',
    use_dropout: bool = False,
    padding: str = 'reflect',
    init_type: str = 'normal',
    init_gain: float = 0.02,
    seed: Optional[int] = None,
    precision: str = 'float32',
    recompute_grads: bool = False,
    downsample: str = 'stride',
    upsample: str = 'deconv',
    learn_residual: bool = False,
    learn_gain: bool = False,
    n_downsampling: int = 2,
) -> tf.keras.Model:
    """Builds a generator and initialises its weights.

    Args:
        name: 'resnet_9blocks', 'resnet_6blocks', 'unet_256' or 'unet_128'.
        input_channels, output_channels: channels of the input and output images.
        filters: channels after the first convolution; those of later layers, except the last, are multiples of it.
        norm: 'instance', 'batch' or 'none'; or 'instance_thumbnail' or 'batch_thumbnail', see
            norms.ThumbnailInstanceNorm.
        use_dropout: apply dropout in training, and outside it where test_time.TestTime says so.
        padding: 'reflect', 'replicate' or 'zero' in the ResNet's blocks; the U-Net has zero padding only.
        init_type, init_gain: see initializers.Initializers.
        seed: fixes the initial weights; None: other weights each time.
        precision: 'float32', 'bfloat16' or 'float16', see precision.computed_in.
        recompute_grads: recompute activations in the backward pass, see ResnetGenerator; not with norm 'batch'.
        downsample: 'stride', or, for a ResNet only, 'antialias'; see ResnetGenerator.
        upsample: 'deconv', 'resize' or, for a ResNet only, 'antialias'; see ResnetGenerator.
        learn_residual: learn what to change in an image, see ResnetGenerator; needs as many output as input channels.
        learn_gain: with learn_residual, learn how much brighter or darker to make it, too, see ResnetGenerator.
        n_downsampling: how often a ResNet halves the sides of its features, 0, 1 or 2, see ResnetGenerator.

    Returns:
        A model, float [b, h, w, input_channels] in [-1, 1] -> float [b, h, w, output_channels] in [-1, 1]. It
        keeps the size of images whose sides are multiples of its attribute side_multiple. A ResNet can also return the
        outputs of its layers, see ResnetGenerator.

    Raises:
        UserError: the name, norm, padding, init_type, precision, downsample or upsample is unknown; recompute_grads is
            combined with norm 'batch'; a U-Net is to be antialiased, or is given n_downsampling; learn_residual is
            given other channels; or learn_gain is given without it.
    """
    if name not in GENERATORS:
        raise UserError(f"generator name '{name}' is not one of: {', '.join(GENERATORS)}.")
    kind, depth = GENERATORS[name]
    arguments = dict(input_channels=input_channels, output_channels=output_channels, filters=filters, norm=norm)
    arguments.update(
        use_dropout=use_dropout, initializers=Initializers(init_type, init_gain, seed), recompute_grads=recompute_grads
    )
    if kind == 'unet' and padding not in ('reflect', 'zero'):
        raise UserError(f"padding '{padding}' is for ResNet generators; the U-Net pads with zeros.")
    for what, value, choices in (('downsample', downsample, DOWNSAMPLINGS), ('upsample', upsample, UPSAMPLINGS)):
        if value not in choices:
            raise UserError(f"{what} '{value}' is not one of: {', '.join(choices)}.")
        if kind == 'unet' and value == 'antialias':
            raise UserError(
                f'`{what}` (antialias) is for ResNet generators; leave it out, or set name to resnet_9blocks.'
            )
    if n_downsampling not in (range(3) if kind == 'resnet' else (2,)):
        raise UserError(f'`n_downsampling` ({n_downsampling}) is 0, 1 or 2 for a ResNet; leave it out for a U-Net.')
    if learn_residual and input_channels != output_channels:
        raise UserError(
            f'`learn_residual` (True) needs as many output channels ({output_channels}) as input channels '
            f'({input_channels}); leave it out.'
        )
    if learn_gain and not learn_residual:
        raise UserError(
            '`learn_gain` (True) belongs to a change of the image; leave it out, or set learn_residual, too.'
        )
    arguments.update(upsample=upsample, learn_residual=learn_residual, learn_gain=learn_gain)
    if recompute_grads and norm == 'batch':
        raise UserError(
            '`recompute_grads` (True) would update the running statistics of norm batch twice; use norm instance.'
        )
    with computed_in(precision):
        if kind == 'unet':
            model = UnetGenerator(num_downs=depth, **arguments)
        else:
            arguments.update(padding=padding, downsample=downsample, n_downsampling=n_downsampling)
            model = ResnetGenerator(num_blocks=depth, **arguments)
        side = max(model.side_multiple, 32)
        build(model, [1, side, side, input_channels])
    return model


DOWNSAMPLINGS = ('stride', 'antialias')
UPSAMPLINGS = ('deconv', 'resize', 'antialias')
GENERATORS = {
    'resnet_9blocks': ('resnet', 9),
    'resnet_6blocks': ('resnet', 6),
    'unet_256': ('unet', 8),
    'unet_128': ('unet', 7),
}
