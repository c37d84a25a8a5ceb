"""From a run to pictures over the network: exported, served, asked by the client, equal to the translation of files."""

import numpy as np
import pytest
import serving_client  # noqa: E402
from PIL import Image

from cyclegan_tf.errors import UserError
from tests.helpers import program
from tests.helpers.served_models import make_run, photograph, run_export
from tests.helpers.serving_server import ServingServer

MAX_PIXELS = 40_000


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    directory = tmp_path_factory.mktemp('runs')
    make_run(directory)
    return directory


@pytest.fixture(scope='module')
def server(runs, tmp_path_factory):
    models = tmp_path_factory.mktemp('models')
    assert run_export(runs, models, '--name=run', f'--max_pixels={MAX_PIXELS}') == 0
    with ServingServer({name: models / name for name in ('run_AtoB', 'run_BtoA')}) as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    """Images of several kinds in subfolders."""
    root = tmp_path / 'in'
    (root / 'sub').mkdir(parents=True)
    Image.fromarray(photograph(37, 50)).save(root / 'odd.png')
    Image.fromarray(photograph(64, 48)).save(root / 'sub' / 'photo.jpg', quality=90)
    Image.fromarray(photograph(32, 32)).convert('L').save(root / 'sub' / 'gray.bmp')
    Image.fromarray(np.dstack([photograph(32, 40), photograph(32, 40)[..., :1]])).save(root / 'alpha.png')
    turned = Image.fromarray(photograph(40, 32))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(root / 'turned.jpg', exif=exif)
    Image.fromarray(photograph(32, 36)).save(root / 'sub' / 'tag.tif')
    return root


def pictures(folder):
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)) for path in folder.rglob('*.png')}


def ask(server, protocol, model, source, output):
    argv = ['client', f'--server={getattr(server, protocol)}', f'--model={model}', f'--protocol={protocol}']
    return serving_client.main(serving_client.parse([*argv, str(source), str(output)]))


@pytest.mark.parametrize('protocol', ['rest', 'grpc'])
@pytest.mark.parametrize('direction', ['AtoB', 'BtoA'])
def test_the_server_answers_what_translate_writes(runs, server, folder, tmp_path, protocol, direction):
    assert ask(server, protocol, f'run_{direction}', folder, tmp_path / 'asked') == 0
    # Batches of several images may be added up in another order.
    flags = ('--name=run', f'--input={folder}', f'--output={tmp_path / "written"}', '--batch_size=1')
    assert program.run_translation(runs, *flags, f'--direction={direction}', '--output_depth=8') == 0
    asked, written = pictures(tmp_path / 'asked'), pictures(tmp_path / 'written')
    assert len(written) == 6 and set(asked) == set(written)
    for name, picture in written.items():
        np.testing.assert_array_equal(asked[name], picture, err_msg=name)


@pytest.mark.parametrize('protocol', ['rest', 'grpc'])
def test_a_refused_image_is_named_and_the_next_request_is_answered(server, tmp_path, protocol, capsys):
    (tmp_path / 'in').mkdir()
    Image.new('RGB', (400, 400)).save(tmp_path / 'in' / 'large.png')
    Image.fromarray(photograph()).save(tmp_path / 'in' / 'small.png')
    with pytest.raises(UserError, match='1 of 2 images could not be translated and were skipped'):
        ask(server, protocol, 'run_AtoB', tmp_path / 'in', tmp_path / 'out')
    error = capsys.readouterr().err
    assert 'large.png' in error and 'The image has 400x400 pixels; this model takes at most 40,000 of them' in error
    assert list(pictures(tmp_path / 'out')) == ['small.png']
    assert ask(server, protocol, 'run_AtoB', tmp_path / 'in' / 'small.png', tmp_path / 'again.png') == 0
