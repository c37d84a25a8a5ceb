"""Files of weights as PyTorch writes them, and the tools that read and write them, for the tests."""

import export_torch_weights  # noqa: E402
import import_torch_weights  # noqa: E402
import torch
from torch import nn

from cyclegan_tf.data import demo
from cyclegan_tf.settings.flags import parse


def import_weights(directory, *flags, name='run'):
    argv = ['import', f'--checkpoints_dir={directory}', f'--name={name}', *map(str, flags)]
    return import_torch_weights.main(import_torch_weights.parse(argv))


def export_weights(directory, output, *flags):
    argv = ['export', f'--checkpoints_dir={directory}', '--name=run', f'--output={output}', *flags]
    return export_torch_weights.main(parse(export_torch_weights.ExportConfig, argv))


def photograph(side):
    return demo.regions('test', 'A')['chelsea'][:side, :side]


def draw(network, channels, side, seed):
    """Weights of any size that keep the signal alive, from the first layer to the last."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.weight.mul_(6**0.5)  # PyTorch draws a sixth of He's variance
            elif isinstance(module, nn.BatchNorm2d):
                for value, low in ((module.weight, 0.5), (module.bias, -0.5)):
                    value.uniform_(low, low + 1, generator=generator)
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.num_batches_tracked.fill_(7)
        network.eval()
        last = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))][-1]
        caught = []
        hook = last.register_forward_hook(lambda module, given, result: caught.append(result.std()))
        network(torch.rand([1, channels, side, side], generator=generator) * 2 - 1)
        hook.remove()
        last.weight.mul_(0.5 / caught[0])  # tanh neither idle nor at its ends
    return network


def save(network, path, new_format=True, statistics=False, prefix=''):
    """A state_dict as a file, with what PyTorch once wrote for instance norms."""
    state = {prefix + key: value for key, value in network.state_dict().items()}
    for name, module in network.named_modules():
        if statistics and isinstance(module, nn.InstanceNorm2d):
            state[f'{name}.running_mean'] = torch.rand(module.num_features)
            state[f'{name}.running_var'] = torch.rand(module.num_features)
            state[f'{name}.num_batches_tracked'] = torch.tensor(9)
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    assert (path.read_bytes()[:2] == b'PK') == new_format
    return path
