"""Every network computes what PyTorch computes from the same weights."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.networks import make_discriminator, make_generator

torch = pytest.importorskip('torch', reason='the torch extra is not installed')
import torch_mirror as mirror  # noqa: E402

pytestmark = pytest.mark.torch

GENERATORS = [
    *[('resnet_9blocks', norm, padding) for norm in ('instance', 'batch', 'none') for padding in mirror.PADS],
    ('resnet_6blocks', 'instance', 'reflect'),
    *[(name, norm, 'reflect') for name in ('unet_128', 'unet_256') for norm in ('instance', 'batch', 'none')],
]
DISCRIMINATORS = [
    (name, layers, norm)
    for name, layers in (('basic', 3), ('n_layers', 2), ('n_layers', 5), ('pixel', 3))
    for norm in ('instance', 'batch', 'none')
]


def make_pair(name, norm, padding='reflect', layers=3, kind='generator', use_dropout=False):
    # Weights that keep the signal's size: the initial N(0, 0.02) would hide errors behind outputs near zero.
    initial = dict(norm=norm, init_type='kaiming', seed=1)
    if kind == 'generator':
        initial.update(init_type='normal', init_gain=0.05)
        ours = make_generator(name, 3, 2, 4, use_dropout=use_dropout, padding=padding, **initial)
        theirs = mirror.generator(name, 3, 2, 4, norm, use_dropout, padding)
    else:
        ours = make_discriminator(name, 3, 4, layers, **initial)
        theirs = mirror.discriminator(name, 3, 4, layers, norm)
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


@pytest.mark.parametrize('name, norm, padding', GENERATORS)
def test_generator_equals_torch_in_float32(photographs, name, norm, padding):
    ours, theirs = make_pair(name, norm, padding)
    height, width = sizes(name)[-1]
    check(ours, theirs, photographs(2, height, min(width, 256)), (1e-4, 1e-3 if norm == 'batch' else 1e-4))


@pytest.mark.parametrize('name, layers, norm', DISCRIMINATORS)
def test_discriminator_equals_torch_in_float64(float64, photographs, name, layers, norm):
    ours, theirs = make_pair(name, norm, layers=layers, kind='discriminator')
    for height, width in ((96, 96), (112, 150)):
        check(ours, theirs, photographs(2, height, width), (1e-10, 1e-10))


@pytest.mark.parametrize('name, layers, norm', DISCRIMINATORS)
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
