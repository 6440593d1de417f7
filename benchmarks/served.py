"""
One contender of ``echo.py``, ``memory.py`` or ``typed.py`` on one server, in a process of its own,
with the package from this checkout or from another one. Start at ``Served``.

An echo comes back for every message; the applications are those of ``micro.py``, and two of them
behind a URL pattern as well, where a connection keeps its request.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"

RAW = "raw"
OURS = "wsconsumer"
OURS_BY_URL = "wsconsumer, by URL"
CONTENDERS = (RAW, OURS, OURS_BY_URL, "starlette", "starlette, by URL", "channels")

MOST_CONNECTIONS = 10_000
"""What a server process is prepared for."""


class Served:
    """
    A server process with one contender, killed at the end of the block.

    ``package`` is the checkout that wsconsumer is imported from; the benchmark's own modules always
    come from this one.
    """

    def __init__(self, server: str, contender: str, port: int, package: Path = ROOT) -> None:
        arguments = [server, contender, str(port), str(package)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.served", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def collect_garbage(self) -> None:
        """Ask for a collection; it has happened when the next echo is back."""
        self._process.send_signal(signal.SIGUSR1)


def add_package_argument(parser: argparse.ArgumentParser) -> None:
    """Let other checkouts take part."""
    parser.add_argument(
        "--package",
        type=_checkout,
        metavar="PATH",
        nargs="+",
        default=[],
        help="checkouts whose wsconsumer takes part beside this one's, to compare them in one run",
    )


def _checkout(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "wsconsumer" / "__init__.py").exists():
        raise argparse.ArgumentTypeError(f"expected a folder with wsconsumer/ in it, got {text}")
    return path


def with_packages(contenders: list[str], packages: list[Path]) -> dict[str, tuple[str, Path]]:
    """Return the rows of a table: the contender and its checkout by the name that is shown."""
    rows = {name: (name, ROOT) for name in contenders}
    for package in packages:
        rows |= {f"{name} in {package}": (name, package) for name in contenders if OURS in name}
    return rows


# In the server process.


def main() -> None:
    """Serve until the process is killed."""
    server, contender, port, package = sys.argv[1:]
    use(package)
    from django.conf import settings

    from benchmarks.crowd import allow_files, pin

    pin(0)
    allow_files(MOST_CONNECTIONS)
    settings.configure(ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=())
    signal.signal(signal.SIGUSR1, lambda *_: gc.collect())
    warnings.simplefilter("ignore", DeprecationWarning)  # uvicorn's of its older implementation
    SERVERS[server](application_of(contender), int(port))


def application_of(contender: str) -> Any:
    """Return a contender of ``micro.py``, alone or behind a URL pattern, or of ``typed.py``."""
    from benchmarks.micro import Consumer, Endpoint, contenders
    from benchmarks.typed_contenders import CONTENDERS as TYPED
    from benchmarks.typed_contenders import PREFIX

    if contender.startswith(PREFIX):
        return TYPED[contender.removeprefix(PREFIX)]()

    if contender == OURS_BY_URL:
        from django.urls import path

        from wsconsumer.asgi import WebsocketDispatcher

        return WebsocketDispatcher([path("ws/echo/", Consumer.as_view())])
    if contender == "starlette, by URL":
        from starlette.applications import Starlette
        from starlette.routing import WebSocketRoute

        return Starlette(routes=[WebSocketRoute("/ws/echo/", Endpoint)])
    return contenders()[contender]


def use(package: str) -> None:
    """Import wsconsumer from there, and nothing else."""
    sys.path.insert(0, package)
    import wsconsumer

    sys.path.remove(package)
    assert Path(wsconsumer.__file__).is_relative_to(package)


def daphne(application: Any, port: int) -> None:
    """Serve with daphne, which sends no pings."""
    from daphne.server import Server

    Server(application, [f"tcp:port={port}:interface={HOST}"], ping_interval=3600).run()


def uvicorn(implementation: str) -> Callable[[Any, int], None]:
    """Return how to serve with one of uvicorn's implementations, which sends no pings."""

    def serve(application: Any, port: int) -> None:
        import uvicorn

        uvicorn.run(
            application,
            host=HOST,
            port=port,
            ws=implementation,
            interface="asgi3",
            lifespan="off",
            log_level="error",
            ws_ping_interval=None,
        )

    return serve


def hypercorn(application: Any, port: int) -> None:
    """Serve with hypercorn."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{HOST}:{port}"]
    asyncio.run(serve(application, config, mode="asgi"))


def granian(application: Any, port: int) -> None:
    """Serve with granian, in this very process."""
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(application, HOST, port, interface=Interfaces.ASGINL, log_enabled=False)
    asyncio.run(server.serve())


SERVERS: dict[str, Callable[[Any, int], None]] = {
    "uvicorn-websockets": uvicorn("websockets"),
    "uvicorn-sansio": uvicorn("websockets-sansio"),
    "uvicorn-wsproto": uvicorn("wsproto"),
    "daphne": daphne,
    "hypercorn": hypercorn,
    "granian": granian,
}

if __name__ == "__main__":
    main()
