"""The serving client against a server that speaks as TensorFlow Serving does and runs a real exported model."""

import base64
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tifffile
import urllib3
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from PIL import Image
from tensorflow_serving.config import model_server_config_pb2

from cyclegan_tf.errors import UserError
from tests.helpers.serving_server import ServingServer, Status

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'

import serving_client  # noqa: E402
import serving_files  # noqa: E402
import serving_protocols  # noqa: E402

MODEL = 'photo_AtoB'
MAX_PIXELS = 4_000_000
BOTH = pytest.mark.parametrize('protocol', ['rest', 'grpc'])


class Inverter(tf.Module):
    """A model with the signature of an exported run, whose answer is known: the negative."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='image_bytes')])
    def serve(self, image_bytes):
        return {'image_bytes': tf.map_fn(self.invert, image_bytes)}

    def invert(self, encoded):
        image = tf.io.decode_image(encoded, expand_animations=False)
        pixels = tf.shape(image)[0] * tf.shape(image)[1]
        sentence = tf.strings.format("The image's {} pixels are more than {}.", (pixels, MAX_PIXELS))
        with tf.control_dependencies([tf.debugging.Assert(pixels <= MAX_PIXELS, [sentence])]):
            return tf.io.encode_png(255 - image)


def answer(pixels):
    """What the model of the fixture `exported` makes of uint8 pixels."""
    return 255 - pixels


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """The folder of an exported model, with its versions in it."""
    folder = tmp_path_factory.mktemp('exported') / MODEL
    model = Inverter()
    tf.saved_model.save(model, str(folder / '1'), signatures={'serving_default': model.serve})
    return folder


@pytest.fixture(scope='module')
def server(exported):
    with ServingServer({MODEL: exported}) as server:
        yield server


def serve(exported, **arguments):
    return ServingServer({MODEL: exported}, **arguments)


def call(server, source, output, *flags, protocol='rest', model=MODEL):
    """The client in this process; returns the exit status."""
    address = server if isinstance(server, str) else getattr(server, protocol)
    argv = ['client', f'--server={address}', f'--model={model}', f'--protocol={protocol}', *flags]
    return serving_client.main(serving_client.parse([*argv, str(source), str(output)]))


def picture(path, width=20, height=16, seed=0, **arguments):
    """Writes an image of noise; returns its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **arguments)
    return pixels


def pixels_of(path):
    with Image.open(path) as image:
        assert image.format == 'PNG'
        return np.asarray(image)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


# --------------------------------------------------------------------------------------------------------------- images
@BOTH
def test_a_file_is_translated(server, tmp_path, protocol, capsys):
    pixels = picture(tmp_path / 'in.png')
    assert call(server, tmp_path / 'in.png', tmp_path / 'new' / 'out.png', protocol=protocol) == 0
    assert np.array_equal(pixels_of(tmp_path / 'new' / 'out.png'), answer(pixels))
    assert capsys.readouterr().out == f'{tmp_path}/new/out.png\n'
    (tmp_path / 'folder').mkdir()
    call(server, tmp_path / 'in.png', tmp_path / 'folder', '--version=1', protocol=protocol)
    assert np.array_equal(pixels_of(tmp_path / 'folder' / 'in.png'), answer(pixels))


@BOTH
def test_a_folder_is_translated_with_its_subfolders_and_no_two_images_write_one_picture(
    server, tmp_path, protocol, capsys
):
    names = ('a.png', 'a.bmp', 'A.tif', 'deep/er/b.webp', 'deep/a.png', 'a_png.png')
    images = {name: picture(tmp_path / 'in' / name, 20 + i, 16, i, lossless=True) for i, name in enumerate(names)}
    (tmp_path / 'in' / 'notes.txt').write_text('not an image')
    out = tmp_path / 'in' / 'out'  # inside of what is read: a second call must not take it for input
    for _ in range(2):
        assert call(server, tmp_path / 'in', out, '--concurrency=3', protocol=protocol) == 0
        assert f'6 pictures are in {out}.' in capsys.readouterr().out
    written = {path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file()}
    expected = {
        'a.png': 'a_png_2', 'a.bmp': 'a_bmp', 'A.tif': 'A_tif', 'deep/er/b.webp': 'deep/er/b', 'deep/a.png': 'deep/a',
        'a_png.png': 'a_png',
    }  # fmt: skip
    assert written == {f'{name}.png' for name in expected.values()}
    for name, target in expected.items():
        assert np.array_equal(pixels_of(out / f'{target}.png'), answer(images[name])), name


def test_files_that_tensorflow_reads_are_sent_as_they_are_and_others_as_png(tmp_path):
    for name in ('plain.jpg', 'plain.png', 'plain.bmp'):
        picture(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        assert serving_files.sendable(data) is data

    def sent(name):
        return np.asarray(Image.open(io.BytesIO(serving_files.sendable((tmp_path / name).read_bytes()))))

    # TensorFlow would leave this one lying, and take the palette's indices of the next one for gray.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / 'turned.jpg', 20, 16, exif=exif)
    assert sent('turned.jpg').shape == (20, 16, 3)
    colours = Image.fromarray(picture(tmp_path / 'x.png')).quantize(16)
    colours.save(tmp_path / 'palette.bmp')
    assert np.array_equal(sent('palette.bmp'), np.asarray(colours.convert('RGB')))
    deep = np.random.default_rng(0).integers(0, 65536, (9, 8, 3), np.uint16)
    tifffile.imwrite(tmp_path / 'deep.tif', deep)
    data = serving_files.sendable((tmp_path / 'deep.tif').read_bytes())
    assert np.array_equal(tf.io.decode_png(data, dtype=tf.uint16), deep)


@BOTH
def test_a_picture_larger_than_grpcs_default_message(server, tmp_path, protocol):
    pixels = picture(tmp_path / 'in.png', 1400, 1200)
    assert (tmp_path / 'in.png').stat().st_size > 4 << 20
    assert call(server, tmp_path / 'in.png', tmp_path / 'out.png', protocol=protocol) == 0
    assert np.array_equal(pixels_of(tmp_path / 'out.png'), answer(pixels))


# ------------------------------------------------------------------------------------------------------------- refusals
def bad_folder(folder):
    """Three images, three that cannot be translated: too large, no image, cut off."""
    images = {name: picture(folder / f'{name}.png', seed=i) for i, name in enumerate('acf')}
    Image.new('L', (2001, 2000)).save(folder / 'b.png')
    (folder / 'd.jpg').write_text('no image')
    (folder / 'e.png').write_bytes((folder / 'a.png').read_bytes()[:300])
    return images


@BOTH
@pytest.mark.parametrize('batch', [None, (6, 0.5)])
def test_refused_images_are_named_and_all_others_are_done(exported, tmp_path, protocol, batch, capsys):
    images = bad_folder(tmp_path / 'in')
    with serve(exported, batch=batch) as server:
        with pytest.raises(UserError, match='^3 of 6 images could not be translated and were skipped.$'):
            call(server, tmp_path / 'in', tmp_path / 'out', '--concurrency=5', protocol=protocol)
        if batch:  # in which the good were refused with the bad at first
            assert max(size for batcher in server.batchers.values() for size in batcher.sizes) > 1
    printed = capsys.readouterr()
    assert f'3 pictures are in {tmp_path}/out.' in printed.out
    lines = [line for line in printed.err.splitlines() if line.startswith('Skipped')]
    assert lines[0] == f"Skipped: {tmp_path}/in/b.png: The image's 4002000 pixels are more than 4000000."
    assert lines[1] == f'Skipped: {tmp_path}/in/d.jpg: it is not an image of a known format'
    assert lines[2].startswith(f'Skipped: {tmp_path}/in/e.png: ') and len(lines) == 3
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'a.png', 'c.png', 'f.png'}
    for name, pixels in images.items():
        assert np.array_equal(pixels_of(tmp_path / 'out' / f'{name}.png'), answer(pixels))


@BOTH
def test_unknown_models_and_versions_are_said_in_one_sentence(server, tmp_path, protocol):
    picture(tmp_path / 'in.png')
    code = {'rest': '404', 'grpc': 'NOT_FOUND'}[protocol]
    with pytest.raises(UserError) as error:
        call(server, tmp_path / 'in.png', tmp_path / 'out.png', protocol=protocol, model='nobody')
    assert str(error.value) == (
        f"`model` ('nobody') cannot be used at `server` ('{getattr(server, protocol)}'), which answers {code} "
        f'(Servable not found for request: Latest(nobody)); check --model, --version and --server.'
    )
    with pytest.raises(UserError, match=r'Specific\(photo_AtoB, 7\)'):
        call(server, tmp_path / 'in.png', tmp_path / 'out.png', '--version=7', protocol=protocol)
    assert not (tmp_path / 'out.png').exists()


@pytest.mark.parametrize(
    ['said', 'shown'],
    [
        ('plain\n  words', 'plain words'),
        ('assertion failed: [Too large: 5.]\n\t [[{{node map/while/Assert/Assert}}]]', 'Too large: 5.'),
        (
            "{{function_node __inference_serve_5}} assertion failed: [The image\\'s [5, 6] \\303\\274.] [x] [y]\n\t "
            '[[{{function_node f}}{{node Assert}}]]',
            "The image's [5, 6] ü. x y",
        ),
        (
            '2 root error(s) found.\n  (0) INVALID_ARGUMENT:  No image.\n\t [[{{node a}}]]\n\t [[b/_5]]\n  (1) INVALID',
            'No image.',
        ),
    ],
)
def test_sentences_of_the_server_are_shown_without_places_in_the_graph(said, shown):
    assert serving_protocols.tidy(said) == shown


# ----------------------------------------------------------------------------------------------------- time and retries
@BOTH
def test_several_requests_are_in_flight(exported, tmp_path, protocol):
    for i in range(6):
        picture(tmp_path / 'in' / f'{i}.png', seed=i)
    together = threading.Barrier(3, timeout=20)  # breaks unless three requests are there at the same time
    with serve(exported, before=lambda number: together.wait()) as server:
        assert call(server, tmp_path / 'in', tmp_path / 'out', '--concurrency=3', protocol=protocol) == 0
    assert len(list((tmp_path / 'out').iterdir())) == 6


@BOTH
def test_a_server_that_starts_late_is_waited_for(exported, tmp_path, protocol, capsys):
    pixels = picture(tmp_path / 'in.png')
    port = free_port()
    outcome = []

    def ask():
        outcome.append(call(f'localhost:{port}', tmp_path / 'in.png', tmp_path / 'out.png', protocol=protocol))

    client = threading.Thread(target=ask)
    client.start()
    time.sleep(1)
    with serve(exported, **{f'{protocol}_port': port}):
        client.join(timeout=60)
    assert outcome == [0] and np.array_equal(pixels_of(tmp_path / 'out.png'), answer(pixels))
    assert re.search(rf'Waiting for localhost:{port} \(.*refused.*\) \.\.\.', capsys.readouterr().err)


@BOTH
def test_a_server_that_is_never_there_ends_the_program_with_one_sentence(tmp_path, protocol):
    for i in range(3):
        picture(tmp_path / 'in' / f'{i}.png', seed=i)
    port = free_port()
    flags = [f'--server=localhost:{port}', '--model=x', f'--protocol={protocol}', '--retries=1', 'in', 'out']
    command = [sys.executable, TOOLS / 'serving_client.py', *flags]
    environment = {**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ''
    lines = [line for line in done.stderr.splitlines() if 'serving_client.py' in line]
    assert len(lines) == 1 and 'Traceback' not in done.stderr
    assert lines[0].startswith(f"tools/serving_client.py: `server` ('localhost:{port}') does not answer (")
    assert 'refused' in lines[0] and 'start it' in lines[0]
    assert not (tmp_path / 'out').exists()


@BOTH
def test_ctrl_c_ends_the_program_though_the_server_does_not_answer(exported, tmp_path, protocol):
    for i in range(9):
        picture(tmp_path / 'in' / f'{i}.png', seed=i)
    asked, released = threading.Event(), threading.Event()

    def before(number):
        asked.set()
        released.wait(120)

    with serve(exported, before=before) as server:
        flags = [f'--server={getattr(server, protocol)}', f'--model={MODEL}', f'--protocol={protocol}', 'in', 'out']
        client = subprocess.Popen(
            [sys.executable, TOOLS / 'serving_client.py', *flags],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            # Shells start what is in the background with the signal ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            assert asked.wait(60)
            client.send_signal(signal.SIGINT)
            _, printed = client.communicate(timeout=60)  # long before the server answers
        finally:
            client.kill()
            released.set()
    assert client.returncode == 130 and 'Traceback' not in printed


def test_the_port_of_grpc_is_told_from_one_for_rest(server, tmp_path):
    picture(tmp_path / 'in.png')
    with pytest.raises(UserError, match=r"`server` \('localhost:\d+'\) does not speak HTTP; set --protocol=grpc"):
        call(server.grpc, tmp_path / 'in.png', tmp_path / 'out.png')
    with pytest.raises(UserError, match='does not answer .*HTTP/2.*set --server and --protocol'):
        call(server.rest, tmp_path / 'in.png', tmp_path / 'out.png', '--retries=0', protocol='grpc')


@BOTH
def test_models_that_answer_something_else_are_named(tmp_path, protocol):
    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='image_bytes')])
        def serve(self, image_bytes):
            return {'image_bytes': image_bytes}

    model = Other()
    tf.saved_model.save(model, str(tmp_path / 'other' / '1'), signatures={'serving_default': model.serve})
    picture(tmp_path / 'in.bmp')
    with ServingServer({'other': tmp_path / 'other'}) as server:
        with pytest.raises(UserError, match=r"`model` \('other'\) answers with something other than a picture"):
            call(server, tmp_path / 'in.bmp', tmp_path / 'out.png', protocol=protocol, model='other')
    assert not (tmp_path / 'out.png').exists()


@BOTH
def test_busy_servers_are_asked_again(exported, tmp_path, protocol, capsys):
    pixels = picture(tmp_path / 'in.png')

    def before(number):
        if number < 2:
            raise Status(['UNAVAILABLE', 'RESOURCE_EXHAUSTED'][number], 'The batch scheduling queue is full')

    with serve(exported, before=before) as server:
        with pytest.raises(UserError, match='does not answer .*queue is full'):
            call(server, tmp_path / 'in.png', tmp_path / 'out.png', '--retries=0', protocol=protocol)
        assert call(server, tmp_path / 'in.png', tmp_path / 'out.png', '--retries=1', protocol=protocol) == 0
        assert server.requests == 3
    assert np.array_equal(pixels_of(tmp_path / 'out.png'), answer(pixels))

    def always(number):
        raise Status('RESOURCE_EXHAUSTED', 'OOM when allocating tensor')

    with serve(exported, before=always) as server:
        with pytest.raises(UserError, match='1 of 1'):
            call(server, tmp_path / 'in.png', tmp_path / 'other.png', '--retries=1', protocol=protocol)
    assert f'Skipped: {tmp_path}/in.png: OOM when allocating tensor' in capsys.readouterr().err


@BOTH
def test_an_image_that_takes_too_long_is_left_aside(exported, tmp_path, protocol, capsys):
    for i in range(2):
        picture(tmp_path / 'in' / f'{i}.png', seed=i)
    slow = threading.Event()
    with serve(exported, before=lambda number: number == 0 and slow.wait(20)) as server:
        with pytest.raises(UserError, match='1 of 2'):
            flags = ('--timeout=2', '--concurrency=1')
            call(server, tmp_path / 'in', tmp_path / 'out', *flags, protocol=protocol)
        slow.set()
    assert re.search(r'Skipped: .*/0.png: no answer .*raise --timeout', capsys.readouterr().err)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['1.png']


# -------------------------------------------------------------------------------------------------------------- outputs
def test_pictures_appear_whole_or_not_at_all(exported, tmp_path):
    images = {f'{i}.png': picture(tmp_path / 'in' / f'{i}.png', 500, 500, seed=i) for i in range(5)}
    out = tmp_path / 'out'
    out.mkdir()
    (out / '0.png').write_bytes(b'an older one')
    seen, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            for path in out.glob('[0-9]*.png'):
                data = path.read_bytes()
                seen.append(data == b'an older one' or data.endswith(b'IEND\xaeB`\x82'))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with serve(exported) as server:
            call(server, tmp_path / 'in', out)
    finally:
        stop.set()
        watcher.join()
    assert seen and all(seen)
    assert {path.name for path in out.iterdir()} == set(images)  # nothing else is left

    # What cannot be written ends the program; what stands there already stays.
    (tmp_path / 'blocked').mkdir()
    (tmp_path / 'blocked' / 'sub').write_text('a file where a folder is needed')
    picture(tmp_path / 'two' / 'sub' / 'x.png')
    with serve(exported) as server, pytest.raises(OSError, match='sub'):
        call(server, tmp_path / 'two', tmp_path / 'blocked')
    assert [path.name for path in (tmp_path / 'blocked').iterdir()] == ['sub']


@pytest.mark.parametrize(
    ['names', 'message'],
    [
        ((), r'IN and OUT are needed, .*\(0 names'),
        (('in.png', 'a', 'b'), r'\(3 names'),
        (('nothing.png', 'out.png'), r"IN \('nothing.png'\) is not a file or folder"),
        (('in.png', 'out.jpg'), r"OUT \('out.jpg'\) does not end in .png"),
        (('in.png', 'in.png'), r"OUT \('in.png'\) is also an image to translate"),
        (('.', '.'), r"OUT \('in.png'\) is also an image to translate"),
        (('.', 'in.png'), r"OUT \('in.png'\) is a file, and IN \('.'\) a folder"),
        (('empty', 'out'), r"IN \('empty'\) holds no images"),
        (('--server=no:port', 'in.png', 'out.png'), r"`server` \('no:port'\) is not HOST:PORT"),
        (('--server=h:99999', 'in.png', 'out.png'), r"`server` \('h:99999'\) is not HOST:PORT"),
        (('--ca=in.png', 'in.png', 'out.png'), r"`ca` \('in.png'\) is for encrypted connections only"),
        (('--model=', 'in.png', 'out.png'), r"`model` \(''\) is required"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, monkeypatch, names, message):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / 'in.png')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=message):
        serving_client.main(serving_client.parse(['client', '--model=x', *names]))


def test_the_server_defaults_to_the_protocols_port():
    def address(*flags):
        return serving_client.parse(['client', '--model=x', 'in', 'out', *flags])[0].address

    assert address() == 'localhost:8501' and address('--protocol=grpc') == 'localhost:8500'
    assert address('--server=gpu-1') == 'gpu-1:8501' and address('--server=https://[::1]:7/') == '[::1]:7'


# --------------------------------------------------------------------------------------------------- what it depends on
def test_rest_needs_no_tensorflow(server, tmp_path):
    picture(tmp_path / 'in.png')
    # The program leaves by os._exit, after which nothing of this code would run.
    code = (
        f'import os, runpy, sys; sys.path.insert(0, {str(TOOLS)!r}); sys.argv[0] = "client"; leave = os._exit\n'
        f'os._exit = lambda status: leave(status or (7 if {{"tensorflow", "grpc"}} & set(sys.modules) else 0))\n'
        f'runpy.run_path({str(TOOLS / "serving_client.py")!r}, run_name="__main__")\n'
    )
    command = [sys.executable, '-c', code, f'--server={server.rest}', f'--model={MODEL}', 'in.png', 'out.png']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'out.png').exists() and done.stderr == ''


def test_grpc_says_which_extra_it_needs(server, tmp_path, monkeypatch):
    for name in ('tensorflow_serving', 'tensorflow_serving.apis'):
        monkeypatch.setitem(sys.modules, name, None)
    picture(tmp_path / 'in.png')
    with pytest.raises(UserError, match=r"extra 'serving' \(pip install '\.\[serving\]'\)"):
        call(server, tmp_path / 'in.png', tmp_path / 'out.png', protocol='grpc')


@BOTH
@pytest.mark.skipif(shutil.which('openssl') is None, reason='openssl makes the certificate')
def test_encrypted_connections(exported, tmp_path, protocol):
    pixels = picture(tmp_path / 'in.png')
    key, certificate = tmp_path / 'key.pem', tmp_path / 'certificate.pem'
    command = ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost']
    command += ['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate]
    subprocess.run(command, check=True, capture_output=True)
    with serve(exported, tls=(key, certificate)) as server:
        address = f'https://{getattr(server, protocol)}'
        files = tmp_path / 'in.png', tmp_path / 'out.png'
        assert call(address, *files, f'--ca={certificate}', protocol=protocol) == 0
        with pytest.raises(UserError, match='(?i)cannot be trusted|ssl|certificate'):
            call(address, *files, '--retries=0', protocol=protocol)
    assert np.array_equal(pixels_of(tmp_path / 'out.png'), answer(pixels))


# ------------------------------------------------------------------------------------------------- the server for tests
def test_the_server_answers_as_tensorflow_serving_does(server):
    http = urllib3.PoolManager()
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer, size in zip(buffers, ((5, 4), (3, 7))):
        Image.new('RGB', size, (0, 10, 255)).save(buffer, 'PNG')
    images = [{'b64': base64.b64encode(buffer.getvalue()).decode()} for buffer in buffers]

    def post(body, path=f'/v1/models/{MODEL}:predict'):
        response = http.request('POST', f'http://{server.rest}{path}', body=json.dumps(body).encode())
        return response.status, json.loads(response.data)

    def get(path):
        response = http.request('GET', f'http://{server.rest}{path}')
        return response.status, json.loads(response.data)

    status, body = post({'instances': images})  # of two sizes
    sizes = [Image.open(io.BytesIO(base64.b64decode(one['b64']))).size for one in body['predictions']]
    assert status == 200 and sizes == [(5, 4), (3, 7)]
    named = {'signature_name': 'serving_default', 'instances': [{'image_bytes': image} for image in images]}
    assert post(named, f'/v1/models/{MODEL}/versions/1:predict') == (200, body)
    assert post({'inputs': images}) == (200, {'outputs': body['predictions']})
    assert post({'inputs': {'image_bytes': images}}) == (200, {'outputs': body['predictions']})
    assert post({'instances': images}, '/v1/models/x:predict')[0] == 404
    assert get(f'/v1/models/{MODEL}')[1]['model_version_status'][0]['state'] == 'AVAILABLE'
    assert get(f'/v1/models/{MODEL}/versions/1')[0] == 200 and get(f'/v1/models/{MODEL}/versions/2')[0] == 404
    described = get(f'/v1/models/{MODEL}/metadata')[1]['metadata']['signature_def']['signature_def']
    assert described['serving_default']['inputs']['image_bytes']['dtype'] == 'DT_STRING'
    assert get('/v1/other') == (400, {'error': 'Malformed request: GET /v1/other'})
    # Apostrophes are escaped as in C, which JSON does not know.
    refusal = http.request('POST', f'http://{server.rest}/v1/models/{MODEL}:predict', body=b'{}')
    assert refusal.status == 400 and refusal.data == rb'{ "error": "Missing \'inputs\' or \'instances\' key" }'


def test_grpc_tells_the_signatures(server):
    import grpc
    from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=['signature_def'])
        request.model_spec.name = MODEL
        signatures = get_model_metadata_pb2.SignatureDefMap()
        stub.GetModelMetadata(request).metadata['signature_def'].Unpack(signatures)
        assert set(signatures.signature_def) == {'serving_default'}
        request.model_spec.name = 'nobody'
        with pytest.raises(grpc.RpcError) as error:
            stub.GetModelMetadata(request)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


# --------------------------------------------------------------------------------------------- TensorFlow Serving's own
def compose():
    return yaml.safe_load((TOOLS / 'serving' / 'docker-compose.yml').read_text())['services']['serving']


def test_the_compose_file_serves_both_protocols_with_a_pinned_image():
    service = compose()
    assert re.fullmatch(r'tensorflow/serving:\$\{TAG:-\d+\.\d+\.\d+\}', service['image'])
    assert [port.split(':')[-2:] for port in service['ports']] == [['8500', '8500'], ['8501', '8501']]
    assert [volume.split(':')[-2:] for volume in service['volumes']] == [['/models', 'ro'], ['/config', 'ro']]
    assert '--port=8500' in service['command'][0] and '--rest_api_port=8501' in service['command'][0]


def test_the_compose_file_starts_the_server_with_both_directions_of_the_run(tmp_path):
    """Its command runs as it is, but for the paths of the container; the server is replaced by one that shows flags."""
    server = tmp_path / 'tensorflow_model_server'
    server.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    (tmp_path / 'tmp').mkdir()
    service = compose()
    (script,) = service['command']
    # Compose reads $$ as $.
    script = script.replace('$$', '$').replace('/tmp/', f'{tmp_path}/tmp/').replace('/config/', f'{TOOLS}/serving/')
    environment = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'RUN': 'horse&zebra'}
    process = subprocess.Popen(
        [*service['entrypoint'], script], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        flags = [process.stdout.readline().strip() for _ in range(7)]
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()
    flags = dict(flag.removeprefix('--').split('=') for flag in flags)
    config = text_format.Parse(
        pathlib.Path(flags['model_config_file']).read_text(), model_server_config_pb2.ModelServerConfig()
    )
    models = {model.name: model.base_path for model in config.model_config_list.config}
    assert models == {f'horse&zebra_{way}': f'/models/horse&zebra_{way}' for way in ('AtoB', 'BtoA')}
    assert flags['enable_batching'] == 'true'
    assert flags['batching_parameters_file'] == f'{TOOLS}/serving/batching.config'


def test_batching_parameters_are_those_of_tensorflow_serving():
    """Read by a message with the fields of session_bundle_config.proto, which tensorflow-serving-api leaves out."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name='batching.proto', package='serving_test', syntax='proto3')
    file.dependency.append('google/protobuf/wrappers.proto')
    message = file.message_type.add(name='BatchingParameters')
    names = ('max_batch_size', 'batch_timeout_micros', 'max_enqueued_batches', 'num_batch_threads')
    for number, name in enumerate(names, 1):
        message.field.add(
            name=name, number=number, type=field.TYPE_MESSAGE, label=1, type_name='.google.protobuf.Int64Value'
        )
    message.field.add(name='pad_variable_length_inputs', number=7, type=field.TYPE_BOOL, label=1)
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName('serving_test.BatchingParameters'))
    parameters = text_format.Parse((TOOLS / 'serving' / 'batching.config').read_text(), kind(), descriptor_pool=pool)
    assert all(getattr(parameters, name).value > 0 for name in names)
    assert not parameters.pad_variable_length_inputs
