"""Translates images by a model in TensorFlow Serving: python tools/serving_client.py --model=RUN_AtoB IN.jpg OUT.png

IN and OUT may be folders; subfolders are kept. JPEG, PNG and plain BMP are sent as they are; other formats, and JPEGs
that their EXIF data turn, are made PNGs first, since TensorFlow reads neither as people see them. Images that the
server refuses are named and left aside, and the exit status is then 1. Only --protocol=grpc needs TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import queue
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Optional, Union

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import serving_files  # noqa: E402
import serving_protocols  # noqa: E402
from serving_files import Task  # noqa: E402
from serving_protocols import GrpcService, Refused, RestService, TimedOut, Unanswered  # noqa: E402
from tqdm import tqdm  # noqa: E402

from cyclegan_tf.data import decode  # noqa: E402
from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime import files  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings.fields import setting, validate_fields  # noqa: E402
from cyclegan_tf.settings.flags import asks_for_help, define_flags, help_text  # noqa: E402

Service = Union[RestService, GrpcService]

# Seconds between two attempts: doubled each time up to the longest, and at random between half of that and all of it,
# so that many clients of one server that comes back do not all ask at the same moment.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0

_LEAST_SECONDS = 0.001  # what an attempt is given at the deadline; libraries refuse zero


@dataclasses.dataclass(frozen=True)
class ClientConfig:
    """Which model, and how it is asked."""

    server: str = setting(
        '', "HOST:PORT; https://HOST:PORT for an encrypted connection; unset: localhost with TensorFlow Serving's port"
    )
    model: str = setting('', "the model's name on the server, as in RUN_AtoB; required")
    version: Optional[int] = setting(None, "of the model; unset: the server's newest", minimum=0)
    protocol: str = setting(
        'rest', "what the server's port speaks: rest (usually 8501) or grpc (8500)", choices=('rest', 'grpc')
    )
    concurrency: int = setting(4, 'requests in flight, of one image each', minimum=1)
    retries: int = setting(6, 'how often an image is sent again while the server is not available or busy', minimum=0)
    timeout: float = setting(300.0, 'seconds that one image may take, with all attempts', minimum=0.001)
    ca: Optional[str] = setting(
        None, "file with the certificates (PEM) that the server's is checked by, with https://; unset: the system's"
    )
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        if not self.model:
            raise UserError("`model` ('') is required; set it to the model's name on the server, as in RUN_AtoB.")
        _ = self.address  # raises for a value that cannot be read
        if self.ca is not None and not self.encrypted:
            raise UserError(
                f"`ca` ('{self.ca}') goes with an encrypted connection only; set --server=https://HOST:PORT."
            )
        if self.ca is not None and not os.path.isfile(os.path.expanduser(self.ca)):
            raise UserError(f"`ca` ('{self.ca}') is no file; set it to one with certificates.")

    @property
    def encrypted(self) -> bool:
        """Whether the connection is."""
        return self.server.lower().startswith('https://')

    @property
    def address(self) -> str:
        """HOST:PORT of the server."""
        default = serving_protocols.PORTS[self.protocol]
        if not self.server:
            return f'localhost:{default}'
        found = re.fullmatch(r'(?:https?://)?([\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?/?', self.server, re.IGNORECASE)
        if found is None or not 0 < int(found[2] or default) < 65536:
            raise UserError(f"`server` ('{self.server}') is not HOST:PORT, as in localhost:{default}; mend it.")
        return f'{found[1]}:{found[2] or default}'


def parse(argv: list[str]) -> tuple[ClientConfig, pathlib.Path, pathlib.Path]:
    """Command line to settings, IN and OUT.

    Raises:
        flags.Error: a flag that does not exist or cannot be read.
        UserError: a value out of bounds, or not exactly two names.
    """
    values = define_flags(ClientConfig)
    names = values(argv)[1:]
    if asks_for_help(values):
        print(f'usage: python {argv[0]} [flags] IN OUT\n\n{__doc__}\n{help_text(values)}')
        raise SystemExit(0)
    if len(names) != 2:
        raise UserError(
            f'IN and OUT are needed, two files or two folders ({len(names)} names are given); flags begin with -- and '
            f'take their value after =.'
        )
    config = ClientConfig(**{field.name: values[field.name].value for field in dataclasses.fields(ClientConfig)})
    return config, pathlib.Path(names[0]).expanduser(), pathlib.Path(names[1]).expanduser()


def main(arguments: tuple[ClientConfig, pathlib.Path, pathlib.Path]) -> int:
    """Translates; returns the exit status.

    Raises:
        UserError: there are no images; an output would take an input's place; the server or the model cannot be used;
            images were left aside, which are named. The pictures of all images that were answered are written.
    """
    config, source, output = arguments
    tasks = serving_files.plan(source, output)
    service = connect(config)
    try:
        with tqdm(total=len(tasks), unit=' images', dynamic_ncols=True, disable=None) as bar:
            left = run(service, tasks, config, config.concurrency, bar)
            # A server that puts the images of several requests into one batch refuses all of them if one is bad: those
            # that were in bad company are translated now.
            refused = [task for task, problem in left.items() if isinstance(problem, Refused)]
            bar.reset(len(tasks))
            bar.update(len(tasks) - len(refused))
            left = {task: problem for task, problem in left.items() if not isinstance(problem, Refused)}
            left.update(run(service, refused, config, 1, bar))
    finally:
        service.close()
    for task in sorted(left, key=lambda task: task.source):
        print(f'Left aside: {task.source}: {left[task]}', file=sys.stderr)
    if len(left) < len(tasks):
        print(f'{len(tasks) - len(left)} pictures are in {output}.' if source.is_dir() else f'{tasks[0].target}')
    if left:
        raise UserError(f'{len(left)} of {len(tasks)} images could not be translated and were left aside.')
    return 0


def connect(config: ClientConfig) -> Service:
    """The service; nothing is sent yet."""
    ca = None if config.ca is None else os.path.expanduser(config.ca)
    if config.protocol == 'rest':
        return RestService(config.address, config.model, config.version, config.encrypted, ca, config.concurrency)
    certificates = None if ca is None else pathlib.Path(ca).read_bytes()
    return GrpcService(config.address, config.model, config.version, config.encrypted, certificates)


def run(
    service: Service, tasks: Sequence[Task], config: ClientConfig, threads: int, bar: tqdm
) -> dict[Task, Exception]:
    """Translates and writes; returns what was left aside, with the reason.

    Raises:
        UserError: the server does not answer, or not to such requests.
    """
    left, written = {}, 0
    answers = ask_all(service, tasks, config, threads)
    with contextlib.closing(answers):
        for task, answer in answers:
            if isinstance(answer, bytes):
                files.write_whole(task.target, answer)
                written += 1
            elif isinstance(answer, Unanswered) and answer.for_all:
                before = f' {written} of {len(tasks)} pictures were written before.' if written else ''
                raise UserError(
                    f"`server` ('{config.address}') does not answer ({answer}); start it, or set --server and "
                    f'--protocol to where it listens and what is spoken there.{before}'
                ) from answer
            elif isinstance(answer, (Refused, TimedOut, Unanswered, decode.BadImage)):
                left[task] = answer
            elif isinstance(answer, OSError):
                left[task] = decode.BadImage(f'it cannot be read ({answer.strerror})')
            else:
                raise answer
            bar.update()
    return left


def ask_all(
    service: Service, tasks: Sequence[Task], config: ClientConfig, threads: int
) -> Iterator[tuple[Task, Union[bytes, Exception]]]:
    """Each image with its picture, or with what went wrong, as they are answered."""
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    answered: queue.Queue = queue.Queue(maxsize=threads)
    stopping, noticed = threading.Event(), threading.Event()

    def notice(reason):
        if not noticed.is_set():
            noticed.set()
            tqdm.write(f'Waiting for {config.address} ({reason}) ...', file=sys.stderr)

    def work():
        while not stopping.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answer = ask(service, serving_files.sendable(task.source.read_bytes()), config, stopping, notice)
            except Exception as error:  # they are told apart where the answers are used
                answer = error
            answered.put((task, answer))

    # Daemons, so that Ctrl-C does not wait for the server.
    for _ in range(min(threads, len(tasks))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in tasks:
            yield answered.get()
    finally:
        stopping.set()
        while not answered.empty():  # a thread that has an answer to give can end then
            answered.get_nowait()


def ask(
    service: Service,
    image: bytes,
    config: ClientConfig,
    stopping: threading.Event,
    notice: Callable[[Unanswered], None],
) -> bytes:
    """One image to its picture, with several attempts; `notice` is told why one was not the last.

    Raises:
        Refused, TimedOut, UserError: as the service.
        Unanswered: at the last attempt too.
    """
    deadline = time.monotonic() + config.timeout
    for attempt in itertools.count():
        try:
            return service.translate(image, max(_LEAST_SECONDS, deadline - time.monotonic()))
        except Unanswered as error:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)
            if attempt == config.retries or time.monotonic() + pause >= deadline:
                raise
            notice(error)
            if stopping.wait(pause):
                raise


if __name__ == '__main__':
    run_program('tools/serving_client.py', parse, main)
