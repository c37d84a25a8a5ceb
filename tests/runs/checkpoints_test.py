"""Checkpoints on a disk that fails: what is listed, what is damaged, what is used instead."""

import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.runs.checkpoint_store import Checkpoints
from tests.helpers import program


class Small(tf.Module):
    """A state with a step, as a model has, and enough values for a damage to fall into them."""

    def __init__(self):
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64)
        self.values = tf.Variable(tf.zeros([10_000]))

    def advance(self, step):
        self.step.assign(step)
        self.values.assign(tf.fill([10_000], float(step)))


@pytest.fixture
def state():
    return Small()


@pytest.fixture
def store(state, tmp_path):
    return Checkpoints(tmp_path, state, tf.Module(), keep=2)


def save(store, state, *steps):
    for step in steps:
        state.advance(step)
        store.save_latest(step)


def data_file(tmp_path, step):
    return tmp_path / 'latest' / f'step-{step}.data-00000-of-00001'


def damage(path, how):
    content = path.read_bytes()
    if how == 'flipped bit':
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif how == 'cut off':
        path.write_bytes(content[: len(content) // 2])
    elif how == 'empty':
        path.write_bytes(b'')
    else:
        path.unlink()


@pytest.mark.parametrize('how', ['flipped bit', 'cut off', 'empty', 'missing'])
@pytest.mark.parametrize('kind', ['index', 'data-00000-of-00001'])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(store, state, tmp_path, how, kind):
    save(store, state, 3, 6)
    damage(tmp_path / 'latest' / f'step-6.{kind}', how)
    state.advance(99)
    restored = Checkpoints(tmp_path, state, tf.Module(), keep=2).restore('latest')
    assert restored.found.step == 3 and not restored.deleted
    assert [one.prefix for one in restored.damaged] == [str(tmp_path / 'latest' / 'step-6')]
    assert 'step-6' in str(restored.damaged[0]) and 'is damaged' in str(restored.damaged[0])
    assert int(state.step) == 3 and (state.values.numpy() == 3).all()
    # It is forgotten: the next one goes on from there, and saves over it.
    assert [one.step for one in checkpoints.find_all(tmp_path)] == [3]
    assert Checkpoints(tmp_path, state, tf.Module(), keep=2).restore('latest').damaged == []


def test_where_all_are_damaged_that_is_said_and_nothing_is_forgotten(store, state, tmp_path):
    save(store, state, 3, 6)
    for step in (3, 6):
        damage(data_file(tmp_path, step), 'cut off')
    with pytest.raises(UserError, match="step-3' is damaged .*, and so are all other checkpoints of the run"):
        Checkpoints(tmp_path, state, tf.Module(), keep=2).restore('latest')
    assert '"step-6"' in (tmp_path / 'latest' / 'checkpoint').read_text()


def test_an_epoch_that_was_asked_for_and_is_damaged_is_refused(store, state, tmp_path):
    for epoch in (1, 2):
        state.advance(epoch * 5)
        store.save_epoch(epoch)
    damage(tmp_path / 'epochs' / 'epoch-2.data-00000-of-00001', 'flipped bit')
    with pytest.raises(UserError, match="epoch-2' is damaged .*; choose another with --epoch"):
        store.restore('2')
    damage(tmp_path / 'epochs' / 'epoch-2.index', 'missing')
    for wanted in ('2', 'latest'):
        with pytest.raises(UserError, match="epoch-2' is damaged"):
            checkpoints.find(tmp_path, wanted)
    assert checkpoints.find(tmp_path, '1').step == 5


@pytest.mark.parametrize('epoch', ['lates', '', '-1', '²'])
def test_what_is_no_epoch_is_refused(store, state, tmp_path, epoch):
    save(store, state, 3)
    with pytest.raises(UserError, match="`epoch` .* is neither 'latest', 'best' nor a number"):
        checkpoints.find(tmp_path, epoch)


def test_a_damaged_list_is_named(store, state, tmp_path):
    save(store, state, 3)
    for content in ('', 'model_checkpoint_path'):
        (tmp_path / 'latest' / 'checkpoint').write_text(content)
        with pytest.raises(UserError, match='latest/checkpoint.* cannot be read; delete it to continue'):
            checkpoints.scan(tmp_path)


def test_what_is_kept(store, state, tmp_path):
    save(store, state, 1, 2, 3)
    for epoch in (1, 2, 3):
        store.save_epoch(epoch)
    for epoch in (1, 2):
        store.save_best(epoch, {'psnr': 1.0})
    names = {folder: sorted(p.name for p in (tmp_path / folder).glob('*.index')) for folder in ('latest', 'epochs')}
    assert names == {'latest': ['step-2.index', 'step-3.index'], 'epochs': ['epoch-2.index', 'epoch-3.index']}
    assert sorted(p.name for p in (tmp_path / 'best').iterdir()) == [
        'checkpoint', 'epoch-2.data-00000-of-00001', 'epoch-2.index', 'epoch-2.measured'
    ]  # fmt: skip


def test_what_a_kill_left_half_written_is_deleted(store, state, tmp_path):
    save(store, state, 3)
    (tmp_path / 'latest' / 'step-6_temp').mkdir()
    (tmp_path / 'latest' / 'step-6_temp' / 'part-00000-of-00001.data-00000-of-00001').write_bytes(b'half')
    (tmp_path / 'latest' / 'checkpoint.tmp123').write_bytes(b'half')
    store.tidy()
    assert sorted(p.name for p in (tmp_path / 'latest').iterdir()) == [
        'checkpoint', 'step-3.data-00000-of-00001', 'step-3.index'
    ]  # fmt: skip
    assert store.restore('latest').found.step == 3


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='strace')
def test_files_are_on_disk_before_the_list_names_them_and_the_list_before_old_ones_go(tmp_path):
    """In the order of the system calls, as strace tells it."""
    strace = next((p for p in map(pathlib.Path, ('/usr/bin/strace', '/usr/local/bin/strace')) if p.exists()), None)
    if strace is None:
        pytest.skip('strace is not installed')
    code = f"""
import pathlib, time
import tests.runs.checkpoints_test as t
print('ready', flush=True)
while not pathlib.Path({str(tmp_path / 'traced')!r}).exists():
    time.sleep(0.01)
state = t.Small()
store = t.Checkpoints(pathlib.Path({str(tmp_path / 'run')!r}), state, t.tf.Module(), keep=2)
t.save(store, state, 1, 2, 3)
"""
    log = tmp_path / 'log'
    calls = 'trace=fsync,rename,renameat,renameat2,unlink,unlinkat'
    process = program.start_python('-c', code)
    assert process.stdout.readline() == 'ready\n'
    command = [strace, '-f', '-y', '-s', '300', '-e', calls, '-o', log, '-p', str(process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        line = tracer.stderr.readline()
        if 'ptrace' in line.lower():
            process.kill()
            pytest.skip('strace is not allowed here')
        assert 'attached' in line
        (tmp_path / 'traced').touch()
        status, _, error = program.finish(process)
        tracer.communicate()
    assert status == 0, error
    lines = log.read_text().splitlines()
    latest = str(tmp_path / 'run' / 'latest')

    def first(*parts, after=0):
        return next(i for i, line in enumerate(lines) if i >= after and all(part in line for part in parts))

    begin = first(f'{latest}/step-3')
    synced = [first('fsync(', f'{latest}/step-3.{end}', after=begin) for end in ('index', 'data-00000-of-00001')]
    named = first('fsync(', f'<{latest}>', after=max(synced))
    listed = first('rename', f'"{latest}/checkpoint"', after=begin)
    durable = first('fsync(', f'<{latest}/checkpoint>', after=listed)
    entered = first('fsync(', f'<{latest}>', after=durable)
    gone = first('unlink', f'{latest}/step-1.', after=begin)
    assert max(synced) < named < listed < durable < entered < gone
