"""Trains with the PyTorch program's step on the images that cyclegan_tf.train would see, in the same order, from the
same initial weights: python tools/torch_training.py FLAGS-OF-TRAINING --max_steps=N

For comparisons. It takes a CycleGAN at a constant learning rate. The run that it leaves has weights only: it can be
translated and measured, not continued by cyclegan_tf.train. Stopped in between, it goes on from its last state.
"""

from __future__ import annotations

import pathlib
import random
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings.run_flags import parse_training  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402

SAVE_EVERY = 250  # steps
# Settings that this training has no use for, with other values than their defaults.
OTHERS = (
    'accumulate_steps', 'beta1', 'beta2', 'clip_grad', 'diffaugment', 'ema_decay', 'lambda_r1', 'lambda_zero_gp',
    'learn_gain', 'learn_residual', 'lr_D', 'lr_policy', 'n_downsampling', 'num_D', 'precision', 'spectral_norm',
    'upsample', 'warmup_steps',
)  # fmt: skip


class Pool:
    """The reference's util/image_pool.py, with a state that can be saved."""

    def __init__(self, size: int, seed: int):
        self.size, self.images, self.random = size, [], random.Random(seed)

    def query(self, images):
        """Images [b, c, h, w] -> as many, half of them older ones once the pool is full."""
        import torch

        if not self.size:
            return images
        chosen = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image)
                chosen.append(image)
            elif self.random.random() > 0.5:
                index = self.random.randrange(self.size)
                chosen.append(self.images[index])
                self.images[index] = image
            else:
                chosen.append(image)
        return torch.stack(chosen)


def parse(argv: Sequence[str]) -> Config:
    """Command line to the settings of training.

    Raises:
        UserError: the settings are not those of a CycleGAN that the PyTorch program has.
    """
    config = parse_training(argv)[0]
    if config.model != 'cycle_gan' or config.gan_mode not in ('lsgan', 'vanilla'):
        raise UserError("only a CycleGAN of gan_mode lsgan or vanilla is trained with the PyTorch program's step.")
    for name in OTHERS:
        value, default = getattr(config, name), type(config).__dataclass_fields__[name].default
        if value != default:
            raise UserError(f"`{name}` ({value}) is not in the PyTorch program's step; leave it out.")
    if not config.max_steps:
        raise UserError('`max_steps` (0) is required; set it.')
    return config


def main(config: Config) -> int:
    """Trains to config.max_steps; returns the exit status."""
    import torch
    from benchmark import torch_mirror, torch_steps

    from cyclegan_tf.data import training_data
    from cyclegan_tf.models import MODELS
    from cyclegan_tf.networks import torch_weights
    from cyclegan_tf.runtime.console import Console
    from cyclegan_tf.training import torch_import

    run_directory = pathlib.Path(config.checkpoints_dir) / config.run_name
    run_directory.mkdir(parents=True, exist_ok=True)
    saved = run_directory / 'torch_state.pt'
    data = training_data.open_training_data(config, Console(1))
    if config.max_steps > data.steps_per_epoch * config.n_epochs:
        raise UserError(f'`max_steps` ({config.max_steps}) is beyond the epochs of a constant learning rate; lower it.')
    model = MODELS[config.model](config, sizes=data.sizes)
    networks = torch_mirror.networks(config)
    for name, network in model.networks().items():
        torch_mirror.copy_weights(network, networks[name])
    trainer = torch_steps.make(config, networks)
    trainer.pools = Pool(config.pool_size, config.seed), Pool(config.pool_size, config.seed + 1)
    parts = {**networks, 'adam_g': trainer.adam_g, 'adam_d': trainer.adam_d}
    step = 0
    if saved.exists():
        state = torch.load(saved, weights_only=False)  # our own file; it holds the pools
        step, trainer.pools = state['step'], state['pools']
        for name, part in parts.items():
            part.load_state_dict(state[name])
    for real_a, real_b in data.stream().from_step(step):
        if step >= config.max_steps:
            break
        values = trainer.step(torch_mirror.to_torch(real_a.numpy()), torch_mirror.to_torch(real_b.numpy()))
        step += 1
        if step % SAVE_EVERY == 0 or step == config.max_steps:
            print(f'step {step}', ' '.join(f'{name} {value:.3f}' for name, value in values.items()), flush=True)
            state = {name: part.state_dict() for name, part in parts.items()}
            partial = saved.with_suffix('.partial')
            torch.save({'step': step, 'pools': trainer.pools, **state}, partial)
            partial.replace(saved)
    for name, network in model.networks().items():
        state = {key: value.numpy() for key, value in networks[name].state_dict().items()}
        torch_weights.assign(network, model.slots(name), state)
    model.step.assign(step)
    torch_import.write(run_directory, config, model, missing=[])
    return 0


if __name__ == '__main__':
    run_program('tools/torch_training.py', parse, main)
