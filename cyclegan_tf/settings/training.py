"""The settings of training that all models share: names, defaults, meanings and bounds.

Names and defaults are the reference's unless noted. What a model adds, and the defaults that it changes, is in
models.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings import run_name
from cyclegan_tf.settings.fields import (
    PRECISIONS,
    parse_parts,
    parse_range,
    setting,
    split_names,
    validate_epoch,
    validate_fields,
)

MEASURES = ('psnr', 'ssim', 'edges', 'kid', 'fid')
MEASURES_OF_PAIRS = ('psnr', 'ssim', 'edges')
FEATURE_NETWORKS = ('inception_v3', 'inception_2015')
FEATURE_RESIZING = ('clean', 'legacy_pytorch', 'legacy_tensorflow')


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """The network whose features KID and FID compare, and its input."""

    feature_extractor: str = setting(
        'inception_v3',
        'network whose features kid and fid compare: inception_v3, with weights of its own; inception_2015, with those '
        'of published figures (both downloaded); or the path of a Keras file or a SavedModel',
        group='evaluation',
    )
    feature_weights: Optional[str] = setting(
        None, "file of inception_2015's weights, as pytorch-fid has them; unset: downloaded once", group='evaluation'
    )
    feature_resizing: str = setting(
        'clean',
        'how images are resized for the feature network: as by clean-fid, by pytorch-fid, or by the graph of 2015 and '
        'torch-fidelity',
        group='evaluation',
        choices=FEATURE_RESIZING,
    )
    feature_size: Optional[str] = setting(
        None,
        "size of the images that the feature network takes, in pixels: a side or 'HEIGHTxWIDTH'; unset: the size that "
        'the network states; required if it states none',
        group='evaluation',
    )
    feature_range: Optional[str] = setting(
        None,
        "values of black and white pixels for the feature network, as in '-1,1'; unset: those of inception_v3; "
        'required for other networks that do not state them',
        group='evaluation',
    )
    feature_output: Optional[str] = setting(
        None, 'name of the output with the features, if the feature network has several outputs', group='evaluation'
    )


@dataclasses.dataclass(frozen=True)
class NetworkRole:
    """What a network of a model is for, in terms of the model's own domains 'A' and 'B'.

    Attributes:
        kind: 'generator', 'discriminator', or another kind, which its model builds itself.
        inputs: the domains of the images that it takes, concatenated along the channels.
        output: the domain of the images that a generator makes; None for other networks.
    """

    kind: str
    inputs: tuple[str, ...]
    output: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Config(FeatureConfig):
    """The settings of a run of any model; a model's own class (see models.py) adds what only that model has.

    flags.cfg in the run's directory holds all of it.
    """

    networks: ClassVar[Mapping[str, NetworkRole]] = {}
    """The model's networks by their names in the reference."""

    test_errors: ClassVar[tuple[str, ...]] = ()
    """Which errors of test images make sense: 'cycle', 'identity', both or neither."""

    other_names: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    """Further flags of the model -> the setting that each stands for, and its values where the flag is true or false.
    """

    jitter_ends: ClassVar[bool] = False
    """Whether images are no longer enlarged before the random crop once the learning rate falls."""

    # ------------------------------------------------------------------------------------------------------------ run
    dataroot: str = setting(
        '',
        "images to train on: a folder with trainA, trainB, testA and testB; 'tfds:NAME', a data set of TensorFlow "
        "Datasets; a directory that tools/prepare_records.py has written; or 'demo'; required",
        group='data',
        fixed=True,
    )
    name: str = setting(
        'experiment_name', 'name of the run, whose directory is CHECKPOINTS_DIR/NAME', group='run', is_run=True
    )
    checkpoints_dir: str = setting('./checkpoints', 'folder that holds the directories of all runs', group='run')
    # Its choices are models.SETTINGS.
    model: str = setting('cycle_gan', 'model to train', group='run', fixed=True)
    continue_train: bool = setting(
        False,
        'continue the run of this name from a checkpoint; flags that are not given are taken from its flags.cfg',
        group='run',
    )
    epoch: str = setting(
        'latest',
        "with --continue_train, the checkpoint to continue from: 'latest', 'best' (see --keep_best), or the number of "
        'an epoch',
        group='run',
    )
    init_from: Optional[str] = setting(
        None,
        'weights that a new training begins with: RUN or RUN@EPOCH, a run in checkpoints_dir or its directory; or a '
        'file of the PyTorch programs, or a folder of theirs (latest_net_G_A.pth and so on; FOLDER@EPOCH: those of '
        'another epoch); unset: drawn anew',
        group='run',
        fixed=True,
    )
    init_partial: bool = setting(
        False,
        'with --init_from, take the weights that fit where others do not, as with other numbers of channels',
        group='run',
        fixed=True,
    )
    suffix: str = setting(
        '',
        "text added to the name of the run; settings in braces are filled in, as in '{netG}_{load_size}'",
        group='run',
    )
    seed: int = setting(
        0,
        'random seed: fixes the initial weights, the order of the images and every other random choice',
        group='run',
        minimum=0,
        fixed=True,
    )
    verbose: bool = setting(
        False,
        'print the layers of the networks, a breakdown of the time up to the end of the first step, and the traceback '
        'of an error',
        group='run',
    )
    # ----------------------------------------------------------------------------------------------------------- data
    dataset_mode: str = setting(
        'unaligned',
        'how the images are stored; unaligned: in folders trainA and trainB; aligned: in a folder train, A in the left '
        'half of each image, B in the right half; paired: in folders trainA and trainB, where images of the same name '
        'are pairs; single: images of one domain, for translation only',
        group='data',
        choices=('unaligned', 'aligned', 'paired', 'single'),
        fixed=True,
    )
    input_folders: Optional[str] = setting(
        None,
        'with --dataset_mode=paired, several folders whose images of the same name are stacked as the channels of one '
        "image of the input domain: 'A,A2' takes trainA and trainA2, and 'A:3,A2:1' says how many channels each has; "
        'unset: one folder',
        group='data',
        fixed=True,
    )
    input_feature: Optional[str] = setting(
        None,
        'with a data set of TensorFlow Datasets that has both images of a pair in one example, the feature that is '
        "the model's input (domain A, or B with --direction=BtoA); --output_feature names the other one",
        group='data',
        fixed=True,
    )
    output_feature: Optional[str] = setting(
        None, 'the feature that is the image to be made, see --input_feature', group='data', fixed=True
    )
    direction: str = setting(
        'AtoB',
        "folder that is the model's domain A: trainA (AtoB) or trainB (BtoA). Names of losses and pictures refer to "
        "the model's domains; eval/, --keep_best and cyclegan_tf.translate refer to the folders",
        group='data',
        choices=('AtoB', 'BtoA'),
        fixed=True,
    )
    preprocess: str = setting(
        'resize_and_crop',
        'resizing and cropping of the images; resize_and_crop: resize to a square of load_size, then crop; crop: only '
        'crop; scale_width: resize to a width of load_size; scale_width_and_crop: the same, then crop; none: only '
        'round the sides to what the networks accept',
        group='data',
        choices=('resize_and_crop', 'crop', 'scale_width', 'scale_width_and_crop', 'none'),
        fixed=True,
    )
    load_size: int = setting(
        286,
        'side of the square, or width, to which images are resized, in pixels',
        group='data',
        minimum=1,
        fixed=True,
    )
    crop_size: int = setting(256, 'side of the square random crop, in pixels', group='data', minimum=1, fixed=True)
    no_flip: bool = setting(False, 'do not flip images left to right at random', group='data', fixed=True)
    augment: str = setting(
        'none',
        'further random changes to the images of both domains; docs/augment.jpg shows each',
        group='data',
        choices=('none', 'light', 'color', 'affine', 'erase', 'strong'),
        fixed=True,
    )
    input_nc: int = setting(
        3, 'number of channels of the images of domain A; 3: colour, 1: gray', group='data', minimum=1, fixed=True
    )
    output_nc: int = setting(
        3, 'number of channels of the images of domain B; 3: colour, 1: gray', group='data', minimum=1, fixed=True
    )
    value_range: Optional[str] = setting(
        None,
        "stored values that become black and white, as in '-1024,3071' for CT; the images may then be integers or "
        'floating-point numbers of any size, and .npy files are images, too; unset: the whole range of 8 or 16 bits',
        group='data',
        fixed=True,
    )
    value_range_B: Optional[str] = setting(
        None,
        'stored values of domain B, as of --output_nc, that become black and white; unset: those of --value_range',
        group='data',
        fixed=True,
    )
    tiff_pages: str = setting(
        'largest',
        'how a TIFF of several pages that are not marked as channels is read; largest: the largest page is the image; '
        'channels: the pages are the channels of one image',
        group='data',
        choices=('largest', 'channels'),
        fixed=True,
    )
    max_image_pixels: Optional[int] = setting(
        None,
        'maximum number of pixels that an image file may claim, as a protection against broken files; unset: '
        '178,956,970',
        group='data',
        minimum=1,
    )
    serial_batches: bool = setting(
        False,
        'read the images in order, those of the same index in both domains together, instead of in random order',
        group='data',
        fixed=True,
    )
    max_dataset_size: Optional[int] = setting(
        None,
        'maximum number of images used from each folder, or of pairs, after sorting; unset: all',
        group='data',
        minimum=1,
        fixed=True,
    )
    on_bad_image: str = setting(
        'error',
        'what happens if images cannot be used; error: all of them are listed and training does not start; skip: '
        'training goes on without them',
        group='data',
        choices=('error', 'skip'),
    )
    cache: str = setting(
        'auto',
        'where decoded and resized images are kept; auto: in memory if they fit, else on disk if they fit there',
        group='data',
        choices=('auto', 'memory', 'disk', 'none'),
    )
    cache_memory_mb: Optional[int] = setting(
        None, 'maximum memory that --cache=auto uses, in MB; unset: half of the free memory', group='data', minimum=0
    )
    cache_dir: Optional[str] = setting(
        None,
        'folder for decoded images and for the results of checking image files; unset: ~/.cache/cyclegan_tf',
        group='data',
    )
    data_dir: Optional[str] = setting(
        None, 'folder where TensorFlow Datasets keeps its data sets; unset: its own default', group='data'
    )
    num_threads: int = setting(4, 'number of threads that decode images', group='data', minimum=1)
    # ------------------------------------------------------------------------------------------------------- networks
    netG: str = setting(
        'resnet_9blocks',
        'architecture of the generators',
        group='networks',
        choices=('resnet_9blocks', 'resnet_6blocks', 'unet_256', 'unet_128'),
        fixed=True,
    )
    ngf: int = setting(64, "filters of the generators' first convolution", group='networks', minimum=1, fixed=True)
    netD: str = setting(
        'basic',
        'architecture of the discriminators',
        group='networks',
        choices=('basic', 'n_layers', 'pixel'),
        fixed=True,
    )
    ndf: int = setting(64, "filters of the discriminators' first convolution", group='networks', minimum=1, fixed=True)
    n_layers_D: int = setting(
        3,
        'number of convolutions with stride 2 in the discriminators of --netD=n_layers',
        group='networks',
        minimum=1,
        fixed=True,
    )
    norm: str = setting(
        'instance',
        'normalisation layers of the networks',
        group='networks',
        choices=('instance', 'batch', 'none'),
        fixed=True,
    )
    normG: Optional[str] = setting(
        None,
        'normalisation layers of the generators; unset: those of --norm',
        group='networks',
        choices=('instance', 'batch', 'none'),
        fixed=True,
    )
    normD: Optional[str] = setting(
        None,
        'normalisation layers of the discriminators; unset: those of --norm',
        group='networks',
        choices=('instance', 'batch', 'none'),
        fixed=True,
    )
    no_dropout: bool = setting(True, 'generators without dropout', group='networks', fixed=True)
    upsample: str = setting(
        'deconv',
        'how generators double the sides of their features; deconv: by a transposed convolution; resize: by repeating '
        'pixels before a convolution, which makes no checkerboard; antialias: by interpolation before a convolution, '
        'as CUT does',
        group='networks',
        choices=('deconv', 'resize', 'antialias'),
        fixed=True,
    )
    downsample: str = setting(
        'stride',
        'how networks halve the sides of their features; stride: by a strided convolution; antialias: behind a blur, '
        'as CUT does',
        group='networks',
        choices=('stride', 'antialias'),
        fixed=True,
    )
    n_downsampling: int = setting(
        2,
        'number of times that a ResNet generator halves the sides of its features; with 0 it sees every pixel in all '
        'of its layers, which suits changes of colour and light',
        group='networks',
        minimum=0,
        fixed=True,
    )
    learn_residual: bool = setting(
        False,
        'let generators learn what to change in an image: their output is added to it',
        group='networks',
        fixed=True,
    )
    learn_gain: bool = setting(
        False,
        'with --learn_residual, let generators also learn by which factor, from 1/4 to 4, to make each pixel darker or '
        'brighter before the change is added, so that edges stay in proportion to the light',
        group='networks',
        fixed=True,
    )
    spectral_norm: bool = setting(
        False, "divide the discriminators' kernels by their largest singular values", group='networks', fixed=True
    )
    num_D: int = setting(
        1,
        'number of discriminators for each domain, of which each further one sees the images at half the size',
        group='networks',
        minimum=1,
        fixed=True,
    )
    init_type: str = setting(
        'normal',
        'distribution of the initial weights',
        group='networks',
        choices=('normal', 'xavier', 'kaiming', 'orthogonal'),
        fixed=True,
    )
    init_gain: float = setting(
        0.02,
        'scale of the initial weights, for --init_type normal, xavier and orthogonal',
        group='networks',
        minimum=0.0,
        fixed=True,
    )
    # --------------------------------------------------------------------------------------------------------- losses
    gan_mode: str = setting(
        'lsgan',
        'adversarial loss',
        group='losses',
        choices=('lsgan', 'vanilla', 'wgangp', 'hinge'),
        fixed=True,
    )
    lambda_gp: float = setting(10.0, 'weight of the gradient penalty of --gan_mode=wgangp', group='losses', minimum=0.0)
    lambda_r1: float = setting(
        0.0, "weight of the penalty on the discriminators' gradients at real images (R1)", group='losses', minimum=0.0
    )
    lambda_zero_gp: float = setting(
        0.0,
        "weight of the penalty on the discriminators' gradients at mixtures of real images and translations",
        group='losses',
        minimum=0.0,
    )
    diffaugment: str = setting(
        'none',
        'random changes, separated by commas, to real images and translations alike before a discriminator sees them: '
        'color, translation, cutout; or none',
        group='losses',
    )
    pool_size: int = setting(
        50,
        'number of earlier generated images that are kept to train the discriminators on; 0: none',
        group='losses',
        minimum=0,
        fixed=True,
    )
    # ------------------------------------------------------------------------------------------------------- training
    n_epochs: int = setting(
        100,
        'number of epochs before those of --n_epochs_decay; --lr_policy=linear keeps the initial learning rate in '
        'them, cosine lowers it to zero',
        group='training',
        minimum=1,
    )
    n_epochs_decay: int = setting(
        100,
        'number of further epochs, in which --lr_policy=linear lowers the learning rate to zero',
        group='training',
        minimum=0,
    )
    batch_size: int = setting(
        1, 'images of each domain in a batch, over all devices', group='training', minimum=1, fixed=True
    )
    accumulate_steps: int = setting(
        1,
        'number of batches whose gradients are added up for one step: the effect of a batch that many times larger, '
        'in less memory',
        group='training',
        minimum=1,
        fixed=True,
    )
    max_steps: int = setting(
        0,
        'number of the step after which training ends, with its state saved, even if there are epochs left; the '
        'schedule of the learning rate stays that of all epochs; 0: after the last epoch',
        group='training',
        minimum=0,
    )
    lr: float = setting(0.0002, 'initial learning rate', group='training', minimum=0.0)
    lr_D: Optional[float] = setting(
        None, 'initial learning rate of the discriminators; unset: --lr', group='training', minimum=0.0
    )
    warmup_steps: int = setting(
        0, 'number of first steps in which the learning rates rise from zero', group='training', minimum=0
    )
    clip_grad: float = setting(
        0.0,
        'maximum norm of the gradients that an optimizer is given (one trains all generators, one all discriminators, '
        'and of CUT one F); larger ones are scaled down to it; 0: no maximum',
        group='training',
        minimum=0.0,
    )
    ema_decay: float = setting(
        0.0,
        "decay of the running mean of the generators' weights, as in 0.999; the mean then translates, is measured and "
        'exported; 0: none is kept',
        group='training',
        minimum=0.0,
        fixed=True,
    )
    beta1: float = setting(0.5, "decay rate of Adam's first moment", group='training', minimum=0.0)
    beta2: float = setting(0.999, "decay rate of Adam's second moment", group='training', minimum=0.0)
    lr_policy: str = setting(
        'linear',
        'schedule of the learning rate',
        group='training',
        choices=('linear', 'step', 'plateau', 'cosine'),
    )
    lr_decay_iters: int = setting(
        50, 'epochs between reductions of the learning rate by --lr_policy=step', group='training', minimum=1
    )
    epoch_count: int = setting(
        1,
        'number of the first epoch; the last one is n_epochs + n_epochs_decay, so a higher number makes a shorter run',
        group='training',
        minimum=1,
        fixed=True,
    )
    precision: str = setting(
        'float32',
        'number format of the convolutions; weights, Adam, statistics of norms, pictures and losses are always '
        'float32. bfloat16 and float16 are faster where the processor has instructions for them; float16 is the more '
        'precise of the two, is meant for GPUs, and uses loss scaling so that gradients fit its range',
        group='training',
        choices=PRECISIONS,
    )
    emulate_precision: bool = setting(
        False,
        'compute in --precision even on CPUs without instructions for it, where otherwise the faster float32 is used',
        group='training',
    )
    recompute_grads: bool = setting(
        False,
        'recompute the activations of the generators for the gradients instead of keeping them, which saves memory and '
        'takes more time',
        group='training',
    )
    jit_compile: str = setting(
        'auto',
        'whether XLA compiles the training step, or on several devices only its losses and gradients; auto: on GPUs, '
        'if all images have the same size. On CPUs compiling takes many minutes, and the step is slower',
        group='training',
        choices=('auto', 'true', 'false'),
    )
    deterministic: str = setting(
        'auto',
        'whether the same seed gives bit-identical weights on the same devices; auto: on CPUs; it slows GPUs down',
        group='training',
        choices=('auto', 'true', 'false'),
    )
    on_nan: str = setting(
        'stop',
        'what happens if a loss is not finite; stop: training ends; rollback: it returns to the last good checkpoint '
        'and continues with the images in another order, at most 3 times',
        group='training',
        choices=('stop', 'rollback'),
    )
    # ----------------------------------------------------------------------------------------------------- evaluation
    eval_freq: Optional[int] = setting(
        None,
        'epochs between evaluations on the test images, which TensorBoard shows under eval/; unset: no evaluation',
        group='evaluation',
        minimum=1,
    )
    eval_metrics: Optional[str] = setting(
        None,
        'measures, separated by commas: psnr, ssim and edges (of pairs), kid, fid; or none; unset: psnr,ssim,edges if '
        'images are pairs (see --pairs), else kid,fid. Cycle and identity errors are always measured if the model '
        'defines them',
        group='evaluation',
    )
    eval_images: Optional[int] = setting(
        None, 'number of test images of each domain that are measured; unset: all', group='evaluation', minimum=1
    )
    eval_load_size: Optional[int] = setting(
        None,
        'side of the square, or width, to which test images are resized for measuring, in pixels; unset: crop_size, or '
        'load_size',
        group='evaluation',
        minimum=8,
    )
    pairs: str = setting(
        'auto',
        'whether test images of the same name in both domains are pairs, which psnr, ssim and edges compare; auto: if '
        'names, sizes and contents agree',
        group='evaluation',
        choices=('auto', 'yes', 'no'),
    )
    batch_statistics: bool = setting(
        False,
        'outside training, let batch norm use the statistics of each image instead of the running ones, in pictures, '
        'in measures, and in cyclegan_tf.translate and cyclegan_tf.evaluate unless they are told otherwise; never in '
        'exports',
        group='evaluation',
    )
    test_dropout: bool = setting(
        False, 'outside training, keep dropout on, in the same places as --batch_statistics', group='evaluation'
    )
    keep_best: Optional[str] = setting(
        None,
        'measure whose best checkpoint is kept: psnr, ssim, kid, fid, cycle or identity, averaged over the directions, '
        'or of one direction as in psnr_AtoB; requires --eval_freq',
        group='evaluation',
    )
    # ---------------------------------------------------------------------------------------------------------- files
    # Frequencies are in images, as in the reference.
    print_freq: int = setting(100, 'images between printed lines of losses', group='files', minimum=1)
    display_freq: int = setting(
        400,
        'images between pictures of training images in TensorBoard. Pictures of test images follow after every epoch, '
        'of large images only the centre',
        group='files',
        minimum=1,
    )
    save_latest_freq: int = setting(5000, 'images between checkpoints of the latest state', group='files', minimum=1)
    save_epoch_freq: int = setting(5, 'epochs between checkpoints that are kept', group='files', minimum=1)
    # Departs from the reference: it keeps all checkpoints, but only their weights. A full state, with Adam's moments
    # and the image pools, is four times as large.
    keep_checkpoints: int = setting(
        5, 'number of the newest epoch checkpoints that are kept; 0: all', group='files', minimum=0
    )
    log_csv: bool = setting(
        False,
        "write the curves as text, too: scalars.csv and scalars.jsonl in the run's directory",
        group='files',
    )
    no_html: bool = setting(
        False, "write no page with the run's pictures and curves, index.html in its directory", group='files'
    )
    use_wandb: bool = setting(
        False, "log curves and pictures to Weights & Biases, too; needs the extra 'wandb'", group='files'
    )
    wandb_project_name: str = setting('CycleGAN-and-pix2pix', 'with --use_wandb, the project there', group='files')
    profile_steps: Optional[str] = setting(
        None, "first and last step of the profile written for TensorBoard, as in '10,20'", group='files'
    )
    # -------------------------------------------------------------------------------------------------------- devices
    # A continued run may use other devices.
    strategy: str = setting(
        'auto',
        'devices that train together; mirrored: those of this machine; multi_worker: those of all machines that '
        'TF_CONFIG or Slurm names; one_device: a single one; auto: multi_worker if TF_CONFIG names a cluster, else '
        'mirrored',
        group='devices',
        choices=('auto', 'mirrored', 'multi_worker', 'one_device'),
    )
    num_devices: int = setting(
        0, 'number of devices of this machine to use; 0: all GPUs, or the CPU', group='devices', minimum=0
    )
    virtual_devices: int = setting(
        0,
        'number of virtual devices into which the CPU is split, to try training on several devices without having '
        'them; 0: the CPU is not split',
        group='devices',
        minimum=0,
    )

    def __post_init__(self):
        validate_fields(self)
        if not self.dataroot:
            folders = 'train' if self.dataset_mode == 'aligned' else 'trainA and trainB'
            raise UserError(f"`dataroot` ('') is required; set it to a folder with {folders}, or to demo.")
        if self.dataset_mode == 'single':
            raise UserError(
                '`dataset_mode` (single) is for translation only; training needs two domains: set it to unaligned, '
                'aligned or paired.'
            )
        if self.crops and self.preprocess != 'crop' and self.crop_size > self.load_size:
            raise UserError(
                f'`crop_size` ({self.crop_size}) exceeds `load_size` ({self.load_size}); lower it or raise load_size.'
            )
        if self.crops and (self.crop_size % self.side_multiple or self.crop_size < self.least_side):
            least, multiple = self.least_side, self.side_multiple
            raise UserError(
                f'`crop_size` ({self.crop_size}) has to be a multiple of {multiple} and at least {least} for netG '
                f'{self.netG} and netD {self.netD}; change it.'
            )
        if self.recompute_grads and self.norms['generator'] == 'batch':
            raise UserError(
                f'`recompute_grads` (true) would update the running statistics of batch norm twice in a step; set it '
                f'to false, or {"normG" if self.normG else "norm"} to instance.'
            )
        for name in ('beta1', 'beta2', 'ema_decay'):
            if getattr(self, name) >= 1:
                raise UserError(f'`{name}` ({getattr(self, name):g}) is not below 1; lower it.')
        for name in ('downsample', 'upsample'):
            if self.netG.startswith('unet') and getattr(self, name) == 'antialias':
                raise UserError(
                    f'`{name}` (antialias) is for ResNet generators, but netG is {self.netG}; set it to '
                    f'{"resize or deconv" if name == "upsample" else "stride"}.'
                )
        if self.n_downsampling > 2:
            raise UserError(f'`n_downsampling` ({self.n_downsampling}) exceeds 2; lower it.')
        if self.netG.startswith('unet') and self.n_downsampling != 2:
            raise UserError(
                f'`n_downsampling` ({self.n_downsampling}) is for ResNet generators, but netG is {self.netG}; leave it '
                f'out.'
            )
        if self.learn_residual and self.input_nc != self.output_nc:
            raise UserError(
                f'`learn_residual` (true) adds a change to an image, but input_nc is {self.input_nc} and output_nc '
                f'{self.output_nc}; set it {"and learn_gain " if self.learn_gain else ""}to false.'
            )
        if self.learn_gain and not self.learn_residual:
            raise UserError(
                '`learn_gain` (true) belongs to a change of the image; set learn_residual to true, or learn_gain to '
                'false.'
            )
        if self.init_partial and not self.init_from:
            raise UserError(
                '`init_partial` (true) says how init_from is taken, which is not set; set it, or leave it out.'
            )
        _ = self.diffaugmentations, self.input_parts  # both raise UserError if they cannot be read
        if self.input_folders is not None and self.dataset_mode != 'paired':
            raise UserError(
                f"`input_folders` ('{self.input_folders}') needs images that are matched by name; set "
                f'--dataset_mode to paired.'
            )
        if (self.input_feature is None) != (self.output_feature is None):
            raise UserError(
                '`input_feature` and `output_feature` name both images of a pair; set both of them, or neither.'
            )
        if self.input_feature is not None and self.input_feature == self.output_feature:
            raise UserError(
                f'`input_feature` and `output_feature` ({self.output_feature}) have to name two features; correct one.'
            )
        if self.input_feature is not None and not self.paired:
            raise UserError(
                f'`input_feature` ({self.input_feature}) needs pairs; set --dataset_mode to aligned or paired, not to '
                f'{self.dataset_mode}.'
            )
        ranges = self.value_ranges  # raises UserError if they cannot be read
        if self.dataset_mode == 'aligned' and (ranges['A'] is None) != (ranges['B'] is None):
            raise UserError(
                f'`value_range_B` ({self.value_range_B}) alone cannot be used with dataset_mode aligned, where both '
                f'domains are in one file; set --value_range, too.'
            )
        validate_epoch(self.epoch)
        if self.eval_metrics is not None:
            split_names('eval_metrics', self.eval_metrics, MEASURES)
        if self.keep_best is not None:
            name, _, direction = self.keep_best.partition('_')
            if name == 'edges':
                raise UserError(
                    f'`keep_best` ({self.keep_best}) cannot tell the best: neither more nor less edge strength is '
                    f'better, and noise makes up for blur; set it to another measure, such as ssim.'
                )
            if name not in (*MEASURES, *self.test_errors) or direction not in ('', *self.translating_networks):
                known = ', '.join(name for name in (*MEASURES, *self.test_errors) if name != 'edges')
                directions = ' or '.join(f'_{direction}' for direction in self.translating_networks)
                raise UserError(
                    f"`keep_best` ('{self.keep_best}') is not one of: {known}, alone or followed by {directions}."
                )
            if self.eval_freq is None:
                raise UserError(f'`keep_best` ({self.keep_best}) needs `eval_freq`; set --eval_freq, for example to 1.')
            chosen = self.eval_metrics
            if chosen is not None and name in MEASURES and name not in split_names('eval_metrics', chosen, MEASURES):
                raise UserError(f'`keep_best` ({name}) is not in `eval_metrics` ({chosen}); add it there.')
        _ = self.profiled_steps, self.run_name  # both raise UserError if their settings cannot be read

    @staticmethod
    def mode_defaults(values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Defaults of flags that a mode of the model changes, by name; they override the model's own defaults.

        Args:
            values: all settings, with the model's defaults for those that were not given.
        """
        parts = parse_parts(values['input_folders'])
        return {'input_nc': sum(count or 3 for _, count in parts)} if parts else {}

    @property
    def domains(self) -> tuple[str, str]:
        """The domains of the data set that are the model's A and B."""
        return ('A', 'B') if self.direction == 'AtoB' else ('B', 'A')

    @property
    def channels(self) -> dict[str, int]:
        """The number of channels of each domain of the model."""
        return {'A': self.input_nc, 'B': self.output_nc}

    @property
    def norms(self) -> dict[str, str]:
        """The normalisation layers of each kind of network: 'generator' and 'discriminator'."""
        return {'generator': self.normG or self.norm, 'discriminator': self.normD or self.norm}

    @property
    def antialiased(self) -> tuple[bool, bool]:
        """Whether the networks downsample behind a blur, and whether generators upsample by interpolation."""
        return self.downsample == 'antialias', self.upsample == 'antialias'

    @property
    def penalises_gradients(self) -> Optional[str]:
        """The setting because of which the discriminators' gradients are part of their loss; None if they are not."""
        if self.gan_mode == 'wgangp':
            return 'gan_mode wgangp'
        return next((name for name in ('lambda_r1', 'lambda_zero_gp') if getattr(self, name)), None)

    @property
    def mixes_images(self) -> Optional[tuple[str, Any]]:
        """The setting because of which real images and fakes are mixed, and its value; None if they are not."""
        if self.gan_mode == 'wgangp':
            return 'gan_mode', self.gan_mode
        return ('lambda_zero_gp', self.lambda_zero_gp) if self.lambda_zero_gp else None

    @property
    def diffaugmentations(self) -> tuple[str, ...]:
        """The names in diffaugment."""
        return split_names('diffaugment', self.diffaugment, ('color', 'translation', 'cutout'))

    @property
    def paired(self) -> bool:
        """Whether each image of A belongs to one of B."""
        return self.dataset_mode in ('aligned', 'paired')

    @property
    def input_parts(self) -> tuple[tuple[str, int], ...]:
        """The folders of the input domain, without the phase, and the channels of each: (('A', 3), ('A2', 1))."""
        parts, domain = parse_parts(self.input_folders), self.domains[0]
        if not parts:
            return ((domain, self.input_nc),)
        wrong = next((name for name, _ in parts if not name.startswith(domain)), None)
        if wrong is not None or len({name for name, _ in parts}) < len(parts):
            raise UserError(
                f"`input_folders` ('{self.input_folders}') has to name different folders of domain {domain}, as in "
                f'{domain},{domain}2; correct it.'
            )
        total = sum(count or 0 for _, count in parts)
        if not total and self.input_nc % len(parts) == 0:
            return tuple((name, self.input_nc // len(parts)) for name, _ in parts)
        if total != self.input_nc or not all(count for _, count in parts):
            each = ','.join(f'{name}:{count or 3}' for name, count in parts)
            raise UserError(
                f"`input_folders` ('{self.input_folders}') does not say how the {self.input_nc} channels of "
                f'`input_nc` are divided; give the channels of each folder, as in {each}, and leave input_nc out.'
            )
        return parts

    @property
    def last_jitter_epoch(self) -> Optional[int]:
        """The number of the last epoch in which images are enlarged to load_size before the crop; None: all are."""
        stops = self.jitter_ends and self.preprocess == 'resize_and_crop' and self.load_size > self.crop_size
        return self.n_epochs if stops and self.n_epochs_decay else None

    @property
    def value_ranges(self) -> dict[str, Optional[tuple[float, float]]]:
        """The values that become -1 and 1 in each domain of the model; None: levels of 8 or 16 bits, in full."""
        of_a = parse_range('value_range', self.value_range)
        of_b = parse_range('value_range_B', self.value_range_B)
        return {'A': of_a, 'B': of_a if of_b is None else of_b}

    @property
    def translating_networks(self) -> dict[str, str]:
        """Direction in the data set's domains -> the generator that translates in it: 'AtoB' -> 'G_A' and so on.

        With --direction=BtoA the model's A is the data set's B, so that 'AtoB' -> 'G_B'.
        """
        dataset_domain = dict(zip('AB', self.domains))
        generators = {name: role for name, role in self.networks.items() if role.kind == 'generator'}
        networks = {
            f'{dataset_domain[role.inputs[0]]}to{dataset_domain[role.output]}': name
            for name, role in generators.items()
        }
        return dict(sorted(networks.items()))

    @property
    def crops(self) -> bool:
        """Whether preprocess cuts a square of crop_size from each image."""
        return self.preprocess in ('resize_and_crop', 'crop', 'scale_width_and_crop')

    @property
    def side_multiple(self) -> int:
        """The number of which both sides of an image have to be multiples, in pixels."""
        return int(self.netG[5:]) if self.netG.startswith('unet') else 2**self.n_downsampling

    @property
    def least_side(self) -> int:
        """The shortest side of an image that the networks take, in pixels.

        The bottleneck of a generator then has at least 2x2 pixels, and a discriminator at least one output.
        """
        layers = self.n_layers_D if self.netD == 'n_layers' else 3
        for_discriminator = 2 ** (self.num_D - 1) * (1 if self.netD == 'pixel' else 3 * 2**layers)
        return -(-max(8, for_discriminator) // self.side_multiple) * self.side_multiple

    @property
    def run_name(self) -> str:
        """The name of the run, with its suffix filled in."""
        return run_name.fill_in(self.name, self.suffix, dataclasses.asdict(self))

    @property
    def images_per_step(self) -> int:
        """Images of each domain in a step, over all devices."""
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
