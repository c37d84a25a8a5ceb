"""Every network computes what PyTorch computes from the same weights."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import make_discriminator, make_generator, make_patch_features
from cyclegan_tf.networks.convolutions import ResizeConv, SpectralConv
from cyclegan_tf.networks.discriminators import halve

torch = pytest.importorskip('torch', reason='the torch extra is not installed')
from benchmark import torch_mirror as mirror  # noqa: E402

pytestmark = pytest.mark.torch

# Every norm and every padding, which have nothing to do with each other; and every size once.
GENERATORS = [
    *[('resnet_9blocks', norm, 'reflect') for norm in ('instance', 'batch', 'none')],
    *[('resnet_9blocks', 'instance', padding) for padding in ('replicate', 'zero')],
    ('resnet_6blocks', 'instance', 'reflect'),
    *[('unet_128', norm, 'reflect') for norm in ('instance', 'batch', 'none')],
    ('unet_256', 'batch', 'reflect'),
]
# In float32 the rounding differs, which depends on the norm and the depth.
GENERATORS_IN_FLOAT32 = [
    ('resnet_9blocks', 'instance', 'reflect'),
    ('resnet_9blocks', 'batch', 'zero'),
    ('resnet_9blocks', 'none', 'replicate'),
    ('unet_128', 'none', 'reflect'),
    ('unet_256', 'instance', 'reflect'),
    ('unet_256', 'batch', 'reflect'),
]
DISCRIMINATORS = [
    (name, layers, norm)
    for name, layers in (('basic', 3), ('n_layers', 2), ('n_layers', 5), ('pixel', 3))
    for norm in ('instance', 'batch', 'none')
]
DISCRIMINATORS_IN_FLOAT32 = [(name, layers, norm) for name, layers, norm in DISCRIMINATORS if name != 'n_layers']

DOWN, UP = ('stride', 'antialias'), ('deconv', 'antialias')  # without and with antialiasing


def make_pair(
    name, norm, padding='reflect', layers=3, kind='generator', use_dropout=False, antialias=(False, False), **others
):
    # Weights that keep the signal's size: the initial N(0, 0.02) would hide errors behind outputs near zero.
    initial = dict(norm=norm, init_type='kaiming', seed=1)
    if kind == 'generator':
        initial.update(init_type='normal', init_gain=0.05)
        others.update(downsample=DOWN[antialias[0]], upsample=UP[antialias[1]])
        ours = make_generator(name, 3, 2, 4, use_dropout=use_dropout, padding=padding, **initial, **others)
        theirs = mirror.generator(name, 3, 2, 4, norm, use_dropout, padding, antialias)
    else:
        ours = make_discriminator(name, 3, 4, layers, downsample=DOWN[antialias[0]], **initial)
        theirs = mirror.discriminator(name, 3, 4, layers, norm, antialias[0])
    rng = np.random.default_rng(0)
    for variable in ours.variables:  # biases, batch norm's scales, offsets and statistics of any size, too
        if len(variable.shape) == 1:
            low = 0.5 if 'scale' in variable.name or 'variance' in variable.name else -0.5
            variable.assign(rng.uniform(low, low + 1, variable.shape))
    theirs = theirs.to(torch.float64 if ours.compute_dtype == 'float64' else torch.float32)
    mirror.copy_weights(ours, theirs)
    return ours, theirs


def check(ours, theirs, images, tolerances):
    """Inference, then training, then batch norm's statistics after it.

    PyTorch computes in float64 in any case: what differs is then our rounding, and not that of both.
    """
    theirs = theirs.double()
    images = images.astype(ours.compute_dtype)
    for training, tolerance in zip((False, True), tolerances):
        theirs.train(training)
        with torch.no_grad():
            expected = mirror.to_numpy(theirs(mirror.to_torch(images).double()))
        actual = ours(tf.constant(images), training=training).numpy()
        assert actual.shape == expected.shape
        assert np.ptp(expected) > 0.005
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))
    for variable, tensor, _ in mirror.pairs(ours, theirs):
        if 'running' in variable.name:
            np.testing.assert_allclose(variable.numpy(), tensor.numpy(), rtol=max(tolerances) * 10, atol=1e-9)


def sizes(name):
    side = int(name[5:]) if name.startswith('unet') else 0
    return [(side, side)] if side == 256 else [(side, side * 2)] if side else [(64, 64), (36, 52)]


@pytest.mark.parametrize('name, norm, padding', GENERATORS)
def test_generator_equals_torch_in_float64(float64, photographs, name, norm, padding):
    ours, theirs = make_pair(name, norm, padding)
    for height, width in sizes(name):
        images = np.concatenate([photographs(2, height, min(width, 256))] * (1 if width <= 256 else 2), axis=2)
        check(ours, theirs, images[:, :, :width], (1e-10, 1e-10))


@pytest.mark.parametrize('name, norm, padding', GENERATORS_IN_FLOAT32)
def test_generator_equals_torch_in_float32(photographs, name, norm, padding):
    ours, theirs = make_pair(name, norm, padding)
    height, width = sizes(name)[-1]
    check(ours, theirs, photographs(2, height, min(width, 256)), (1e-4, 1e-3 if norm == 'batch' else 1e-4))


@pytest.mark.parametrize('name, layers, norm', DISCRIMINATORS)
def test_discriminator_equals_torch_in_float64(float64, photographs, name, layers, norm):
    ours, theirs = make_pair(name, norm, layers=layers, kind='discriminator')
    for height, width in ((96, 96), (112, 150)):
        check(ours, theirs, photographs(2, height, width), (1e-10, 1e-10))


@pytest.mark.parametrize('name, layers, norm', DISCRIMINATORS_IN_FLOAT32)
def test_discriminator_equals_torch_in_float32(photographs, name, layers, norm):
    ours, theirs = make_pair(name, norm, layers=layers, kind='discriminator')
    check(ours, theirs, photographs(2, 112, 150), (1e-4, 1e-3 if norm == 'batch' else 1e-4))


@pytest.mark.parametrize('name', ['resnet_6blocks', 'unet_128'])
def test_generator_with_dropout_equals_torch_in_inference(float64, photographs, name):
    ours, theirs = make_pair(name, 'instance', use_dropout=True)
    images = photographs(1, 128, 128)
    with torch.no_grad():
        expected = mirror.to_numpy(theirs.eval()(mirror.to_torch(images)))
    np.testing.assert_allclose(ours(tf.constant(images)).numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    'norm, antialias', [('instance', (True, True)), ('batch', (True, False)), ('none', (False, True))]
)
def test_antialiased_networks_equal_torch_in_float64(float64, photographs, norm, antialias):
    ours, theirs = make_pair('resnet_6blocks', norm, antialias=antialias)
    for height, width in ((64, 64), (36, 52), (38, 51)):
        # Sides that are no multiples of 4 become the next ones.
        check(ours, theirs, photographs(2, height, width), (1e-10, 1e-10))
    for layers in (1, 3):
        ours, theirs = make_pair('n_layers', norm, layers=layers, kind='discriminator', antialias=antialias)
        for height, width in ((64, 64), (37, 50)):
            check(ours, theirs, photographs(2, height, width), (1e-10, 1e-10))


@pytest.mark.parametrize('use_mlp', [True, False])
def test_patch_features_equal_torch_in_float64(float64, use_mlp):
    channels, rng = (3, 8), np.random.default_rng(0)
    ours = make_patch_features('mlp_sample' if use_mlp else 'sample', channels, 6, init_type='kaiming', seed=1)
    theirs = mirror.PatchFeatures(channels, 6, use_mlp).double()
    mirror.copy_weights(ours, theirs)
    maps = [rng.normal(size=(2, 5, 7, c)) for c in channels]
    positions = [rng.permutation(35)[:n] for n in (9, 35)]
    found = ours([tf.constant(x) for x in maps], [tf.constant(p, tf.int32) for p in positions])
    expected = theirs([mirror.to_torch(x) for x in maps], [torch.from_numpy(p) for p in positions])
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=0, atol=1e-10)


def collect(sequence, x, layers):
    """The outputs of these layers as CUT collects them: what is behind the last is not run."""
    kept = {}
    for index, layer in enumerate(sequence):
        x = layer(x)
        if index in layers:
            kept[index] = x
        if index == max(layers):
            return [kept[index] for index in layers]


@pytest.mark.parametrize(
    'name, norm, layers, recompute_grads, antialias',
    [
        # Of CUT's networks, and where the in-place ReLUs of PyTorch change what was kept.
        ('resnet_9blocks', 'instance', (0, 4, 8, 12, 16), False, (True, True)),
        ('resnet_6blocks', 'none', (0, 4, 8, 12, 16), True, (True, True)),
        ('resnet_6blocks', 'instance', (0, 4, 8, 12, 16), False, (False, True)),
        ('resnet_9blocks', 'instance', (0, 4, 8, 12, 16), False, (False, False)),  # CUT's
        ('resnet_6blocks', 'instance', (24, 22, 9, 8, 5, 2, 1), True, (False, False)),
        ('resnet_9blocks', 'none', (1, 4, 5, 19, 21, 27), False, (False, False)),
        (
            'resnet_6blocks',
            'instance',
            (20, 17, 16, 8),
            False,
            (False, False),
        ),  # the last is the norm in front of a ReLU
        (
            'resnet_6blocks',
            'none',
            (7, 1, 2),
            False,
            (False, False),
        ),  # the last is the convolution in front of norm and ReLU
        ('resnet_6blocks', 'none', (8, 7, 3), True, (False, False)),
    ],
)
def test_layers_and_gradients_from_them_equal_torch(
    float64, photographs, name, norm, layers, recompute_grads, antialias
):
    ours, theirs = make_pair(name, norm, recompute_grads=recompute_grads, antialias=antialias)
    for module in theirs.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = True  # as in the reference: what was kept of the layer in front of it changes
    images = photographs(2, 36, 52)
    theirs_x = mirror.to_torch(images).requires_grad_(True)
    expected = collect(theirs.model, theirs_x, layers)
    sum((i + 1) * (y**3).mean() for i, y in enumerate(expected)).backward()

    x, weights = tf.constant(images), ours.trainable_variables
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = ours(x, training=True, layers=layers)
        value = tf.add_n([(i + 1) * tf.reduce_mean(y**3) for i, y in enumerate(found)])
    of_x, of_weights = tape.gradient(value, (x, weights))

    for layer, one, other, inferred in zip(layers, found, expected, ours(x, layers=layers)):
        other = mirror.to_numpy(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10 * np.abs(other).max(), err_msg=str(layer))
        np.testing.assert_array_equal(inferred, one)
    np.testing.assert_allclose(of_x, mirror.to_numpy(theirs_x.grad), rtol=0, atol=1e-10)
    of_weights = {variable.ref(): gradient for variable, gradient in zip(weights, of_weights)}
    for variable, tensor, permutation in mirror.pairs(ours, theirs):
        gradient = of_weights[variable.ref()]
        assert (gradient is None) == (tensor.grad is None), variable.name  # it stands behind the last
        if gradient is not None:
            other = tensor.grad.numpy()
            atol = 1e-10 * max(1, np.abs(other).max())
            np.testing.assert_allclose(mirror.as_torch(gradient, permutation), other, rtol=0, atol=atol)


def test_spectral_normalisation_has_torchs_values_and_gradients(float64):
    ours = SpectralConv(5, 4, 2, 1, kernel_initializer=tf.keras.initializers.RandomNormal(seed=3), seed=1)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    ours(tf.constant(x))
    theirs = torch.nn.Conv2d(3, 5, 4, 2, 1).double()
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(ours.kernel.numpy().transpose(3, 2, 0, 1)))
        theirs.bias.zero_()
    torch.nn.utils.parametrizations.spectral_norm(theirs).eval()  # which does no power iteration
    state, matrix = theirs.parametrizations.weight[0], theirs.parametrizations.weight.original.detach().flatten(1)
    state._u.copy_(torch.from_numpy(ours.u.numpy()))
    state._v.copy_(torch.nn.functional.normalize(matrix.T @ state._u, dim=0))
    with tf.GradientTape() as tape:
        found = ours(tf.constant(x))
        loss = tf.reduce_sum(found**3)
    expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    (expected**3).sum().backward()
    np.testing.assert_allclose(found, expected.detach().numpy().transpose(0, 2, 3, 1), atol=1e-12)
    gradient = theirs.parametrizations.weight.original.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(tape.gradient(loss, ours.kernel), gradient, rtol=1e-9, atol=1e-12 * abs(gradient).max())


def test_upsampling_by_resizing_equals_torchs(float64):
    ours, x = ResizeConv(4), np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    found = ours(tf.constant(x))
    layers = torch.nn.Upsample(scale_factor=2), torch.nn.ReflectionPad2d(1), torch.nn.Conv2d(3, 4, 3).double()
    with torch.no_grad():
        layers[2].weight.copy_(torch.from_numpy(ours.kernel.numpy().transpose(3, 2, 0, 1)))
        layers[2].bias.zero_()
        expected = torch.nn.Sequential(*layers)(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), atol=1e-12)


@pytest.mark.parametrize('size', [(8, 12), (9, 7)])
def test_halved_images_of_further_discriminators_equal_torchs(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    pool = torch.nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
    expected = pool(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(halve(tf.constant(x)), expected, rtol=1e-5, atol=1e-6)
