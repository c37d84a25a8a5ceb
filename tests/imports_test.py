"""Imports go down the layers, and only programs know flags."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'cyclegan_tf'

# From above to below: a layer imports those below it, and its packages know nothing of each other.
LAYERS = [
    {'__init__'},  # load, the way in from Python
    {'train', 'translate', 'evaluate', 'export', 'app', 'download'},
    {'downloads'},
    {'training', 'web'},
    {'evaluation'},
    {'translation', 'serving'},
    {'runs'},
    {'models'},
    {'networks', 'data'},
    {'settings'},
    {'distribution', 'ops'},
    {'runtime'},
    {'errors'},
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
PROGRAMS = LAYERS[0] | LAYERS[1]
PLAIN = {'networks', 'data'}  # take values, never a Config ...
FROM_SETTINGS = {'data/training_data', 'data/test_images'}  # ... but for those that open what settings name
# Who may import what from outside, where it is one file's business.
ONLY = {
    'absl': {'settings/flags', 'settings/run_flags', 'runtime/program'},
    'tensorflow_addons': {'networks/norms'},
    'tensorboard': {'runs/summaries', 'runs/event_files'},
    'keras_cv': {'data/policies'},
    'tensorflow_datasets': {'data/records', 'data/record_shards'},
    'tqdm': {'runtime/console'},
    'tensorflow_serving': {'serving/warmup'},
    'tf2onnx': {'serving/conversion'},
    'jinja2': {'translation/gallery'},
    'filelock': {'runs/lock', 'runtime/fetch'},
    'pooch': {'runtime/fetch'},
    'urllib3': {'runtime/fetch'},
    'gradio': {'web/page'},
    'fsspec': {'runtime/storage'},
    'pyspark': {'distribution/spark'},
    'py4j': {'distribution/spark'},
    'wandb': {'runs/wandb_log'},
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
    own = module.split('/')[0]
    for name in imports(module):
        if name.startswith('cyclegan_tf.'):
            other = name.split('.')[1]
            assert other == own or LEVELS[other] > LEVELS[own], f'{module} imports {name}'
            assert own not in PLAIN or other != 'settings' or module in FROM_SETTINGS, f'{module} imports {name}'
            knows_flags = own in PROGRAMS | {'settings'}
            assert knows_flags or not name.startswith('cyclegan_tf.settings.flags'), f'{module} imports {name}'
        for package, where in ONLY.items():
            assert module in where or not name.startswith(package), f'{module} imports {name}'


def test_no_file_imports_one_that_imports_it():
    """Not through others either, nor inside a function, where a circle hides."""
    names = {f'cyclegan_tf.{module}'.replace('/', '.'): module for module in modules()}
    below = {module: {names[name] for name in _with_parents(imports(module)) if name in names} for module in modules()}
    while True:  # what is below those below is below, too
        further = {module: set().union(found, *(below[other] for other in found)) for module, found in below.items()}
        if further == below:
            break
        below = further
    assert not [module for module, found in below.items() if module in found]


def _with_parents(names):
    """'a.b.c' -> 'a.b.c', 'a.b': what is imported is a module or a name in one."""
    return {parent for name in names for parent in (name, name.rpartition('.')[0])}


def test_the_package_is_imported_without_tensorflow():
    # -S: of what is installed nothing is found.
    code = f'import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import cyclegan_tf, cyclegan_tf.settings.training'
    done = subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('module', modules())
def test_first_line_says_what_the_file_is(module):
    text = (PACKAGE / f'{module}.py').read_text()
    assert ast.get_docstring(ast.parse(text)), module
