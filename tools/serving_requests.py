"""Sends many images to a model in TensorFlow Serving: several at a time, and again while the server is busy or away."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Union

import serving_files
from serving_files import Task
from serving_protocols import GrpcService, Refused, RestService, TimedOut, Unanswered

from cyclegan_tf.data import decode
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import files
from cyclegan_tf.runtime.console import progress_bar

if TYPE_CHECKING:
    from serving_client import ClientConfig
    from tqdm import tqdm

Service = Union[RestService, GrpcService]

# Seconds between two attempts: doubled each time up to the longest pause, then multiplied by a random factor from 0.5
# to 1, so that the many clients of a server that comes back do not all send at the same moment.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0

_SHORTEST_TIMEOUT = 0.001  # seconds for an attempt at the deadline; libraries refuse zero


def translate(config: ClientConfig, source: pathlib.Path, output: pathlib.Path) -> None:
    """Translates an image or a folder of images, and prints where the results are.

    Raises:
        UserError: there are no images; a result would overwrite an image to translate; the server or the model cannot
            be used; or images were skipped, and are listed. The results of all answered requests are written.
    """
    tasks = serving_files.plan(source, output)
    service = connect(config)
    try:
        with progress_bar(total=len(tasks), keep=True) as bar:
            skipped = run(service, tasks, config, config.concurrency, bar)
            # A server that puts the images of several requests into one batch refuses all of them if one is bad. So
            # refused images are sent again, one at a time.
            refused = [task for task, problem in skipped.items() if isinstance(problem, Refused)]
            bar.reset(len(tasks))
            bar.update(len(tasks) - len(refused))
            skipped = {task: problem for task, problem in skipped.items() if not isinstance(problem, Refused)}
            skipped.update(run(service, refused, config, 1, bar))
    finally:
        service.close()
    for task in sorted(skipped, key=lambda task: task.source):
        print(f'Skipped: {task.source}: {skipped[task]}', file=sys.stderr)
    if len(skipped) < len(tasks):
        print(f'{len(tasks) - len(skipped)} pictures are in {output}.' if source.is_dir() else f'{tasks[0].target}')
    if skipped:
        raise UserError(f'{len(skipped)} of {len(tasks)} images could not be translated and were skipped.')


def connect(config: ClientConfig) -> Service:
    """Opens the connection to the model; nothing is sent yet."""
    ca = None if config.ca is None else os.path.expanduser(config.ca)
    if config.protocol == 'rest':
        return RestService(config.address, config.model, config.version, config.encrypted, ca, config.concurrency)
    certificates = None if ca is None else pathlib.Path(ca).read_bytes()
    return GrpcService(config.address, config.model, config.version, config.encrypted, certificates)


def run(
    service: Service, tasks: Sequence[Task], config: ClientConfig, threads: int, bar: tqdm
) -> dict[Task, Exception]:
    """Translates and writes the images; returns those that were skipped, with the reason.

    Raises:
        UserError: the server does not answer, or refuses all such requests.
    """
    skipped, written = {}, 0
    answers = ask_all(service, tasks, config, threads, bar)
    with contextlib.closing(answers):
        for task, answer in answers:
            if isinstance(answer, bytes):
                files.write_whole(task.target, answer)
                written += 1
            elif isinstance(answer, Unanswered) and answer.for_all:
                before = f' {written} of {len(tasks)} pictures were written before.' if written else ''
                raise UserError(
                    f"`server` ('{config.address}') does not answer ({answer}); start it, or set --server and "
                    f'--protocol to its address and protocol.{before}'
                ) from answer
            elif isinstance(answer, (Refused, TimedOut, Unanswered, decode.BadImage)):
                skipped[task] = answer
            elif isinstance(answer, OSError):
                skipped[task] = decode.BadImage(f'it cannot be read ({answer.strerror})')
            else:
                raise answer
            bar.update()
    return skipped


def ask_all(
    service: Service, tasks: Sequence[Task], config: ClientConfig, threads: int, bar: tqdm
) -> Iterator[tuple[Task, Union[bytes, Exception]]]:
    """Each image with its translation, or with what went wrong, in the order of the answers."""
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    answered: queue.Queue = queue.Queue(maxsize=threads)
    stopping, noticed = threading.Event(), threading.Event()

    def notice(reason):
        if not noticed.is_set():
            noticed.set()
            bar.write(f'Waiting for {config.address} ({reason}) ...', file=sys.stderr)

    def work():
        while not stopping.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answer = ask(service, serving_files.sendable(task.source.read_bytes()), config, stopping, notice)
            except Exception as error:  # the caller distinguishes them
                answer = error
            answered.put((task, answer))

    # Daemon threads, so that Ctrl-C does not wait for the server.
    for _ in range(min(threads, len(tasks))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in tasks:
            yield answered.get()
    finally:
        stopping.set()
        while not answered.empty():  # makes room, so that a thread that waits to put its answer can end
            answered.get_nowait()


def ask(
    service: Service,
    image: bytes,
    config: ClientConfig,
    stopping: threading.Event,
    notice: Callable[[Unanswered], None],
) -> bytes:
    """Sends one image and returns its translation; `notice` gets the reason of each failed attempt but the last.

    Raises:
        Refused, TimedOut, UserError: as the service.
        Unanswered: the last attempt was not answered, either.
    """
    deadline = time.monotonic() + config.timeout
    for attempt in itertools.count():
        try:
            return service.translate(image, max(_SHORTEST_TIMEOUT, deadline - time.monotonic()))
        except Unanswered as error:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)
            if attempt == config.retries or time.monotonic() + pause >= deadline:
                raise
            notice(error)
            if stopping.wait(pause):
                raise
