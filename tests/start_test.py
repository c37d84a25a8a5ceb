"""What needs no image is answered at once, by every program and tool; and training imports only what it uses."""

import json
import os
import pathlib
import re
import resource
import runpy
import subprocess
import sys

import pytest

from tests.helpers import program

ROOT = pathlib.Path(__file__).parent.parent
HEAVY = ('tensorflow', 'numpy', 'keras', 'keras_cv', 'tensorflow_datasets', 'tensorboard', 'tqdm', 'torch', 'psutil',
         'gradio', 'pooch', 'urllib3')  # fmt: skip
MOST_SECONDS = 2.0  # of the processor; on a machine that has nothing else to do it is a fifth of that

# What each is asked that it has to refuse, and the setting that the sentence has to name; of one with several words,
# each of them is asked.
WRONG = {
    'cyclegan_tf.train': (['--dataroot=demo', '--crop_size=30'], 'crop_size'),
    'cyclegan_tf.translate': (['--resize=large'], 'resize'),
    'cyclegan_tf.evaluate': (['--metrics=taste'], 'metrics'),
    'cyclegan_tf.export': (['--output=out', '--epoch=newest'], 'epoch'),
    'cyclegan_tf.app': (['--port=70000'], 'port'),
    'cyclegan_tf.download': (['wieghts'], 'weights'),
    'cyclegan_tf.download weights': (['horse2zebra', '--retries=-1'], 'retries'),
    'cyclegan_tf.download data': (['horse2zebra', '--source=web'], 'source'),
    'cyclegan_tf.download list': (['--verbose=maybe'], 'verbose'),
    'augment_sheet': (['--draws=0'], 'draws'),
    'benchmark': (['trane'], 'benchmark'),
    'benchmark train': (['--kinds=torch,magic'], 'kinds'),
    'benchmark models': (['--kinds=CUT,magic'], 'kinds'),
    'benchmark translate': (['--size=30'], 'size'),
    'benchmark pipeline': (['--crop_size=300'], 'crop_size'),
    'benchmark serving': (['--sizes=large'], 'sizes'),
    'benchmark growth': (['--sizes=30'], 'sizes'),
    'benchmark gpu': (['--models=cooking'], 'models'),
    'benchmark all': (["--train='"], 'train'),
    'check_dataset': (['--dataroot=demo', '--load_size=none'], 'load_size'),
    'compare_settings': (['--list=runs.txt', '--keep_aside=1'], 'keep_aside'),
    'compare_sheet': (['--compared=out', '--runs=one:mean'], 'runs'),
    'demo': (['--netD=n_layers', '--n_layers_D=0'], 'n_layers_D'),
    'demo_sheet': (['--verbose=maybe'], 'verbose'),
    'export_torch_weights': (['--output=out', '--epoch=newest'], 'epoch'),
    'import_torch_weights': (['--g_a=a.pth', '--no_dropout=maybe'], 'no_dropout'),
    'launch_local': (['--workers=0', '--'], 'workers'),
    'measure_flicker': (['--run=run', '--image=scene.png', '--noise=-1'], 'noise'),
    'prepare_records': (['--dataroot=in', '--output=out', '--name=Two Words'], 'name'),
    'spark_measure': (['--fakes=a', '--reals=b', '--metrics=psnr'], 'metrics'),
    'spark_prepare': (['--dataroot=in', '--output=out', '--name=Two Words'], 'name'),
    'spark_translate': (['--name=run', '--input=in', '--output=out', '--master=here'], 'master'),
    'torch_training': (['--dataroot=demo', '--name=run'], 'max_steps'),
    'serving_client': (['--model=run', '--timeout=0', 'in', 'out'], 'timeout'),
}


def programs():
    """Each program of the package and each tool as Python is told to run it, with the words that it begins with."""
    for path in sorted([*ROOT.glob('cyclegan_tf/*.py'), *ROOT.glob('tools/*.py')]):
        if "__name__ == '__main__'" not in path.read_text():
            continue
        in_package = path.parent.name == 'cyclegan_tf'
        name = f'cyclegan_tf.{path.stem}' if in_package else path.stem
        words = {'benchmark': 'BENCHMARKS', 'cyclegan_tf.download': 'WORDS'}.get(name)
        for word in ['', *runpy.run_path(str(path))[words]] if words else ['']:
            yield ' '.join(filter(None, [name, word]))


def test_all_are_found():
    assert sorted(programs()) == sorted(WRONG)


@pytest.mark.parametrize('name', programs())
def test_what_needs_no_image_is_answered_at_once(name):
    wrong, setting = WRONG[name]
    module, *words = name.split()
    asked = [['--help'], ['--helpshort'], ['--helpfull'], ['--nonsense'], wrong]
    # All in one process, which begins as if it had been started for the first.
    code = f"""
import io, json, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
asked, answers = {[[*words, *one] for one in asked]!r}, []
for arguments in asked:
    sys.argv, texts = ['program', *arguments], [io.StringIO(), io.StringIO()]
    try:
        with redirect_stdout(texts[0]), redirect_stderr(texts[1]):
            if {module.startswith('cyclegan_tf.')!r}:
                runpy.run_module({module!r}, run_name='__main__', alter_sys=True)
            else:
                runpy.run_path({str(ROOT / 'tools' / module)!r} + '.py', run_name='__main__')
    except SystemExit as end:
        answers.append((end.code or 0, *(text.getvalue() for text in texts)))
print(json.dumps([answers, sorted(set({HEAVY!r}) & set(sys.modules))]))
"""
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tools')])}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=env, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stderr == '', done.stderr
    answers, heavy = json.loads(done.stdout)
    assert [status for status, _, _ in answers] == [0, 0, 0, 2, 2], answers
    called = module if module.startswith('cyclegan_tf.') else f'tools/{module}.py'
    usage = f'usage: python {"-m " if called == module else ""}{" ".join([called, *words])} '
    assert [(output.startswith(usage), error) for _, output, error in answers[:3]] == [(True, '')] * 3, answers
    for _, output, error in answers[3:]:
        assert output == '' and error.count('\n') == 1 and error.startswith(f'{called}: '), error
    assert re.search(rf'\b{setting}\b', answers[-1][2]), answers[-1]
    assert heavy == []
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < MOST_SECONDS


def test_training_from_a_folder_imports_only_what_it_uses(image_folders, tmp_path):
    code = (
        'import sys; from cyclegan_tf.training import session\n'
        'print([name for name in ("keras_cv", "tensorflow_datasets", "tqdm", "tensorboard.plugins.hparams")'
        ' if name in sys.modules])\n'
        'from cyclegan_tf import train; from cyclegan_tf.settings.run_flags import parse_training\n'
        'status = train.main(parse_training(sys.argv))\n'
        'print([name for name in ("keras_cv", "tensorflow_datasets") if name in sys.modules]); sys.exit(status)'
    )
    run = (f'--dataroot={image_folders}', f'--checkpoints_dir={tmp_path}', '--n_epochs=1', '--n_epochs_decay=0')
    status, output, error = program.run_python('-c', code, *program.SMALL, *run)
    assert status == 0, error
    lines = output.splitlines()
    assert lines[0] == lines[-1] == '[]' and lines[-2].startswith('Done: 5 steps'), output
