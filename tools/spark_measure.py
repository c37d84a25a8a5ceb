"""FID and KID of two large folders on Apache Spark: python tools/spark_measure.py --fakes=FOLDER --reals=FOLDER

Also under spark-submit, which then says where the cluster is. The figures are those of python -m cyclegan_tf.evaluate
--fakes=FOLDER --reals=FOLDER. Each worker process loads the feature network once; TensorFlow is imported there only. A
part of the work whose worker dies is repeated.

metrics.json is written to RESULTS_DIR/folders. While the program runs, the features of all images lie there, too, in a
hidden folder .unfinished.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.runtime import signals  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.spark_measure import SparkMeasureConfig  # noqa: E402


def parse(argv: Sequence[str]) -> SparkMeasureConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(SparkMeasureConfig, argv)


def main(settings: SparkMeasureConfig) -> int:
    """Measures, prints, writes; returns the exit status.

    Raises:
        UserError: something is missing, the images do not allow a measure, or a part of the work failed too often; or,
            after everything else is done, some images could not be used.
    """
    # Imported here, since --help and wrong flags should not wait.
    from cyclegan_tf.distribution import spark
    from cyclegan_tf.evaluation import distributed
    from cyclegan_tf.runtime.console import count

    images = distributed.find(settings)
    # Spark is stopped before the folder is deleted into which its workers write.
    with distributed.scratch(settings) as place, spark.Cluster(settings, 'cyclegan_tf measure') as cluster:
        print(f'{count(len(images), "image")} in {count(cluster.parts(len(images)), "part")}.', flush=True)

        def run(work, items, per_part, what, counts_of, counters):
            parts = cluster.parts(len(items)) if per_part is None else cluster.parts(len(items), per_part)
            unit = 'images' if per_part is None else 'parts'
            found, _ = cluster.run(work, items, parts, what, counts_of, counters, unit=unit)
            return found

        try:
            distributed.measure(place, images, run)
        finally:
            for line in cluster.notes:
                print(line, file=sys.stderr)
    return 0


if __name__ == '__main__':
    signals.interrupt()  # the features are deleted
    run_program('tools/spark_measure.py', parse, main)
