"""Trains a list of settings and judges their translations: python tools/compare_settings.py --list=FILE --dataroot=DATA
--judge=JUDGE --output=FOLDER

A line of the list is the name of a run, the number of its steps, and flags of cyclegan_tf.train; a line that begins
with -- has flags for all lines below it; # begins a comment. If the name of a run begins with 'torch', the PyTorch
program's step trains it, on the same images in the same order (extra 'torch').

Every run trains both directions; of a model of one direction, a line is two runs. What is done is not done again, and a
training that was stopped goes on from its last checkpoint: the list can take several sittings, and grow. Of a run with
--ema_decay both the running mean and the last weights are judged.

JUDGE is a Python program: JUDGE DATA FAKE_B FAKE_A prints JSON with figures named 'AtoB mmd', 'BtoA mmd' and so on.
The table goes to FOLDER/table.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import resource
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Optional

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.files import write_json, write_whole  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import same, setting, validate_fields  # noqa: E402
from cyclegan_tf.settings.run_flags import parse_training  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402

DIRECTIONS = ('AtoB', 'BtoA')
FIGURES = ('mmd', 'content', 'sharpness', 'taken_for_target')
TORCH = 'torch'


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """What is compared, on which images, and where the results go."""

    list: str = setting('', 'file with a line for each run; required')
    dataroot: str = setting('', 'folder with trainA, trainB, testA and testB; required')
    judge: str = setting('', 'program that judges translations; required')
    output: str = setting('', 'folder for runs, translations and the table; required')
    keep_aside: int = setting(
        0,
        'judge on every one of so many training images, which are then not trained on, instead of on the test images; '
        '0: on the test images',
        minimum=0,
    )
    hours: Optional[float] = setting(None, 'stop after so many hours; unset: when the list is done', minimum=0.0)
    verbose: bool = same(Config, 'verbose')

    def __post_init__(self):
        validate_fields(self)
        if self.keep_aside == 1:
            raise UserError('`keep_aside` (1) leaves no image to train on; raise it, or set it to 0.')
        for name in ('list', 'dataroot', 'judge', 'output'):
            if not getattr(self, name):
                raise UserError(f"`{name}` ('') is required; set it.")


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the list."""

    name: str
    steps: int
    flags: tuple[str, ...]


def parse(argv: Sequence[str]) -> CompareConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(CompareConfig, argv)


def main(settings: CompareConfig) -> int:
    """Trains, translates, judges and prints the table; returns the exit status, which is 1 if a program of a run has
    failed. The other runs are compared all the same.

    Raises:
        UserError: the list cannot be read.
    """
    lines = read_list(pathlib.Path(settings.list))
    output = pathlib.Path(settings.output)
    output.mkdir(parents=True, exist_ok=True)
    data = pathlib.Path(settings.dataroot).resolve()
    if settings.keep_aside:
        data = keep_aside(data, output / 'data', settings.keep_aside)
    sitting, failed = Sitting(settings.hours), False
    before = signal.signal(signal.SIGTERM, lambda *_: sitting.end())
    try:
        for line in lines:
            try:
                compare(line, data, settings, sitting)
            except UserError as error:
                print(f'{line.name}: {error}', file=sys.stderr, flush=True)
                failed = True
            if sitting.is_over:
                break
    finally:
        signal.signal(signal.SIGTERM, before)
    table = '\n'.join(make_table(lines, output))
    write_whole(output / 'table.md', (table + '\n').encode())
    print(table)
    return int(failed)


# ------------------------------------------------------------------------------------------------------------ the list
def read_list(path: pathlib.Path) -> list[Line]:
    """The lines of a list.

    Raises:
        UserError: a line is not a name, a number and flags; two runs would have one name; or flags are wrong.
    """
    lines, shared = [], ()
    for text in path.read_text().splitlines():
        words = shlex.split(text, comments=True)
        if not words:
            continue
        if words[0].startswith('--'):
            shared = (*shared, *words)
            continue
        if len(words) < 2 or not words[1].isdecimal():
            raise UserError(f"`list` ('{path}'): '{text}' is not a name, a number of steps and flags; correct it.")
        lines.append(Line(words[0], int(words[1]), (*shared, *words[2:])))
    names = []
    for line in lines:
        try:
            directions = directions_of(line)
            names += [config(line, pathlib.Path('data'), path.parent, direction).run_name for direction in directions]
        except flags.flags.Error as error:
            raise UserError(f"`list` ('{path}'), {line.name}: {error}") from error
    if len(set(names)) < len(names):
        raise UserError(f"`list` ('{path}') makes two runs of one name ({', '.join(names)}); rename one.")
    return lines


def directions_of(line: Line) -> Sequence[str]:
    """The directions that take a training each."""
    both = len(config(line, pathlib.Path('data'), pathlib.Path('output')).translating_networks) == 2
    return DIRECTIONS[:1] if both else DIRECTIONS


def train_flags(line: Line, data: pathlib.Path, output: pathlib.Path, direction: str = 'AtoB') -> list[str]:
    """The flags of cyclegan_tf.train for a line."""
    return [
        *line.flags,
        f'--dataroot={data}',
        f'--checkpoints_dir={output / "runs"}',
        f'--name={line.name if direction == "AtoB" else f"{line.name}_{direction}"}',
        f'--direction={direction}',
        f'--max_steps={line.steps}',
    ]


def config(line: Line, data: pathlib.Path, output: pathlib.Path, direction: str = 'AtoB') -> Config:
    """The settings of a line's run."""
    return parse_training(['train', *train_flags(line, data, output, direction)])[0]


def keep_aside(data: pathlib.Path, folder: pathlib.Path, every: int) -> pathlib.Path:
    """A data set of links to the training images of another one, of which every one of `every` is a test image."""
    for link in folder.glob('*/*'):
        link.unlink()
    for domain in 'AB':
        for number, path in enumerate(sorted((data / f'train{domain}').iterdir())):
            link = folder / f'{"train" if number % every else "test"}{domain}' / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return folder


# ------------------------------------------------------------------------------------------------------------- the runs
class Sitting:
    """The time that there is. When it is over, or when this program gets SIGTERM, what runs is asked to stop; trainings
    then save their state."""

    def __init__(self, hours: Optional[float]):
        self.is_over, self._running = False, None
        if hours is not None:
            timer = threading.Timer(hours * 3600, self.end)
            timer.daemon = True
            timer.start()

    def end(self) -> None:
        """Ends it now."""
        self.is_over = True
        if self._running is not None:
            self._running.send_signal(signal.SIGTERM)

    def run(self, *arguments: Any, log: pathlib.Path, output: Optional[pathlib.Path] = None) -> float:
        """Runs a Python program; returns the seconds of processor time that it took.

        Args:
            arguments: as of Python.
            log: file to which everything is added that it prints.
            output: file for what it prints on standard output, instead.

        Raises:
            UserError: it has failed, and not because it was asked to stop.
        """
        if self.is_over:
            return 0.0
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command, environment = [sys.executable, *map(str, arguments)], {**os.environ, 'PYTHONPATH': str(ROOT)}
        with log.open('a') as file, output.open('w') if output else contextlib.nullcontext(file) as printed:
            with subprocess.Popen(command, stdout=printed, stderr=file, env=environment) as process:
                self._running = process
                if self.is_over:  # since the check above
                    self.end()
                status = process.wait()
                self._running = None
        if status and not (self.is_over and status in (-signal.SIGTERM, 128 + signal.SIGTERM)):
            raise UserError(f"a program has failed with status {status}; its output is in '{log}'.")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(line: Line, data: pathlib.Path, settings: CompareConfig, sitting: Sitting) -> None:
    """Does what is still missing of a line."""
    output = pathlib.Path(settings.output)
    folder = output / 'judged' / line.name
    folder.mkdir(parents=True, exist_ok=True)
    log, trained = folder / 'log.txt', directions_of(line)
    a_step = [train(line, data, output, direction, sitting, log) for direction in trained]
    average = bool(config(line, data, output).ema_decay)
    for weights in ('last', 'average') if average else ('last',):
        judged = folder / f'{weights}.json'
        made = {
            'steps': line.steps,
            'flags': list(line.flags),
            'seconds a step': dict(zip(DIRECTIONS, a_step * (2 // len(a_step)))),
        }
        if sitting.is_over or (judged.exists() and made.items() <= json.loads(judged.read_text()).items()):
            continue
        translated = []
        for direction in DIRECTIONS:
            name = config(line, data, output, direction if len(trained) == 2 else 'AtoB').run_name
            results = folder / weights / direction
            arguments = (f'--name={name}', f'--checkpoints_dir={output / "runs"}', f'--results_dir={results}')
            options = (f'--weights={weights}', f'--direction={direction}', '--pairs=no')
            sitting.run('-m', 'cyclegan_tf.translate', *arguments, *options, log=log)
            translated.append(results / name / 'test_latest' / 'images')
        answer = folder / f'{weights}.txt'
        sitting.run(settings.judge, data, *translated, log=log, output=answer)
        if not sitting.is_over:
            write_json(judged, {**made, 'figures': json.loads(answer.read_text())})


def train(
    line: Line, data: pathlib.Path, output: pathlib.Path, direction: str, sitting: Sitting, log: pathlib.Path
) -> Optional[float]:
    """Trains to the line's number of steps, from where an earlier sitting has left off; returns the seconds of
    processor time that a step took, in all sittings that were not killed; None: there are none.

    Raises:
        UserError: the run has been trained for more steps, or has failed.
    """
    from cyclegan_tf.runs import checkpoints

    arguments = train_flags(line, data, output, direction)
    run_directory = output / 'runs' / config(line, data, output, direction).run_name
    path = output / 'judged' / line.name / f'seconds_{direction}.json'
    spent = json.loads(path.read_text()) if path.exists() else {'steps': 0, 'seconds': 0.0}

    def last_step() -> Optional[int]:
        found = checkpoints.scan(run_directory)[0]
        return found[-1].step if found else None

    begun = last_step()
    step = begun or 0
    if step > line.steps:
        raise UserError(f'its run in {run_directory} has {step} steps already, more than {line.steps}; raise that.')
    if step < line.steps and not sitting.is_over:
        print(f'{line.name}, {direction}: from step {step} to {line.steps}', flush=True)
        if line.name.startswith(TORCH):
            program: tuple[Any, ...] = (ROOT / 'tools' / 'torch_training.py',)
        else:
            program = ('-m', 'cyclegan_tf.train', *(['--continue_train'] if begun is not None else []))
        spent['seconds'] += sitting.run(*program, *arguments, log=log)
        spent['steps'] += (last_step() or 0) - step
        write_json(path, spent)
    return spent['seconds'] / spent['steps'] if spent['steps'] else None


# ------------------------------------------------------------------------------------------------------------ the table
def make_table(lines: Sequence[Line], output: pathlib.Path) -> Iterator[str]:
    """The figures of all lines that are judged, as Markdown."""
    yield '| run | direction | steps | ' + ' | '.join(FIGURES) + ' | processor seconds a step |'
    yield '|---' * (len(FIGURES) + 4) + '|'
    for line in lines:
        folder = output / 'judged' / line.name
        for weights in ('last', 'average'):
            path = folder / f'{weights}.json'
            if not path.exists():
                continue
            judged = json.loads(path.read_text())
            if judged['flags'] != list(line.flags):
                continue  # of an earlier list
            steps, figures = judged['steps'], judged['figures']
            name = line.name if weights == 'last' else f'{line.name}, running mean'
            for direction in DIRECTIONS:
                a_step = judged['seconds a step'][direction]
                found = ' | '.join(f'{figures[f"{direction} {figure}"]:.3f}' for figure in FIGURES)
                yield f'| {name} | {direction} | {steps} | {found} | {"" if a_step is None else f"{a_step:.2f}"} |'


if __name__ == '__main__':
    run_program('tools/compare_settings.py', parse, main)
