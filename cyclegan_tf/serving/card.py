"""The model card: what an exported generator is, how good its translations were, and how to query it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.serving.signatures import takes_pictures
from cyclegan_tf.settings.export import ExportConfig
from cyclegan_tf.settings.training import Config


@dataclasses.dataclass(frozen=True)
class Exported:
    """The part of a run that is exported.

    Attributes:
        config: the run's settings.
        step: training step of the weights.
        translations: the requested translations by name, such as 'AtoB'.
        value_ranges: the values that -1 and 1 stand for in the images and in the results of each; None: levels.
    """

    config: Config
    step: int
    translations: Mapping[str, Translation]
    value_ranges: Mapping[str, tuple[Optional[tuple[float, float]], Optional[tuple[float, float]]]]


def model_card(exported: Exported, direction: str, name: str, settings: ExportConfig) -> str:
    """The model card of a direction's generator, as Markdown."""
    config = exported.config
    translation = exported.translations[direction]
    channels_in, channels_out = translation.channels
    size = f'{config.crop_size}x{config.crop_size}' if config.crops else 'whole images'
    figures = measures(pathlib.Path(settings.results_dir) / settings.name, exported.step, direction)
    metrics = '\n'.join(f'| {what} | {value:.4g} | {where} |' for what, value, where in figures)
    table = f'| measure | value | from |\n|---|---|---|\n{metrics}' if figures else 'None were found for this step.'
    shared = {field.name for field in dataclasses.fields(Config)}
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in shared}
    values = {name: value for name, value in values.items() if value is not None}
    own = [f'{name} {value:g}' if isinstance(value, float) else f'{name} {value}' for name, value in values.items()]
    ranges = exported.value_ranges[direction]
    pictures = takes_pictures(translation.channels, ranges, config.input_folders is not None)
    weights = sum(int(tf.size(variable)) for variable in translation.network.variables)
    return f"""# {name}

A generator ({translation.network_name}, model {config.model}) that translates images of domain {translation.source} \
into images of domain {translation.target}.

| | |
|---|---|
| trained on | `{config.dataroot}`, {config.dataset_mode} images, `{config.preprocess}`, {size} |
| run | `{settings.name}`, step {exported.step:,} (`--epoch={settings.epoch}`), batch size {config.batch_size} |
| architecture | {config.netG}, {config.ngf} filters, norm {config.norms['generator']}, {weights:,} weights \
in {settings.precision} |
| channels | {channels_in} in, {channels_out} out |
{_weights_row(config, settings)}\
{_range_rows(ranges)}{_test_time_row(config)}\
| losses and settings of the model | {', '.join([config.gan_mode, *own])} |
| exported with | TensorFlow {tf.__version__} |

## Measures

{table}

## Signatures

| name | in | out |
|---|---|---|
{_signature_rows(translation, ranges, pictures)}

{_about_pictures(settings.max_pixels) if pictures else _about_floats(settings.max_pixels)}

## Example

{_example_of_pictures(name) if pictures else _example_of_floats(name, channels_in, any(ranges))}
"""


def _weights_row(config: Config, settings: ExportConfig) -> str:
    if not config.ema_decay:
        return ''
    average = f'running mean over the training, decay {config.ema_decay:g}'
    return f'| weights | {average if settings.weights == "average" else "those of the last step"} |\n'


def _test_time_row(config: Config) -> str:
    """What the exported generator does, if cyclegan_tf.translate can do otherwise."""
    has = [
        what
        for what, there in (
            ('running statistics of batch norm', config.norms['generator'] == 'batch'),
            ('no dropout', not config.no_dropout),
        )
        if there
    ]
    if not has:
        return ''
    return f'| outside training | {" and ".join(has)}, as cyclegan_tf.translate with --eval |\n'


_Ranges = tuple[Optional[tuple[float, float]], Optional[tuple[float, float]]]


def _range_rows(ranges: _Ranges) -> str:
    return ''.join(
        f'| range of the {what} values, which are -1 and 1 for the network | {ends[0]:g} to {ends[1]:g} |\n'
        for what, ends in zip(('input', 'output'), ranges)
        if ends is not None
    )


def _signature_rows(translation: Translation, ranges: _Ranges, pictures: bool) -> str:
    floats = [f'float32 [batch, height, width, {channels}]' for channels in translation.channels]
    rows = []
    if pictures:
        rows += [
            '| `serving_default` | `image_bytes`: string [batch], JPEG, PNG or BMP each, of any size and channels | '
            '`image_bytes`: string [batch], PNGs of 8 bits and the same height and width |',
            '| `translate_images` | `images`: uint8 [batch, height, width, 1 to 4] | `images`: uint8, the same height '
            'and width |',
        ]
    rows += [f'| `translate_floats` | `images`: {floats[0]} in [-1, 1] | `images`: {floats[1]} in [-1, 1] |']
    if any(ranges):
        low_high = ['from {:g} to {:g}'.format(*value_range) if value_range else 'in [-1, 1]' for value_range in ranges]
        rows += [f'| `translate_values` | `values`: {floats[0]} {low_high[0]} | `values`: {floats[1]} {low_high[1]} |']
    return '\n'.join(rows)


def _about_pictures(max_pixels: int) -> str:
    return f"""Alpha is kept; 16 bits are read and 8 written; EXIF orientation is not applied. Images of more than \
{max_pixels:,} pixels, and files that cannot be decoded, are refused with INVALID_ARGUMENT."""


def _about_floats(max_pixels: int) -> str:
    return f"""Encoded pictures are not accepted, since they cannot hold such images. Images of more than \
{max_pixels:,} pixels are refused with INVALID_ARGUMENT."""


def _example_of_pictures(name: str) -> str:
    return f"""With TensorFlow Serving on this machine:

```
(printf '{{"instances": [{{"b64": "'; base64 < photo.jpg | tr -d '\\n'; printf '"}}]}}') |
  curl -d @- http://localhost:8501/v1/models/{name}:predict
```

The answer is `{{"predictions": [{{"b64": "..."}}]}}`, the PNG in base64. In Python, with TensorFlow alone:

```python
model = tf.saved_model.load('{name}/VERSION')
answer = model.signatures['serving_default'](image_bytes=tf.constant([open('photo.jpg', 'rb').read()]))
open('translated.png', 'wb').write(answer['image_bytes'].numpy()[0])
```"""


def _example_of_floats(name: str, channels: int, has_range: bool) -> str:
    signature, tensor = ('translate_values', 'values') if has_range else ('translate_floats', 'images')
    return f"""In Python, with TensorFlow alone; `{tensor}` is float32 [batch, height, width, {channels}]:

```python
model = tf.saved_model.load('{name}/VERSION')
answer = model.signatures['{signature}']({tensor}=tf.constant({tensor}))
translated = answer['{tensor}'].numpy()
```

TensorFlow Serving takes the same: `curl -d '{{"signature_name": "{signature}", "instances": [...]}}' \
http://localhost:8501/v1/models/{name}:predict`."""


def measures(results: pathlib.Path, step: int, direction: str) -> list[tuple[str, float, str]]:
    """The values for a step and a direction in the metrics.json files of a run's results: (measure, value, file).

    The files of cyclegan_tf.translate have a value for each measure and direction, those of cyclegan_tf.evaluate a list
    of checkpoints.
    """
    found = []
    for path in sorted(results.glob('*/metrics.json')):
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"'{path}' cannot be read ({error}); delete it or translate again.") from error
        where = ', '.join(filter(None, [str(path), values.get('test_time')]))
        if values.get('step') == step:
            of_step = {name: value.get(direction) for name, value in values.items() if isinstance(value, dict)}
            found += [(name, value, where) for name, value in of_step.items()]
        for one in values.get('checkpoints', ()):
            if one['step'] == step:
                found += [(name, value, where) for name, value in one['results'].get(direction, {}).items()]
    return [(name, float(value), where) for name, value, where in found if isinstance(value, (int, float))]
