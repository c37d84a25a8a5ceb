"""Work on Apache Spark: where it runs, how its parts are handed out, counted and repeated, and what went wrong."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Protocol

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime.console import progress_bar

if TYPE_CHECKING:
    import pyspark

_JAVA = 17  # the oldest that Spark 4 runs on
_PER_PART = 200  # items; after a failure, so many at most are looked at again
_PARTS_PER_WORKER = 4  # so that the workers end at about the same time
_POLLED = 0.5  # seconds between looks at the counters
_TOLD = 30.0  # seconds between lines about progress, where there is no terminal

_MESSAGES = pathlib.Path(__file__).with_name('log4j2.properties')

Work = Callable[[int, Iterator[Any]], Iterable[Any]]


class Settings(Protocol):
    """What is needed of the settings; see settings.archive.SparkConfig."""

    master: Optional[str]
    partitions: Optional[int]
    cores_per_worker: int
    max_failures: int
    verbose: bool


class _Lines:
    """How sentences of workers are gathered: an AccumulatorParam of Spark."""

    def zero(self, value: list[str]) -> list[str]:
        """None."""
        return []

    def addInPlace(self, lines: list[str], more: list[str]) -> list[str]:  # noqa: N802 (Spark's name)
        """All."""
        return lines + more


class Cluster:
    """Spark, started; a context that stops it.

    Args:
        config: where and how wide the work is spread.
        program: its name, for Spark's pages and for messages.

    Raises:
        UserError: PySpark or Java is missing, or Spark does not start.
    """

    def __init__(self, config: Settings, program: str):
        self._config = config
        self._context = _start(config, program)
        self._runs, self._is_gone = 0, False
        self.repeated = 0  # number of parts that failed and were repeated

    @property
    def notes(self) -> list[str]:
        """What the user should know of the work that is done."""
        if not self.repeated:
            return []
        what = 'part failed and was' if self.repeated == 1 else 'parts failed and were'
        return [f'{self.repeated:,} {what} repeated.']

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error) -> None:
        if not self._is_gone:
            self._context.stop()

    def parts(self, items: int, per_part: int = _PER_PART) -> int:
        """The number of parts for some items, unless the settings say it."""
        if self._config.partitions is not None:
            return min(self._config.partitions, max(1, items))
        workers = max(1, self._context.defaultParallelism // self._config.cores_per_worker)
        return max(1, min(items, max(workers * _PARTS_PER_WORKER, -(-items // per_part))))

    def run(
        self,
        work: Work,
        items: Sequence[Any],
        parts: int,
        what: str,
        counts_of: Callable[[Any], Mapping[str, int]],
        counters: Sequence[str],
        kept: Optional[Callable[[Any], bool]] = None,
        unit: str = 'images',
    ) -> tuple[list[Any], dict[str, int]]:
        """Does some work in all worker processes.

        Args:
            work: (number of the part, its items) -> results; called in a worker, so that it and what it takes have to
                be known to pickle by their names. TensorFlow is to be imported there, not before.
            items: consecutive ones come into the same part.
            parts: number of parts. A part that fails, or whose worker dies, is repeated as a whole.
            what: is done, for the progress.
            counts_of: a result -> what it adds to counters; counts that are no counters' are left out.
            counters: their names; those but 'pixels' add up to the number of items that are done.
            kept: whether a result comes back here; None: all do.
            unit: what the items are, for the progress.

        Returns:
            The results, in the order of the items; and the counters, to which a part that is repeated adds only once.

        Raises:
            UserError: a worker raised it, or a part failed too often.
        """
        from py4j.protocol import Py4JError, Py4JNetworkError
        from pyspark.errors import PySparkException

        sums = {name: self._context.accumulator(0) for name in counters}
        refusals = self._context.accumulator([], _Lines())
        in_worker = functools.partial(_in_worker, work, counts_of, kept, sums, refusals)
        spread = self._context.parallelize(items, parts).mapPartitionsWithIndex(in_worker)
        group = f'{what} {self._runs}'
        self._runs += 1
        self._context.setJobGroup(group, what)
        counted = [value for name, value in sums.items() if name != 'pixels']
        try:
            with self._progress(what, unit, group, len(items), lambda: sum(one.value for one in counted), refusals):
                results = spread.collect()
        except (OSError, Py4JNetworkError) as error:
            # On the way out of the waiting that a signal ends, PySpark asks Java once more, which may no longer answer.
            if interruption := _interruption(error):
                raise interruption from None
            self._is_gone = True
            raise UserError(
                f"{what} was given up: Spark's Java has ended ({first_line(error)}); give it more memory, as by "
                f'spark-submit --driver-memory, and repeat.'
            ) from error
        except (Py4JError, PySparkException) as error:
            if refusals.value:
                raise UserError(refusals.value[0]) from error
            raise UserError(f'{what} was given up ({_reason(error)}); correct that and repeat.') from error
        finally:
            with contextlib.suppress(OSError, Py4JError):  # Java has ended, or does
                self.repeated += self._failed_parts(group)
        if refusals.value:
            raise UserError(refusals.value[0])
        return results, {name: one.value for name, one in sums.items()}

    @contextlib.contextmanager
    def _progress(
        self, what: str, unit: str, group: str, total: int, done: Callable[[], int], refusals: Any
    ) -> Iterator[None]:
        """A context in which progress is shown, by a bar on a terminal, else by a line from time to time; and in which
        the work is cancelled when a worker has refused it."""
        ended, bar = threading.Event(), progress_bar(None, what, total, keep=True, unit=unit)
        started = told = time.monotonic()

        def watch():
            nonlocal told
            while not ended.wait(_POLLED):
                number = done()
                bar.update(number - bar.n)
                if refusals.value:
                    self._context.cancelJobGroup(group)
                now = time.monotonic()
                if bar.disable and now - told >= _TOLD:
                    told = now
                    left = f', {_clock((now - started) / number * (total - number))} left' if number else ''
                    print(f'{what}: {number:,} of {total:,} {unit}{left}', file=sys.stderr, flush=True)

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        with bar:
            try:
                yield
            finally:
                ended.set()
                watching.join()
                bar.update(done() - bar.n)

    def _failed_parts(self, group: str) -> int:
        tracker = self._context.statusTracker()
        jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
        stages = [tracker.getStageInfo(stage) for job in jobs if job is not None for stage in job.stageIds]
        return sum(stage.numFailedTasks for stage in stages if stage is not None)


# ------------------------------------------------------------------------------------------------------- in the worker
def _in_worker(
    work: Work,
    counts_of: Callable,
    kept: Optional[Callable],
    sums: Mapping[str, Any],
    refusals: Any,
    part: int,
    items: Iterator[Any],
) -> Iterator[Any]:
    """A part of the work."""
    from pyspark import TaskContext

    os.environ.update(_variables(TaskContext.get()))
    try:
        for result in work(part, items):
            for name, number in counts_of(result).items():
                if name in sums:
                    sums[name].add(number)
            if kept is None or kept(result):
                yield result
    except UserError as error:  # repeating the part would not help
        refusals.add([str(error)])
        for _ in items:  # else Spark ends this process, and the next part has to import TensorFlow again
            pass


def _variables(task: pyspark.TaskContext) -> dict[str, str]:
    """Environment variables that are read when TensorFlow is imported or first computes: without them, each worker
    would take all cores and GPUs of the machine for its own."""
    variables = dict.fromkeys(('TF_NUM_INTRAOP_THREADS', 'OMP_NUM_THREADS'), str(task.cpus()))
    if 'gpu' in task.resources():
        variables['CUDA_VISIBLE_DEVICES'] = ','.join(task.resources()['gpu'].addresses)
    return variables


# ------------------------------------------------------------------------------------------------------- in the driver
def _start(config: Settings, program: str) -> pyspark.SparkContext:
    try:
        import pyspark
    except ImportError as error:
        raise UserError("Apache Spark is missing; install it with pip install '.[spark]'.") from error
    is_submitted = 'PYSPARK_GATEWAY_PORT' in os.environ  # by spark-submit, whose Java runs already
    if not is_submitted:
        require_java()
    settings = pyspark.SparkConf(loadDefaults=is_submitted).setAppName(program)
    master = config.master or (None if is_submitted else 'local[*]')
    if master is not None:
        settings.setMaster(with_failures(master, config.max_failures))
        if master.startswith('local'):
            _prepare_this_machine()
    settings.set('spark.task.maxFailures', str(config.max_failures))
    settings.set('spark.task.cpus', str(config.cores_per_worker))
    settings.set('spark.ui.showConsoleProgress', 'false')
    if not is_submitted and not config.verbose:
        settings.set('spark.driver.extraJavaOptions', f'-Dlog4j2.configurationFile={_MESSAGES.as_uri()}')
    try:
        context = pyspark.SparkContext(conf=settings)
    except Exception as error:  # of Java, of Py4J, or of Python's, as something is missing on either side
        raise UserError(f"`master` ('{master}') cannot be used ({_reason(error)}); correct it.") from error
    context.setLogLevel('WARN' if config.verbose else 'OFF')
    # Py4J logs a traceback when a signal ends the waiting for Java, which is how the user stops the program.
    logging.getLogger().addFilter(lambda record: 'while sending command' not in record.getMessage())
    return context


def with_failures(master: str, failures: int) -> str:
    """A master in which a part may fail so often; of local ones, the name itself says that.

    >>> with_failures('local[2]', 4)
    'local[2,4]'
    """
    found = re.fullmatch(r'local(?:\[(\d+|\*)\])?', master)
    return f'local[{found[1] or 1},{failures}]' if found else master


def require_java() -> None:
    """Raises UserError if there is no Java that Spark runs on, where Spark looks for it."""
    home = os.environ.get('JAVA_HOME')
    java = os.path.join(home, 'bin', 'java') if home else 'java'
    remedy = f'install it (Debian: apt-get install openjdk-{_JAVA}-jre-headless), or set JAVA_HOME to its folder'
    if shutil.which(java) is None:
        raise UserError(f"Apache Spark needs Java {_JAVA} or newer, and '{java}' is no program; {remedy}.")
    said = subprocess.run([java, '-version'], capture_output=True, text=True)
    version = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if said.returncode or version is None or int(version[1]) < _JAVA:
        found = first_line(UserError(said.stderr or said.stdout or f'status {said.returncode}'))
        raise UserError(f"Apache Spark needs Java {_JAVA} or newer, but '{java}' says: {found}; {remedy}.")


def _prepare_this_machine() -> None:
    """Sets up the processes that will be started here: nobody else reaches them, and they find what this one found."""
    os.environ.setdefault('SPARK_LOCAL_IP', '127.0.0.1')
    os.environ.setdefault('PYSPARK_PYTHON', sys.executable)
    root = str(pathlib.Path(__file__).parent.parent.parent)  # where this package lies, installed or not
    paths = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    if root not in paths:
        os.environ['PYTHONPATH'] = os.pathsep.join([root, *filter(None, paths)])


def _interruption(error: Optional[BaseException]) -> Optional[KeyboardInterrupt]:
    """The signal during whose handling an error came up, if it did."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def _reason(error: Exception) -> str:
    """What went wrong, in a line, from the traces of both Java and Python."""
    text = str(error)
    # A worker's exception stands at the end of its traceback, which Java's trace goes on behind.
    of_worker = re.findall(r'^(?!\s|\tat )([A-Za-z_.]+(?:Error|Exception|Interrupt): .*)$', text, re.MULTILINE)
    of_python = [line for line in of_worker if not line.startswith(('org.', 'java.', 'py4j.', 'Caused by'))]
    lines = [line for line in text.splitlines() if line.startswith((': ', 'Caused by: '))]
    chosen = of_python[-1:] or of_worker[:1] or lines[:1] or [first_line(error)]
    return ' '.join(chosen[0].lstrip(': ').split())[:300]


def _clock(seconds: float) -> str:
    return f'{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}'
