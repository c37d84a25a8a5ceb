"""Trains small models for some steps on the devices that its flags name, and writes what came of it, for devices_test.

python -m tests.helpers.replica_run FILE.npz [CASE ...] -- FLAGS; as a worker of a cluster with TF_CONFIG set. FLAGS
name the devices and the images. All cases run in one process, one after the other.
"""

import sys

# isort: off
import cyclegan_tf  # noqa: E402, F401  (before TensorFlow: it chooses the Keras)

# isort: on
import dataclasses  # noqa: E402

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from cyclegan_tf.data import training_data  # noqa: E402
from cyclegan_tf.distribution.cluster import read_cluster  # noqa: E402
from cyclegan_tf.distribution.devices import open_devices  # noqa: E402
from cyclegan_tf.models import MODELS  # noqa: E402
from cyclegan_tf.networks.generators import GENERATORS  # noqa: E402
from cyclegan_tf.runtime.console import Console  # noqa: E402
from cyclegan_tf.settings.models import SETTINGS  # noqa: E402
from cyclegan_tf.settings.run_flags import parse_training  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402

GLOBAL_BATCH = 4

# Batches take from the pool from the second step on. What keeps the networks few and small keeps this short: building
# the graph takes far longer than the steps. At a tenth of the default rate, which enlarges rounding about fivefold a
# step (models/parity_test.py), 1e-9 tells an error from rounding on any processor.
_SMALL = dict(
    netG='resnet_6blocks', ngf=4, ndf=4, netD='n_layers', n_layers_D=1, load_size=36, crop_size=32, pool_size=6,
    num_threads=1, batch_size=GLOBAL_BATCH, lambda_identity=0.0, lr=2e-5,
)  # fmt: skip
_DROPOUT = dict(_SMALL, no_dropout=False, seed=3)
_WGANGP = dict(_SMALL, gan_mode='wgangp', seed=5)
_OTHERS = {name: value for name, value in _SMALL.items() if name not in ('pool_size', 'lambda_identity')}
_ACCUMULATED = dict(batch_size=GLOBAL_BATCH // 2, accumulate_steps=2)
# case -> (precision, steps, settings)
CASES = {
    'dropout': ('float64', 10, _DROPOUT),
    'dropout, accumulated': ('float64', 10, dict(_DROPOUT, **_ACCUMULATED)),
    'dropout, recomputed': ('float64', 10, dict(_DROPOUT, recompute_grads=True)),
    'batch norm': ('float64', 10, dict(_SMALL, norm='batch', seed=4)),
    'wgangp': ('float64', 10, _WGANGP),
    'wgangp, accumulated': ('float64', 10, dict(_WGANGP, **_ACCUMULATED)),
    'pix2pix': ('float64', 4, dict(_OTHERS, model='pix2pix', dataset_mode='paired', seed=6)),
    'cut': ('float64', 4, dict(_OTHERS, model='cut', num_patches=20, flip_equivariance=True, seed=7)),
    'cut, all negatives': (
        'float64',
        4,
        dict(_OTHERS, model='cut', num_patches=9, nce_includes_all_negatives_from_minibatch=True, seed=8),
    ),
    'float32': ('float32', 1, dict(_SMALL, seed=5)),
    'float32, no norm': ('float32', 1, dict(_SMALL, norm='none', init_gain=0.1, seed=5)),
}


def train(devices, config, steps: int) -> dict[str, np.ndarray]:
    """Losses, float [steps, losses], under 'metrics'; and every kernel afterwards.

    After a single step it is each kernel's gradient instead: of that, Adam's first step takes the sign, which is
    rounding's where a gradient is next to nothing.
    """
    data = training_data.open_training_data(config, Console(GLOBAL_BATCH), devices.worker, devices.workers)
    with devices.strategy.scope():
        model = MODELS[config.model](config, sizes=data.sizes)

    @tf.function
    def run(iterator):
        metrics = devices.strategy.run(tf.autograph.experimental.do_not_convert(model.train_step), next(iterator))
        return devices.strategy.experimental_local_results(metrics)[0]

    iterator = iter(devices.distribute(data.stream().from_step(0)))
    losses = len(model.loss_names)
    result = {'metrics': np.stack([run(iterator).numpy()[:losses] for _ in range(steps)])}
    moments = {
        id(variable): moment
        for player in model.players.values()
        for variable, moment in zip(player.variables, player.optimizer._momentums)
    }
    for name, network in model.networks().items():
        for i, variable in enumerate(network.trainable_variables):
            moment = moments[id(variable)]
            # Most biases stand before a norm, which cancels them, and random rounding is all that they learn.
            if len(variable.shape) == 4:
                result[f'{name}/{i}'] = (variable if steps > 1 else moment).numpy()
    return result


def _changed_defaults(settings_class, values):
    """The shared settings of another model, but for those whose defaults a model changes."""
    fields = {field.name: field.default for field in dataclasses.fields(settings_class)}
    of_all = {field.name: field.default for field in dataclasses.fields(Config)}
    return {name: value for name, value in values.items() if fields[name] == of_all[name]}


def main() -> None:
    bound = sys.argv.index('--')
    path, *cases = sys.argv[1:bound]
    given = parse_training(['replica_run', *sys.argv[bound + 1 :]])[0]
    # Divides over any devices, whatever the case does.
    devices = open_devices(
        read_cluster(given.strategy), given.strategy, GLOBAL_BATCH, given.num_devices, given.virtual_devices
    )
    # The graphs run a few times only: making them faster would take longer than it gains.
    tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True})
    GENERATORS['resnet_6blocks'] = ('resnet', 2)
    results = {}
    for case in cases:
        precision, steps, settings = CASES[case]
        tf.keras.backend.set_floatx(precision)
        tf.keras.mixed_precision.set_global_policy(precision)
        settings_class = SETTINGS[settings.get('model', given.model)]
        shared = {field.name for field in dataclasses.fields(Config)} - {'model', 'pool_size'}
        values = {name: value for name, value in dataclasses.asdict(given).items() if name in shared}
        found = train(devices, settings_class(**{**_changed_defaults(settings_class, values), **settings}), steps)
        results.update({f'{case}/{name}': value for name, value in found.items()})
    if devices.is_chief:
        np.savez(path, **results)
    # No worker ends before all are through with their last step.
    devices.part()


if __name__ == '__main__':
    main()
