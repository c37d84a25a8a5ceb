"""Runs the real programs for the tests: in this process for speed, in another for exit statuses and signals."""

import os
import pathlib
import subprocess
import sys

from cyclegan_tf import evaluate, export, train, translate
from cyclegan_tf.settings.run_flags import parse_training
from tests.helpers import fresh_process

ROOT = pathlib.Path(__file__).parent.parent.parent

_SIZES = ('--load_size=36', '--crop_size=32', '--pool_size=3', '--num_threads=2', '--lambda_identity=0')
# CycleGAN's training with networks of a convolution or two, a fifth of the time: where the networks do not matter.
SMALL = ('--model=tiny_cycle_gan', *_SIZES)
REAL = ('--netG=resnet_6blocks', '--ngf=4', '--ndf=4', *_SIZES)


def run_training(checkpoints_dir, *flags, small=True):
    """Trains in this process; returns the exit status."""
    argv = ['train', f'--checkpoints_dir={checkpoints_dir}', *(SMALL if small else ()), *flags]
    return train.main(parse_training(argv))


def run_translation(checkpoints_dir, *flags):
    """Translates in this process; returns the exit status."""
    return translate.main(translate.parse(['translate', f'--checkpoints_dir={checkpoints_dir}', *flags]))


def run_evaluation(checkpoints_dir, *flags):
    """Measures in this process; returns the exit status."""
    return evaluate.main(evaluate.parse(['evaluate', f'--checkpoints_dir={checkpoints_dir}', *flags]))


def run_export(checkpoints_dir, *flags):
    """Exports in this process; returns the exit status."""
    return export.main(export.parse(['export', f'--checkpoints_dir={checkpoints_dir}', *flags]))


def start(module, *flags, **settings):
    """Starts a program of its own; see start_python."""
    return start_python('-m', f'cyclegan_tf.{module}', *flags, **settings)


def start_python(*arguments, cwd=ROOT, prefix=(), preexec_fn=None, real=False, **variables):
    """Starts what `python *arguments` starts, in a process of its own; returns that, whose output is text.

    It is forked from a process that has TensorFlow imported already, which saves seconds, but for the real ones.

    Args:
        arguments: a file, or -m and a module, or -c and code; and what these are given.
        cwd: the working directory.
        prefix, preexec_fn: a program that starts Python, what is done before it starts; such a process is real.
        real: whether Python itself is started: for what happens while it starts, or for a measure of its own memory.
        variables: more environment variables; one that TensorFlow reads when it is imported needs a real process.
    """
    arguments = [str(argument) for argument in arguments]
    env = {**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONPATH': str(ROOT), **variables}
    if fresh_process.has_server() and not (real or prefix or preexec_fn):
        return fresh_process.start(fresh_process.run_python, *arguments, cwd=cwd, env=env)
    return subprocess.Popen(
        [*prefix, sys.executable, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )


def run_python(*arguments, timeout=600, **settings):
    """As start_python, and waits; returns exit status, standard output, standard error."""
    return finish(start_python(*arguments, **settings), timeout)


def finish(process, timeout=300):
    """Waits; returns exit status, standard output, standard error."""
    output, error = process.communicate(timeout=timeout)
    return process.returncode, output, error


def weights(run_directory):
    """Every value of the newest checkpoint by its name, but TensorFlow's own bookkeeping."""
    import tensorflow as tf

    from cyclegan_tf.runs import checkpoints

    reader = tf.train.load_checkpoint(checkpoints.find(pathlib.Path(run_directory), 'latest').prefix)
    ignored = ('_CHECKPOINTABLE_OBJECT_GRAPH', 'save_counter')
    return {
        name: reader.get_tensor(name) for name in reader.get_variable_to_dtype_map() if not name.startswith(ignored)
    }


def events(run_directory):
    """tag -> list of (step, value) over all event files; values are floats, bytes of pictures, or text."""
    import tensorflow as tf

    result = {}
    for path in sorted(pathlib.Path(run_directory).glob('events.out.tfevents.*')):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.HasField('tensor') and value.metadata.plugin_data.plugin_name != 'hparams':
                    array = tf.make_ndarray(value.tensor)
                    result.setdefault(value.tag, []).append((event.step, array))
                else:
                    result.setdefault(value.tag, []).append((event.step, value))
    return result
