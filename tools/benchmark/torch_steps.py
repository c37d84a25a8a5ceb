"""The same training steps in PyTorch as the reference does them, for comparison."""

import torch
from torch.nn import functional as F


def gan(gan_mode, logits, is_real):
    """The adversarial loss of logits that are taken for those of real images or of fakes."""
    if gan_mode == 'lsgan':
        return F.mse_loss(logits, torch.full_like(logits, float(is_real)))
    if gan_mode == 'vanilla':
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))
    return -logits.mean() if is_real else logits.mean()


def adam(*networks, lr):
    """The reference's optimizer of some networks."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.999), eps=1e-8)


def numbers(values):
    """Losses as Python's numbers."""
    return {name: value.item() for name, value in values.items()}


class CycleGAN:
    """cycle_gan_model.py; without pools of fakes, unless `pools` is set to those of B and of A."""

    pools = None

    def __init__(self, networks, gan_mode, lambda_a, lambda_b, lambda_identity, lambda_gp, lr=2e-4):
        self.g_a, self.g_b, self.d_a, self.d_b = (networks[name] for name in ('G_A', 'G_B', 'D_A', 'D_B'))
        self.gan_mode = gan_mode
        self.lambda_a, self.lambda_b, self.lambda_identity = lambda_a, lambda_b, lambda_identity
        self.lambda_gp = lambda_gp
        self.adam_g, self.adam_d = adam(self.g_a, self.g_b, lr=lr), adam(self.d_a, self.d_b, lr=lr)

    def gan(self, logits, is_real):
        return gan(self.gan_mode, logits, is_real)

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
        for index, (name, network, real, fake, mix) in enumerate(sides):
            network.requires_grad_(True)
            fake = self.pools[index].query(fake.detach()) if self.pools else fake.detach()
            loss = 0.5 * (self.gan(network(real), True) + self.gan(network(fake), False))
            if self.gan_mode == 'wgangp':
                loss = loss + self.penalty(network, real, fake, mix)
            loss.backward()
            values[name] = loss
        self.adam_d.step()
        return numbers(values)


class Pix2Pix:
    """pix2pix_model.py."""

    def __init__(self, networks, gan_mode='vanilla', lambda_l1=100.0, lr=2e-4):
        self.g, self.d = networks['G'], networks['D']
        self.gan_mode, self.lambda_l1 = gan_mode, lambda_l1
        self.adam_g, self.adam_d = adam(self.g, lr=lr), adam(self.d, lr=lr)

    def step(self, real_a, real_b):
        values = {}
        fake_b = self.g(real_a)

        self.d.requires_grad_(True)
        self.adam_d.zero_grad()
        values['D_fake'] = gan(self.gan_mode, self.d(torch.cat([real_a, fake_b.detach()], 1)), False)
        values['D_real'] = gan(self.gan_mode, self.d(torch.cat([real_a, real_b], 1)), True)
        (0.5 * (values['D_fake'] + values['D_real'])).backward()
        self.adam_d.step()

        self.d.requires_grad_(False)
        self.adam_g.zero_grad()
        values['G_GAN'] = gan(self.gan_mode, self.d(torch.cat([real_a, fake_b], 1)), True)
        values['G_L1'] = F.l1_loss(fake_b, real_b) * self.lambda_l1
        (values['G_GAN'] + values['G_L1']).backward()
        self.adam_g.step()
        return numbers(values)


class CUT:
    """cut_model.py.

    Args:
        networks: 'G', 'F' and 'D'.
        layers: nce_layers.
        all_negatives: nce_includes_all_negatives_from_minibatch.
    """

    def __init__(
        self,
        networks,
        gan_mode='lsgan',
        lambda_gan=1.0,
        lambda_nce=1.0,
        nce_idt=True,
        layers=(0, 4, 8, 12, 16),
        temperature=0.07,
        all_negatives=False,
        lr=2e-4,
    ):
        self.g, self.f, self.d = (networks[name] for name in ('G', 'F', 'D'))
        self.gan_mode, self.lambda_gan, self.lambda_nce, self.nce_idt = gan_mode, lambda_gan, lambda_nce, nce_idt
        self.layers, self.temperature, self.all_negatives = layers, temperature, all_negatives
        self.adams = [adam(network, lr=lr) for network in (self.g, self.f) if list(network.parameters())]
        self.adam_d = adam(self.d, lr=lr)

    def contrast(self, queries, keys):
        """PatchNCELoss."""
        if self.all_negatives:
            queries, keys = queries.flatten(0, 1)[None], keys.flatten(0, 1)[None]
        own = (queries * keys).sum(2, keepdim=True)
        others = queries @ keys.transpose(1, 2)
        others = others.masked_fill(torch.eye(keys.shape[1], dtype=torch.bool, device=keys.device)[None], -10.0)
        logits = torch.cat([own, others], 2).flatten(0, 1) / self.temperature
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=keys.device))

    def nce(self, source, target, positions, flipped):
        of_target = self.g(target, self.layers)
        if flipped:
            of_target = [x.flip(3) for x in of_target]
        of_source = self.g(source, self.layers)
        if positions is None:  # of the reference: new ones for each call
            positions = [torch.randperm(x[0, 0].numel(), device=x.device)[:256] for x in of_source]
        keys, queries = self.f(of_source, positions), self.f(of_target, positions)
        losses = [self.contrast(query, key.detach()) * self.lambda_nce for query, key in zip(queries, keys)]
        return sum(losses) / len(losses)

    def step(self, real_a, real_b, positions=(None, None), flipped=False):
        """One step.

        Args:
            real_a, real_b: images [b, c, h, w].
            positions: for each layer those of the loss between A and its translations, and of that with nce_idt.
            flipped: whether what is translated is mirrored.
        """
        values = {}
        images = torch.cat([real_a, real_b]) if self.nce_idt else real_a
        fakes = self.g(images.flip(3) if flipped else images)
        fake_b, idt_b = fakes[: len(real_a)], fakes[len(real_a) :]

        self.d.requires_grad_(True)
        self.adam_d.zero_grad()
        values['D_fake'] = gan(self.gan_mode, self.d(fake_b.detach()), False)
        values['D_real'] = gan(self.gan_mode, self.d(real_b), True)
        (0.5 * (values['D_fake'] + values['D_real'])).backward()
        self.adam_d.step()

        self.d.requires_grad_(False)
        for optimizer in self.adams:
            optimizer.zero_grad()
        values['G_GAN'] = gan(self.gan_mode, self.d(fake_b), True) * self.lambda_gan
        values['NCE'] = contrast = self.nce(real_a, fake_b, positions[0], flipped)
        if self.nce_idt:
            values['NCE_Y'] = self.nce(real_b, idt_b, positions[1], flipped)
            contrast = (values['NCE'] + values['NCE_Y']) * 0.5
        values['G'] = values['G_GAN'] + contrast
        values['G'].backward()
        for optimizer in self.adams:
            optimizer.step()
        return numbers(values)


def make(config, networks):
    """The step of a run's settings, with its networks."""
    if config.model == 'pix2pix':
        return Pix2Pix(networks, config.gan_mode, config.lambda_L1, config.lr)
    if config.model == 'cut':
        return CUT(
            networks,
            config.gan_mode,
            config.lambda_GAN,
            config.lambda_NCE,
            config.nce_idt,
            config.nce_indices,
            config.nce_T,
            config.nce_includes_all_negatives_from_minibatch,
            config.lr,
        )
    return CycleGAN(
        networks,
        config.gan_mode,
        config.lambda_A,
        config.lambda_B,
        config.lambda_identity,
        config.lambda_gp,
        config.lr,
    )
