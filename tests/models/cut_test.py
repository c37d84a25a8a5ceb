"""CUT's own: which networks and losses there are, flips, layers, the numbers of parameters; parity_test.py compares its
steps with PyTorch, conformance_test.py has what every model keeps to."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS, losses
from cyclegan_tf.models.cut import CUT
from cyclegan_tf.networks.generators import ResnetGenerator
from cyclegan_tf.settings.models import SETTINGS
from tests.helpers.small_models import images, make, snapshot

# Of the authors' program at 3 channels, counted there.
PARAMETERS = {'G': 11_378_179, 'F': 560_384, 'D': 2_764_737}


def test_networks_have_the_authors_numbers_of_parameters():
    model = MODELS['cut'](SETTINGS['cut'](dataroot='demo', model='cut'))
    found = {
        name: sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        for name, network in model.networks().items()
    }
    assert found == PARAMETERS
    assert [layer.kernel.shape[0] for layer in model.f.firsts] == [3, 128, 256, 256, 256]


def test_losses_add_up_with_their_weights(photographs):
    pair = images(photographs)
    model, step = make(model='tiny_cut', lambda_GAN=0.5, lambda_NCE=2.0)
    found = step(*pair)
    assert model.loss_names == ('G_GAN', 'D_real', 'D_fake', 'G', 'NCE', 'NCE_Y')
    mean = (found['loss/NCE'] + found['loss/NCE_Y']) / 2
    assert found['loss/G'] == pytest.approx(found['loss/G_GAN'] + mean, rel=1e-5)
    plain = make(model='tiny_cut', lambda_GAN=1.0, lambda_NCE=1.0)[1](*pair)
    for name, factor in (('G_GAN', 0.5), ('NCE', 2), ('NCE_Y', 2)):
        assert found[f'loss/{name}'] == pytest.approx(factor * plain[f'loss/{name}'], rel=1e-5), name
    without, step = make(model='tiny_cut', nce_idt=False)
    found = step(*pair)
    assert without.loss_names == ('G_GAN', 'D_real', 'D_fake', 'G', 'NCE')
    assert found['loss/G'] == pytest.approx(found['loss/G_GAN'] + found['loss/NCE'], rel=1e-5)
    assert list(model.visuals(*pair)['A_to_B']) == ['real_A', 'fake_B', 'real_B', 'idt_B']
    assert list(without.visuals(*pair)['A_to_B']) == ['real_A', 'fake_B', 'real_B']


@pytest.mark.parametrize(
    'nce_idt, recompute_grads', [(True, False), (False, False), pytest.param(True, True, marks=pytest.mark.nightly)]
)
def test_features_of_the_first_pass_are_those_of_a_pass_of_their_own(
    float64, photographs, nce_idt, recompute_grads, monkeypatch
):
    pair, found = images(photographs, dtype=np.float64), []
    for keeps in (True, False):
        if not keeps:
            monkeypatch.setattr(ResnetGenerator, 'keeps_layers', lambda *_: False)
        model, step = make(
            model='cut',
            nce_idt=nce_idt,
            recompute_grads=recompute_grads,
            num_patches=9,
            nce_layers='0,3,4,8,12',
            lr=2e-5,
        )
        assert model._keeps_features == keeps
        for _ in range(2):
            values = step(*pair)
        found.append(
            [
                *values.values(),
                *snapshot(variable for player in model.players.values() for variable in player.variables),
            ]
        )
    for kept, own in zip(*found):
        np.testing.assert_allclose(kept, own, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    'settings',
    [{}, {'flip_equivariance': True}, {'no_dropout': False, 'accumulate_steps': 2}],
    ids=['kept features', 'flips', 'dropout in micro-batches'],
)
def test_the_identity_in_passes_of_its_own_gives_the_step_of_both_together(float64, photographs, monkeypatch, settings):
    batch = settings.get('accumulate_steps', 1)
    pair, found = images(photographs, batch, dtype=np.float64), []
    for apart in (True, False):
        if not apart:
            monkeypatch.setattr(CUT, '_identity_apart', False)
        model, step = make(model='tiny_cut', nce_idt=True, num_patches=9, lr=2e-5, **settings)
        assert model._identity_apart == apart
        for _ in range(2):
            values = step(*pair)
        assert ('generator' in model.kinds_in_one_batch) == (not apart)
        variables = (variable for player in model.players.values() for variable in player.variables)
        found.append([*values.values(), *snapshot(variables)])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_batch_norm_sees_both_images_of_a_step_together():
    assert make(model='tiny_cut', nce_idt=True)[0]._identity_apart
    assert not make(model='tiny_cut', nce_idt=True, norm='batch')[0]._identity_apart
    assert not make(model='tiny_cut', nce_idt=False)[0]._identity_apart


@pytest.mark.parametrize(
    'settings, keeps',
    [
        ({}, True),
        ({'CUT_mode': 'FastCUT', 'flip_equivariance': True}, False),
        ({'no_dropout': False}, False),
        ({'normG': 'batch'}, False),
        ({'learn_residual': True}, False),
        # In PyTorch, the ReLU behind the norm overwrites what the norm gave, if it still runs.
        ({'nce_layers': '0,2'}, False),
        ({'nce_layers': '0,2,3'}, True),
    ],
)
def test_features_are_kept_only_where_they_are_the_same(settings, keeps):
    assert make(model='cut', **{'nce_layers': '0,4,8,12', **settings})[0]._keeps_features == keeps


def test_without_perceptrons_there_is_no_third_player(photographs):
    model, step = make(model='tiny_cut', netF='sample')
    assert list(model.players) == ['G', 'D'] and model.groups == {'G': ('G',), 'D': ('D',)}
    assert not model.f.variables and model.slots('F') is None
    found = step(*images(photographs))
    assert 'gradient_norm/F' not in found and all(np.isfinite(value) for value in found.values())


def test_half_of_the_steps_are_mirrored_with_flip_equivariance(photographs):
    model, _ = make(model='tiny_cut', flip_equivariance=True)
    x, mirrored = images(photographs)[0], 0
    for step in range(40):
        model.step.assign(step)
        found = model._mirrored(x)
        assert np.array_equal(found, x) or np.array_equal(found, x[:, :, ::-1])
        mirrored += not np.array_equal(found, x)
        np.testing.assert_array_equal(model._mirrored(found), x)
    assert 12 <= mirrored <= 28
    model, _ = make(model='tiny_cut')
    np.testing.assert_array_equal(model._mirrored(x), x)


def test_layers_that_a_generator_has_not_are_named():
    settings = SETTINGS['cut'](dataroot='demo', model='cut', ngf=2, ndf=2, netG='resnet_6blocks', nce_layers='0,99')
    message = (
        "`nce_layers` .'0,99'. contains 99, but the layers of netG resnet_6blocks are numbered from 0 to 28; lower"
    )
    with pytest.raises(UserError, match=message):
        MODELS['cut'](settings)


def test_queries_meet_the_keys_of_their_own_image_or_of_all():
    rng = np.random.default_rng(0)
    queries, keys = (rng.normal(size=(2, 3, 4)) for _ in 'qk')
    queries, keys = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (queries, keys))

    def by_hand(image, position, others):
        own = queries[image, position] @ keys[image, position]
        logits = [own] + [
            -10.0 if (i, n) == (image, position) else queries[image, position] @ keys[i, n] for i, n in others
        ]
        logits = np.array(logits) / 0.07
        return np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[0]

    everything = [(i, n) for i in range(2) for n in range(3)]
    expected = [np.mean([by_hand(i, n, [(i, m) for m in range(3)]) for n in range(3)]) for i in range(2)]
    np.testing.assert_allclose(losses.patch_nce(tf.constant(queries), tf.constant(keys), 0.07), expected, rtol=1e-10)
    expected = [np.mean([by_hand(i, n, everything) for n in range(3)]) for i in range(2)]
    found = losses.patch_nce_of_batch(tf.constant(queries), tf.constant(keys), tf.constant(keys), 0, 0.07)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    # The second image alone, as on a second replica.
    part = losses.patch_nce_of_batch(tf.constant(queries[1:]), tf.constant(keys[1:]), tf.constant(keys), 1, 0.07)
    np.testing.assert_allclose(part, expected[1:], rtol=1e-10)
