"""Two folders of images are compared without a run."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cyclegan_tf import evaluate
from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import features, metrics


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """fakes with four photographs by night, reals with those by day and one more, and an extractor."""
    place = tmp_path_factory.mktemp('folders')
    for folder, domain, count in (('fakes', 'B', 4), ('reals', 'A', 5)):
        (place / folder / 'sub').mkdir(parents=True)
        for number, picture in enumerate(list(demo.regions('test', domain).values())[:count]):
            path = place / folder / ('sub' if number == 1 else '') / f'{number}.png'
            Image.fromarray(picture).resize((40, 48 if (folder, number) == ('fakes', 3) else 40)).save(path)
    tf.keras.utils.set_random_seed(3)
    layers = [tf.keras.layers.Conv2D(6, 5, 3, activation='relu'), tf.keras.layers.GlobalAveragePooling2D()]
    tf.keras.Sequential([tf.keras.Input((32, 32, 3)), *layers]).save(place / 'small.keras')
    return place


def run(place, *flags):
    argv = ['evaluate', f'--results_dir={place / "results"}', f'--feature_extractor={place / "small.keras"}', *flags]
    return evaluate.main(evaluate.parse([*argv, '--feature_range=-1,1']))


def pictures(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.rglob('*.png'), key=lambda path: path.name)]


def test_features_are_compared_as_those_of_a_run(place, capsys):
    assert run(place, f'--fakes={place / "fakes"}', f'--reals={place / "reals"}') == 0
    found = json.loads((place / 'results' / 'folders' / 'metrics.json').read_text())['results']
    extractor = features.make_extractor(place / 'small.keras', input_range=(-1, 1))
    vectors = [extractor(pictures(place / name)) for name in ('fakes', 'reals')]
    assert found['fid'] == pytest.approx(metrics.fid(*vectors), rel=1e-6)
    assert found['kid'] == pytest.approx(metrics.kid(*vectors).estimate, rel=1e-6)
    shown = capsys.readouterr().out
    assert '4 images, compared with 5 real images.' in shown and f'fid {found["fid"]:.3f}: distance' in shown
    # The same set twice is at no distance.
    assert run(place, f'--fakes={place / "reals"}', f'--reals={place / "reals"}', '--metrics=fid') == 0
    found = json.loads((place / 'results' / 'folders' / 'metrics.json').read_text())['results']
    assert abs(found['fid']) < 1e-6 and 'kid' not in found


def test_pairs_are_images_of_the_same_name_and_size(place, capsys):
    flags = (f'--fakes={place / "fakes"}', f'--reals={place / "reals"}', '--metrics=psnr,edges')
    assert run(place, *flags) == 0
    found = json.loads((place / 'results' / 'folders' / 'metrics.json').read_text())
    expected = [
        metrics.psnr(*(np.asarray(Image.open(place / folder / name)) for folder in ('fakes', 'reals')))
        for name in ('0.png', 'sub/1.png', '2.png')
    ]
    assert found['results']['psnr'] == pytest.approx(np.mean(expected)) and found['results']['pairs'] == 3
    assert found['features'] is None and '3 pairs of the same name and size' in capsys.readouterr().out
    assert run(place, *flags, '--num_test=1') == 0
    assert json.loads((place / 'results' / 'folders' / 'metrics.json').read_text())['results']['pairs'] == 1


def found(place):
    return json.loads((place / 'results' / 'folders' / 'metrics.json').read_text())


def test_each_pair_has_a_row(place):
    assert run(place, f'--fakes={place / "fakes"}', f'--reals={place / "reals"}', '--metrics=psnr,edges') == 0
    with open(place / 'results' / 'folders' / 'images.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert sorted(row['image'] for row in rows) == ['0', '2', 'sub/1']
    assert np.mean([float(row['psnr']) for row in rows]) == pytest.approx(found(place)['results']['psnr'])
    assert all(float(row['edges']) > 0 for row in rows)
    # What is measured otherwise has no rows, nor old ones.
    assert run(place, f'--fakes={place / "fakes"}', f'--reals={place / "reals"}', '--metrics=fid') == 0
    assert not (place / 'results' / 'folders' / 'images.csv').exists()


def test_statistics_stand_for_the_real_images(place, tmp_path, capsys):
    path = tmp_path / 'reals.npz'
    flags = (f'--fakes={place / "fakes"}', f'--statistics={path}')
    with pytest.raises(UserError, match='`statistics` .*reals.npz.. is made from the images of `reals`, which is not'):
        run(place, *flags)
    assert run(place, *flags, f'--reals={place / "reals"}') == 0
    first = found(place)['results']
    assert run(place, *flags) == 0
    second = found(place)['results']
    assert first.pop('reals') == 5 and first == second
    assert f"4 images, compared with the statistics '{path}'." in capsys.readouterr().out
    with pytest.raises(UserError, match='`statistics` .* was made of other images .number 5 instead of 4.; set it'):
        run(place, *flags, f'--reals={place / "fakes"}')
    with pytest.raises(UserError, match='`statistics` .* is for kid and fid, but `metrics` is psnr; leave one of them'):
        run(place, *flags, f'--reals={place / "reals"}', '--metrics=psnr')
    assert len(found(place)['statistics'][str(path)]) == 64
    with pytest.raises(UserError, match='`metrics` .psnr. needs the images of `reals`, which is not set'):
        run(place, *flags, '--metrics=psnr,fid')
    with pytest.raises(UserError, match='was made with the extractor sha256 .*, but this one is sha256'):
        tf.keras.Sequential([tf.keras.Input((32, 32, 3)), tf.keras.layers.GlobalAveragePooling2D()]).save(
            tmp_path / 'other.keras'
        )
        run(place, *flags, f'--feature_extractor={tmp_path / "other.keras"}')


def test_label_maps_are_scored(place, tmp_path, capsys):
    road, car = (128, 64, 128), (0, 0, 142)
    truth = np.array([[road] * 10 + [car] * 6] * 16, np.uint8)
    labels = np.array([[road] * 12 + [car] * 4] * 16, np.uint8)
    for folder, image in (('true', truth), ('drawn', labels)):
        (tmp_path / folder).mkdir()
        Image.fromarray(image).save(tmp_path / folder / 'x.png')
    flags = (f'--fakes={tmp_path / "drawn"}', f'--reals={tmp_path / "true"}', '--metrics=labels')
    assert run(place, *flags) == 0
    everything = found(place)
    assert everything['results']['pixel_accuracy'] == 14 / 16
    assert everything['results']['class_iou'] == pytest.approx((10 / 12 + 4 / 6) / 2)
    assert everything['classes']['car'] == {'pixels': 96, 'accuracy': pytest.approx(4 / 6), 'iou': pytest.approx(4 / 6)}
    assert 'pixel_accuracy 0.8750: share of pixels of the right class' in capsys.readouterr().out
    (tmp_path / 'palette.txt').write_text('128,64,128,road\n0,0,142,car,ignored\n')
    assert run(place, *flags, f'--palette={tmp_path / "palette.txt"}') == 0
    assert found(place)['results']['pixel_accuracy'] == 1
    photographs = (f'--fakes={place / "fakes"}', f'--reals={place / "reals"}', '--metrics=labels')
    with pytest.raises(
        UserError, match='`reals` .* is no folder of label maps in the colours of `palette`: its pixels'
    ):
        run(place, *photographs)


def test_what_cannot_be_compared_is_one_sentence(place, tmp_path, capsys):
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad' / 'x.png').write_text('no image')
    Image.fromarray(pictures(place / 'reals')[0]).save(tmp_path / 'bad' / 'y.png')
    Image.fromarray(pictures(place / 'reals')[1]).save(tmp_path / 'bad' / 'z.png')
    reals = f'--reals={place / "reals"}'
    for flags, message in (
        ([reals], r"`reals` .'.*reals'. is compared with `fakes`, which is not set; set it."),
        (
            [f'--fakes={place / "fakes"}'],
            '`fakes` .* is compared with `reals` or `statistics`, which are not set; set one',
        ),
        ([reals, f'--fakes={tmp_path / "nowhere"}'], '`fakes` .* is not a file or folder'),
        ([reals, f'--fakes={tmp_path / "bad"}', '--metrics=psnr'], r'`metrics` .psnr. needs pairs, but no image of'),
        ([reals, f'--fakes={tmp_path / "bad"}'], '1 image could not be used, see above; all others were'),
    ):
        with pytest.raises(UserError, match=message):
            run(place, *flags)
    assert 'x.png: it is not an image of a known format' in capsys.readouterr().err
