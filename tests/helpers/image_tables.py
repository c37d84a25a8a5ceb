"""Tables of the images of a folder."""

from cyclegan_tf.data import inspection, sources
from cyclegan_tf.data.geometry import Geometry
from cyclegan_tf.data.table import ImageTable


def make_table(root, cache_dir, channels=3, preprocess_='resize_and_crop', load=36, crop=32, domain=0, skip=False):
    source = sources.open_domains(str(root), 'train')[domain]
    findings = inspection.inspect(source, 2, str(cache_dir))
    good = [i for i, finding in enumerate(findings) if finding.problem is None]
    headers = [findings[i].header for i in good]
    return ImageTable(source.select(good), headers, Geometry(preprocess_, load, crop), channels, skip)
