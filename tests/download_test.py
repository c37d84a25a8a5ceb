"""The program cyclegan_tf.download as users start it: words, names, a kill in the middle."""

import random
import re
import signal
import threading
import time

import pytest

from cyclegan_tf import download
from cyclegan_tf.downloads import catalogue
from cyclegan_tf.errors import UserError
from tests.downloads import data_test
from tests.helpers import file_server, program


def run(*arguments):
    return download.main(download.parse(['cyclegan_tf.download', *arguments]))


def test_the_list_names_all(capsys):
    assert run('list') == 0
    lines = capsys.readouterr().out.splitlines()
    weights, data = lines[0], next(line for line in lines if 'download data NAME' in line)
    rows = {part: [] for part in (weights, data)}
    for line in lines:
        part = line if line in rows else part  # noqa: F821
        rows[part] += re.findall(r'^  (\w+) +[\d.-]+(?: MB| GB|)  \w', line)
    assert rows[weights] == list(catalogue.WEIGHTS) and rows[data] == list(catalogue.DATA)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], r"^'' is not one of: weights, data, list"),
        (['weights'], r'^weights \(none\) has to be one name'),
        (['weights', 'horse2zebra', 'zebra2horse'], r'^weights \(horse2zebra, zebra2horse\) has to be one name'),
        (['weights', 'horse2zebra', '--name', 'mine'], r'has to be one name, and flags take their value after ='),
        (['weights', 'Horse2Zebra'], "^weights 'Horse2Zebra' is not published; did you mean horse2zebra or "),
        (['weights', 'edges2shoes'], "^weights 'edges2shoes' is not published; did you mean pix2pix_edges2shoes[?]"),
        (['data', 'zebras'], "^data 'zebras' is not published; .*python -m cyclegan_tf.download list shows all"),
        (['weights', 'dslr'], 'did you mean iphone2dslr_flower[?]'),
        (['data', 'ukioe2photo'], 'did you mean ukiyoe2photo'),
        (['data', 'xyz'], "^data 'xyz' is not published; python -m"),
        (['data', 'maps', '--gtFine_dir=x'], r"^`gtFine_dir` \('x'\) is for cityscapes and pix2pix_cityscapes; leave"),
        (['data', 'cityscapes'], "^data 'cityscapes' may not be handed on .*https://cityscapes-dataset.com, unpack"),
        (['data', 'pix2pix_cityscapes', '--gtFine_dir=x'], 'set --leftImg8bit_dir and --gtFine_dir to the folders'),
        (['data', 'maps', '--mirror=efrosgans'], r"^`mirror` \('efrosgans'\) is not an address; set it to one that"),
        (['data', 'maps', '--mirror=http://[::1'], r"^`mirror` \('http://\[::1'\) is not an address; set it"),
        (['data', 'maps', '--name=x'], "^'--name=x' is for weights; set --output to the folder"),
        (['weights', 'horse2zebra', '--name=..'], r"^`name` \('..'\) leads to another directory"),
        (['data', 'maps', '--mirror=http://a', '--source=tfds'], "^`mirror` .* has the authors' archives; leave it"),
        (['data', 'maps', '--output='], "^`output` .* is empty; set it"),
        (['list', 'maps'], r"^list \(maps\) takes no name"),
    ],
)  # fmt: skip
def test_wrong_words_are_answered_in_a_sentence(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        run(*arguments)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('ending', [signal.SIGKILL, signal.SIGINT])
def test_a_download_that_is_ended_goes_on_with_the_next_start(tmp_path, ending):
    with file_server.serving() as server:
        files = {f'facades/{part}/1.jpg': data_test.JPEG for part in ('train', 'val')}
        files['facades/noise'] = random.Random(1).randbytes(300_000)  # which does not become smaller
        server.files[data_test.PAIRS] = data_test.tar_of(files)
        size = len(server.files[data_test.PAIRS])
        server.pause = threading.Event()
        flags = (f'--mirror={server.address}', f'--cache_dir={tmp_path / "cache"}', f'--output={tmp_path / "set"}')
        process = program.start('download', 'data', 'pix2pix_facades', *flags)
        part = tmp_path / 'cache' / f'{data_test.PAIRS}.part'
        for _ in range(600):
            if part.exists() and part.stat().st_size >= 1000:
                break
            time.sleep(0.1)
        process.send_signal(ending)
        status, _, error = program.finish(process)
        assert status == {signal.SIGKILL: -9, signal.SIGINT: 130}[ending] and 'Traceback' not in error, error
        server.pause.set()
        begun = part.stat().st_size
        assert 1000 <= begun < size and not (tmp_path / 'set').exists()
        status, output, error = program.run_python('-m', 'cyclegan_tf.download', 'data', 'pix2pix_facades', *flags)
        assert status == 0, error
        assert server.asked[-1][1] == f'bytes={begun}-' and 'train: 1 image, val: 1 image' in output
        assert [path.name for path in tmp_path.iterdir()] in (['cache', 'set'], ['set', 'cache'])
