"""Translates images with a model in TensorFlow Serving: python tools/serving_client.py --model=RUN_AtoB IN.jpg OUT.png

IN and OUT may be folders; subfolders are kept. JPEG, PNG and plain BMP are sent unchanged. Other formats, and JPEGs
that their EXIF data rotate, are converted to PNG first, since TensorFlow does not decode them as viewers show them.
Images that the server refuses are listed and skipped, and the exit status is then 1. Only --protocol=grpc needs
TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Optional

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings.fields import setting, validate_fields  # noqa: E402
from cyclegan_tf.settings.flags import asks_for_help, define_flags, help_text, values_of  # noqa: E402

PORTS = {'rest': 8501, 'grpc': 8500}  # the ports of TensorFlow Serving's published image


@dataclasses.dataclass(frozen=True)
class ClientConfig:
    """Which model is used, and how requests are sent."""

    server: str = setting(
        '',
        'address of the server, HOST:PORT, or https://HOST:PORT for an encrypted connection; unset: localhost with '
        "TensorFlow Serving's port",
    )
    model: str = setting('', 'name of the model on the server, as in RUN_AtoB; required')
    version: Optional[int] = setting(
        None, 'number of the version of the model; unset: the newest on the server', minimum=0
    )
    protocol: str = setting(
        'rest', "protocol of the server's port: rest (usually 8501) or grpc (usually 8500)", choices=('rest', 'grpc')
    )
    concurrency: int = setting(4, 'number of requests under way at the same time, of one image each', minimum=1)
    retries: int = setting(
        6, 'number of times that an image is sent again while the server is unavailable or busy', minimum=0
    )
    timeout: float = setting(300.0, 'maximum time for one image with all its attempts, in seconds', minimum=0.001)
    ca: Optional[str] = setting(
        None,
        'file with the certificates (PEM) with which a server with https:// is verified; unset: those of the system',
    )
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        if not self.model:
            raise UserError("`model` ('') is required; set it to the model's name on the server, as in RUN_AtoB.")
        _ = self.address  # raises UserError if `server` cannot be read
        if self.ca is not None and not self.encrypted:
            raise UserError(f"`ca` ('{self.ca}') is for encrypted connections only; set --server=https://HOST:PORT.")
        if self.ca is not None and not os.path.isfile(os.path.expanduser(self.ca)):
            raise UserError(f"`ca` ('{self.ca}') is not a file; set it to one with certificates.")

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self.server.lower().startswith('https://')

    @property
    def address(self) -> str:
        """HOST:PORT of the server."""
        default = PORTS[self.protocol]
        if not self.server:
            return f'localhost:{default}'
        parsed = re.fullmatch(
            r'(?:https?://)?([\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?/?', self.server, re.IGNORECASE
        )
        if parsed is None or not 0 < int(parsed[2] or default) < 65536:
            raise UserError(f"`server` ('{self.server}') is not HOST:PORT, as in localhost:{default}; correct it.")
        return f'{parsed[1]}:{parsed[2] or default}'


def parse(argv: Sequence[str]) -> tuple[ClientConfig, pathlib.Path, pathlib.Path]:
    """Command line to settings, IN and OUT.

    Raises:
        flags.Error: a flag does not exist or cannot be read.
        UserError: a value is out of bounds, or there are not exactly two names.
    """
    values = define_flags(ClientConfig)
    names = values(list(argv))[1:]
    if asks_for_help(values):
        print(f'usage: python {argv[0]} [flags] IN OUT\n\n{__doc__}\n{help_text(values)}')
        raise SystemExit(0)
    if len(names) != 2:
        raise UserError(
            f'IN and OUT are needed, two files or two folders ({len(names)} names are given); flags begin with -- and '
            f'take their value after =.'
        )
    config = ClientConfig(**values_of(ClientConfig, values))
    return config, pathlib.Path(names[0]).expanduser(), pathlib.Path(names[1]).expanduser()


def main(arguments: tuple[ClientConfig, pathlib.Path, pathlib.Path]) -> int:
    """Translates; returns the exit status.

    Raises:
        UserError: there are no images; a result would overwrite an image to translate; the server or the model cannot
            be used; or images were skipped, and are listed. The results of all answered requests are written.
    """
    # Imported here: NumPy and the decoders take time to import, for which --help and wrong flags should not wait.
    import serving_requests

    serving_requests.translate(*arguments)
    return 0


if __name__ == '__main__':
    run_program('tools/serving_client.py', parse, main)
