"""pix2pix's own: D sees pairs, the weight of L1, statistics under accumulation, the numbers of parameters.

parity_test.py compares its steps with PyTorch, conformance_test.py has what every model keeps to.
"""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.models import MODELS
from cyclegan_tf.settings.models import SETTINGS
from tests.helpers.small_models import images, make, snapshot

# Of the reference at 3 channels (REFERENCE: networks.py of the PyTorch program, counted there).
PARAMETERS = {'G': 54_413_955, 'D': 2_768_705}


def test_networks_have_the_references_numbers_of_parameters():
    model = MODELS['pix2pix'](SETTINGS['pix2pix'](dataroot='demo', model='pix2pix'))
    found = {
        name: sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        for name, network in model.networks().items()
    }
    assert found == PARAMETERS


def test_the_distance_has_its_weight_and_pictures_their_names(photographs):
    pair = images(photographs)
    found = []
    for weight in (100.0, 50.0):
        model, step = make(model='tiny_pix2pix', lambda_L1=weight)
        found.append(step(*pair))
    assert found[0]['loss/G_L1'] == pytest.approx(2 * found[1]['loss/G_L1'], rel=1e-5) and found[0]['loss/G_L1'] > 1
    assert found[0]['loss/G_GAN'] == pytest.approx(found[1]['loss/G_GAN'], rel=1e-5)
    assert list(model.visuals(*pair)) == ['A_to_B']
    assert list(model.visuals(*pair)['A_to_B']) == ['real_A', 'fake_B', 'real_B']


def test_the_discriminator_judges_an_image_together_with_what_it_belongs_to(photographs):
    model, step = make(model='tiny_pix2pix', input_nc=1, lambda_L1=0.0)
    assert model.d.conv.kernel.shape[2] == 4  # A, then B
    real_a, real_b = images(photographs)
    step(real_a[..., :1], real_b)
    before = snapshot(model.d.trainable_variables)
    model.players['D'].optimizer.learning_rate = 0.0
    one, other = (step(a, real_b)['discriminator/D_real'] for a in (real_a[..., :1], real_a[..., 1:2] * 0.5))
    assert one != other and all(np.array_equal(x, y) for x, y in zip(before, snapshot(model.d.trainable_variables)))


def test_running_statistics_move_once_although_fakes_are_made_twice(photographs):
    settings = dict(dataset_mode='aligned', no_dropout=True, netD='pixel')
    model, step = make(model='pix2pix', accumulate_steps=2, **settings)
    real_a, real_b = images(photographs, batch=2)
    expected = 0
    for image in tf.split(real_a, 2):
        features = model.g.conv_in(tf.pad(image, [[0, 0], [3, 3], [3, 3], [0, 0]], mode='REFLECT'))
        expected = 0.9 * expected + 0.1 * tf.reduce_mean(features, [0, 1, 2])
    step(real_a, real_b)
    np.testing.assert_allclose(model.g.norm_in.running_mean, expected, atol=1e-6)
