"""Writes a run's generators for servers and phones: python -m cyclegan_tf.export --name=RUN --output=DIR."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.runtime.files import write_whole
from cyclegan_tf.serving import conversion, signatures, warmup
from cyclegan_tf.settings import options
from cyclegan_tf.settings.training import Config, setting, validate_epoch, validate_fields
from cyclegan_tf.translation.translator import Translator

# Settings without a meaning for the other formats.
_ONLY_FOR = {
    'version': 'saved_model',
    'precision': 'saved_model',
    'max_pixels': 'saved_model',
    'image_size': 'tflite',
    'quantize': 'tflite',
}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What an export is made from."""

    name: str = setting('experiment_name', 'of the run: its directory is CHECKPOINTS_DIR/NAME')
    checkpoints_dir: str = setting('./checkpoints', 'where the directories of runs are')
    output: str = setting(
        '', 'where to: the models are OUTPUT/NAME_DIRECTION/VERSION, or OUTPUT/NAME_DIRECTION.FORMAT; required'
    )
    format: str = setting(
        'saved_model',
        'saved_model: for TensorFlow Serving and TensorFlow; tflite: for phones (LiteRT); onnx',
        choices=('saved_model', *conversion.FORMATS),
    )
    direction: Optional[str] = setting(
        None,
        "names the data set's folders, whatever the run's own was; unset: all that the run has weights of",
        choices=('AtoB', 'BtoA', 'both'),
    )
    epoch: str = setting('latest', "'latest', 'best' (see keep_best of training), or the end of this epoch")
    version: Optional[int] = setting(
        None, 'a number, of which a server takes the highest; unset: the next that is free', minimum=1
    )
    precision: str = setting(
        'float32', 'of the weights on the disk and of the convolutions', choices=signatures.PRECISIONS
    )
    max_pixels: int = setting(16_000_000, 'of one image; the model refuses images with more', minimum=64)
    warmup: bool = setting(True, 'add requests with which TensorFlow Serving warms the model up')
    image_size: int = setting(256, 'height and width of the images of format tflite', minimum=1)
    quantize: str = setting(
        'none',
        'weights of format tflite; float16: half the size; dynamic: a quarter, and computed in 8 bits',
        choices=conversion.QUANTIZATIONS,
    )
    results_dir: str = setting('./results', 'where translate and evaluate put their measures, for the model card')
    verbose: bool = setting(False, 'show tracebacks of errors')

    def __post_init__(self):
        validate_fields(self)
        validate_epoch(self.epoch)
        if not self.output:
            raise UserError("`output` ('') is required; set it to the directory that is to hold the models.")
        for field in dataclasses.fields(self):
            value, wanted = getattr(self, field.name), _ONLY_FOR.get(field.name, self.format)
            if self.format != wanted and value != field.default:
                raise UserError(f'`{field.name}` ({value}) is for format {wanted}; leave it out.')


def parse(argv: Sequence[str]) -> ExportConfig:
    """Command line to settings; raises as options.parse."""
    return options.parse(ExportConfig, argv, options.REFUSED_WITH_A_RUN)


def main(settings: ExportConfig) -> int:
    """Exports; returns the exit status.

    Raises:
        UserError: there is no such run or checkpoint, or it lacks a generator that was asked for; the version exists;
            the output cannot be written. Nothing has been written then.
    """
    if settings.format == 'saved_model' and settings.warmup:
        warmup.import_messages()  # what is missing shows before the work, not after it
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = options.load_config(run_directory)
    translator = Translator.from_checkpoint(config, checkpoints.find(run_directory, settings.epoch))
    wanted = [one.name for one in translator.choose(settings.direction)]
    paths = {direction: pathlib.Path(settings.output) / f'{settings.name}_{direction}' for direction in wanted}
    try:
        (write_models if settings.format == 'saved_model' else write_files)(translator, paths, settings)
    except tf.errors.OpError as error:
        reason = ' '.join(error.message.split())
        raise UserError(f"`output` ('{settings.output}') cannot be written ({reason}); set it to another.") from error
    return 0


def write_models(translator: Translator, models: dict[str, pathlib.Path], settings: ExportConfig) -> None:
    """Writes a version of each direction's SavedModel into its folder."""
    version = find_version(list(models.values()), settings.version)
    with contextlib.ExitStack() as stack:
        folders = {direction: stack.enter_context(unfinished(model, version)) for direction, model in models.items()}
        for direction, folder in folders.items():
            write_model(translator, direction, folder, models[direction].name, settings)
        for direction, folder in folders.items():
            publish(folder, models[direction] / str(version))
            print(models[direction] / str(version))


def write_files(translator: Translator, stems: dict[str, pathlib.Path], settings: ExportConfig) -> None:
    """Writes each direction's generator as one file for another runtime, each whole or not at all."""
    paths = {direction: stem.with_name(f'{stem.name}.{settings.format}') for direction, stem in stems.items()}
    for path in paths.values():
        if path.exists():
            raise UserError(f"'{path}' exists, which is never overwritten; set `output` to another directory.")
    for direction, path in paths.items():
        translation = translator.translation(direction)
        network, channels = translation.network, translation.channels[0]
        if settings.format == 'tflite':
            data = conversion.to_tflite(network, channels, settings.image_size, settings.quantize)
        else:
            data = conversion.to_onnx(network, channels)
        write_whole(path, data)
        print(path)


def write_model(
    translator: Translator, direction: str, folder: pathlib.Path, name: str, settings: ExportConfig
) -> None:
    """Writes the SavedModel of a direction with its warm-up requests and its card into a folder.

    The translator's network is in the precision of the settings afterwards.
    """
    translation = translator.translation(direction)
    network = translation.network
    if settings.precision != 'float32':
        signatures.lower_precision(network, settings.precision)
    servable = signatures.Servable(network, translation.channels[0], settings.max_pixels)
    tf.saved_model.save(servable, str(folder), signatures=servable.signatures())
    if settings.warmup:
        warmup.write(folder, name, servable.input_channels, settings.max_pixels)
    (folder / 'MODEL.md').write_text(model_card(translator, direction, name, settings))


# -------------------------------------------------------------------------------------------------------------- folders
def find_version(models: list[pathlib.Path], asked: Optional[int]) -> int:
    """The version under which all models of an export are written.

    Args:
        models: their folders, which may not exist yet.
        asked: for this one; None: one above all that there are.

    Raises:
        UserError: it exists.
    """
    if asked is None:
        taken = [
            int(path.name) for model in models if model.is_dir() for path in model.iterdir() if path.name.isdigit()
        ]
        return max(taken, default=0) + 1
    for model in models:
        _refuse_existing(model / str(asked))
    return asked


@contextlib.contextmanager
def unfinished(model: pathlib.Path, version: int) -> Iterator[pathlib.Path]:
    """An empty folder to write a version in; it is taken away afterwards, if it is still there.

    It lies beside the model's folder rather than in it, where a server may be watching.
    """
    folder = model.parent / f'.{model.name}-{version}.{os.getpid()}.part'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: pathlib.Path, version: pathlib.Path) -> None:
    """Moves a finished folder to its place in one step.

    Raises:
        UserError: the place has been taken meanwhile.
    """
    version.parent.mkdir(parents=True, exist_ok=True)
    _refuse_existing(version)
    os.rename(folder, version)  # which fails for a folder that came into being since, unless it is empty


def _refuse_existing(version: pathlib.Path) -> None:
    if version.exists():
        raise UserError(
            f"`version` ({version.name}) exists: '{version}' is never overwritten; set it to another, or leave it out "
            f'for the next number.'
        )


# ------------------------------------------------------------------------------------------------------ the model card
def model_card(translator: Translator, direction: str, name: str, settings: ExportConfig) -> str:
    """What the model is and how to ask it, as Markdown."""
    config = translator.config
    translation = translator.translation(direction)
    channels_in, channels_out = translation.channels
    size = f'{config.crop_size}x{config.crop_size}' if config.crops else 'whole images'
    figures = measures(pathlib.Path(settings.results_dir) / settings.name, translator.step, direction)
    metrics = '\n'.join(f'| {what} | {value:.4g} | {where} |' for what, value, where in figures)
    table = f'| measure | value | from |\n|---|---|---|\n{metrics}' if figures else 'None were found for this step.'
    shared = {field.name for field in dataclasses.fields(Config)}
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in shared}
    own = [f'{name} {value:g}' if isinstance(value, float) else f'{name} {value}' for name, value in values.items()]
    weights = sum(int(tf.size(variable)) for variable in translation.network.variables)
    return f"""# {name}

A generator ({translation.network_name}, model {config.model}) that turns images of domain {translation.source} into \
such of domain {translation.target}.

| | |
|---|---|
| trained on | `{config.dataroot}`, {config.dataset_mode} images, `{config.preprocess}`, {size} |
| run | `{settings.name}`, step {translator.step:,} (`--epoch={settings.epoch}`), batch size {config.batch_size} |
| architecture | {config.netG}, {config.ngf} filters, norm {config.norm}, {weights:,} weights in {settings.precision} |
| channels | {channels_in} in, {channels_out} out |
| losses and settings of the model | {', '.join([config.gan_mode, *own])} |
| exported with | TensorFlow {tf.__version__} |

## Measures

{table}

## Signatures

| name | in | out |
|---|---|---|
| `serving_default` | `image_bytes`: string [batch], JPEG, PNG or BMP each, of any size and channels | `image_bytes`: \
string [batch], PNGs of 8 bits and the same height and width |
| `translate_images` | `images`: uint8 [batch, height, width, 1 to 4] | `images`: uint8, the same height and width |
| `translate_floats` | `images`: float32 [batch, height, width, {channels_in}] in [-1, 1] | `images`: \
float32 [batch, height, width, {channels_out}] in [-1, 1] |

Alpha is kept; 16 bits are read and 8 written; EXIF orientation is not applied. Images of more than \
{settings.max_pixels:,} pixels, and what cannot be decoded, are refused with INVALID_ARGUMENT.

## Example

With TensorFlow Serving on this machine:

```
(printf '{{"instances": [{{"b64": "'; base64 < photo.jpg | tr -d '\\n'; printf '"}}]}}') |
  curl -d @- http://localhost:8501/v1/models/{name}:predict
```

answers `{{"predictions": [{{"b64": "..."}}]}}`, the PNG in base64. In Python, with TensorFlow alone:

```python
model = tf.saved_model.load('{name}/VERSION')
answer = model.signatures['serving_default'](image_bytes=tf.constant([open('photo.jpg', 'rb').read()]))
open('translated.png', 'wb').write(answer['image_bytes'].numpy()[0])
```
"""


def measures(results: pathlib.Path, step: int, direction: str) -> list[tuple[str, float, str]]:
    """What metrics.json files of a run's results say of a step and a direction: measure, value, file.

    Those of cyclegan_tf.translate hold a value for each measure and direction, those of cyclegan_tf.evaluate a list of
    checkpoints.
    """
    found = []
    for path in sorted(results.glob('*/metrics.json')):
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"'{path}' cannot be read ({error}); delete it or translate again.") from error
        if values.get('step') == step:
            of_step = {name: value.get(direction) for name, value in values.items() if isinstance(value, dict)}
            found += [(name, value, str(path)) for name, value in of_step.items()]
        for one in values.get('checkpoints', ()):
            if one['step'] == step:
                found += [(name, value, str(path)) for name, value in one['results'].get(direction, {}).items()]
    return [(name, float(value), where) for name, value, where in found if isinstance(value, (int, float))]


if __name__ == '__main__':
    options.run_program('cyclegan_tf.export', parse, main)
