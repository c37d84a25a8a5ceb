"""The settings of each benchmark. Nothing that --help would have to wait for is imported here."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import re
import shlex
from collections.abc import Sequence
from typing import Any, Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import same, setting, validate_fields
from cyclegan_tf.settings.models import SETTINGS, CycleGANConfig
from cyclegan_tf.settings.training import Config

SMALL_PAGES = ' small pages'  # without the huge pages of the training program, see runtime/allocator.py
# Kinds of steps that `train` measures, ours and PyTorch's; and, by device, those that it measures by default.
OUR_STEPS = tuple(
    precision + option
    for precision in ('float32', 'bfloat16', 'float16')
    for option in ('', ' recompute', ' xla', SMALL_PAGES)
)
THEIR_STEPS = tuple(
    ' '.join(('torch', *options))
    for count in range(4)
    for options in itertools.combinations(('channels_last', 'autocast', 'compile'), count)
)
DEFAULT_STEPS = {
    'cpu': (
        'float32', 'bfloat16', 'float32 recompute',
        'torch', 'torch channels_last', 'torch autocast', 'torch channels_last autocast',
    ),
    'gpu': (
        'float32', 'float32 xla', 'bfloat16', 'bfloat16 xla', 'float16', 'float16 xla',
        'torch', 'torch channels_last', 'torch autocast', 'torch channels_last autocast',
        'torch channels_last compile', 'torch channels_last autocast compile',
    ),
}  # fmt: skip

# Kinds of translations that `translate` measures. 'torch' is as in the reference, under no_grad; the others are what
# PyTorch users can do for speed.
OUR_TRANSLATIONS = ('float32', 'bfloat16')
THEIR_TRANSLATIONS = (
    'torch',
    'torch inference_mode',
    'torch inference_mode channels_last',
    'torch autocast',
    'torch inference_mode autocast',
    'torch inference_mode channels_last autocast',
)
# Exported models in other runtimes, which are measured if they are asked for: their files take minutes to make. 'int8'
# is static quantization, of the convolutions alone in all but 'litert int8', which computes everything in 8 bits.
RUNTIME_TRANSLATIONS = (
    'onnxruntime',
    'openvino',
    'onnxruntime int8',
    'openvino int8',
    'litert int8',
    'litert int8 convolutions',
)

# Kinds of steps that `models` measures: our models, and the same in PyTorch.
MODEL_KINDS = tuple(prefix + model for model in ('cycle_gan', 'CUT', 'FastCUT', 'pix2pix') for prefix in ('', 'torch '))

# Models that `gpu` measures, and kinds of steps, ours and PyTorch's, the most important ones in the first row. 'NHWC':
# TensorFlow's graph optimizer is kept from changing the layout of images.
GPU_MODELS = ('cycle_gan', 'pix2pix', 'CUT', 'FastCUT')
GPU_STEPS = (
    ('float32 xla', 'torch', 'bfloat16 xla', 'torch channels_last autocast'),
    ('torch channels_last', 'torch channels_last compile', 'torch channels_last autocast compile', 'float32'),
    ('float16 xla', 'bfloat16', 'float16', 'torch autocast'),
    ('float32 NHWC', 'bfloat16 NHWC', 'float16 NHWC'),
)
DRY_STEPS = ('float32', 'torch')

# What `all` runs, besides growth if that is asked for.
OF_ALL = ('train', 'translate', 'pipeline', 'serving')

_RESNETS = ('resnet_9blocks', 'resnet_6blocks')


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of `train`. All others are the defaults of both programs."""

    model: str = setting('cycle_gan', 'model to train', group='networks', choices=tuple(SETTINGS))
    CUT_mode: str = setting('CUT', 'variant of the model cut', group='networks', choices=('CUT', 'FastCUT'))
    netG: Optional[str] = setting(
        None,
        "architecture of the generators; unset: the model's",
        group='networks',
        choices=(*_RESNETS, 'unet_256', 'unet_128'),
    )
    ngf: int = same(Config, 'ngf')
    ndf: int = same(Config, 'ndf')
    crop_size: int = setting(256, 'side of the images, in pixels', group='data', minimum=32)
    batch_size: int = same(Config, 'batch_size')
    deterministic: str = same(Config, 'deterministic')
    device: str = setting(
        'auto',
        'device of the steps; auto: a GPU if there is one',
        group='devices',
        choices=('auto', 'cpu', 'gpu'),
    )
    repeats: int = setting(
        5, 'number of measured turns of each kind, of a second or a step, after a warm-up', minimum=1
    )
    kinds: Optional[str] = setting(
        None,
        f'kinds of steps to measure, separated by commas, from {", ".join(OUR_STEPS + THEIR_STEPS)}; all are in memory '
        f'at once, about 3 GB each at the defaults on CPUs; unset: on CPUs {", ".join(DEFAULT_STEPS["cpu"])}; on GPUs '
        f'{", ".join(DEFAULT_STEPS["gpu"])}',
    )
    starts: int = setting(3, 'number of measured starts of the training program', minimum=0)
    json: Optional[str] = setting(None, 'file for the result, besides standard output', group='files')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        choose_kinds(self.kinds, OUR_STEPS + THEIR_STEPS)  # raises for unknown kinds
        self.training()  # raises for settings that contradict each other

    def training(self, **changes: Any) -> Config:
        """Settings of cyclegan_tf.train with this step.

        Raises:
            UserError: the settings contradict each other.
        """
        settings_class = SETTINGS[self.model]
        names = ('ngf', 'ndf', 'crop_size', 'batch_size', 'deterministic')
        values = {'dataroot': 'demo', 'model': self.model, 'load_size': self.crop_size}
        values.update({name: getattr(self, name) for name in names})
        if self.netG is not None:
            values['netG'] = self.netG
        if self.model == 'cut':
            values.update(settings_class.mode_defaults({'CUT_mode': self.CUT_mode, 'input_folders': None}))
            values['CUT_mode'] = self.CUT_mode
        return settings_class(**{**values, **changes})


@dataclasses.dataclass(frozen=True)
class ModelsConfig:
    """Settings of `models`. All others are the defaults of both programs."""

    netG: Optional[str] = setting(
        None,
        "architecture of the generators, but for pix2pix, which keeps its own; unset: each model's",
        group='networks',
        choices=_RESNETS,
    )
    ngf: int = same(Config, 'ngf')
    ndf: int = same(Config, 'ndf')
    crop_size: int = setting(256, 'side of the images, in pixels', group='data', minimum=32)
    batch_size: int = same(Config, 'batch_size')
    repeats: int = setting(
        5, 'number of measured turns of each kind, of a second or a step, after a warm-up', minimum=1
    )
    kinds: Optional[str] = setting(
        None,
        f'kinds of steps to measure, separated by commas, from {", ".join(MODEL_KINDS)}; all are in memory at once, 20 '
        'GB at the defaults; unset: all',
    )
    json: Optional[str] = setting(None, 'file for the result, besides standard output', group='files')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        choose_kinds(self.kinds, MODEL_KINDS)  # raises for unknown kinds


@dataclasses.dataclass(frozen=True)
class TranslateConfig:
    """Settings of `translate`."""

    netG: str = setting('resnet_9blocks', 'architecture of the generator', group='networks', choices=_RESNETS)
    ngf: int = setting(64, "filters of the generator's first convolution", group='networks', minimum=1)
    size: str = setting(
        '256', "side of the images, or their size as 'WIDTHxHEIGHT', as in 1024x768, in pixels", group='data'
    )
    images: int = setting(8, 'number of files in a turn', group='data', minimum=1)
    calibration: int = setting(
        8, 'number of images of the training set on which models in int8 are calibrated', group='data', minimum=1
    )
    batch_size: Optional[int] = setting(
        None,
        'maximum number of images that ours translates at once; unset: as in cyclegan_tf.translate; PyTorch translates '
        'them one by one, as the reference',
        group='data',
        minimum=1,
    )
    num_threads: int = setting(
        2, 'number of our threads that read images, and of those that write them', group='data', minimum=1
    )
    repeats: int = setting(5, 'number of measured turns of each kind, after a warm-up', minimum=1)
    kinds: Optional[str] = setting(
        None,
        f'kinds of translations to measure, separated by commas, from {", ".join(OUR_TRANSLATIONS)}, '
        f'{", ".join(THEIR_TRANSLATIONS)}, and of exported models {", ".join(RUNTIME_TRANSLATIONS)}; unset: all but '
        "exported models, which need cyclegan_tf's extras 'onnx' and 'runtimes'",
    )
    programs: bool = setting(True, 'also measure complete programs, from the start of the process to its end')
    json: Optional[str] = setting(None, 'file for the result, besides standard output', group='files')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        self.chosen()  # raises for unknown kinds
        image_size(self.size)  # raises for sizes that the networks do not take

    def chosen(self) -> list[str]:
        """The kinds to measure.

        Raises:
            UserError: a kind is unknown.
        """
        usual = OUR_TRANSLATIONS + THEIR_TRANSLATIONS
        return choose_kinds(self.kinds, usual + RUNTIME_TRANSLATIONS, default=usual)


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Settings of `pipeline`."""

    dataroot: str = setting(
        '',
        "images to read: a folder with trainA and trainB; unset: JPEGs of 256x256 made from the demo's photographs",
        group='data',
    )
    images: Optional[int] = setting(
        None,
        'number of images, half of them in each domain; measures the first and the second start with so many, up to '
        'the first batch, and the stream and the memory after them, instead of comparing with PyTorch. They are made '
        'in dataroot if that does not exist: different JPEGs of 64x64; unset: no starts are measured',
        group='data',
        minimum=2,
    )
    batch_size: int = same(Config, 'batch_size')
    load_size: int = same(Config, 'load_size')
    crop_size: int = same(Config, 'crop_size')
    augment: str = same(Config, 'augment')
    num_threads: int = same(Config, 'num_threads')
    seconds: float = setting(5.0, 'length of each measurement, in seconds', minimum=0.1)
    repeats: int = setting(3, 'number of measurements of each kind', minimum=1)
    json: Optional[str] = setting(None, 'file for the result, besides standard output', group='files')
    only: Optional[str] = setting(
        None,
        "kind to measure once, in this process: 'memory', 'disk', 'none' or 'torch:WORKERS'; unset: all, each in a "
        'separate process',
    )
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        if self.only is None:
            self.training()  # raises for settings that contradict each other

    def training(self, **changes: Any) -> Config:
        """Settings of cyclegan_tf.train with this stream.

        Raises:
            UserError: the settings contradict each other.
        """
        names = ('batch_size', 'load_size', 'crop_size', 'augment', 'num_threads')
        values = {name: getattr(self, name) for name in names}
        return CycleGANConfig(dataroot=self.dataroot or 'demo', **values, **changes)


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """Settings of `serving`."""

    netG: str = setting('resnet_9blocks', 'architecture of the generator', group='networks', choices=_RESNETS)
    ngf: int = setting(64, "filters of the generator's first convolution", group='networks', minimum=1)
    sizes: str = setting('128,256,512', 'sides of the images, in pixels, separated by commas', group='data')
    batches: str = setting('1,4', 'numbers of images in a request, separated by commas', group='data')
    format_size: int = setting(
        256, 'side of the image that goes through every format, in pixels', group='data', minimum=8
    )
    repeats: int = setting(5, 'number of measured requests of each kind, after a warm-up', minimum=1)
    json: Optional[str] = setting(None, 'file for the result, besides standard output', group='files')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        for name in ('sizes', 'batches'):
            numbers(name, getattr(self, name))  # raises for a value that cannot be parsed


@dataclasses.dataclass(frozen=True)
class GrowthConfig:
    """Settings of `growth`."""

    netG: str = setting('resnet_9blocks', 'architecture of the generators', group='networks', choices=_RESNETS)
    ngf: int = same(Config, 'ngf')
    ndf: int = same(Config, 'ndf')
    precision: str = setting(
        'float32', 'number format of the convolutions', group='networks', choices=('float32', 'bfloat16')
    )
    sizes: str = setting('128,256,512', 'sides of the images, in pixels, separated by commas', group='data')
    batches: str = setting('1,2,4', 'numbers of images of each domain in a step, separated by commas', group='data')
    replicas: str = setting(
        '1,2', 'numbers of logical CPUs that train together on one batch, separated by commas', group='devices'
    )
    crop_size: int = setting(
        256, 'side of the images in the measurements of replicas and parts, in pixels', group='data', minimum=32
    )
    repeats: int = setting(
        5, 'number of measured turns of a second or a step, or calls of each part, after a warm-up', minimum=1
    )
    peak_side: int = setting(
        4096, 'number of rows and of columns of the matrices whose product measures the peak of the machine', minimum=8
    )
    write: bool = setting(False, 'write the page and its picture', group='files')
    output: str = setting(
        'docs/training_step.md', 'file for the page; the picture has the same name with .png', group='files'
    )
    json: Optional[str] = setting(None, 'file for the result, besides standard output', group='files')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        for name in ('sizes', 'batches', 'replicas'):
            numbers(name, getattr(self, name))  # raises for a value that cannot be parsed
        self.training()  # raises if the networks do not take the images
        for side in numbers('sizes', self.sizes):
            try:
                self.training(crop_size=side)
            except UserError as error:
                raise UserError(f'`sizes` ({self.sizes}): {error}') from error
        if self.write and importlib.util.find_spec('matplotlib') is None:  # now, not after hours of measuring
            raise UserError(
                "Matplotlib is not installed, which --write needs; install cyclegan_tf's extra 'benchmark': "
                "pip install '.[benchmark]'."
            )

    def training(self, **changes: Any) -> dict[str, Any]:
        """Settings of cyclegan_tf.train.

        Raises:
            UserError: the networks do not take these images.
        """
        names = ('netG', 'ngf', 'ndf', 'precision', 'crop_size')
        values = {'dataroot': 'demo', **{name: getattr(self, name) for name in names}, **changes}
        values['load_size'] = values['crop_size']
        CycleGANConfig(**values)
        return values


@dataclasses.dataclass(frozen=True)
class GpuConfig:
    """Settings of `gpu`."""

    models: str = setting(
        'cycle_gan,pix2pix,CUT', f'models, separated by commas, from {", ".join(GPU_MODELS)}', group='networks'
    )
    netG: Optional[str] = same(ModelsConfig, 'netG')
    ngf: int = same(Config, 'ngf')
    ndf: int = same(Config, 'ndf')
    crop_size: int = same(ModelsConfig, 'crop_size')
    batches: str = setting('1,4,16', 'numbers of images of each domain in a step, separated by commas', group='data')
    kinds: Optional[str] = setting(
        None,
        f'kinds of steps to measure, separated by commas, from {", ".join(itertools.chain(*GPU_STEPS))}; unset: all, '
        f'or with --dry_run {", ".join(DRY_STEPS)}',
    )
    repeats: int = setting(10, 'number of measured steps of each kind, after two that warm up', minimum=1)
    minutes: float = setting(
        10.0, 'time for everything; kinds that would not fit into the rest of it are left out', minimum=0.1
    )
    dry_run: bool = setting(
        False,
        'try the script on CPUs, with tiny networks and images, one step of each kind and the first batch; and count '
        'on paper what a GPU has to do for a step of the networks, images and batch that are set',
    )
    json: Optional[str] = setting(None, 'file for the result, besides standard output', group='files')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        numbers('batches', self.batches)  # raises for a value that cannot be parsed
        choose_kinds(self.kinds, tuple(itertools.chain(*GPU_STEPS)))  # raises for unknown kinds
        unknown = [model for model in self.models.split(',') if model not in GPU_MODELS]
        if unknown:
            raise UserError(f"`models` ('{unknown[0]}') is not one of: {', '.join(GPU_MODELS)}.")


@dataclasses.dataclass(frozen=True)
class AllConfig:
    """Settings of `all`."""

    train: str = setting('', "flags of the benchmark `train`, as in '--crop_size=128 --repeats=3'")
    translate: str = setting('', 'flags of the benchmark `translate`')
    pipeline: str = setting('', 'flags of the benchmark `pipeline`')
    serving: str = setting('', 'flags of the benchmark `serving`')
    growth: bool = setting(False, 'run the benchmark `growth` too, which takes long')
    growth_flags: str = setting('', 'flags of the benchmark `growth`')
    json: Optional[str] = setting(
        None, 'file for the results, besides standard output; rewritten after each benchmark', group='files'
    )
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)

    def flags(self) -> dict[str, list[str]]:
        """The flags of each benchmark that runs.

        Raises:
            UserError: a quotation mark is not closed.
        """
        settings = {name: name for name in OF_ALL} | ({'growth': 'growth_flags'} if self.growth else {})
        result = {}
        for name, field in settings.items():
            try:
                result[name] = shlex.split(getattr(self, field))
            except ValueError as error:
                value = getattr(self, field)
                raise UserError(f"`{field}` ('{value}') cannot be parsed ({error}); correct it.") from error
        return result


def choose_kinds(value: Optional[str], known: Sequence[str], default: Optional[Sequence[str]] = None) -> list[str]:
    """The kinds that --kinds names; unset: `default`, or all.

    Raises:
        UserError: a kind is unknown.
    """
    chosen = list(dict.fromkeys(value.split(','))) if value else list(default or known)
    unknown = [kind for kind in chosen if kind not in known]
    if unknown:
        raise UserError(f"`kinds` ('{unknown[0]}') is not one of: {', '.join(known)}.")
    return chosen


def numbers(name: str, value: str) -> list[int]:
    """'1,4' -> [1, 4].

    Raises:
        UserError: the setting `name` is not a list of positive integers, separated by commas.
    """
    parts = value.split(',')
    if not all(part.isdigit() and int(part) for part in parts):
        raise UserError(f"`{name}` ('{value}') is not a list of positive integers, such as 1,4; correct it.")
    return [int(part) for part in parts]


def image_size(value: str) -> tuple[int, int]:
    """Width and height in pixels: '256' -> (256, 256), '1024x768' -> (1024, 768).

    Raises:
        UserError: the setting `size` cannot be parsed, or the networks do not take such images.
    """
    match = re.fullmatch(r'([0-9]+)(?:x([0-9]+))?', value)
    if not match:
        raise UserError(f"`size` ('{value}') is not a side or 'WIDTHxHEIGHT', as in 1024x768; correct it.")
    width, height = int(match[1]), int(match[2] or match[1])
    if width % 4 or height % 4 or min(width, height) < 8:
        raise UserError(f'`size` ({value}) is not a multiple of 4 and at least 8, as the networks need; set it to one.')
    return width, height
