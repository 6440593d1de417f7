"""A certificate for 127.0.0.1 and example.com that signs itself, for servers that tests start."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.programs import require

if TYPE_CHECKING:
    from pathlib import Path


SAN: Final = "subjectAltName=DNS:localhost,DNS:example.com,IP:127.0.0.1"


class Certificate(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    """Make one in a directory."""
    made = Certificate(directory / "server.crt", directory / "server.key")
    subprocess.run(
        [
            require("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes",
            "-keyout", str(made.key), "-out", str(made.certificate), "-days", "2",
            "-subj", "/CN=localhost", "-addext", SAN,
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )  # fmt: skip
    return made
