"""Runs the real programs for the tests: in this process for speed, in another for exit statuses and signals."""

import os
import pathlib
import subprocess
import sys

from cyclegan_tf import evaluate, export, options, train, translate

ROOT = pathlib.Path(__file__).parent.parent.parent

SMALL = (
    '--netG=resnet_6blocks', '--ngf=4', '--ndf=4', '--load_size=36', '--crop_size=32', '--pool_size=3',
    '--num_threads=2', '--lambda_identity=0',
)  # fmt: skip


def run_training(checkpoints_dir, *flags, small=True):
    """Trains in this process; returns the exit status."""
    argv = ['train', f'--checkpoints_dir={checkpoints_dir}', *(SMALL if small else ()), *flags]
    return train.main(options.parse_training(argv))


def run_translation(checkpoints_dir, *flags):
    """Translates in this process; returns the exit status."""
    return translate.main(
        options.parse(translate.TranslateConfig, ['translate', f'--checkpoints_dir={checkpoints_dir}', *flags])
    )


def run_evaluation(checkpoints_dir, *flags):
    """Measures in this process; returns the exit status."""
    argv = ['evaluate', f'--checkpoints_dir={checkpoints_dir}', *flags]
    return evaluate.main(options.parse(evaluate.EvaluateConfig, argv))


def run_export(checkpoints_dir, *flags):
    """Exports in this process; returns the exit status."""
    return export.main(export.parse(['export', f'--checkpoints_dir={checkpoints_dir}', *flags]))


def start(module, *flags, **settings):
    """Starts a program of its own; see start_python."""
    return start_python('-m', f'cyclegan_tf.{module}', *flags, **settings)


def start_python(*arguments, prefix=(), preexec_fn=None, **variables):
    """Starts Python, by another program if there is a prefix, with more environment variables; returns the process,
    whose output is text."""
    return subprocess.Popen(
        [*prefix, sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONPATH': str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )


def finish(process, timeout=300):
    """Waits; returns exit status, standard output, standard error."""
    output, error = process.communicate(timeout=timeout)
    return process.returncode, output, error


def weights(run_directory):
    """Every value of the newest checkpoint by its name, but TensorFlow's own bookkeeping."""
    import tensorflow as tf

    from cyclegan_tf import checkpoints

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
