"""Scores of label maps, against counting by hand."""

import numpy as np
import pytest

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation.label_scores import LabelScores, make_palette

RED, GREEN, BLUE, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 200), (0, 0, 0)


@pytest.fixture
def palette(tmp_path):
    lines = ['200,0,0,a', '', '0, 200, 0, b', '0,0,200,c', '0,0,0,none,ignored']
    (tmp_path / 'palette.txt').write_text('\n'.join(lines), encoding='utf-8')
    return make_palette(str(tmp_path / 'palette.txt'))


def image(*colours):
    return np.array([colours], np.uint8)


def test_scores_are_counted(palette):
    scores = LabelScores(palette)
    truth = image(RED, RED, RED, GREEN, BLACK, BLACK)
    # Colours between are of the nearest; what is nothing in the truth does not count, what is called nothing is wrong.
    assert scores.add(image((150, 20, 90), RED, GREEN, GREEN, RED, BLACK), truth) == 3 / 4
    assert scores.add(image(BLACK, BLUE), image(RED, RED)) == 0
    assert np.isnan(scores.add(image(RED), image(BLACK)))
    found = scores.summary()
    assert found['pixel_accuracy'] == 3 / 6
    assert found['class_accuracy'] == pytest.approx((2 / 5 + 1 / 1) / 2)  # of blue there is none
    assert found['class_iou'] == pytest.approx((2 / 5 + 1 / 2) / 2)
    assert scores.of_classes() == {
        'a': {'pixels': 5, 'accuracy': 0.4, 'iou': 0.4},
        'b': {'pixels': 1, 'accuracy': 1.0, 'iou': 0.5},
    }
    assert scores.are_labels and scores.distance == 0


def test_right_everywhere_is_one_and_large_images_are_whole(palette):
    rng, scores = np.random.default_rng(0), LabelScores(palette)
    truth = np.array([RED, GREEN, BLUE], np.uint8)[rng.integers(0, 3, (300, 400))]
    noisy = np.clip(truth + rng.integers(-60, 60, truth.shape), 0, 255).astype(np.uint8)
    assert scores.add(noisy, truth) == 1
    assert set(scores.summary().values()) == {1.0}
    assert sum(one['pixels'] for one in scores.of_classes().values()) == 300 * 400


def test_cityscapes_has_nineteen_classes_that_count():
    palette = make_palette('cityscapes')
    assert palette.counted.sum() == 19 and len(set(map(tuple, palette.colours))) == len(palette.classes)
    road, sky = (
        [c for c, name in zip(palette.colours, palette.classes) if name == wanted] for wanted in ('road', 'sky')
    )
    assert LabelScores(palette).add(image(*road, *sky), image(*road, *road)) == 0.5


def test_photographs_are_told_from_label_maps():
    palette = make_palette('cityscapes')
    for photograph in demo.regions('test', 'A').values():
        scores = LabelScores(palette)
        scores.add(photograph, photograph)
        assert not scores.are_labels
    scores = LabelScores(palette)
    assert not scores.are_labels  # nothing was added
    rng = np.random.default_rng(0)
    labels = palette.colours[rng.integers(0, 19, (8, 8))].repeat(8, axis=0).repeat(8, axis=1)
    scores.add(labels, np.clip(labels + rng.normal(0, 6, labels.shape), 0, 255).astype(np.uint8))  # as JPEG does
    assert scores.are_labels and scores.distance > 1


@pytest.mark.parametrize(
    'text, message',
    [
        ('1,2,3', "has the line 1 '1,2,3'; write it as red,green,blue,class"),
        ('1,2,3,a\n1,2,256,b', 'has the line 2'),
        ('1,2,x,a', 'has the line 1'),
        ('1,2,3,a,skip', 'has the line 1'),
        ('1,2,3,a\n1,2,3,b', r'has the colour .1, 2, 3. twice; remove one'),
        ('1,2,3,a\n1,2,4,a', 'has the class a twice'),
        ('1,2,3,a,ignored', 'has no class that counts'),
        ('', 'has no class that counts'),
        ('1,2,3,', 'has the line 1'),
        ('1,2,3,"a\n4,5,6,b\n1,2,' + '3' * 5000 + ',c', 'has the line 3'),
    ],
)
def test_a_palette_that_is_none_is_one_sentence(tmp_path, text, message):
    path = tmp_path / 'palette.txt'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(UserError, match=f"`palette` .'{path}'. {message}"):
        make_palette(str(path))


def test_palettes_of_editors_are_read(tmp_path):
    (tmp_path / 'palette.txt').write_bytes('\ufeff1,2,3,a\r\n  \r\n4,5,6,b\r\n'.encode())
    assert make_palette(str(tmp_path / 'palette.txt')).classes == ('a', 'b')


def test_a_palette_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match='cannot be read .No such file or directory.; set it to cityscapes, or'):
        make_palette(str(tmp_path / 'nowhere'))
    (tmp_path / 'picture').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(UserError, match='cannot be read .it is no text.'):
        make_palette(str(tmp_path / 'picture'))
