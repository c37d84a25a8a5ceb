"""Writes a run's weights for PyTorch: python tools/export_torch_weights.py --name=RUN --output=DIR

The files are those that the PyTorch programs of CycleGAN, pix2pix and CUT save, latest_net_G_A.pth and so on. Put them
into that program's checkpoints/NAME, and load them with the same --netG, --ngf, --norm and so on. Only CUT's program
has --normG and --normD; to translate with the others, --norm has to be the generators'.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime import importing  # noqa: E402
from cyclegan_tf.runtime.files import whole_file  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import same, setting, validate_epoch, validate_fields  # noqa: E402
from cyclegan_tf.settings.run_flags import load_config  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402
from cyclegan_tf.settings.translation import TranslateConfig  # noqa: E402

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Which weights are written, and where."""

    name: str = same(Config, 'name')
    checkpoints_dir: str = same(Config, 'checkpoints_dir')
    epoch: str = setting(
        'latest', "checkpoint to write: 'latest', 'best' (see --keep_best of training), or the number of an epoch"
    )
    weights: str = same(TranslateConfig, 'weights')
    output: str = setting('', 'folder for the files, OUTPUT/EPOCH_net_G_A.pth and so on; required')
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        if not self.output:
            raise UserError("`output` ('') is required; set it to the directory for the files.")
        validate_epoch(self.epoch)


def parse(argv: Sequence[str]) -> ExportConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(ExportConfig, argv)


def main(settings: ExportConfig) -> int:
    """Writes the files; returns the exit status.

    Raises:
        UserError: PyTorch is missing; the run or checkpoint does not exist; a file exists already or cannot be written.
    """
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    with importing.tensorflow():
        from cyclegan_tf.models import MODELS
        from cyclegan_tf.networks import torch_weights
        from cyclegan_tf.runs import checkpoints, torch_files

    torch = torch_files.import_torch()
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = load_config(run_directory)
    checkpoint = checkpoints.find(run_directory, settings.epoch)
    # Without image pools, whose size may depend on the data; the networks are the same.
    model = MODELS[config.model](dataclasses.replace(config, pool_size=0))
    checkpoints.restore_networks(model, checkpoint)
    networks = model.networks() | (model.averages() if settings.weights == 'average' else {})

    known = {name: slots for name in config.networks if (slots := model.slots(name)) is not None}
    networks = {name: networks[name] for name in known if name not in checkpoint.untrained}
    paths = {name: pathlib.Path(settings.output).expanduser() / f'{settings.epoch}_net_{name}.pth' for name in networks}
    for path in paths.values():
        if path.exists():
            raise UserError(f"'{path}' exists, and is never overwritten; set `output` to another directory.")
    for name, network in networks.items():
        weights = torch_weights.state_dict(network, known[name])
        write(torch, weights, paths[name], settings)
        print(paths[name])
    for name in sorted(checkpoint.untrained):
        print(f'{name} has no weights to write: none were imported, and the run has not been trained.')
    for name in sorted(config.networks.keys() - known.keys()):
        print(f'{name} is left out: the PyTorch programs have no such network.')
    return 0


def write(torch: Any, weights: dict[str, np.ndarray], path: pathlib.Path, settings: ExportConfig) -> None:
    """Writes one state_dict; the file appears completely or not at all."""
    from cyclegan_tf.data import image_source

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, partial)
    except (OSError, RuntimeError) as error:  # PyTorch raises RuntimeError
        reason = image_source.reason(error)
        raise UserError(f"`output` ('{settings.output}') cannot be written ({reason}); set it to another.") from error


if __name__ == '__main__':
    run_program('tools/export_torch_weights.py', parse, main)
