"""What benchmarks share: the machine in words, medians, and processes of their own that take turns.

Nothing here imports TensorFlow or PyTorch: either would count as the memory of who is measured with the other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import psutil

from cyclegan_tf.errors import UserError

TOOLS = pathlib.Path(__file__).resolve().parent.parent
ROOT = TOOLS.parent
_NO_SETTINGS = ('json', 'verbose', 'only')  # these change nothing that is measured


# ------------------------------------------------------------------------------------------------------- the machine
def machine(gpu: bool = False) -> str:
    """The processors, memory and versions, in one line; NVIDIA's GPUs too, if they are used."""
    parts = [f'{os.cpu_count()} CPUs', _processor(), f'{psutil.virtual_memory().total / 2**30:.0f} GB']
    parts += _gpus() if gpu else []
    parts += [f'Python {platform.python_version()}', f'TensorFlow {version("tensorflow")}']
    return ', '.join(parts + ([f'PyTorch {version("torch")}'] if version('torch') else []))


def _processor() -> str:
    """Its model, where the system tells, and its kind."""
    path = pathlib.Path('/proc/cpuinfo')
    found = re.search(r'^model name\s*:\s*(.+)$', path.read_text(), re.MULTILINE) if path.is_file() else None
    return f'{found.group(1)} ({platform.machine()})' if found else platform.machine()


def _gpus() -> list[str]:
    """Name, memory and driver of each of NVIDIA's."""
    if not shutil.which('nvidia-smi'):
        return []
    query = ['nvidia-smi', '--query-gpu=name,memory.total,driver_version', '--format=csv,noheader']
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else [f'nvidia-smi ended with status {done.returncode}']


def version(package: str) -> Optional[str]:
    """Of an installed package; None if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def peak_bytes() -> int:
    """The most memory that this process has had.

    On Linux what getrusage tells includes what the parent had when it started this process.
    """
    path = pathlib.Path('/proc/self/status')
    if not path.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes
    status = path.read_text()
    return int(re.search(r'^VmHWM:\s*(\d+) kB$', status, re.MULTILINE).group(1)) * 1024


# ------------------------------------------------------------------------------------------------------- the results
def settings_of(config: Any) -> dict[str, Any]:
    """A benchmark's settings that belong to its result."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in _NO_SETTINGS}


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median with spread."""
    return {'seconds': statistics.median(seconds), 'least': min(seconds), 'most': max(seconds)}


def calls_in_turns(calls: Mapping[Any, Callable[[], Any]], repeats: int) -> dict[Any, list[float]]:
    """Seconds of each call in this process, every kind once in each round."""
    seconds: dict[Any, list[float]] = {kind: [] for kind in calls}
    for turn, (kind, call) in itertools.product(range(repeats + 1), calls.items()):
        start = time.perf_counter()
        call()
        if turn:  # the first one warms up
            seconds[kind].append(time.perf_counter() - start)
    return seconds


def ratios(
    rows: Mapping[str, Mapping[str, float]], columns: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """One kind over another, of those that were measured, as 'step float32 / torch'.

    Args:
        rows: of each kind.
        columns: of a row, by the word that stands for it.
        pairs: kinds; 'best torch' is the fastest of PyTorch's, 'best torch autocast' the fastest of those in bfloat16.
    """
    rows = dict(rows)
    for words, in_half in (('best torch', False), ('best torch autocast', True)):
        theirs = [row for kind, row in rows.items() if kind.startswith('torch') and ('autocast' in kind) == in_half]
        if theirs:
            rows[words] = min(theirs, key=lambda row: row['seconds'])
    return {
        f'{word} {kind} / {other}': rows[kind][column] / rows[other][column]
        for kind, other in pairs
        if kind in rows and other in rows
        for word, column in columns.items()
    }


def installed(kinds: Sequence[str], gpu: bool = False) -> list[str]:
    """Without PyTorch's where it is not installed, or finds no GPU although one is to be used; that is said."""
    there = version('torch') is not None
    if not any(kind.startswith('torch') for kind in kinds):
        return list(kinds)
    if not there:
        say("PyTorch is left out: it is not installed (pip install '.[torch]').")
    elif gpu:
        # In another process: it would count as memory of this one, and take some of the GPU's.
        ask = 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)'
        there = subprocess.run([sys.executable, '-c', ask]).returncode == 0
        if not there:
            say('PyTorch is left out: it finds no GPU (is it a build with CUDA?). --device=cpu compares on the CPU.')
    return [kind for kind in kinds if not kind.startswith('torch') or there]


def images(config: Any) -> list[np.ndarray]:
    """Float32 [batch_size, crop_size, crop_size, 3] in [-1, 1] of both domains, of these settings."""
    draws = np.random.default_rng(0)
    shape = (config.batch_size, config.crop_size, config.crop_size, 3)
    return [draws.uniform(-1, 1, shape).astype(np.float32) for _ in range(2)]


def finish(result: Mapping[str, Any], path: Optional[str]) -> int:
    """Prints a result as JSON, and writes it to a file if there is a path; returns the exit status."""
    text = json.dumps(result, indent=2)
    print(text)
    if path:
        pathlib.Path(path).write_text(text + '\n')
    return 0


def say(line: str) -> None:
    """A line for who watches."""
    print(line, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------- a process for each kind
def environment(gpu: bool = False) -> dict[str, str]:
    """Of processes that are measured: the package is found; GPUs only if they are asked for."""
    return {**os.environ, 'PYTHONPATH': str(ROOT), **({} if gpu else {'CUDA_VISIBLE_DEVICES': '-1'})}


def program(*arguments: str) -> list[str]:
    """The command that starts tools/benchmark.py, in any working directory.

    Every process that a benchmark starts of itself or of another is started so: the files of this folder, started by
    themselves, would not find each other.

    Args:
        arguments: the word and the flags of a benchmark, or what `work` in tools/benchmark.py takes.
    """
    return [sys.executable, str(TOOLS / 'benchmark.py'), *arguments]


def worker(benchmark: str) -> list[str]:
    """The command that starts what Served takes: the work of this benchmark."""
    return program('on_request', benchmark)


class Served:
    """A process of its own that does one kind of work whenever it is asked to.

    Args:
        command: starts a program that calls `serve`; see worker.
        kind: of work.
        values: what the program makes it from; goes through JSON.
        gpu: it finds the machine's GPUs.
    """

    def __init__(self, command: Sequence[str], kind: str, values: Mapping[str, Any], gpu: bool = False):
        self._kind = kind
        self._process = subprocess.Popen(
            [*command, kind, json.dumps(values)],
            env=environment(gpu),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> dict[str, Any]:
        """Waits for the work to be done once.

        Returns:
            'seconds' that it took, 'peak_bytes' of the process so far, and what the work itself told, instead of these
            too.

        Raises:
            UserError: the process has ended.
        """
        with contextlib.suppress(BrokenPipeError):  # its answer is missing too, which is said
            print('go', file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise UserError(f"the process that measures '{self._kind}' has ended (status {status}); see above.")
        return json.loads(line)


def serve(make: Callable[[str, Mapping[str, Any]], Callable[[], Optional[Mapping[str, Any]]]]) -> None:
    """Does the work of this process for each line on standard input, and answers as Served.ask returns it.

    Args:
        make: kind and values to the work; what the work returns is part of the answer.
    """
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # for what the work prints
        kind, values = sys.argv[-2:]  # as Served gives them
        work = make(kind, json.loads(values))
        for _ in sys.stdin:
            start = time.perf_counter()
            told = work()
            seconds = time.perf_counter() - start
            answer = {'seconds': seconds, 'peak_bytes': peak_bytes(), **(told or {})}
            print(json.dumps(answer), file=answers, flush=True)


def in_turns(
    command: Sequence[str], values: Mapping[str, Mapping[str, Any]], repeats: int, unit: str, gpu: bool = False
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """All kinds, each in a process of its own, one after the other in each round.

    Args:
        command: see Served.
        values: of each kind.
        repeats: rounds that are measured, after one that is not.
        unit: what one piece of work is, for who watches.
        gpu: they find the machine's GPUs.

    Returns:
        For each kind the summary with 'peak_bytes'; and its last answer.
    """
    with contextlib.ExitStack() as stack:
        processes, found = {}, {}
        for kind, of_kind in values.items():
            processes[kind] = stack.enter_context(Served(command, kind, of_kind, gpu))
            processes[kind].ask()  # builds and compiles, while nobody else works
            found[kind] = []
        for _, kind in itertools.product(range(repeats), values):
            found[kind].append(processes[kind].ask())
            say(f'{kind}: {found[kind][-1]["seconds"]:.2f} s {unit}')
    rows = {
        kind: {**summary([one['seconds'] for one in of_one]), 'peak_bytes': of_one[-1]['peak_bytes']}
        for kind, of_one in found.items()
    }
    return rows, {kind: of_one[-1] for kind, of_one in found.items()}
