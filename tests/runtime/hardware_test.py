"""What this machine has: instructions for a precision, a GPU that TensorFlow does not find, memory that is left."""

import pytest
import tensorflow as tf

from cyclegan_tf.runtime.hardware import (
    choose_precision,
    describe_batches,
    free_memory,
    images_per_batch,
    missing_gpu_warning,
)

NO_GPU = pytest.mark.skipif(bool(tf.config.list_physical_devices('GPU')), reason='TensorFlow finds a GPU')


@pytest.mark.parametrize(
    'line, precision, warns',
    [
        ('flags\t\t: fpu avx512f avx512_bf16', 'bfloat16', False),
        ('flags\t\t: fpu avx512f avx512_bf16', 'float16', True),
        ('flags\t\t: fpu amx_fp16', 'float16', False),
        ('flags\t\t: fpu avx2 f16c', 'bfloat16', True),
        ('flags\t\t: fpu avx2 f16c', 'float32', False),
        ('Features\t: fp asimd asimdhp', 'float16', False),
        ('Features\t: fp asimd', 'bfloat16', True),
        ('vendor_id\t: unknown', 'float16', False),
    ],
)
@NO_GPU
def test_a_precision_without_instructions_is_replaced_unless_it_is_insisted_on(tmp_path, line, precision, warns):
    (tmp_path / 'cpuinfo').write_text(f'processor\t: 0\n{line}\nbugs\t\t: bf16 amx_fp16 none\n')
    for emulate in (False, True):
        used, warning = choose_precision(precision, emulate, tmp_path / 'cpuinfo')
        assert used == (precision if emulate or not warns else 'float32')
        assert (warning is not None) == warns
        assert not warns or f'no instructions for {precision}' in warning
        assert not warns or ('--emulate_precision uses' in warning) == (not emulate)


def test_gpus_compute_in_every_precision(monkeypatch, tmp_path):
    (tmp_path / 'cpuinfo').write_text('flags\t\t: fpu avx2 f16c\n')
    monkeypatch.setattr(tf.config, 'get_visible_devices', lambda kind: [kind])
    assert choose_precision('bfloat16', False, tmp_path / 'cpuinfo') == ('bfloat16', None)


@pytest.mark.parametrize(
    'sides, on_cpu', [((16, 16), 8), ((64, 64), 8), ((128, 128), 4), ((256, 192), 1), ((256, 256), 1), ((4000, 30), 1)]
)
def test_batches_on_cpus_are_of_few_pixels(monkeypatch, sides, on_cpu):
    assert images_per_batch(sides[0] * sides[1]) == on_cpu
    assert describe_batches(None) == 'Batches have at most 65,536 pixels, but one to 8 images (--batch_size).'
    monkeypatch.setattr(tf.config, 'get_visible_devices', lambda kind: [kind])
    assert images_per_batch(sides[0] * sides[1]) == 8
    assert describe_batches(None) == 'Batches have at most 8 images (--batch_size).'
    assert describe_batches(3) == 'Batches have at most 3 images (--batch_size).'


def test_elsewhere_than_on_linux_nothing_is_said(tmp_path):
    assert choose_precision('float16', False, tmp_path / 'nowhere') == ('float16', None)


@NO_GPU
@pytest.mark.parametrize(
    'file, visible, warns',
    [
        ('nvidia0', None, True),
        ('nvidia3', '3', True),
        ('nvidia0', '', False),
        ('nvidia0', '-1', False),
        ('nvidia0', 'NoDevFiles', False),
        ('nvidiactl', None, False),  # the driver alone
    ],
)
def test_a_gpu_that_is_there_and_not_found_is_missed(tmp_path, monkeypatch, file, visible, warns):
    (tmp_path / file).touch()
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    warning = missing_gpu_warning(tmp_path)
    assert (warning is not None) == warns
    assert not warns or (str(tmp_path / file) in warning and "pip install '.[gpu]'" in warning)


# Memory of this process's group, of one around it, and of the machine, of which tests know that it is more.
GROUPS = {
    'version 2': ('0::/job/step', 'job', ('memory.max', 'memory.current'), ('active_file', 'inactive_file')),
    'version 1': (
        '9:cpu,cpuacct:/x\n4:memory:/job/step\n0::/other',
        'memory/job',
        ('memory.limit_in_bytes', 'memory.usage_in_bytes'),
        ('total_active_file', 'total_inactive_file'),
    ),
}


@pytest.mark.parametrize('version', GROUPS)
def test_memory_is_limited_by_the_groups_of_this_process(tmp_path, version):
    lines, job, names, cached = GROUPS[version]
    (tmp_path / 'cgroup').write_text(lines + '\n')

    def group(folder, *values, of_files=(0, 0)):
        folder = tmp_path / 'mount' / folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in zip(names, values):
            (folder / name).write_text(f'{value}\n')
        statistics = ''.join(f'{name} {value}\n' for name, value in zip(cached, of_files))
        (folder / 'memory.stat').write_text('anon 1\n' + statistics)

    def free():
        return free_memory(tmp_path / 'cgroup', tmp_path / 'mount')

    unlimited = 'max' if version == 'version 2' else 2**63 - 4096
    whole = free()  # no group has files yet
    group(f'{job}/step', unlimited, 5000)
    assert abs(free() - whole) < whole / 2
    group(job, 9000, 5000)
    assert free() == 4000
    group(f'{job}/step', 8000, 7000, of_files=(300, 500))  # the kernel gives up what it has cached of files
    assert free() == 1800
    group(f'{job}/step', 8000, 9000)
    assert free() == 0


def test_in_a_container_the_group_is_the_mount_itself(tmp_path):
    (tmp_path / 'cgroup').write_text('0::/docker/0123\n')
    for name, value in (('memory.max', 7000), ('memory.current', 1000), ('memory.stat', 'active_file 10')):
        (tmp_path / name).write_text(str(value))
    assert free_memory(tmp_path / 'cgroup', tmp_path) == 6010
