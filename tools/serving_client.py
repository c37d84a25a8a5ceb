"""Translates images by a model in TensorFlow Serving: python tools/serving_client.py --model=RUN_AtoB IN.jpg OUT.png

IN and OUT may be folders; subfolders are kept. JPEG, PNG and plain BMP are sent as they are; other formats, and JPEGs
that their EXIF data turn, are made PNGs first, since TensorFlow reads neither as people see them. Images that the
server refuses are named and left aside, and the exit status is then 1. Only --protocol=grpc needs TensorFlow.
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

PORTS = {'rest': 8501, 'grpc': 8500}  # where TensorFlow Serving's published image listens


@dataclasses.dataclass(frozen=True)
class ClientConfig:
    """Which model, and how it is asked."""

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
    concurrency: int = setting(4, 'number of requests in flight, of one image each', minimum=1)
    retries: int = setting(
        6, 'number of times that an image is sent again while the server is unavailable or busy', minimum=0
    )
    timeout: float = setting(300.0, 'longest time for one image with all its attempts, in seconds', minimum=0.001)
    ca: Optional[str] = setting(
        None,
        'file with the certificates (PEM) by which that of a server with https:// is checked; unset: those of the '
        'system',
    )
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        if not self.model:
            raise UserError("`model` ('') is required; set it to the model's name on the server, as in RUN_AtoB.")
        _ = self.address  # raises for a value that cannot be read
        if self.ca is not None and not self.encrypted:
            raise UserError(
                f"`ca` ('{self.ca}') goes with an encrypted connection only; set --server=https://HOST:PORT."
            )
        if self.ca is not None and not os.path.isfile(os.path.expanduser(self.ca)):
            raise UserError(f"`ca` ('{self.ca}') is no file; set it to one with certificates.")

    @property
    def encrypted(self) -> bool:
        """Whether the connection is."""
        return self.server.lower().startswith('https://')

    @property
    def address(self) -> str:
        """HOST:PORT of the server."""
        default = PORTS[self.protocol]
        if not self.server:
            return f'localhost:{default}'
        found = re.fullmatch(r'(?:https?://)?([\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?/?', self.server, re.IGNORECASE)
        if found is None or not 0 < int(found[2] or default) < 65536:
            raise UserError(f"`server` ('{self.server}') is not HOST:PORT, as in localhost:{default}; mend it.")
        return f'{found[1]}:{found[2] or default}'


def parse(argv: Sequence[str]) -> tuple[ClientConfig, pathlib.Path, pathlib.Path]:
    """Command line to settings, IN and OUT.

    Raises:
        flags.Error: a flag that does not exist or cannot be read.
        UserError: a value out of bounds, or not exactly two names.
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
        UserError: there are no images; an output would take an input's place; the server or the model cannot be used;
            images were left aside, which are named. The pictures of all images that were answered are written.
    """
    # NumPy and the decoders take their time to import, which --help and wrong flags do not wait for.
    import serving_requests

    serving_requests.translate(*arguments)
    return 0


if __name__ == '__main__':
    run_program('tools/serving_client.py', parse, main)
