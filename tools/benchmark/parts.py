"""Where the time of a training step goes: every part of the networks forward and backward, and the updates.

Each is measured as a separate function over the model's real networks, on images and features as they occur in
training. The operations that it needs are counted too: products and sums of the convolutions, from their shapes, and
Adam's. What an implementation computes beyond that, such as products with zeros, is not counted. The peak is the best
that this machine reaches in the same minutes, in products that fill its vectors.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmark import common
from benchmark.step import make_step, open_model
from cyclegan_tf.distribution.devices import Devices
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.networks.generators import ResnetGenerator
from cyclegan_tf.networks.layers import pad_reflect
from cyclegan_tf.networks.precision import full_precision
from cyclegan_tf.settings.training import Config

# Per value, in Algorithm 1 as in TensorFlow's kernel: 3 for the first moment, 4 for the second, 5 for the value.
_ADAM_OPERATIONS = 12
_CONVOLUTION_SIDE = 64  # of the images of the wide convolution that may set the peak
_CONVOLUTION_SHARE = 8  # the side of the matrix product, divided by the number of the convolution's channels


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a network.

    Attributes:
        name: name in the result.
        run: float [b, h, w, c] -> float [b, h', w', c'], in training mode.
        variables: variables that it trains.
        convolutions: its layers in the order in which they run, each with the pixels of padding before it.
    """

    name: str
    run: Callable[[tf.Tensor], tf.Tensor]
    variables: Sequence[tf.Variable]
    convolutions: Sequence[tuple[tf.keras.layers.Layer, int]]


@dataclasses.dataclass(frozen=True)
class Pass:
    """A forward or backward pass through a part, as it occurs in a step.

    Attributes:
        part: part of a network.
        calls: number of times in one step.
        to_filters: whether the gradients of the weights are needed.
        to_input: whether the gradient of the input is needed.
    """

    part: Part
    calls: int
    to_filters: bool = False
    to_input: bool = False

    @property
    def is_backward(self) -> bool:
        return self.to_filters or self.to_input

    @property
    def phase(self) -> str:
        """The kind of pass, in words."""
        if not self.is_backward:
            return 'forward'
        return {(True, True): 'backward', (True, False): 'backward, without input gradient'}.get(
            (self.to_filters, self.to_input), 'backward, input gradient only'
        )


def measure(config: Config, repeats: int, peak_side: int) -> dict[str, Any]:
    """Measures in this process, which must not have used TensorFlow yet.

    Args:
        config: settings of training, on one device, with ResNet generators.
        repeats: number of repetitions of everything, in turns.
        peak_side: side of the matrices whose product measures the peak.

    Returns:
        'parts': rows with 'part', 'network', 'phase', 'calls' in a step, 'seconds' and 'gflop' of a call,
        'gflop_per_s', 'share' of the peak, and 'step_seconds' of all calls. 'step': the same for the whole step.
        'totals': sums by network and by phase. 'rest_seconds': seconds of the step that are in no part. 'peak':
        GFLOP/s; 'peak_by': GFLOP/s of each product. Rates are None where a time was lost in noise.
    """
    devices, model = open_model(config)
    images = tf.constant(common.images(config)[0])
    passes, inputs = plan(model, config, images)
    calls: dict[Any, Callable[[], Any]] = {}
    for number, one in enumerate(passes):
        calls[number] = compiled(devices, one, inputs[one.part.name])
    updates = {
        'generators': (model.optimizer_g, model.variables_of('G')),
        'discriminators': (model.optimizer_d, model.variables_of('D')),
    }
    for name, (optimizer, variables) in updates.items():
        calls[name] = compiled_update(devices, optimizer, variables)
    products = peak_products(peak_side, tf.as_dtype(config.precision))
    calls.update({name: call for name, (call, _) in products.items()})
    calls['step'] = make_step(devices, model, config)
    seconds = common.calls_in_turns(calls, repeats)

    peak_by = {name: flops / min(seconds[name]) / 1e9 for name, (_, flops) in products.items()}
    peak = max(peak_by.values())
    forwards = {one.part.name: seconds[number] for number, one in enumerate(passes) if not one.is_backward}
    rows = []
    for number, one in enumerate(passes):
        found = seconds[number]
        if one.is_backward:  # its function also runs the forward pass
            found = [both - forward for both, forward in zip(found, forwards[one.part.name])]
        flops = pass_flops(one, inputs[one.part.name].shape)
        rows.append(_row(one.part.name, one.phase, one.calls, statistics.median(found), flops, peak))
    for name, (_, variables) in updates.items():
        flops = _ADAM_OPERATIONS * sum(int(np.prod(variable.shape)) for variable in variables)
        rows.append(_row(name, 'update', 1, statistics.median(seconds[name]), flops, peak))
    whole = statistics.median(seconds['step'])
    flops = 1e9 * sum(row['gflop'] * row['calls'] for row in rows)
    return {
        'parts': rows,
        'step': _row('whole step', 'all', 1, whole, flops, peak),
        'totals': totals(rows, peak),
        'rest_seconds': whole - sum(row['step_seconds'] for row in rows),
        'peak': peak,
        'peak_by': peak_by,
    }


def _row(part: str, phase: str, calls: int, seconds: float, flops: float, peak: float) -> dict[str, Any]:
    rate = flops / seconds / 1e9 if seconds > 0 else None
    return {
        'part': part,
        'network': part.split()[0].removesuffix('s') + 's',
        'phase': phase,
        'calls': calls,
        'seconds': seconds,
        'gflop': flops / 1e9,
        'gflop_per_s': rate,
        'share': None if rate is None else rate / peak,
        'step_seconds': calls * seconds,
    }


# --------------------------------------------------------------------------------------------------- what a step does
def generator_parts(generator: ResnetGenerator) -> tuple[Part, Part, Part]:
    """Encoder, blocks and decoder; one after another, they form the generator."""
    g = generator

    def encode(x):
        x = pad_reflect(tf.cast(x, g.compute_dtype), 3)
        x = tf.nn.relu(g.norm_in(g.conv_in(x), training=True))
        for conv, norm in zip(g.downs, g.down_norms):
            x = tf.nn.relu(norm(conv(x), training=True))
        return x

    def transform(x):
        for block in g.blocks:
            x = block(x, training=True)
        return x

    def decode(x):
        for conv, norm in zip(g.ups, g.up_norms):
            x = tf.nn.relu(norm(conv(x), training=True))
        return tf.tanh(full_precision(g.conv_out(pad_reflect(x, 3))))

    of_blocks = [(conv, 1) for block in g.blocks for conv in (block.conv_1, block.conv_2)]
    parts = []
    for name, run, convolutions in (
        ('encoder', encode, [(g.conv_in, 3), *((conv, 0) for conv in g.downs)]),
        ('blocks', transform, of_blocks),
        ('decoder', decode, [*((conv, 0) for conv in g.ups), (g.conv_out, 3)]),
    ):
        # Instance norms have no variables.
        variables = [variable for conv, _ in convolutions for variable in conv.trainable_variables]
        parts.append(Part(f'generator {name}', run, variables, convolutions))
    return tuple(parts)


def discriminator_part(discriminator: tf.keras.Model) -> Part:
    """A complete NLayerDiscriminator, as one part."""
    d = discriminator
    convolutions = [(conv, 0) for conv in (d.conv_in, *d.convs, d.conv_out)]
    return Part('discriminator', lambda x: d(x, training=True), d.trainable_variables, convolutions)


def plan(model: BaseModel, config: Config, images: tf.Tensor) -> tuple[list[Pass], dict[str, tf.Tensor]]:
    """The passes of a step as in models/cycle_gan.py, and the input of each part.

    Both generators have the same shape, and so have both discriminators: G_A and D_A represent them.
    """
    encoder, blocks, decoder = generator_parts(model.g_a)
    discriminator = discriminator_part(model.d_a)
    features = tf.function(encoder.run, autograph=False)(images)
    inputs = {part.name: of_part for part, of_part in ((encoder, images), (blocks, features), (decoder, features))}
    inputs[discriminator.name] = images
    forth, back = 2, 2  # generator calls of both cycles; only those back have a gradient of their input
    identities = 2 if config.lambda_identity > 0 else 0
    generated = forth + back + identities
    judged, trained = forth, 4  # in the generators' losses; in their own losses, real and fake for both
    passes = [
        Pass(encoder, generated),
        Pass(encoder, forth + identities, to_filters=True),
        Pass(encoder, back, to_filters=True, to_input=True),
        Pass(blocks, generated),
        Pass(blocks, generated, to_filters=True, to_input=True),
        Pass(decoder, generated),
        Pass(decoder, generated, to_filters=True, to_input=True),
        Pass(discriminator, judged + trained),
        Pass(discriminator, judged, to_input=True),
        Pass(discriminator, trained, to_filters=True),
    ]
    return passes, inputs


# --------------------------------------------------------------------------------------------------- how much that is
def layer_flops(part: Part, shape: Sequence[int]) -> list[float]:
    """Products and sums of a part's convolutions in the forward pass; each of the two gradients needs as many.

    Args:
        part: part whose layers are counted.
        shape: shape of its input, [b, h, w, c].
    """
    result = []
    for layer, padding in part.convolutions:
        b, h, w, c = shape
        given = tf.TensorSpec([b, h + 2 * padding, w + 2 * padding, c], layer.compute_dtype)
        shape = tf.function(layer, autograph=False).get_concrete_function(given).output_shapes
        # Each pixel, of the input for a transposed convolution and of the output for others, meets all taps.
        transposed = isinstance(layer, tf.keras.layers.Conv2DTranspose)
        pixels = np.prod((given.shape if transposed else shape)[:3])
        result.append(float(2 * pixels * np.prod(layer.kernel_size) * c * layer.filters))
    return result


def pass_flops(one: Pass, shape: Sequence[int]) -> float:
    """Products and sums that a pass needs; for a backward pass, without the forward pass."""
    flops = layer_flops(one.part, shape)
    if not one.is_backward:
        return sum(flops)
    to_features = sum(flops) if one.to_input else sum(flops[1:])
    return to_features + (sum(flops) if one.to_filters else 0)


def compiled(devices: Devices, one: Pass, x: tf.Tensor) -> Callable[[], Any]:
    """A function that runs a pass; for a backward pass, it runs the forward pass first."""
    run, variables = one.part.run, list(one.part.variables)
    if not one.is_backward:
        return _on_device(devices, run, x)

    def both(x, gradient):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            targets = (variables if one.to_filters else []) + ([x] if one.to_input else [])
            tape.watch(targets)
            y = run(x)
        return y, tape.gradient(y, targets, output_gradients=gradient)

    y = tf.function(run, autograph=False)(x)
    return _on_device(devices, both, x, tf.cast(tf.random.stateless_normal(y.shape, [0, 0]), y.dtype))


def compiled_update(devices: Devices, optimizer, variables: Sequence[tf.Variable]) -> Callable[[], Any]:
    """A function that runs an optimizer as the model does, with small gradients."""
    gradients = [tf.fill(variable.shape, 1e-6) for variable in variables]

    def update(*gradients):
        return optimizer.apply(gradients, variables)

    return _on_device(devices, update, *gradients)


def _on_device(devices: Devices, function: Callable, *tensors: tf.Tensor) -> Callable[[], Any]:
    run = tf.function(lambda *given: devices.strategy.run(function, given), autograph=False)
    run = run.get_concrete_function(*tensors)
    return lambda: run(*tensors)


def peak_products(side: int, dtype: tf.DType) -> dict[str, tuple[Callable[[], Any], float]]:
    """Functions that fill the machine's vectors, each with its number of products and sums.

    Which of them is the fastest depends on the machine and on TensorFlow's version.
    """
    channels = max(1, side // _CONVOLUTION_SHARE)
    matrix = tf.cast(tf.random.stateless_normal([side, side], [0, 1]), dtype)
    wide = tf.cast(tf.random.stateless_normal([1, _CONVOLUTION_SIDE, _CONVOLUTION_SIDE, channels], [0, 2]), dtype)
    kernel = tf.cast(tf.random.stateless_normal([3, 3, channels, channels], [0, 3]), dtype)
    product = tf.function(lambda: tf.linalg.matmul(matrix, matrix), autograph=False)
    convolution = tf.function(lambda: tf.nn.conv2d(wide, kernel, 1, 'VALID'), autograph=False)
    pixels = (_CONVOLUTION_SIDE - 2) ** 2
    return {
        f'matrices of {side}x{side}': (product, 2.0 * side**3),
        f'3x3 convolution, {channels} channels': (convolution, 2.0 * pixels * 9 * channels**2),
    }


def totals(rows: Sequence[dict[str, Any]], peak: float) -> list[dict[str, Any]]:
    """A row for each network and each phase of a step: 'of', 'seconds', 'gflop', 'gflop_per_s', 'share'."""
    result = []
    groups = [('network', name) for name in ('generators', 'discriminators')]
    groups += [('phase', name) for name in ('forward', 'backward', 'update')]
    for column, name in groups:
        members = [row for row in rows if row[column].startswith(name)]
        seconds = sum(row['step_seconds'] for row in members)
        gflop = sum(row['gflop'] * row['calls'] for row in members)
        rate = gflop / seconds if seconds > 0 else None
        share = None if rate is None else rate / peak
        result.append({'of': name, 'seconds': seconds, 'gflop': gflop, 'gflop_per_s': rate, 'share': share})
    return result
