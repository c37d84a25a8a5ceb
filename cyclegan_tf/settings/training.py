"""The settings of every model's training: name, default, meaning, bounds. Names and defaults are the reference's unless
noted; what a model has beside these, and the defaults that it changes, is in models.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings import run_name
from cyclegan_tf.settings.fields import setting, split_names, validate_epoch, validate_fields

MEASURES = ('psnr', 'ssim', 'kid', 'fid')
MEASURES_OF_PAIRS = ('psnr', 'ssim')


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """What computes the features of kid and fid."""

    feature_extractor: str = setting(
        'inception_v3', 'of kid and fid: inception_v3 (downloaded), or the path of a Keras file or a SavedModel'
    )
    feature_size: Optional[str] = setting(None, "its images' side, or 'HEIGHTxWIDTH'; unset: what it tells")
    feature_range: Optional[str] = setting(None, "its values for black and white, as in '-1,1'; unset: inception_v3's")
    feature_output: Optional[str] = setting(None, 'which of its outputs, if it has several')


@dataclasses.dataclass(frozen=True)
class NetworkRole:
    """What a network of a model is for, in the model's own names of domains, 'A' and 'B'.

    Attributes:
        kind: 'generator', 'discriminator', or another, which its model makes itself.
        inputs: the domains of the images that it takes, concatenated along the channels.
        output: the domain of the images that a generator makes.
    """

    kind: str
    inputs: tuple[str, ...]
    output: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Config(FeatureConfig):
    """What a run of any model is made from; a model's own class (see models.py) adds what it alone has.

    flags.cfg in the run's directory holds all of it.
    """

    networks: ClassVar[Mapping[str, NetworkRole]] = {}
    """The model's networks by their names in the reference."""

    test_errors: ClassVar[tuple[str, ...]] = ()
    """Which errors of test images make sense: 'cycle', 'identity', both or neither."""

    # Run
    dataroot: str = setting(
        '',
        "where the images are: a folder with trainA, trainB, testA and testB, 'tfds:NAME' for a data set of TensorFlow "
        "Datasets, a directory that tools/prepare_records.py made, or 'demo'; required",
        fixed=True,
    )
    name: str = setting('experiment_name', 'of the run: its directory is CHECKPOINTS_DIR/NAME')
    suffix: str = setting('', "is appended to the name; settings in braces are filled in: '{netG}_{load_size}'")
    checkpoints_dir: str = setting('./checkpoints', 'where the directories of runs are')
    model: str = setting('cycle_gan', 'what is trained', fixed=True)  # its choices are models.SETTINGS
    seed: int = setting(
        0, 'fixes the first weights, the order of the images and everything else drawn', minimum=0, fixed=True
    )
    verbose: bool = setting(False, 'show the layers of the networks, and tracebacks of errors')
    # Networks
    input_nc: int = setting(3, 'channels of domain A: 3 colour, 1 gray', minimum=1, fixed=True)
    output_nc: int = setting(3, 'channels of domain B: 3 colour, 1 gray', minimum=1, fixed=True)
    ngf: int = setting(64, "filters of the generators' first convolution", minimum=1, fixed=True)
    ndf: int = setting(64, "filters of the discriminators' first convolution", minimum=1, fixed=True)
    netG: str = setting(
        'resnet_9blocks',
        'generators',
        choices=('resnet_9blocks', 'resnet_6blocks', 'unet_256', 'unet_128'),
        fixed=True,
    )
    netD: str = setting('basic', 'discriminators', choices=('basic', 'n_layers', 'pixel'), fixed=True)
    n_layers_D: int = setting(3, 'layers of netD n_layers', minimum=1, fixed=True)
    norm: str = setting('instance', 'normalisation', choices=('instance', 'batch', 'none'), fixed=True)
    init_type: str = setting(
        'normal', 'how weights are drawn', choices=('normal', 'xavier', 'kaiming', 'orthogonal'), fixed=True
    )
    init_gain: float = setting(0.02, 'scale of init_type normal, xavier and orthogonal', minimum=0.0, fixed=True)
    no_dropout: bool = setting(True, 'no dropout in the generators', fixed=True)
    # Data
    dataset_mode: str = setting(
        'unaligned',
        'unaligned: folders trainA and trainB; aligned: folder train, A in the left half of each image, B in the '
        'right; single: one domain, to translate only',
        choices=('unaligned', 'aligned', 'single'),
        fixed=True,
    )
    data_dir: Optional[str] = setting(None, 'where TensorFlow Datasets keeps data sets; unset: where it always does')
    direction: str = setting(
        'AtoB',
        'which folder plays domain A: trainA (AtoB) or trainB (BtoA). In names of losses and pictures A is that; in '
        "eval/, keep_best and cyclegan_tf.translate it is the data set's",
        choices=('AtoB', 'BtoA'),
        fixed=True,
    )
    serial_batches: bool = setting(False, 'take images in order, A and B in step, without drawing', fixed=True)
    num_threads: int = setting(4, 'threads that decode images', minimum=1)
    batch_size: int = setting(1, 'images per domain in a step, over all devices', minimum=1, fixed=True)
    accumulate_steps: int = setting(
        1,
        'batches whose gradients make one step, as one batch so many times larger would; with less memory',
        minimum=1,
        fixed=True,
    )
    load_size: int = setting(286, 'images are resized to this square, or to this width', minimum=1, fixed=True)
    crop_size: int = setting(256, 'then a square of this size is cut at random', minimum=1, fixed=True)
    max_dataset_size: Optional[int] = setting(
        None, 'use only the first so many images of a folder', minimum=1, fixed=True
    )
    preprocess: str = setting(
        'resize_and_crop',
        'resize_and_crop: to a square of load_size, then cut; crop: cut; scale_width: to a width of load_size; '
        'scale_width_and_crop: that, then cut; none: sides rounded to what the networks take',
        choices=('resize_and_crop', 'crop', 'scale_width', 'scale_width_and_crop', 'none'),
        fixed=True,
    )
    no_flip: bool = setting(False, 'do not flip images at random', fixed=True)
    augment: str = setting(
        'none',
        'what else is done to images at random, in both domains; docs/augment.jpg shows each',
        choices=('none', 'light', 'color', 'affine', 'erase', 'strong'),
        fixed=True,
    )
    on_bad_image: str = setting(
        'error', 'what to do about broken images: list all and stop, or leave them aside', choices=('error', 'skip')
    )
    cache: str = setting(
        'auto',
        'where decoded and resized images are kept; auto: in memory if they fit, else on disk if they fit there',
        choices=('auto', 'memory', 'disk', 'none'),
    )
    cache_dir: Optional[str] = setting(
        None, 'where decoded images and what is known of files are kept; unset: ~/.cache/cyclegan_tf'
    )
    cache_memory_mb: Optional[int] = setting(
        None, 'most memory that cache auto takes, in MB; unset: half of what is free', minimum=0
    )
    # Training
    n_epochs: int = setting(100, 'epochs at the initial learning rate', minimum=1)
    n_epochs_decay: int = setting(100, 'epochs in which lr_policy linear takes the rate to zero', minimum=0)
    epoch_count: int = setting(1, 'number of the first epoch, for the schedule', minimum=1, fixed=True)
    continue_train: bool = setting(False, 'resume the run of this name; its flags are taken from flags.cfg')
    epoch: str = setting(
        'latest', "with continue_train: resume from 'latest', 'best' (see keep_best) or the end of this epoch"
    )
    beta1: float = setting(0.5, "Adam's first momentum", minimum=0.0)
    lr: float = setting(0.0002, 'initial learning rate', minimum=0.0)
    gan_mode: str = setting('lsgan', 'adversarial loss', choices=('lsgan', 'vanilla', 'wgangp'), fixed=True)
    pool_size: int = setting(50, 'fakes kept for the discriminators; 0 keeps none', minimum=0, fixed=True)
    lr_policy: str = setting('linear', 'learning rate schedule', choices=('linear', 'step', 'plateau', 'cosine'))
    lr_decay_iters: int = setting(50, 'epochs between cuts of lr_policy step', minimum=1)
    lambda_gp: float = setting(10.0, 'weight of the gradient penalty of gan_mode wgangp', minimum=0.0)
    precision: str = setting(
        'float32',
        "what convolutions are computed in; weights, Adam, norms' statistics, pictures and losses are float32 always; "
        'bfloat16, float16: faster, where the processor has instructions for it; float16 is the more exact one, for '
        'GPUs, and scales losses so that gradients fit into it',
        choices=('float32', 'bfloat16', 'float16'),
    )
    recompute_grads: bool = setting(
        False, 'less memory and more time: gradients compute what the generators did again, instead of keeping it'
    )
    jit_compile: str = setting(
        'auto',
        'compile the step with XLA, on several devices its losses and gradients; auto: on a GPU. On CPUs it takes many '
        'minutes, and the step is slower',
        choices=('auto', 'true', 'false'),
    )
    on_nan: str = setting(
        'stop',
        'what a loss that is not finite does: stop; or rollback, to the last good checkpoint and on from there with '
        'the images in another order, 3 times at the most',
        choices=('stop', 'rollback'),
    )
    deterministic: str = setting(
        'auto',
        'a seed gives the same weights to the last bit on the same devices; auto: on CPUs; GPUs, which it slows, need '
        '--deterministic=true',
        choices=('auto', 'true', 'false'),
    )
    # Devices; a run may go on with others
    strategy: str = setting(
        'auto',
        'devices that train together: mirrored: of this machine; multi_worker: of all machines that TF_CONFIG, or '
        'Slurm, names; one_device: one; auto: multi_worker where TF_CONFIG names a cluster, else mirrored',
        choices=('auto', 'mirrored', 'multi_worker', 'one_device'),
    )
    num_devices: int = setting(0, 'devices of this machine that are used; 0: all GPUs, or the CPU', minimum=0)
    virtual_devices: int = setting(
        0, 'split the CPU into so many devices, to try several without having them; 0: do not', minimum=0
    )
    # Measures on test images
    eval_freq: Optional[int] = setting(
        None, 'epochs between measures of the test images, which TensorBoard shows under eval/; unset: none', minimum=1
    )
    eval_metrics: Optional[str] = setting(
        None,
        'what is measured, of psnr, ssim (of pairs), kid, fid, with commas, or none; unset: psnr,ssim where most '
        'images have a counterpart, of their size, else kid,fid; cycle and identity errors of models '
        'that have them always',
    )
    eval_images: Optional[int] = setting(None, 'test images per domain that are measured; unset: all', minimum=1)
    eval_load_size: Optional[int] = setting(
        None, 'they are resized to this square, or width; unset: crop_size, or load_size', minimum=8
    )
    keep_best: Optional[str] = setting(
        None,
        'keeps the checkpoint with the best of this: psnr, ssim, kid, fid, cycle or identity, the mean over the '
        'directions, or of one as in psnr_AtoB; needs eval_freq',
    )
    # Reports and checkpoints; frequencies are in images, as in the reference
    print_freq: int = setting(100, 'images between reports of the losses', minimum=1)
    display_freq: int = setting(
        400,
        "images between pictures in TensorBoard; an epoch's end adds some of test images, of large ones the centre",
        minimum=1,
    )
    save_latest_freq: int = setting(5000, 'images between checkpoints of the latest state', minimum=1)
    save_epoch_freq: int = setting(5, 'epochs between checkpoints that are kept', minimum=1)
    # Departs from the reference: it keeps all, but of weights alone, a fourth of a state with Adam's and the pools.
    keep_checkpoints: int = setting(5, 'checkpoints of epochs that are kept; 0 keeps all', minimum=0)
    profile_steps: Optional[str] = setting(None, "'A,B': write a profile of steps A to B for TensorBoard")

    def __post_init__(self):
        validate_fields(self)
        if not self.dataroot:
            raise UserError("`dataroot` ('') is required; set it to a folder with trainA and trainB, or to demo.")
        if self.dataset_mode == 'single':
            raise UserError('`dataset_mode` (single) is to translate; training needs two domains: set it to unaligned.')
        if self.crops and self.preprocess != 'crop' and self.crop_size > self.load_size:
            raise UserError(
                f'`crop_size` ({self.crop_size}) exceeds `load_size` ({self.load_size}); lower it or raise load_size.'
            )
        if self.crops and (self.crop_size % self.side_multiple or self.crop_size < self.least_side):
            least, multiple = self.least_side, self.side_multiple
            raise UserError(
                f'`crop_size` ({self.crop_size}) is no multiple of {multiple} from {least} on, which netG {self.netG} '
                f'and netD {self.netD} need; set it to one.'
            )
        if self.recompute_grads and self.norm == 'batch':
            raise UserError(
                '`recompute_grads` (true) would update the running statistics of norm batch twice in a step; set it to '
                'false, or norm to instance.'
            )
        validate_epoch(self.epoch)
        if self.eval_metrics is not None:
            split_names('eval_metrics', self.eval_metrics, MEASURES)
        if self.keep_best is not None:
            name, _, way = self.keep_best.partition('_')
            if name not in (*MEASURES, *self.test_errors) or way not in ('', *self.translating_networks):
                known = ', '.join((*MEASURES, *self.test_errors))
                ways = ' or '.join(f'_{direction}' for direction in self.translating_networks)
                raise UserError(f"`keep_best` ('{self.keep_best}') is not one of: {known}, alone or with {ways}.")
            if self.eval_freq is None:
                raise UserError(f'`keep_best` ({self.keep_best}) needs `eval_freq`; set it to 1, say.')
            chosen = self.eval_metrics
            if chosen is not None and name in MEASURES and name not in split_names('eval_metrics', chosen, MEASURES):
                raise UserError(f'`keep_best` ({name}) is not in `eval_metrics` ({chosen}); add it there.')
        _ = self.profiled_steps, self.run_name  # both raise for a value that cannot be read

    @staticmethod
    def mode_defaults(values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The defaults of flags that a mode inside the model changes beside the model's own, by name.

        Args:
            values: of all settings, with the model's defaults where nothing is given.
        """
        return {}

    @property
    def domains(self) -> tuple[str, str]:
        """The data set's domains that play the model's A and B."""
        return ('A', 'B') if self.direction == 'AtoB' else ('B', 'A')

    @property
    def channels(self) -> dict[str, int]:
        """The model's domain -> channels of its images."""
        return {'A': self.input_nc, 'B': self.output_nc}

    @property
    def translating_networks(self) -> dict[str, str]:
        """Direction, by the data set's domains -> the generator that translates in it: 'AtoB' -> 'G_A' and so on.

        With --direction=BtoA, where the model's own A is the data set's B, it is G_B that makes B of A.
        """
        plays = dict(zip('AB', self.domains))
        generators = {name: role for name, role in self.networks.items() if role.kind == 'generator'}
        found = {f'{plays[role.inputs[0]]}to{plays[role.output]}': name for name, role in generators.items()}
        return dict(sorted(found.items()))

    @property
    def crops(self) -> bool:
        """Whether preprocess cuts a square of crop_size from each image."""
        return self.preprocess in ('resize_and_crop', 'crop', 'scale_width_and_crop')

    @property
    def side_multiple(self) -> int:
        """Of what the sides of images have to be multiples, in pixels."""
        return int(self.netG[5:]) if self.netG.startswith('unet') else 4

    @property
    def least_side(self) -> int:
        """The shortest side that the networks take, in pixels: a bottleneck of 2x2, and something left to judge."""
        layers = self.n_layers_D if self.netD == 'n_layers' else 3
        judged = 1 if self.netD == 'pixel' else 3 * 2**layers
        return -(-max(8, judged) // self.side_multiple) * self.side_multiple

    @property
    def run_name(self) -> str:
        """The name with its suffix filled in."""
        return run_name.fill_in(self.name, self.suffix, dataclasses.asdict(self))

    @property
    def images_per_step(self) -> int:
        """Images per domain in a step, over all devices."""
        return self.batch_size * self.accumulate_steps

    @property
    def total_epochs(self) -> int:
        """The number of the last epoch."""
        return self.n_epochs + self.n_epochs_decay

    @property
    def profiled_steps(self) -> Optional[tuple[int, int]]:
        """First and last step to profile, or None."""
        if self.profile_steps is None:
            return None
        parts = self.profile_steps.split(',')
        if len(parts) != 2 or not all(part.isdigit() for part in parts) or not 0 < int(parts[0]) <= int(parts[1]):
            raise UserError(f"`profile_steps` ('{self.profile_steps}') is not two numbers 'A,B' with 1 <= A <= B.")
        return int(parts[0]), int(parts[1])
