"""The same networks in PyTorch, for comparison; the keys of state dicts are the reference's."""

import functools
import itertools

import torch
from torch import nn
from torch.nn import functional as F

PADS = {'reflect': nn.ReflectionPad2d, 'replicate': nn.ReplicationPad2d, 'zero': nn.ZeroPad2d}


def norm_layer(norm):
    return {
        'instance': functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False),
        'batch': nn.BatchNorm2d,
        'none': lambda channels: nn.Identity(),
    }[norm]


class Block(nn.Module):
    def __init__(self, channels, norm, use_dropout, padding):
        super().__init__()
        make, bias = norm_layer(norm), norm == 'instance'

        def half():
            # In the reference, the convolution itself pads with zeros. Here it is a layer, which raises keys by one.
            return [PADS[padding](1), nn.Conv2d(channels, channels, 3, bias=bias), make(channels)]

        layers = [*half(), nn.ReLU(), *([nn.Dropout(0.5)] if use_dropout else []), *half()]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv_block(x)


class Down(nn.Module):
    """CUT's antialiased halving: the blur [1, 2, 1] along both axes, and every second pixel."""

    def __init__(self, channels):
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer('filt', (torch.outer(taps, taps) / 16).repeat(channels, 1, 1, 1))

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1), 'reflect'), self.filt, stride=2, groups=x.shape[1])


class Up(nn.Module):
    """CUT's antialiased doubling: a transposed convolution by [1, 3, 3, 1], whose ends are dropped."""

    def __init__(self, channels):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer('filt', (torch.outer(taps, taps) / 64 * 4).repeat(channels, 1, 1, 1))

    def forward(self, x):
        padded = F.pad(x, (1, 1, 1, 1), 'replicate')
        return F.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=x.shape[1])[:, :, 1:-1, 1:-1]


class Resnet(nn.Module):
    def __init__(
        self, inputs, outputs, filters, blocks, norm, use_dropout=False, padding='reflect', antialias=(False, False)
    ):
        super().__init__()
        make, bias = norm_layer(norm), norm == 'instance'
        f, (down, up) = filters, antialias
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, f, 7, bias=bias), make(f), nn.ReLU()]
        for n in (1, 2):
            layers += [nn.Conv2d(f * n, f * n * 2, 3, stride=1 if down else 2, padding=1, bias=bias), make(f * n * 2)]
            layers += [nn.ReLU(), *([Down(f * n * 2)] if down else [])]
        layers += [Block(f * 4, norm, use_dropout, padding) for _ in range(blocks)]
        for n in (4, 2):
            if up:
                layers += [Up(f * n), nn.Conv2d(f * n, f * n // 2, 3, padding=1, bias=bias)]
            else:
                layers += [nn.ConvTranspose2d(f * n, f * n // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)]
            layers += [make(f * n // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(f, outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x, layers=()):
        """The image; with `layers`, the outputs of these as CUT collects them: what is behind the last is not run."""
        kept = {}
        for index, layer in enumerate(self.model):
            x = layer(x)
            if index in layers:
                kept[index] = x
            if layers and index == max(layers):
                return [kept[index] for index in layers]
        return x


class UnetLevel(nn.Module):
    """A level: downsampling, the levels inside, upsampling; `kind` is 'outermost', 'middle' or 'innermost'."""

    def __init__(self, inputs, inner, outputs, sub, norm, kind, use_dropout=False):
        super().__init__()
        make, bias = norm_layer(norm), norm == 'instance'
        self.kind = kind
        down = nn.Conv2d(inputs, inner, 4, stride=2, padding=1, bias=bias)
        wide = inner if kind == 'innermost' else inner * 2
        up = nn.ConvTranspose2d(wide, outputs, 4, stride=2, padding=1, bias=True if kind == 'outermost' else bias)
        layers = {
            'outermost': [down, sub, nn.ReLU(), up, nn.Tanh()],
            'middle': [nn.LeakyReLU(0.2), down, make(inner), sub, nn.ReLU(), up, make(outputs)],
            'innermost': [nn.LeakyReLU(0.2), down, nn.ReLU(), up, make(outputs)],
        }[kind]
        self.model = nn.Sequential(*layers, *([nn.Dropout(0.5)] if use_dropout else []))

    def forward(self, x):
        y = self.model(x)
        return y if self.kind == 'outermost' else torch.cat([x, y], 1)


class Unet(nn.Module):
    def __init__(self, inputs, outputs, filters, downs, norm, use_dropout=False):
        super().__init__()
        f = filters
        level = UnetLevel(f * 8, f * 8, f * 8, None, norm, 'innermost')
        for _ in range(downs - 5):
            level = UnetLevel(f * 8, f * 8, f * 8, level, norm, 'middle', use_dropout)
        for n in (4, 2, 1):
            level = UnetLevel(f * n, f * n * 2, f * n, level, norm, 'middle')
        self.model = UnetLevel(inputs, f, outputs, level, norm, 'outermost')

    def forward(self, x):
        return self.model(x)


class NLayer(nn.Module):
    def __init__(self, inputs, filters, layers, norm, antialias=False):
        super().__init__()
        make, bias = norm_layer(norm), norm == 'instance'

        def halve(channels):
            return [Down(channels)] if antialias else []

        stride = 1 if antialias else 2
        stack = [nn.Conv2d(inputs, filters, 4, stride, padding=1), nn.LeakyReLU(0.2), *halve(filters)]
        before = filters
        for n in range(1, layers + 1):
            after, last = filters * min(2**n, 8), n == layers
            stack += [nn.Conv2d(before, after, 4, 1 if last else stride, 1, bias=bias), make(after), nn.LeakyReLU(0.2)]
            stack += [] if last else halve(after)
            before = after
        self.model = nn.Sequential(*stack, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x):
        return self.model(x)


class Pixel(nn.Module):
    def __init__(self, inputs, filters, norm):
        super().__init__()
        bias = norm == 'instance'
        self.net = nn.Sequential(
            nn.Conv2d(inputs, filters, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(filters, filters * 2, 1, bias=bias),
            norm_layer(norm)(filters * 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(filters * 2, 1, 1, bias=bias),
        )

    def forward(self, x):
        return self.net(x)


class PatchFeatures(nn.Module):
    """CUT's F: vectors of length 1 for positions of feature maps."""

    def __init__(self, channels, units=256, use_mlp=True):
        super().__init__()
        self.use_mlp = use_mlp
        for i, count in enumerate(channels if use_mlp else ()):
            setattr(self, f'mlp_{i}', nn.Sequential(nn.Linear(count, units), nn.ReLU(), nn.Linear(units, units)))

    def forward(self, maps, positions):
        result = []
        for i, (x, places) in enumerate(zip(maps, positions)):
            # The authors' program permutes the axes first. Then the gradient of x comes with its channels last in
            # memory, for which PyTorch 2.13 differentiates instance_norm wrongly on CPUs if there is a single image.
            vectors = x.flatten(2)[:, :, places].transpose(1, 2)  # [b, n, c]
            if self.use_mlp:
                vectors = getattr(self, f'mlp_{i}')(vectors)
            result.append(vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-7))
        return result


def generator(name, inputs, outputs, filters, norm, use_dropout=False, padding='reflect', antialias=(False, False)):
    kind, depth = {
        'resnet_9blocks': ('resnet', 9),
        'resnet_6blocks': ('resnet', 6),
        'unet_256': ('unet', 8),
        'unet_128': ('unet', 7),
    }[name]
    if kind == 'unet':
        return Unet(inputs, outputs, filters, depth, norm, use_dropout)
    return Resnet(inputs, outputs, filters, depth, norm, use_dropout, padding, antialias)


def discriminator(name, inputs, filters, layers, norm, antialias=False):
    if name == 'pixel':
        return Pixel(inputs, filters, norm)
    return NLayer(inputs, filters, 3 if name == 'basic' else layers, norm, antialias)


def networks(config):
    """The networks of a run's settings by name, with PyTorch's own initial weights."""
    made, antialias = {}, config.antialiased
    for name, role in config.networks.items():
        channels = sum(config.channels[domain] for domain in role.inputs)
        if role.kind == 'generator':
            norm, outputs = config.norms['generator'], config.channels[role.output]
            made[name] = generator(
                config.netG, channels, outputs, config.ngf, norm, not config.no_dropout, antialias=antialias
            )
            for module in made[name].modules():
                if isinstance(module, nn.ReLU):
                    module.inplace = True  # as in the reference: in CUT, what was kept of the layer before it changes
        elif role.kind == 'discriminator':
            norm = config.norms['discriminator']
            made[name] = discriminator(config.netD, channels, config.ndf, config.n_layers_D, norm, antialias[0])
        else:
            with torch.no_grad():
                maps = made['G'](torch.zeros(1, config.input_nc, 64, 64), config.nce_indices)
            made[name] = PatchFeatures([x.shape[1] for x in maps], config.netF_nc, config.netF == 'mlp_sample')
    return made


# ------------------------------------------------------------------------------------------------ weights from Keras
def _keras_layers(model):
    """Our convolutions and batch norms in the order of the mirror's modules()."""
    if hasattr(model, 'blocks'):  # ResNet
        layers = [model.conv_in, model.norm_in]
        layers += itertools.chain(*zip(model.downs, model.down_norms))
        for block in model.blocks:
            layers += [block.conv_1, block.norm_1, block.conv_2, block.norm_2]
        layers += itertools.chain(*zip(model.ups, model.up_norms))
        return [*layers, model.conv_out]
    if hasattr(model, 'downs'):  # U-Net, inwards from the outermost level and back
        depth = len(model.downs)
        layers = [model.downs[0]]
        for level in range(1, depth):
            layers += [model.downs[level]] + ([model.down_norms[level - 1]] if level < depth - 1 else [])
        for level in reversed(range(1, depth)):
            layers += [model.ups[level], model.up_norms[level - 1]]
        return [*layers, model.ups[0]]
    if hasattr(model, 'convs'):  # N-layer discriminator
        return [model.conv_in, *itertools.chain(*zip(model.convs, model.norms)), model.conv_out]
    if hasattr(model, 'firsts'):  # F
        return [*itertools.chain(*zip(model.firsts, model.seconds))]
    return [model.conv_1, model.conv_2, model.norm, model.conv_3]


def pairs(model, mirror):
    """(our variable, the mirror's tensor, permutation from ours to PyTorch's axes), for every weight and statistic."""
    ours = [layer for layer in _keras_layers(model) if layer.weights]
    theirs = [m for m in mirror.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d))]
    assert len(ours) == len(theirs)
    result = []
    for layer, module in zip(ours, theirs):
        if isinstance(module, nn.BatchNorm2d):
            result += [(layer.scale, module.weight, None), (layer.offset, module.bias, None)]
            result += [(layer.running_mean, module.running_mean, None)]
            result += [(layer.running_variance, module.running_var, None)]
        else:
            # [kh, kw, in, out] -> [out, in, kh, kw]; transposed: [kh, kw, out, in] -> [in, out, kh, kw].
            axes = (1, 0) if isinstance(module, nn.Linear) else (3, 2, 0, 1)
            result.append((layer.kernel, module.weight, axes))
            assert (layer.bias is None) == (module.bias is None)
            if layer.bias is not None:
                result.append((layer.bias, module.bias, None))
    return result


def as_torch(value, permutation):
    value = value.numpy()
    return torch.from_numpy((value if permutation is None else value.transpose(permutation)).copy())


def copy_weights(model, mirror):
    """Copies Keras weights into the mirror."""
    with torch.no_grad():
        for variable, tensor, permutation in pairs(model, mirror):
            tensor.copy_(as_torch(variable, permutation))


def to_torch(images):
    """NHWC array -> NCHW tensor."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def to_numpy(images):
    """NCHW tensor -> NHWC array."""
    return images.detach().numpy().transpose(0, 2, 3, 1)
