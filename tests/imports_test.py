"""Imports go down the layers, and only programs know flags."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'cyclegan_tf'

PROGRAMS = {'train', 'translate', 'evaluate', 'export'}
REPORTS = {
    'cpu_features',
    'missing_gpu',
    'trainer',
    'cluster',
    'devices',
    'watch',
    'checkpoints',
    'checkpoint_store',
    'inner_loop',
    'progress',
    'timetable',
    'durable',
    'event_files',
    'stop_signals',
    'run_lock',
    'summaries',
    'gallery',
    'console',
    'training_data',
    'evaluation',
    'results',
}
SEAM = {'models.base', 'models.translation'}  # what a model is, whichever it is
PARTS = {'networks', 'losses', 'image_pool', 'schedules', 'optimizers', 'loss_scale', 'data', 'metrics', 'features'}
USES = {'translator', 'file_translation', 'serving', 'warmup', 'conversion'}
# module -> what of the package it may import; errors knows nothing and everyone may know it.
ALLOWED = {
    **{name: {'options', 'config', 'models'} | USES | REPORTS | PARTS for name in PROGRAMS},
    **{name: {'config', 'data', 'metrics', 'features'} | SEAM | REPORTS for name in REPORTS},
    'translator': {'config', 'models', 'networks', 'data', 'checkpoints'},
    'file_translation': {'translator', 'data', 'results'},
    'serving': set(),  # a network is passed in
    'warmup': set(),
    'conversion': {'serving'},
    'models': {'config', 'models', 'draws', 'ordering'} | PARTS - {'data', 'metrics', 'features'},
    **{name: {name} for name in PARTS},
    'networks': {'networks', 'draws', 'ordering'},
    'image_pool': {'draws'},
    'draws': set(),
    'ordering': set(),
    'torch_weights': {'networks'},
    'config': {'run_name'},
    'model_settings': {'config'},
    'reference_flags': set(),
    'run_name': set(),
    'options': {'config', 'model_settings', 'reference_flags', 'run_name'},
    'errors': set(),
    '__init__': {'checkpoints', 'options', 'translator'},  # load, the programs' way in from Python
}
# Who may import what from outside, where it is one file's business.
ONLY = {
    'absl': {'options'},
    'tensorflow_addons': {'networks/norms'},
    'tensorboard': {'summaries', 'event_files'},
    'keras_cv': {'data/policies'},
    'tensorflow_datasets': {'data/records'},
    'tensorflow_serving': {'warmup'},
    'tf2onnx': {'conversion'},
}


def modules():
    return sorted(path.relative_to(PACKAGE).with_suffix('').as_posix() for path in PACKAGE.rglob('*.py'))


def imports(module):
    for node in ast.walk(ast.parse((PACKAGE / f'{module}.py').read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{module}: a relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('module', modules())
def test_imports_go_down(module):
    allowed = ALLOWED[module.split('/')[0]]
    for name in imports(module):
        if name.startswith('cyclegan_tf.'):
            inner = name.removeprefix('cyclegan_tf.')
            fits = inner.startswith('errors') or any(inner == one or inner.startswith(f'{one}.') for one in allowed)
            assert fits, f'{module} imports {name}'
        for package, where in ONLY.items():
            assert module in where or not name.startswith(package), f'{module} imports {name}'


def test_the_package_is_imported_without_tensorflow():
    # -S: of what is installed nothing is found.
    code = f'import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import cyclegan_tf, cyclegan_tf.config'
    done = subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('module', modules())
def test_first_line_says_what_the_file_is(module):
    text = (PACKAGE / f'{module}.py').read_text()
    assert ast.get_docstring(ast.parse(text)), module
