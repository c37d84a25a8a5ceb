"""What the benchmarks share: a description of the machine, medians, and worker processes that take turns.

Nothing here imports TensorFlow or PyTorch: the memory of one would count when the other is measured.
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
from cyclegan_tf.runtime import allocator

TOOLS = pathlib.Path(__file__).resolve().parent.parent
ROOT = TOOLS.parent
# A turn lasts at least so many seconds. What takes less than the other number is done once more before: other processes
# have filled the caches, which matters little to what takes longer.
_LEAST, _LEAST_COLD = 1.0, 5.0
_NO_SETTINGS = ('json', 'verbose', 'only')  # these do not affect what is measured


# ------------------------------------------------------------------------------------------------------- the machine
def machine(gpu: bool = False) -> str:
    """The processors, memory and versions, in one line; NVIDIA's GPUs too, if they are used."""
    parts = [f'{os.cpu_count()} CPUs', _processor(), f'{psutil.virtual_memory().total / 2**30:.0f} GB']
    parts += _gpus() if gpu else []
    parts += [f'Python {platform.python_version()}', f'TensorFlow {version("tensorflow")}']
    return ', '.join(parts + ([f'PyTorch {version("torch")}'] if version('torch') else []))


def _processor() -> str:
    """The processor's model, if the system provides it, and its architecture."""
    path = pathlib.Path('/proc/cpuinfo')
    found = re.search(r'^model name\s*:\s*(.+)$', path.read_text(), re.MULTILINE) if path.is_file() else None
    return f'{found.group(1)} ({platform.machine()})' if found else platform.machine()


def _gpus() -> list[str]:
    """Name, memory and driver of each NVIDIA GPU."""
    if not shutil.which('nvidia-smi'):
        return []
    query = ['nvidia-smi', '--query-gpu=name,memory.total,driver_version', '--format=csv,noheader']
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else [f'nvidia-smi ended with status {done.returncode}']


def version(package: str) -> Optional[str]:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def peak_bytes() -> int:
    """The peak memory of this process.

    On Linux, getrusage would include the memory that the parent had when it started this process.
    """
    path = pathlib.Path('/proc/self/status')
    if not path.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes
    status = path.read_text()
    return int(re.search(r'^VmHWM:\s*(\d+) kB$', status, re.MULTILINE).group(1)) * 1024


# ------------------------------------------------------------------------------------------------------- the results
def settings_of(config: Any) -> dict[str, Any]:
    """The settings of a benchmark that belong to its result."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in _NO_SETTINGS}


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """The median, with minimum and maximum."""
    return {'seconds': statistics.median(seconds), 'least': min(seconds), 'most': max(seconds)}


def calls_in_turns(calls: Mapping[Any, Callable[[], Any]], repeats: int) -> dict[Any, list[float]]:
    """Seconds of each call in this process; each round calls every kind once."""
    seconds: dict[Any, list[float]] = {kind: [] for kind in calls}
    for turn, (kind, call) in itertools.product(range(repeats + 1), calls.items()):
        start = time.perf_counter()
        call()
        if turn:  # the first round warms up
            seconds[kind].append(time.perf_counter() - start)
    return seconds


def ratios(
    rows: Mapping[str, Mapping[str, float]], columns: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Ratios between kinds that were measured, named as in 'step float32 / torch'.

    Args:
        rows: kind -> its measurements.
        columns: word for a ratio's name -> the measurement that is compared.
        pairs: pairs of kinds; 'best torch' is PyTorch's fastest without autocast, 'best torch autocast' the fastest
            with it, in bfloat16.
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
    """The kinds without PyTorch's if it is not installed, or if it does not find the GPU to be used; prints which."""
    usable = version('torch') is not None
    if not any(kind.startswith('torch') for kind in kinds):
        return list(kinds)
    if not usable:
        say("PyTorch is left out: it is not installed (pip install '.[torch]').")
    elif gpu:
        # In another process, since importing it here would add to this one's memory, and take some of the GPU's.
        ask = 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)'
        usable = subprocess.run([sys.executable, '-c', ask]).returncode == 0
        if not usable:
            say('PyTorch is left out: it finds no GPU (is it a build with CUDA?). --device=cpu compares on the CPU.')
    return [kind for kind in kinds if not kind.startswith('torch') or usable]


def images(config: Any) -> list[np.ndarray]:
    """Random images of both domains, float32 [batch_size, crop_size, crop_size, 3] in [-1, 1]."""
    random = np.random.default_rng(0)
    shape = (config.batch_size, config.crop_size, config.crop_size, 3)
    return [random.uniform(-1, 1, shape).astype(np.float32) for _ in range(2)]


def finish(result: Mapping[str, Any], path: Optional[str]) -> int:
    """Prints a result as JSON, and writes it to a file if there is a path; returns the exit status."""
    text = json.dumps(result, indent=2)
    print(text)
    if path:
        pathlib.Path(path).write_text(text + '\n')
    return 0


def say(line: str) -> None:
    """Prints a line for whoever watches, on standard error."""
    print(line, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------- a process for each kind
def environment(gpu: bool = False) -> dict[str, str]:
    """The environment of processes that are measured: they find the package, and GPUs only if these are asked for."""
    return {**os.environ, 'PYTHONPATH': str(ROOT), **({} if gpu else {'CUDA_VISIBLE_DEVICES': '-1'})}


def program(*arguments: str) -> list[str]:
    """The command that starts tools/benchmark.py, in any working directory.

    Benchmarks start all processes of benchmarks this way: started as programs, the files of this folder would not find
    each other.

    Args:
        arguments: name and flags of a benchmark, or what `work` in tools/benchmark.py takes.
    """
    return [sys.executable, str(TOOLS / 'benchmark.py'), *arguments]


def worker(benchmark: str) -> list[str]:
    """The command, for Served, that starts a process for the work of this benchmark."""
    return program('on_request', benchmark)


class Served:
    """A separate process that does one kind of work whenever it is asked to.

    Args:
        command: command that starts a program that calls `serve`; see worker.
        kind: kind of work.
        values: the program's settings for it, passed as JSON.
        gpu: let it find the machine's GPUs.
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

    def ask(self, least: float = 0, least_cold: float = 0) -> dict[str, Any]:
        """Has the work done, and waits for that.

        Args:
            least_cold: if the work takes fewer seconds, the first time does not count. So steps are measured as a
                training does them, one after another.
            least: then it is repeated for as many seconds.

        Returns:
            'seconds' that it took, the mean of several; 'peak_bytes' of the process so far; 'huge_bytes' of its memory
            that are in huge pages (None where that is not known); and what the work itself returned, which can override
            these.

        Raises:
            UserError: the process has ended.
        """
        with contextlib.suppress(BrokenPipeError):  # then the answer is missing too, which is reported
            print(least, least_cold, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise UserError(f"the process that measures '{self._kind}' has ended (status {status}); see above.")
        return json.loads(line)


def serve(make: Callable[[str, Mapping[str, Any]], Callable[[], Optional[Mapping[str, Any]]]]) -> None:
    """Does the work of this process for each line on standard input, and prints the answer for Served.ask.

    Args:
        make: (kind, values) -> the work, a function; what it returns becomes part of the answer.
    """
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # for output of the work
        kind, values = sys.argv[-2:]  # as Served passes them
        work = make(kind, json.loads(values))
        for line in sys.stdin:
            result, seconds = _timed(work, 0)
            least, least_cold = map(float, line.split())
            if seconds < least_cold:
                result, seconds = _timed(work, least)
            huge = {'huge_bytes': allocator.bytes_in_huge_pages()}
            answer = {'seconds': seconds, 'peak_bytes': peak_bytes(), **huge, **(result or {})}
            print(json.dumps(answer), file=answers, flush=True)


def _timed(work: Callable[[], Any], least: float) -> tuple[Any, float]:
    """What the work returns at last, and the mean of its seconds, repeated until it has taken `least` seconds."""
    start, count = time.perf_counter(), 0
    while True:
        result, count = work(), count + 1
        seconds = time.perf_counter() - start
        if seconds >= least:
            return result, seconds / count


def in_turns(
    command: Sequence[str], values: Mapping[str, Mapping[str, Any]], repeats: int, unit: str, gpu: bool = False
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """Measures all kinds, each in a separate process; each round asks them one after another, for a second or more.

    Args:
        command: see Served.
        values: kind -> its settings.
        repeats: number of rounds that are measured, after a warm-up round.
        unit: the unit of work, for the lines that are printed.
        gpu: let them find the machine's GPUs.

    Returns:
        For each kind, the summary with 'peak_bytes' and 'huge_bytes'; and for each kind, its last answer.
    """
    with contextlib.ExitStack() as stack:
        processes, found = {}, {}
        for kind, of_kind in values.items():
            processes[kind] = stack.enter_context(Served(command, kind, of_kind, gpu))
            processes[kind].ask()  # builds and compiles while no other process works
            found[kind] = []
        for _, kind in itertools.product(range(repeats), values):
            found[kind].append(processes[kind].ask(_LEAST, _LEAST_COLD))
            say(f'{kind}: {found[kind][-1]["seconds"]:.2f} s {unit}')
    rows = {
        kind: {
            **summary([one['seconds'] for one in of_one]),
            **{name: of_one[-1][name] for name in ('peak_bytes', 'huge_bytes')},
        }
        for kind, of_one in found.items()
    }
    return rows, {kind: of_one[-1] for kind, of_one in found.items()}
