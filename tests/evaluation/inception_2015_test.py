"""The network, the resizing and the figures of the programs that papers use: torch-fidelity, pytorch-fid, clean-fid."""

import contextlib
import functools
import http.server
import pathlib
import shutil
import threading

import numpy as np
import pytest

from cyclegan_tf.data import demo
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import features, inception_2015, metrics
from cyclegan_tf.evaluation.inception_2015 import WEIGHTS, Inception2015

torch = pytest.importorskip('torch', reason='the torch extra is not installed')

pytestmark = pytest.mark.torch

WITHOUT_FILE = 'load_state_dict_from_url'


@pytest.fixture(scope='module')
def programs():
    """Modules of torch-fidelity and pytorch-fid, whose networks are made without a download."""
    with pytest.MonkeyPatch.context() as patch:
        # torchvision registers operators that PyTorch's build for CPUs has not; nobody calls them here.
        patch.setattr(torch.library, 'register_fake', lambda *_, **__: lambda function: function)
        import torchvision  # noqa: F401
    from pytorch_fid import inception
    from torch_fidelity import feature_extractor_inceptionv3, metric_fid, metric_kid

    return feature_extractor_inceptionv3, inception, metric_fid, metric_kid


@contextlib.contextmanager
def without_download(module, state=None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, WITHOUT_FILE, lambda *_, **__: state)
        if state is None:
            patch.setattr(torch.nn.Module, 'load_state_dict', lambda *_: None)
        yield


@pytest.fixture(scope='module')
def weights(programs, tmp_path_factory):
    """A file of the layout of the published one, with random weights that keep the signal alive."""
    with without_download(programs[0]):
        network = programs[0].FeatureExtractorInceptionV3('random', ['2048'])
    state, generator = network.state_dict(), torch.Generator().manual_seed(0)
    assert (len(state), len(list(network.parameters()))) == (566, 284)
    assert sum(value.numel() for value in state.values()) == 23_885_486
    limits = {'running_mean': (-0.2, 0.2), 'running_var': (0.5, 1.5), 'bn.weight': (0.8, 1.6), 'bn.bias': (-0.1, 0.3)}
    for key, value in state.items():
        if key.endswith('conv.weight'):
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        for ending, (low, high) in limits.items():
            if key.endswith(ending):
                value.uniform_(low, high, generator=generator)
    path = tmp_path_factory.mktemp('weights') / WEIGHTS
    torch.save(state, path)
    return path


@pytest.fixture(scope='module')
def photographs():
    """uint8 [h, w, 3], larger and smaller than the network's images, upright and not."""
    sizes = ((350, 420), (300, 200), (64, 64), (299, 299))
    return [image[:h, :w] for image, (h, w) in zip(demo.regions('test', 'A').values(), sizes)]


def to_torch(image):
    return torch.from_numpy(np.array(image).transpose(2, 0, 1)[None])


def difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_features_are_those_of_torch_fidelity(programs, weights, photographs):
    network = programs[0].FeatureExtractorInceptionV3('theirs', ['2048'], feature_extractor_weights_path=str(weights))
    extractor = features.make_extractor('inception_2015', resizing='legacy_tensorflow', weights=weights)
    found = extractor(photographs)
    expected = np.concatenate([network(to_torch(image))[0].numpy() for image in photographs])
    assert found.shape == (4, 2048) and extractor.file == pathlib.Path(weights)
    assert difference(found, expected) < 1e-4 and np.std(expected[0] - expected[1]) > 1


def test_features_are_those_of_pytorch_fid(programs, weights, photographs):
    with without_download(programs[1], torch.load(weights, weights_only=True)):
        network = programs[1].InceptionV3().eval()
    found = features.make_extractor('inception_2015', resizing='legacy_pytorch', weights=weights)(photographs)
    with torch.no_grad():
        expected = np.concatenate([network(to_torch(image) / 255)[0][:, :, 0, 0].numpy() for image in photographs])
    assert difference(found, expected) < 1e-4


def test_images_are_resized_as_the_other_programs_do_it(programs, photographs):
    from cleanfid.resize import build_resizer
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    def as_tensorflow_1(image):
        resized = interpolate_bilinear_2d_like_tensorflow1x(to_torch(image).float(), (299, 299), align_corners=False)
        return resized[0].numpy().transpose(1, 2, 0)

    theirs = {name: build_resizer(name) for name in ('clean', 'legacy_pytorch')}
    theirs['legacy_tensorflow'] = as_tensorflow_1
    assert theirs.keys() == features.RESIZERS.keys()
    for name, resize in theirs.items():
        for image in photographs:
            found = np.asarray(features.RESIZERS[name](image.astype(np.float32), 299, 299))
            np.testing.assert_allclose(found, resize(np.array(image)), rtol=0, atol=1e-3, err_msg=name)
    # They are not the same: figures of one do not compare with those of another.
    small = [np.asarray(resize(photographs[0].astype(np.float32), 299, 299)) for resize in features.RESIZERS.values()]
    assert all(np.abs(a - b).max() > 5 for a, b in zip(small, small[1:]))


def test_fid_and_kid_are_those_of_torch_fidelity(programs):
    rng = np.random.default_rng(0)
    a, b = (rng.gamma(2, 1 + 0.1 * shift, [60, 30]).astype(np.float32) for shift in range(2))
    _, _, fid, kid = programs
    of_both = [fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    theirs = fid.fid_statistics_to_metric(*of_both, verbose=False)
    assert metrics.fid(a, b) == pytest.approx(theirs[fid.KEY_METRIC_FID], rel=1e-6)
    theirs = kid.kid_features_to_metric(
        torch.from_numpy(a).double(), torch.from_numpy(b).double(), kid_subsets=3, kid_subset_size=60, verbose=False
    )
    assert metrics.kid(a, b).estimate == pytest.approx(theirs[kid.KEY_METRIC_KID_MEAN], rel=1e-6)


def test_weights_are_downloaded_once_and_only_the_published_ones_are_taken(weights, tmp_path, monkeypatch):
    pytest.importorskip('pooch', reason='the download extra is not installed')
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / 'site')
    handler.log_message = lambda *_: None
    (tmp_path / 'site' / inception_2015.RELEASE).mkdir(parents=True)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(inception_2015, 'WEIGHTS_AT', f'http://127.0.0.1:{server.server_port}')
        shutil.copy(weights, tmp_path / 'site' / inception_2015.RELEASE / WEIGHTS)
        begins = features.digest(weights)[:8]
        for _ in range(2):  # what was refused is not kept
            with pytest.raises(
                UserError, match=rf'got another file .*SHA-256 begins with {begins} instead of 6726825d'
            ):
                features.make_extractor('inception_2015')
        name = f'pt_inception-2015-12-05-{begins}.pth'
        monkeypatch.setattr(inception_2015, 'WEIGHTS', name)
        shutil.copy(weights, published := tmp_path / 'site' / inception_2015.RELEASE / name)
        first = features.make_extractor('inception_2015')
        published.unlink()
        assert features._downloaded_weights() == first.file and first.file.name == name
        server.shutdown()


def test_files_of_something_else_are_refused(tmp_path, weights):
    state = torch.load(weights, weights_only=True)

    def refused(changed, message):
        torch.save(changed, tmp_path / 'w.pth')
        with pytest.raises(UserError, match=rf"`feature_weights` .'{tmp_path}/w.pth'. {message}"):
            features.make_extractor('inception_2015', weights=tmp_path / 'w.pth')

    # The classifier is not needed.
    assert Inception2015().differences({k: v.numpy() for k, v in state.items() if not k.startswith('fc.')}) == []
    # All at once, as each network takes seconds to make.
    key = 'Conv2d_1a_3x3.conv.weight'
    changed = {**state, key: state[key][:2], 'more': state['fc.bias'], 'last': state['fc.bias']}
    del changed['Mixed_7b.branch1x1.conv.weight']
    lines = (
        'Mixed_7b.branch1x1.conv.weight is missing',
        rf'{key} has the shape .2, 3, 3, 3. instead of .32, 3, 3, 3.',
        'more is not of this network, and 1 more',
    )
    refused(changed, rf'does not hold the Inception of 2015 .{"; ".join(lines)}.; set it to pt_inception')
    (tmp_path / 'w.pth').write_bytes(b'no weights')
    with pytest.raises(UserError, match='cannot be read as weights'):
        features.make_extractor('inception_2015', weights=tmp_path / 'w.pth')
    with pytest.raises(UserError, match="`feature_weights` .*is of inception_2015 alone, not of 'inception_v3'"):
        features.make_extractor('inception_v3', weights=tmp_path / 'w.pth')
