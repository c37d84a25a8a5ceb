"""The keys of the PyTorch program's state_dicts, written down from its networks and not from our code."""

# One line for each convolution, in their order: its key, the key of the norm behind it if it has one, and 'biased' if
# it has a bias whatever the norm is; or 'blur' for one of CUT's filters.
RESNET_9BLOCKS = """
model.1 model.2
model.4 model.5
model.7 model.8
model.10.conv_block.1 model.10.conv_block.2
model.10.conv_block.5 model.10.conv_block.6
model.11.conv_block.1 model.11.conv_block.2
model.11.conv_block.5 model.11.conv_block.6
model.12.conv_block.1 model.12.conv_block.2
model.12.conv_block.5 model.12.conv_block.6
model.13.conv_block.1 model.13.conv_block.2
model.13.conv_block.5 model.13.conv_block.6
model.14.conv_block.1 model.14.conv_block.2
model.14.conv_block.5 model.14.conv_block.6
model.15.conv_block.1 model.15.conv_block.2
model.15.conv_block.5 model.15.conv_block.6
model.16.conv_block.1 model.16.conv_block.2
model.16.conv_block.5 model.16.conv_block.6
model.17.conv_block.1 model.17.conv_block.2
model.17.conv_block.5 model.17.conv_block.6
model.18.conv_block.1 model.18.conv_block.2
model.18.conv_block.5 model.18.conv_block.6
model.19 model.20
model.22 model.23
model.26 biased
"""
RESNET_6BLOCKS_DROPOUT = """
model.1 model.2
model.4 model.5
model.7 model.8
model.10.conv_block.1 model.10.conv_block.2
model.10.conv_block.6 model.10.conv_block.7
model.11.conv_block.1 model.11.conv_block.2
model.11.conv_block.6 model.11.conv_block.7
model.12.conv_block.1 model.12.conv_block.2
model.12.conv_block.6 model.12.conv_block.7
model.13.conv_block.1 model.13.conv_block.2
model.13.conv_block.6 model.13.conv_block.7
model.14.conv_block.1 model.14.conv_block.2
model.14.conv_block.6 model.14.conv_block.7
model.15.conv_block.1 model.15.conv_block.2
model.15.conv_block.6 model.15.conv_block.7
model.16 model.17
model.19 model.20
model.23 biased
"""
UNET_128 = """
model.model.0
model.model.1.model.1 model.model.1.model.2
model.model.1.model.3.model.1 model.model.1.model.3.model.2
model.model.1.model.3.model.3.model.1 model.model.1.model.3.model.3.model.2
model.model.1.model.3.model.3.model.3.model.1 model.model.1.model.3.model.3.model.3.model.2
model.model.1.model.3.model.3.model.3.model.3.model.1 model.model.1.model.3.model.3.model.3.model.3.model.2
model.model.1.model.3.model.3.model.3.model.3.model.3.model.1
model.model.1.model.3.model.3.model.3.model.3.model.3.model.3 model.model.1.model.3.model.3.model.3.model.3.model.3.model.4
model.model.1.model.3.model.3.model.3.model.3.model.5 model.model.1.model.3.model.3.model.3.model.3.model.6
model.model.1.model.3.model.3.model.3.model.5 model.model.1.model.3.model.3.model.3.model.6
model.model.1.model.3.model.3.model.5 model.model.1.model.3.model.3.model.6
model.model.1.model.3.model.5 model.model.1.model.3.model.6
model.model.1.model.5 model.model.1.model.6
model.model.3 biased
"""  # noqa: E501
BASIC = """
model.0 biased
model.2 model.3
model.5 model.6
model.8 model.9
model.11 biased
"""
CUT_RESNET_6BLOCKS = """
model.1 model.2
model.4 model.5
model.7 blur
model.8 model.9
model.11 blur
model.12.conv_block.1 model.12.conv_block.2
model.12.conv_block.5 model.12.conv_block.6
model.13.conv_block.1 model.13.conv_block.2
model.13.conv_block.5 model.13.conv_block.6
model.14.conv_block.1 model.14.conv_block.2
model.14.conv_block.5 model.14.conv_block.6
model.15.conv_block.1 model.15.conv_block.2
model.15.conv_block.5 model.15.conv_block.6
model.16.conv_block.1 model.16.conv_block.2
model.16.conv_block.5 model.16.conv_block.6
model.17.conv_block.1 model.17.conv_block.2
model.17.conv_block.5 model.17.conv_block.6
model.18 blur
model.19 model.20
model.22 blur
model.23 model.24
model.27 biased
"""
CUT_BASIC = """
model.0 biased
model.2 blur
model.3 model.4
model.6 blur
model.7 model.8
model.10 blur
model.11 model.12
model.14 biased
"""
PIXEL = """
net.0 biased
net.2 net.3
net.5
"""


def reference_keys(layers: str, norm: str) -> list[str]:
    """All keys in the state_dict's order."""
    keys = []
    for line in layers.split('\n')[1:-1]:
        conv, *rest = line.split()
        if rest == ['blur']:
            keys.append(f'{conv}.filt')
            continue
        keys.append(f'{conv}.weight')
        if norm == 'instance' or rest == ['biased']:
            keys.append(f'{conv}.bias')
        if norm == 'batch' and rest not in ([], ['biased']):
            names = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
            keys += [f'{rest[0]}.{name}' for name in names]
    return keys
