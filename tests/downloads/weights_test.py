"""A published generator becomes a run that translates as PyTorch does, in one go."""

import io
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from cyclegan_tf import download
from cyclegan_tf.downloads import catalogue
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings import torch_import
from cyclegan_tf.settings.run_flags import load_config
from tests.helpers import file_server, program

torch = pytest.importorskip('torch', reason='the torch extra is not installed')
from benchmark import torch_mirror as mirror  # noqa: E402

from tests.helpers.torch_files import draw, photograph, save  # noqa: E402

pytestmark = pytest.mark.torch

# Name, path of its file, the network in it, netG, direction.
CASES = {
    'zebra2horse': ('cyclegan/pretrained_models/zebra2horse.pth', ('resnet_6blocks', 'instance'), 'AtoB'),
    'pix2pix_facades_label2photo': (
        'pix2pix/models-pytorch/facades_label2photo.pth',
        ('unet_256', 'batch'),
        'BtoA',
    ),
    'fastcut_cityscapes': ('CUT/pretrained_models.tar', ('resnet_6blocks', 'instance'), 'BtoA'),
}


@pytest.fixture
def server():
    with file_server.serving() as running:
        yield running


def get(server, directory, name, *flags):
    where = (f'--mirror={server.address}', f'--cache_dir={directory / "cache"}', f'--checkpoints_dir={directory}')
    return download.main(download.parse(['download', 'weights', name, *where, '--retries=0', *flags]))


def network_of(name):
    kind, norm = CASES[name][1]
    antialias = (True, True) if 'cut' in name else (False, False)
    return draw(mirror.generator(kind, 3, 3, 4, norm, antialias=antialias), 3, 256, 1)


def archive(tmp_path, **files):
    """CUT's archive: each run's folder with the file of its generator."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w') as file:
        for folder, path in files.items():
            file.add(path, f'./checkpoints/{folder}/latest_net_G.pth')
    return data.getvalue()


@pytest.mark.parametrize('name', CASES)
def test_a_published_generator_translates_right_after(server, tmp_path, name, capsys):
    path, (kind, norm), direction = CASES[name]
    network = network_of(name)
    save(network, tmp_path / 'G.pth', new_format='cut' not in name)
    server.files[path] = (tmp_path / 'G.pth').read_bytes()
    if path.endswith('.tar'):
        other = tmp_path / 'other.pth'
        other.write_bytes(b'another run of it')
        server.files[path] = archive(
            tmp_path, cityscapes_cut_pretrained=other, cityscapes_fastcut_pretrained=tmp_path / 'G.pth'
        )
    assert get(server, tmp_path, name, '--name=mine') == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f'Translate with: python -m cyclegan_tf.translate --name=mine --checkpoints_dir={tmp_path} --input=IMAGES'
    )
    config = load_config(tmp_path / 'mine')
    assert (config.netG, config.norms['generator'], config.direction, config.ngf) == (kind, norm, direction, 4)
    assert config.model == {'zebra2horse': 'cycle_gan', 'fastcut_cityscapes': 'cut'}.get(name, 'pix2pix')
    if config.model == 'cut':
        assert (config.CUT_mode, config.lambda_NCE) == ('FastCUT', 10)

    photo = photograph(256)
    Image.fromarray(photo).save(tmp_path / 'cat.png')
    as_trained = ('--eval',) if config.model == 'pix2pix' else ()
    into = ('--name=mine', f'--input={tmp_path / "cat.png"}', f'--output={tmp_path / "out"}')
    assert program.run_translation(tmp_path, *into, *as_trained) == 0
    with torch.no_grad():
        expected = mirror.to_numpy(network(mirror.to_torch(photo[None] / np.float32(127.5) - 1)))[0]
    (picture,) = (tmp_path / 'out').iterdir()
    found = np.asarray(Image.open(picture))
    assert np.abs(found - np.round((expected + 1) * 127.5)).max() <= 1

    with pytest.raises(UserError, match="run '.*mine' holds a checkpoint, which is never overwritten; set another"):
        get(server, tmp_path, name, '--name=mine')
    assert len(server.asked) == 1


def test_every_name_has_flags_that_its_run_takes(tmp_path):
    found = {}
    for name, entry in catalogue.WEIGHTS.items():
        parsed = torch_import.parse(['weights', f'--{entry.file_flag}=file.pth', *entry.flags])
        found[name] = (parsed.settings['model'], parsed.settings['direction'], *parsed.paths)
    assert len(found) == 29 and len({(entry.path, entry.member) for entry in catalogue.WEIGHTS.values()}) == 29
    assert sum(value == ('cycle_gan', 'AtoB', 'G_A') for value in found.values()) == 18
    assert {name for name, (model, direction, _) in found.items() if model != 'cycle_gan' and direction == 'BtoA'} == {
        'pix2pix_map2sat', 'pix2pix_facades_label2photo', 'pix2pix_day2night', 'cut_cityscapes', 'fastcut_cityscapes',
    }  # fmt: skip


@pytest.mark.parametrize('package, message', [('torch', 'PyTorch is not installed'), ('pooch', 'pooch is not install')])
def test_what_is_missing_is_said_before_the_download(server, tmp_path, monkeypatch, package, message):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=message):
        get(server, tmp_path, 'horse2zebra')
    assert not server.asked


def test_a_name_that_no_folder_can_have_is_refused_before_the_download(server, tmp_path):
    with pytest.raises(UserError, match=r"^`name` \('x+'\) cannot be a folder's \(File name too long\); set it to"):
        get(server, tmp_path, 'horse2zebra', f'--name={"x" * 300}')
    assert not server.asked


def test_a_file_that_holds_no_weights_is_not_kept(server, tmp_path):
    path = 'cyclegan/pretrained_models/horse2zebra.pth'
    save(network_of('zebra2horse'), tmp_path / 'G.pth')
    server.files[path] = (tmp_path / 'G.pth').read_bytes()[:20_000]
    with pytest.raises(
        UserError, match=rf'^{server.address}/{path} gives a file that cannot be used .*as weights .*start again'
    ):
        get(server, tmp_path, 'horse2zebra')
    assert not (tmp_path / 'horse2zebra').exists()
    save(mirror.discriminator('basic', 3, 4, 3, 'instance'), tmp_path / 'D.pth')
    server.files[path] = (tmp_path / 'D.pth').read_bytes()
    with pytest.raises(UserError, match=r'gives a file that cannot be used \(`g_a` .* holds a discriminator\), so it'):
        get(server, tmp_path, 'horse2zebra')
    server.files[path] = (tmp_path / 'G.pth').read_bytes()
    assert get(server, tmp_path, 'horse2zebra') == 0 and len(server.asked) == 3
    assert load_config(tmp_path / 'horse2zebra').netG == 'resnet_6blocks'


@pytest.mark.parametrize(
    'folder, message',
    [
        (
            'horse2zebra_cut_pretrained',
            r"it has no 'cat2dog_cut_pretrained/latest_net_G.pth', but of: horse2zebra_cut_",
        ),
        ('../cat2dog_cut_pretrained', 'it holds .* which may lead out of the folder'),
    ],
)
def test_an_archive_that_is_not_as_it_was(server, tmp_path, folder, message):
    (tmp_path / 'G.pth').write_bytes(b'weights')
    server.files['CUT/pretrained_models.tar'] = archive(tmp_path, **{folder: tmp_path / 'G.pth'})
    with pytest.raises(UserError, match=f'(?s)^{server.address}/CUT/pretrained_models.tar gives a .*{message}'):
        get(server, tmp_path, 'cut_cat2dog')
    left = {file.name for file in tmp_path.rglob('*') if file.is_file()}
    assert left <= {'G.pth', 'pretrained_models.tar.lock'}
