"""Makes a run from PyTorch's weights: python tools/import_torch_weights.py --g_a=horse2zebra.pth --name=RUN

It reads what the PyTorch programs of CycleGAN, pix2pix and CUT save, and what their authors published, in both of
PyTorch's file formats; --model=pix2pix takes --g and --d, --model=cut takes --g, --f and --d.
The architecture is inferred from the file; only dropout in U-Nets leaves no trace there (--no_dropout=false). The run
has done no step yet: translate images with it, or continue it with cyclegan_tf.train --continue_train. For that, all
flags of training are accepted, too, and go into the run's flags.cfg. Networks without a file get initial weights as in
a new training. Which files there can be depends on --model.
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.runtime import importing  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings.torch_import import Arguments, parse  # noqa: E402


def main(arguments: Arguments) -> int:
    """Reads, checks and writes; returns the exit status.

    Raises:
        UserError: PyTorch is missing; a file cannot be read or does not fit, and the message lists every key; flags and
            files contradict each other; the run exists. Nothing is written then.
    """
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    with importing.tensorflow():
        from cyclegan_tf.training import torch_import

    torch_import.make_run(arguments)
    return 0


if __name__ == '__main__':
    run_program('tools/import_torch_weights.py', parse, main)
