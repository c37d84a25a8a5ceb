"""What was chosen for this machine, in words."""

import pytest
import tensorflow as tf

from cyclegan_tf.networks import choices
from cyclegan_tf.networks.convolutions import Conv3x3
from cyclegan_tf.networks.generators import make_generator


def generator(precision, ngf):
    return make_generator('resnet_6blocks', filters=ngf, precision=precision)


@pytest.mark.parametrize(
    'precision, ngf, side, expected',
    [
        ('float32', 32, 96, 'convolutions in float32, 12 of 12 '),
        ('float32', 32, 64, 'convolutions in float32, 0 of 12 '),  # sides of 18 with their padding are too short
        ('float32', 16, 96, 'convolutions in float32, 0 of 12 '),  # too few channels
        ('bfloat16', 32, 96, 'convolutions in bfloat16, 0 of 12 '),
    ],
)
@pytest.mark.skipif(bool(tf.config.list_physical_devices('GPU')), reason="cuDNN chooses among GPUs' algorithms")
def test_precision_and_algorithm_are_those_that_were_used(precision, ngf, side, expected):
    network = generator(precision, ngf)
    tf.function(network).get_concrete_function(tf.TensorSpec([1, side, side, 3]))
    assert expected in choices.describe([network])


def test_a_layer_held_to_the_plain_form_counts_as_plain():
    layer = Conv3x3(128)
    assert layer.chose_winograd is None
    for layer.plain in (False, True):
        layer(tf.zeros([1, 24, 24, 128]))
        assert layer.chose_winograd == (not layer.plain and not tf.config.list_physical_devices('GPU'))


@pytest.mark.parametrize('value, words', [('1', 'oneDNN on'), ('0', 'oneDNN off'), (None, 'oneDNN as TensorFlow')])
def test_onednn_is_told_as_it_was_asked_for(monkeypatch, value, words):
    if value is None:
        monkeypatch.delenv('TF_ENABLE_ONEDNN_OPTS')
    else:
        monkeypatch.setenv('TF_ENABLE_ONEDNN_OPTS', value)
    assert words in choices.describe([generator('float32', 4)])


@pytest.mark.parametrize('count, words', [(None, ')'), (0, '); 0 MB of'), (1_234_567_890, '); 1,235 MB of')])
def test_huge_pages_are_told_where_the_system_tells_them(monkeypatch, count, words):
    monkeypatch.setattr(choices.allocator, 'bytes_in_huge_pages', lambda: count)
    pages = '' if count is None else ' memory in huge pages'
    assert f'(TF_ENABLE_ONEDNN_OPTS{words}{pages}; threads: ' in choices.describe([generator('float32', 4)])


@pytest.mark.parametrize(
    'kinds, words',
    [({'generator', 'discriminator'}, 'discriminators and generators'), ({'generator'}, 'generators'), ((), 'no net')],
)
def test_networks_that_are_called_once_for_several_passes_are_told_of_a_step(kinds, words):
    network = generator('float32', 4)
    assert f'; images of several passes in one batch: {words}' in choices.describe([network], kinds)
    assert 'several passes' not in choices.describe([network])
