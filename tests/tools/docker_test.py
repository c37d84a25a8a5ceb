"""The steps of the Dockerfile, without Docker: in an empty environment, with its paths moved into a folder."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
FILE = ROOT / 'tools' / 'docker' / 'Dockerfile'

pytestmark = pytest.mark.extras


def test_its_steps_make_an_environment_in_which_the_programs_run(tmp_path):
    import dockerfile_parse

    parsed = dockerfile_parse.DockerfileParser(str(FILE), build_args={'DEVICE': 'cpu'})
    root, work = tmp_path / 'root', tmp_path / 'root' / 'work'
    subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'python'], check=True)
    environment = {'PATH': f'{tmp_path}/python/bin:{os.environ["PATH"]}', 'DEVICE': 'cpu'}
    # Where packages come from on this machine.
    environment.update({name: value for name, value in os.environ.items() if name.startswith(('PIP_', 'SSL_'))})

    def moved(text):
        return text.replace('/opt/', f'{root}/opt/').replace('/tmp/cache', f'{root}/cache')

    ignored = FILE.with_name('Dockerfile.dockerignore').read_text().splitlines()
    program = []
    for step in parsed.structure:
        value = step['value']
        if step['instruction'] == 'ARG' and 'DEVICE' not in value:
            name, _, default = value.partition('=')
            environment[name] = default
        elif step['instruction'] == 'ENV':
            environment.update(moved(one).split('=', 1) for one in value.split())
        elif step['instruction'] == 'COPY':
            *sources, target = value.split()
            for source in sources:
                assert f'!{source.split("/")[0]}' in ignored  # else Docker would not see it
                copy(ROOT / source, pathlib.Path(moved(target)), target.endswith('/'))
        elif step['instruction'] == 'RUN':
            done = subprocess.run(['sh', '-ec', moved(value)], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        elif step['instruction'] == 'ENTRYPOINT':
            program = eval(value)
    work.mkdir(parents=True)

    def run(*arguments):
        environment_of_user = {**environment, 'HOME': str(tmp_path)}
        command = [*program, *arguments]
        return subprocess.run(command, cwd=work, env=environment_of_user, capture_output=True, text=True)

    trained = run(
        'cyclegan_tf.train', f'--flagfile={root}/opt/cyclegan_tf/flags/demo.cfg', '--max_steps=1', '--ngf=4', '--ndf=4'
    )
    assert trained.returncode == 0, trained.stderr
    assert (work / 'checkpoints' / 'demo' / 'latest' / 'checkpoint').exists()
    translated = run('cyclegan_tf.translate', '--name=demo', '--load_size=64')
    assert translated.returncode == 0 and (work / 'results' / 'demo' / 'test_latest' / 'index.html').exists()
    # The packages of the page are there: it gets as far as the port.
    page = run('cyclegan_tf.app', '--name=demo', '--port=1', '--address=192.0.2.1')
    assert page.returncode == 1 and '`port` (1) at `address`' in page.stderr, page.stderr


def copy(source, target, into):
    target = target / source.name if into else target
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
    else:
        shutil.copyfile(source, target)
