"""Programs that run on Spark, seen from outside."""

import contextlib

import psutil


def workers(process):
    """The Python processes that Spark has forked for tasks."""

    def is_worker(one):
        with contextlib.suppress(psutil.Error):  # it has just ended
            return 'pyspark.daemon' in ' '.join(one.cmdline()) and one.parent().name() != 'java'
        return False

    return list(filter(is_worker, psutil.Process(process.pid).children(recursive=True)))
