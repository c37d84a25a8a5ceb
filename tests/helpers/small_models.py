"""Small models and their steps, for the tests of models."""

import functools
from unittest import mock

import numpy as np
import tensorflow as tf

from cyclegan_tf.distribution.devices import set_graph_optimizer
from cyclegan_tf.models import MODELS
from cyclegan_tf.networks.generators import GENERATORS
from cyclegan_tf.settings.models import SETTINGS
from tests.helpers.tiny_models import registered

# The fewest that are several. TensorFlow, and XLA far more, take their time for each.
FEW_BLOCKS = {'resnet_6blocks': ('resnet', 2)}


def make(devices=('/cpu:0',), jit_compile=False, model='cycle_gan', **settings):
    """A small model, its generators of two blocks, and its step: images of the global batch -> metrics by name."""
    defaults = dict(dataroot='demo', netG='resnet_6blocks', ngf=4, ndf=4, load_size=32, crop_size=32, seed=1)
    set_graph_optimizer('CPU')
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope(), mock.patch.dict(GENERATORS, FEW_BLOCKS), registered():
        config = SETTINGS[model](**{**defaults, 'model': model, **settings})
        model = MODELS[model](config, jit_compile=jit_compile)

    @functools.partial(tf.function, jit_compile=model.compile_whole or None)
    def run(real_a, real_b):
        def step():
            i = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = config.images_per_step // len(devices)
            a, b = (tf.ensure_shape(x[i * rows : (i + 1) * rows], [rows, *x.shape[1:]]) for x in (real_a, real_b))
            return model.train_step(a, b)

        return strategy.experimental_local_results(strategy.run(step))[0]

    return model, lambda a, b: dict(zip(model.metric_names, run(a, b).numpy()))


def images(photographs, batch=1, channels=3, dtype=np.float32):
    """Two batches of 32x32 photographs, in [-1, 1]."""
    pictures = photographs(4, 256, 256).astype(dtype)[..., :channels]
    return tuple(tf.constant(pictures[i : i + batch, 40:72, 40:72]) for i in (0, 2))


def snapshot(variables):
    """Their values."""
    return [variable.numpy() for variable in variables]


def xla_modules(monkeypatch, folder):
    """Has XLA compile quickly, for a test in its own process; returns a function: -> the modules compiled, as text."""
    # What LLVM optimises takes it minutes for a step in one piece, and is none of ours.
    quick = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
    monkeypatch.setenv('XLA_FLAGS', f'{quick} --xla_dump_to={folder} --xla_dump_hlo_as_text')
    return lambda: [path.read_text() for path in folder.glob('*.before_optimizations.txt')]
