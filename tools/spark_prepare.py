"""Stores a folder of images as records, on Apache Spark: python tools/spark_prepare.py --dataroot=FOLDER --output=DIR

What it writes is what tools/prepare_records.py writes with the same flags, bit for bit. Worker processes look at the
images and write the files of records, of which each is a part of the work, so that --num_shards should be a few times
the number of workers. The images and the output have to be in folders that all workers reach by the same path.

The data set is written beside its place, and renamed when it is complete. After the program was stopped, the same
command goes on: images that were looked at, and files that were complete, are not read or written again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.runtime import signals  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.records import SparkRecordsConfig  # noqa: E402

if TYPE_CHECKING:
    from cyclegan_tf.data.findings import Finding
    from cyclegan_tf.data.image_source import Source
    from cyclegan_tf.data.record_shards import ImageShard
    from cyclegan_tf.distribution.spark import Cluster


class SparkWorkers:
    """The workers of a cluster, as record_files.Workers.

    Args:
        cluster: Spark.
        threads: number of threads of each worker process that read images.
    """

    go_on = True

    def __init__(self, cluster: Cluster, threads: int):
        self._cluster, self._threads = cluster, threads

    def inspect(self, source: Source, cache_dir: Optional[str]) -> list[Finding]:
        """See record_files.Workers; what is remembered is looked up here."""
        from cyclegan_tf.data import inspection

        options, threads = source.options, self._threads

        def check(part, paths):
            # Imported in the worker, where the number of TensorFlow's threads is set before.
            from cyclegan_tf.data import inspection, sources

            return inspection.check_each(sources.of_files(list(paths), '', options), threads)

        def elsewhere(source, indices):
            paths = [_absolute(source.label(index)) for index in indices]
            # In slices, whose findings are saved one after the other.
            for start in range(0, len(paths), inspection.SAVED_AFTER):
                some = paths[start : start + inspection.SAVED_AFTER]
                what, parts = f'Checking {source.where}', self._cluster.parts(len(some))
                checked, _ = self._cluster.run(check, some, parts, what, lambda _: {'checked': 1}, ['checked'])
                yield from checked

        return inspection.inspect(source, self._threads, cache_dir, elsewhere)

    def write(self, shards: Sequence[ImageShard]) -> None:
        """See record_files.Workers."""
        if not shards:
            return
        threads = self._threads

        def write(part, shards):
            from concurrent.futures import ThreadPoolExecutor

            from cyclegan_tf.data import record_shards

            with ThreadPoolExecutor(threads) as pool:
                for shard in shards:
                    yield record_shards.write_images(shard, pool, threads)

        placed = [
            dataclasses.replace(
                shard,
                path=_absolute(shard.path),
                files=[_absolute(path) for path in shard.files],
                folder=_absolute(shard.folder),
            )
            for shard in shards
        ]
        self._cluster.run(write, placed, len(placed), 'Writing', lambda _: {'written': 1}, ['written'], unit='files')


def _absolute(place: str) -> str:
    """A path for processes whose working directories are other ones; a URL as it is."""
    return place if '://' in place else os.path.abspath(place)


def parse(argv: Sequence[str]) -> SparkRecordsConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(SparkRecordsConfig, argv)


def main(config: SparkRecordsConfig) -> int:
    """Writes the records; returns the exit status.

    Raises:
        UserError: as of tools/prepare_records.py; or Spark does not start, or a part of the work failed too often.
    """
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    import record_files

    from cyclegan_tf.distribution import spark

    @contextlib.contextmanager
    def start() -> Iterator[SparkWorkers]:
        with spark.Cluster(config, 'cyclegan_tf prepare') as cluster:
            yield SparkWorkers(cluster, config.num_threads)
            for line in cluster.notes:
                print(line, file=sys.stderr)

    signals.interrupt()  # Spark is stopped
    record_files.store(config, start)
    return 0


if __name__ == '__main__':
    run_program('tools/spark_prepare.py', parse, main)
