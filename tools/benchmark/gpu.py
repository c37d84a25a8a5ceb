"""Measures the models' steps on an NVIDIA GPU, in ten minutes: python tools/benchmark.py gpu [--minutes=10 --dry_run]

First one step of each model on the GPU is compared with that on the CPU, in float32 without TF32. Then the step of each
model is measured in float32 (with TF32), bfloat16 and float16, with and without XLA, and beside PyTorch's: eager, in
channels_last, in autocast (bfloat16) and compiled. Each kind has a separate process, one after another, the most
important ones first. When the rest of the time does not suffice for a kind, it is left out, and the result says so.

The layout of images: without XLA, TensorFlow's graph optimizer chooses it on GPUs, by its source NCHW in float32 and
NHWC if most convolutions are float16; kinds with 'NHWC' keep the layout of the program. XLA always chooses by itself.

With --dry_run nothing needs a GPU: the same plan is carried out on CPUs, tiny, with the graph that GPUs get in the
comparison; and roofline.py counts on paper what a GPU has to do for the step in full size.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from benchmark import common, models, roofline, train
from benchmark.settings import DRY_STEPS, GPU_STEPS, GpuConfig, TrainConfig, choose_kinds, numbers
from cyclegan_tf.errors import UserError

_TOLERANCE = 1e-3  # relative, of losses and of the weights of a network
_PARITY_SHARE = 0.4  # of the time at most
_WARM_UPS = 2  # the first step compiles; PyTorch may compile again in the second
_TINY = {'netG': 'resnet_6blocks', 'ngf': 4, 'ndf': 4, 'crop_size': 32}
_TINY_PIX2PIX = {**_TINY, 'crop_size': 256}  # its U-Net takes no smaller images
# Seconds that a kind is expected to take, its process included, until one like it has been measured.
_EXPECTED = {'compile': 90.0, 'xla': 75.0, '': 35.0}

_MEANING = (
    'seconds: of a step, which both sides wait for; peak_bytes: of tensors on the GPU in a step (on CPUs: of the '
    "process); ratios are to PyTorch's fastest kind of the same model and batch, 'best torch' in float32, 'best torch "
    "autocast' in bfloat16"
)
_ON_PAPER = (
    "counted from the HLO that XLA gets, before its optimisation; fusion is imitated, since XLA's own for GPUs needs a "
    'GPU (see tools/benchmark/roofline.py): operations of convolutions and products are exact, bytes and kernels '
    'estimates. roofline_seconds: the sum over kernels of the longer of operations / peak and bytes / bandwidth, as if '
    'every value came from memory, though some are still in the cache; launch_seconds: kernels * 3 us, an assumption; '
    'floor_seconds: the sum over kernels with at least 3 us each. without_fusion: a kernel for each instruction, which '
    "are finer than TensorFlow's own kernels. Peaks of an H100 SXM by NVIDIA's data sheet, dense: 67 TFLOP/s in "
    'float32, 495 in TF32, 989 in bfloat16, 3.35 TB/s'
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A step of a model, one of GPU_STEPS, on a batch."""

    model: str
    batch: int
    step: str

    @property
    def name(self) -> str:
        return f'{self.model}, batch {self.batch}: {self.step}'

    @property
    def effort(self) -> str:
        """What decides how long it takes: 'compile', 'xla' or ''."""
        return next((word for word in ('compile', 'xla') if word in self.step), '')


def main(config: GpuConfig) -> int:
    """Prints the result as JSON; returns the exit status: 1 if the GPU does not compute what the CPU computes."""
    result = measure(config)
    status = common.finish(result, config.json)
    return status or int(not all(row['passed'] for row in result['parity'].values()))


def measure(config: GpuConfig) -> dict[str, Any]:
    """Parity, measurements, ratios, what was left out and why; with --dry_run also what was counted on paper.

    Raises:
        UserError: there is no GPU, and it is no dry run.
    """
    start = time.monotonic()
    if not config.dry_run:
        import tensorflow as tf

        if not tf.config.list_physical_devices('GPU'):
            raise UserError(
                '`dry_run` (False) needs an NVIDIA GPU, and TensorFlow finds none; set --dry_run to try the script on '
                "CPUs and to count a GPU's work."
            )
    result = {
        'machine': common.machine(not config.dry_run),
        'settings': common.settings_of(config),
        'meaning': _MEANING,
        'parity': check_parity(config, start + 60 * config.minutes * _PARITY_SHARE),
    }
    result.update(measure_steps(config, start + 60 * config.minutes))
    if config.dry_run:
        with common.Served(common.worker('gpu'), 'on paper', {'do': 'paper', **dataclasses.asdict(config)}) as process:
            result['on_paper'] = {'meaning': _ON_PAPER, 'steps': process.ask()['steps']}
    return result


# ------------------------------------------------------------------------------------------------------------- the plan
def plan(config: GpuConfig) -> list[Kind]:
    """What to measure, the most important kinds first: rows of GPU_STEPS and batches count alike."""
    kinds = choose_kinds(config.kinds, tuple(itertools.chain(*GPU_STEPS)), DRY_STEPS if config.dry_run else None)
    batches = numbers('batches', config.batches)[: 1 if config.dry_run else None]
    found = []
    for (row, steps), (place, batch) in itertools.product(enumerate(GPU_STEPS), enumerate(batches)):
        for model, step in itertools.product(config.models.split(','), steps):
            if step in kinds:
                found.append((row + place, Kind(model, batch, step)))
    return [kind for _, kind in sorted(found, key=lambda pair: pair[0])]


def step_settings(model: str, batch: int, config: GpuConfig, full_size: bool = False) -> TrainConfig:
    """The settings of the benchmark `train` for a model: those of the config, or tiny ones in a dry run.

    Args:
        model: one of GPU_MODELS.
        batch: the batch size.
        config: the settings of `gpu`.
        full_size: as set, even in a dry run.
    """
    sizes = {name: getattr(config, name) for name in _TINY}
    if config.dry_run and not full_size:
        sizes = dict(_TINY_PIX2PIX if model == 'pix2pix' else _TINY)
    _, settings = models.settings(model, {**sizes, 'batch_size': batch})
    return dataclasses.replace(settings, device='cpu' if config.dry_run else 'gpu')


# ------------------------------------------------------------------------------------------------- measuring the steps
class Limited(common.Served):
    """A separate process, as common.Served, that is ended when a time is over."""

    def ask_until(self, end: float) -> dict[str, Any]:
        """As `ask`.

        Args:
            end: time of time.monotonic.

        Raises:
            UserError: the process has ended, or the time is over.
        """
        timer = threading.Timer(max(0.0, end - time.monotonic()), self._process.kill)
        timer.start()
        try:
            return self.ask()
        except UserError as error:
            if time.monotonic() >= end:
                raise UserError('the time was over before it had been measured') from error
            raise
        finally:
            timer.cancel()


def measure_steps(config: GpuConfig, end: float) -> dict[str, Any]:
    """'steps': kind -> its measurements; 'ratios'; and 'left_out': kind -> why it was not measured."""
    kinds, on_gpu = plan(config), not config.dry_run
    usable = set(common.installed(list(dict.fromkeys(kind.step for kind in kinds)), on_gpu))
    rows: dict[Kind, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    expected = dict(_EXPECTED) if on_gpu else dict.fromkeys(_EXPECTED, 0.0)
    measured: set[str] = set()
    for kind in kinds:
        start = time.monotonic()
        if kind.step not in usable:
            left_out[kind.name] = 'PyTorch is not installed, or finds no GPU'
        elif start + expected[kind.effort] > end:
            rest = max(0.0, end - start)
            left_out[kind.name] = f'{rest:.0f} s are left, and it may take {expected[kind.effort]:.0f} s'
        else:
            try:
                rows[kind] = measure_one(kind, config, end)
            except UserError as error:  # such as: the batch does not fit into the GPU's memory; the others still do
                left_out[kind.name] = str(error)
            taken = time.monotonic() - start
            expected[kind.effort] = max(taken, expected[kind.effort] if kind.effort in measured else 0.0)
            measured.add(kind.effort)
        if kind.name in left_out:
            common.say(f'{kind.name}: left out: {left_out[kind.name]}')
    return {'steps': {kind.name: row for kind, row in rows.items()}, 'ratios': ratios(rows), 'left_out': left_out}


def measure_one(kind: Kind, config: GpuConfig, end: float) -> dict[str, float]:
    """The median of a kind's seconds, with minimum and maximum, its peak memory, and images per second."""
    settings = step_settings(kind.model, kind.batch, config)
    values = {'do': 'step', 'step': kind.step, 'settings': dataclasses.asdict(settings)}
    warm_ups, repeats = (1, 1) if config.dry_run else (_WARM_UPS, config.repeats)
    with Limited(common.worker('gpu'), kind.name, values, not config.dry_run) as process:
        for _ in range(warm_ups):
            process.ask_until(end)
        answers = [process.ask_until(end) for _ in range(repeats)]
    row = common.summary([answer['seconds'] for answer in answers])
    row.update(peak_bytes=answers[-1]['peak_bytes'], images_per_second=kind.batch / row['seconds'])
    common.say(f'{kind.name}: {row["seconds"]:.4f} s a step')
    return row


def ratios(rows: Mapping[Kind, Mapping[str, float]]) -> dict[str, float]:
    """Ratios to PyTorch's best, of seconds and of memory, for each model and batch."""
    found = {}
    for model, batch in dict.fromkeys((kind.model, kind.batch) for kind in rows):
        own = {kind.step: row for kind, row in rows.items() if (kind.model, kind.batch) == (model, batch)}
        pairs = []
        for step in own:
            if not step.startswith('torch'):
                pairs.append((step, 'best torch'))
                pairs += [] if step.startswith('float32') else [(step, 'best torch autocast')]
        of_one = common.ratios(own, {'step': 'seconds', 'memory': 'peak_bytes'}, pairs)
        found.update({f'{model}, batch {batch}: {name}': ratio for name, ratio in of_one.items()})
    return found


# --------------------------------------------------------------------------------------------------------------- parity
def check_parity(config: GpuConfig, end: float) -> dict[str, dict[str, Any]]:
    """For each model and each way to compute on the GPU the relative differences from the CPU after one step: the
    greatest of the losses, of the networks' weights before and after it, and of a single kernel and its gradient; or
    the 'reason' why there are none.

    Weights are the kernels of convolutions and products, and running statistics. Biases in front of an instance norm
    have gradients of pure rounding, whose signs Adam takes for gradients.
    """
    ways = {'dry run': 'float32'} if config.dry_run else {'GPU, XLA': 'float32 xla', 'GPU': 'float32'}
    batch = numbers('batches', config.batches)[0]
    rows = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        processes = {}
        for model in config.models.split(','):
            settings = dataclasses.asdict(step_settings(model, batch, config))
            for way, step in {'CPU': 'float32', **ways}.items():
                on_gpu = way.startswith('GPU')
                values = {
                    'do': 'parity',
                    'step': step,
                    'settings': {**settings, 'device': 'gpu' if on_gpu else 'cpu'},
                    'as_on_gpus': way != 'CPU',
                    'file': str(pathlib.Path(folder) / f'{model} {way}.npz'),
                }
                name = f'parity of {model}, {way}'
                processes[model, way] = stack.enter_context(Limited(common.worker('gpu'), name, values, on_gpu)), values
        with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:  # each waits for another process
            answers = {key: pool.submit(process.ask_until, end) for key, (process, _) in processes.items()}
        for (model, way), answer in answers.items():
            if way == 'CPU':
                continue
            files = [pathlib.Path(processes[model, one][1]['file']) for one in ('CPU', way)]
            try:
                row = compare(answers[model, 'CPU'].result()['losses'], answer.result()['losses'], *files)
            except UserError as error:  # the steps are measured all the same; the exit status tells
                row = {'reason': str(error), 'passed': False}
            rows[f'{model}, {way}'] = row
            common.say(f'parity of {model}, {way}: {row}')
    return rows


def compare(
    losses: Mapping[str, float], others: Mapping[str, float], file: pathlib.Path, other: pathlib.Path
) -> dict[str, Any]:
    """The relative differences of one step from another, and whether it has 'passed'.

    Args:
        losses, others: losses by name.
        file, other: arrays of both, 'initial/NETWORK/i', 'weights/NETWORK/i' and 'gradient/PLAYER/i'.
    """
    with np.load(file) as ours, np.load(other) as theirs:
        pairs = {name: (ours[name], theirs[name]) for name in ours.files}
    by_array = {name: _difference([pair]) for name, pair in pairs.items()}
    row = {'losses': max(abs(others[name] - value) / max(abs(value), 1e-6) for name, value in losses.items())}
    for when in ('initial', 'weights'):
        networks = dict.fromkeys(name.split('/')[1] for name in pairs if name.startswith(when))
        row[when] = max(
            _difference([pair for name, pair in pairs.items() if name.startswith(f'{when}/{network}/')])
            for network in networks
        )
    row['worst_kernel'] = max(value for name, value in by_array.items() if name.startswith('weights'))
    row['worst_gradient'] = max(value for name, value in by_array.items() if name.startswith('gradient'))
    row['passed'] = bool(max(row['losses'], row['weights']) <= _TOLERANCE)
    return row


def _difference(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The norm of the differences of all pairs, relative to that of their first members."""
    norm = np.sqrt(sum(float(np.square(one, dtype=np.float64).sum()) for one, _ in pairs))
    difference = np.sqrt(sum(float(np.square(one.astype(np.float64) - other).sum()) for one, other in pairs))
    return float(difference / norm) if norm else float(difference)


# ------------------------------------------------------------------------------------------------------ worker process
def work(kind: str, values: Mapping[str, Any]) -> Callable[[], Optional[Mapping[str, Any]]]:
    """A function that does one step of a kind, or a step whose results are compared, or that counts on paper."""
    if values['do'] == 'paper':
        names = {field.name for field in dataclasses.fields(GpuConfig)}
        return functools.partial(on_paper, GpuConfig(**{name: values[name] for name in names}))
    settings = TrainConfig(**values['settings'])
    if values['do'] == 'parity':
        return _parity_step(values['step'], settings, values['as_on_gpus'], pathlib.Path(values['file']))
    step = values['step']
    if step.endswith(' NHWC'):
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({'layout_optimizer': False})  # other options are set besides
    return train.work(step.removesuffix(' NHWC'), dataclasses.asdict(settings))


def _parity_step(
    step: str, settings: TrainConfig, as_gpus: bool, file: pathlib.Path
) -> Callable[[], Mapping[str, Any]]:
    import tensorflow as tf

    from benchmark.step import open_model

    tf.config.experimental.enable_tensor_float_32_execution(False)
    config = train.training(step, settings)
    devices, model = open_model(config)
    images = [tf.constant(image) for image in common.images(settings)]

    def do():
        arrays = _weights(model, 'initial')
        with as_on_gpus() if as_gpus else contextlib.nullcontext():
            metrics = whole_step(devices, model)(*images).numpy()
        arrays |= _weights(model, 'weights')
        for player in model.players.values():
            for i, moment in enumerate(player.optimizer._momentums):  # after one step, the gradient times 1 - beta1
                if len(moment.shape) >= 2:
                    arrays[f'gradient/{player.name}/{i}'] = moment.numpy()
        np.savez(file, **arrays)
        losses = {name: float(value) for name, value in zip(model.metric_names, metrics) if name.startswith('loss/')}
        return {'losses': losses}

    return do


def _weights(model, when: str) -> dict[str, np.ndarray]:
    return {
        f'{when}/{name}/{i}': variable.numpy()
        for name, network in model.networks().items()
        for i, variable in enumerate(network.weights)
        if len(variable.shape) >= 2 or 'running' in variable.name
    }


def whole_step(devices, model) -> Callable:
    """The model's step as a function of a batch, (real_a, real_b) -> metrics; compiled by XLA if the model is to be."""
    import tensorflow as tf

    @functools.partial(tf.function, jit_compile=model.compile_whole or None, autograph=False)
    def step(real_a, real_b):
        return devices.strategy.experimental_local_results(devices.strategy.run(model.train_step, (real_a, real_b)))[0]

    return step


@contextlib.contextmanager
def as_on_gpus() -> Iterator[None]:
    """A context in which what is traced is what machines with a GPU would trace: the package asks for GPUs to choose
    between algorithms, and is told that there is one."""
    import tensorflow as tf

    found = tf.config.list_physical_devices
    tf.config.list_physical_devices = lambda kind=None: found('CPU') if kind == 'GPU' else found(kind)
    try:
        yield
    finally:
        tf.config.list_physical_devices = found


def on_paper(config: GpuConfig) -> Mapping[str, Any]:
    """{'steps': model -> number format -> roofline.summarise}, of the first batch and the sizes that are set."""
    found: dict[str, Any] = {}
    for model in config.models.split(','):
        rows = found[model] = {}
        for precision in ('float32', 'bfloat16'):
            settings = step_settings(model, numbers('batches', config.batches)[0], config, full_size=True)
            start = time.perf_counter()
            kernels, alone = roofline.count(hlo(precision, settings))
            common.say(f'{model}, {precision}: counted in {time.perf_counter() - start:.0f} s')
            for name in ('float32', 'TF32') if precision == 'float32' else ('bfloat16',):
                rows[name] = roofline.summarise(kernels, roofline.PEAKS[name])
                without = roofline.summarise(alone, roofline.PEAKS[name])
                rows[name]['without_fusion'] = {
                    column: without[column] for column in ('gigabytes', 'kernels', 'roofline_seconds', 'floor_seconds')
                }
                rows[name]['floor_images_per_second'] = settings.batch_size / rows[name]['floor_seconds']
    return {'steps': found}


def hlo(precision: str, settings: TrainConfig) -> str:
    """The step's program for XLA, as on GPUs, before optimisation."""
    import tensorflow as tf

    from benchmark.step import open_model

    # As on GPUs, where steps are not deterministic by default.
    settings = dataclasses.replace(settings, device='cpu', deterministic='false')
    config = train.training(f'{precision} xla', settings)
    devices, model = open_model(config)
    images = [tf.constant(image) for image in common.images(settings)]
    with as_on_gpus():
        compiled = whole_step(devices, model).experimental_get_compiler_ir(*images)
        return compiled(stage='hlo', device_name=images[0].device)
