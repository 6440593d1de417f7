"""Starting a server: each command of the page, with another port."""

from __future__ import annotations

import http.client
import shlex
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.engines import free_port, until
from tests.proxies.running import is_open

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cookbook.project import Project

COMMANDS = {
    "daphne": "daphne -b 127.0.0.1 -p 8000 mysite.asgi:application",
    "uvicorn": "uvicorn --port 8000 --ws-max-size 1048576 mysite.asgi:application",
    "gunicorn": (
        "gunicorn -b 127.0.0.1:8000 -w 2 -k uvicorn_worker.UvicornWorker mysite.asgi:application"
    ),
    "hypercorn": "hypercorn -b 127.0.0.1:8000 --websocket-ping-interval 20 mysite.asgi:application",
    "granian": "granian --port 8000 --interface asgi --runtime-mode st mysite.asgi:application",
}

SAY_GOODBYE = {"daphne", "uvicorn", "gunicorn"}
"""Those that let the application close its websockets when they stop."""


@contextmanager
def serving(project: Project, command: str) -> Iterator[int]:
    """Run a command of the page at a free port; yield the port when it takes connections."""
    port = free_port()
    module, *arguments = shlex.split(command.replace("8000", str(port)))
    with project.running(module, *arguments, PYTHONWARNINGS="default") as program:
        program.wait_for(rf"(?i)(listening|running) .*:{port}\b", 60)
        until(lambda: is_open(port), f"{module} to listen", 60)  # granian says so before it does
        yield port


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(project: Project, name: str) -> None:
    """The server starts and serves a websocket; at SIGTERM most of them end it with 1012."""
    with ExitStack() as stack:
        with serving(project, COMMANDS[name]) as port:
            url = f"ws://127.0.0.1:{port}/ws/echo/"
            client = stack.enter_context(connect(url, proxy=None, open_timeout=60))
            client.send("hello")
            assert client.recv(60) == "hello"
            if name not in SAY_GOODBYE:
                client.close()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(60)
    code = closed.value.rcvd and closed.value.rcvd.code
    assert code == (1012 if name in SAY_GOODBYE else 1000)


@pytest.mark.parametrize(
    "command",
    [
        "uvicorn --port 8000 --ws none mysite.asgi:application",
        "gunicorn --bind 127.0.0.1:8000 mysite.wsgi:application",
    ],
    ids=["uvicorn", "gunicorn"],
)
def test_a_server_without_websockets(project: Project, command: str) -> None:
    """The handshake arrives as a page, and its answer says what is missing."""
    with (
        serving(project, command) as port,
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client,
    ):
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        client.request("GET", "/ws/echo/", headers=upgrade)
        response = client.getresponse()
        assert response.status == 426
        assert b"websocket" in response.read().lower()
