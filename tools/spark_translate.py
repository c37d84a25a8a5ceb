"""Translates an archive of images on Apache Spark: python tools/spark_translate.py --name=RUN --input=... --output=...

Also under spark-submit, which then says where the cluster is. Each worker process loads the model once; TensorFlow is
imported there only. A part of the work whose worker dies is repeated. What is there already is left out, so that the
same command goes on after the whole program was stopped.

Files that cannot be translated are listed in OUTPUT/failures.jsonl, an object for each with its path and the reason.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import sys
import time
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.archive import ArchiveConfig  # noqa: E402

_SHOWN = 20  # files of which the terminal says why they failed


def parse(argv: Sequence[str]) -> ArchiveConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(ArchiveConfig, argv)


def absolute(settings: ArchiveConfig) -> ArchiveConfig:
    """The settings with complete paths: workers may have another working directory."""
    paths = {name: getattr(settings, name) for name in ('checkpoints_dir', 'model_dir', 'input', 'output')}
    local = {name: path for name, path in paths.items() if path is not None and '://' not in path}
    return dataclasses.replace(settings, **{name: os.path.abspath(os.path.expanduser(local[name])) for name in local})


def main(settings: ArchiveConfig) -> int:
    """Translates; returns the exit status: 1 if some files could not be translated.

    Raises:
        UserError: something is missing, the model does not fit, or a part of the work failed too often.
    """
    # Imported here, since --help and wrong flags should not wait.
    from cyclegan_tf.distribution import spark
    from cyclegan_tf.runtime import signals, storage
    from cyclegan_tf.runtime.console import count
    from cyclegan_tf.translation import archive, archive_records

    signals.interrupt()
    settings = absolute(settings)
    items = archive.find(settings.input, settings.output, archive.takes_arrays(settings))[: settings.num_test]
    output, started = storage.Folder('output', settings.output), time.monotonic()
    if settings.output_format == 'records':
        archive_records.target(settings)  # raises UserError
    else:
        archive.claim(output, settings, archive.direction_of(settings))
    with spark.Cluster(settings, 'cyclegan_tf translate') as cluster:
        parts = cluster.parts(len(items))
        print(f'{count(len(items), "image")} in {count(parts, "part")}.', flush=True)

        def run(work, of):
            return cluster.run(work, items, parts, 'Translating', of.counts_of, archive.COUNTERS, of.is_kept)

        if settings.output_format == 'files':
            failures, counts = run(functools.partial(archive.translate_part, settings), archive)
        else:
            with archive_records.unfinished(settings, items, parts) as folder:
                work = functools.partial(archive_records.translate_part, settings, folder, parts)
                results, counts = run(work, archive_records)
                failures = [one for one in results if isinstance(one, archive.Record)]
                shards = [one for one in results if isinstance(one, archive_records.Shard)]
                archive_records.finish(settings, folder, shards)
        for line in cluster.notes:
            print(line, file=sys.stderr)
    archive.write_failures(output, failures)
    print(archive.in_words(counts, settings.output, time.monotonic() - started))
    for record in failures[:_SHOWN]:
        print(f'Skipped: {record.reason}', file=sys.stderr)
    if failures:
        raise UserError(
            f'{count(len(failures), "image")} could not be translated, see {output.path(archive.FAILURES)}; all others '
            f'were.'
        )
    return 0


if __name__ == '__main__':
    run_program('tools/spark_translate.py', parse, main)
