"""The same networks and the same step in PyTorch, for comparison; the keys of state dicts are the reference's."""

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


class Resnet(nn.Module):
    def __init__(self, inputs, outputs, filters, blocks, norm, use_dropout=False, padding='reflect'):
        super().__init__()
        make, bias = norm_layer(norm), norm == 'instance'
        f = filters
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, f, 7, bias=bias), make(f), nn.ReLU()]
        for n in (1, 2):
            layers += [nn.Conv2d(f * n, f * n * 2, 3, stride=2, padding=1, bias=bias), make(f * n * 2), nn.ReLU()]
        layers += [Block(f * 4, norm, use_dropout, padding) for _ in range(blocks)]
        for n in (4, 2):
            up = nn.ConvTranspose2d(f * n, f * n // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)
            layers += [up, make(f * n // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(f, outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


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
    def __init__(self, inputs, filters, layers, norm):
        super().__init__()
        make, bias = norm_layer(norm), norm == 'instance'
        stack = [nn.Conv2d(inputs, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = filters
        for n in range(1, layers + 1):
            after = filters * min(2**n, 8)
            stride = 2 if n < layers else 1
            stack += [nn.Conv2d(before, after, 4, stride, 1, bias=bias), make(after), nn.LeakyReLU(0.2)]
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


def generator(name, inputs, outputs, filters, norm, use_dropout=False, padding='reflect'):
    kind, depth = {
        'resnet_9blocks': ('resnet', 9),
        'resnet_6blocks': ('resnet', 6),
        'unet_256': ('unet', 8),
        'unet_128': ('unet', 7),
    }[name]
    if kind == 'unet':
        return Unet(inputs, outputs, filters, depth, norm, use_dropout)
    return Resnet(inputs, outputs, filters, depth, norm, use_dropout, padding)


def discriminator(name, inputs, filters, layers, norm):
    return Pixel(inputs, filters, norm) if name == 'pixel' else NLayer(inputs, filters, layers, norm)


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
    return [model.conv_1, model.conv_2, model.norm, model.conv_3]


def pairs(model, mirror):
    """(our variable, the mirror's tensor, permutation from ours to PyTorch's axes), for every weight and statistic."""
    ours = [layer for layer in _keras_layers(model) if layer.weights]
    theirs = [m for m in mirror.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d))]
    assert len(ours) == len(theirs)
    result = []
    for layer, module in zip(ours, theirs):
        if isinstance(module, nn.BatchNorm2d):
            result += [(layer.scale, module.weight, None), (layer.offset, module.bias, None)]
            result += [(layer.running_mean, module.running_mean, None)]
            result += [(layer.running_variance, module.running_var, None)]
        else:
            # [kh, kw, in, out] -> [out, in, kh, kw]; transposed: [kh, kw, out, in] -> [in, out, kh, kw].
            result.append((layer.kernel, module.weight, (3, 2, 0, 1)))
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


# ----------------------------------------------------------------------------------------------------------- the step
class Trainer:
    """CycleGAN's step as in the reference, without pools."""

    def __init__(self, networks, gan_mode, lambda_a, lambda_b, lambda_identity, lambda_gp, lr=2e-4):
        self.g_a, self.g_b, self.d_a, self.d_b = (networks[name] for name in ('G_A', 'G_B', 'D_A', 'D_B'))
        self.gan_mode = gan_mode
        self.lambda_a, self.lambda_b, self.lambda_identity = lambda_a, lambda_b, lambda_identity
        self.lambda_gp = lambda_gp
        settings = dict(lr=lr, betas=(0.5, 0.999), eps=1e-8)
        self.adam_g = torch.optim.Adam([*self.g_a.parameters(), *self.g_b.parameters()], **settings)
        self.adam_d = torch.optim.Adam([*self.d_a.parameters(), *self.d_b.parameters()], **settings)

    def gan(self, logits, is_real):
        if self.gan_mode == 'lsgan':
            return F.mse_loss(logits, torch.full_like(logits, float(is_real)))
        if self.gan_mode == 'vanilla':
            return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))
        return -logits.mean() if is_real else logits.mean()

    def penalty(self, discriminator, real, fake, mix):
        mix = mix.reshape(-1, 1, 1, 1)
        mixed = (mix * real + (1 - mix) * fake).requires_grad_(True)
        logits = discriminator(mixed)
        (gradient,) = torch.autograd.grad(logits, mixed, torch.ones_like(logits), create_graph=True)
        return (((gradient.flatten(1) + 1e-16).norm(2, dim=1) - 1) ** 2).mean() * self.lambda_gp

    def step(self, real_a, real_b, mix_a=None, mix_b=None):
        values = {}
        for network in (self.d_a, self.d_b):
            network.requires_grad_(False)
        fake_b = self.g_a(real_a)
        rec_a = self.g_b(fake_b)
        fake_a = self.g_b(real_b)
        rec_b = self.g_a(fake_a)
        values['idt_A'] = F.l1_loss(self.g_a(real_b), real_b) * self.lambda_b * self.lambda_identity
        values['idt_B'] = F.l1_loss(self.g_b(real_a), real_a) * self.lambda_a * self.lambda_identity
        values['G_A'] = self.gan(self.d_a(fake_b), True)
        values['G_B'] = self.gan(self.d_b(fake_a), True)
        values['cycle_A'] = F.l1_loss(rec_a, real_a) * self.lambda_a
        values['cycle_B'] = F.l1_loss(rec_b, real_b) * self.lambda_b
        self.adam_g.zero_grad()
        sum(values.values()).backward()
        self.adam_g.step()

        self.adam_d.zero_grad()
        sides = (('D_A', self.d_a, real_b, fake_b, mix_b), ('D_B', self.d_b, real_a, fake_a, mix_a))
        for name, network, real, fake, mix in sides:
            network.requires_grad_(True)
            fake = fake.detach()
            loss = 0.5 * (self.gan(network(real), True) + self.gan(network(fake), False))
            if self.gan_mode == 'wgangp':
                loss = loss + self.penalty(network, real, fake, mix)
            loss.backward()
            values[name] = loss
        self.adam_d.step()
        return {name: value.item() for name, value in values.items()}
