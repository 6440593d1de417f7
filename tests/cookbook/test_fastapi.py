"""FastAPI beside it: one process, on daphne and on uvicorn."""

from __future__ import annotations

import http.client
import json
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

if TYPE_CHECKING:
    from tests.cookbook.project import Project

MORE = {
    "stock/middleware.py": """
from mysite.asgi import application

@application.middleware("http")
async def pass_on(request, call_next):
    return await call_next(request)
""",
    "mysite/asgi_with_middleware.py": """
from stock.middleware import application
""",
}

SERVERS = {
    "daphne": (
        ("-b", "127.0.0.1", "-p", "0"),
        r"Listening on TCP address 127.0.0.1:(\d+)",
    ),
    "uvicorn": (("--port", "0"), r"Uvicorn running on http://127.0.0.1:(\d+)"),
}


def ask(address: str, method: str, path: str, body: str = "") -> tuple[int, str]:
    """Return the status and the body of the answer to a request."""
    connection = http.client.HTTPConnection(address, timeout=60)
    with closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.mark.parametrize("server", SERVERS)
def test_one_process(project: Project, server: str) -> None:
    """A route's broadcast reaches a consumer; pages are Django's; a stop ends with 1012."""
    project.manage("makemigrations", "stock", "--verbosity", "0")
    project.manage("migrate", "--verbosity", "0")
    options, pattern = SERVERS[server]
    module = "mysite.asgi_with_middleware:application"
    with ExitStack() as stack:
        with project.running(server, *options, module) as program:
            address = f"127.0.0.1:{program.wait_for(pattern)[1]}"
            client = stack.enter_context(
                connect(f"ws://{address}/ws/stock/", proxy=None, open_timeout=60)
            )
            assert ask(address, "PUT", "/api/items/7", '{"count":3}') == (200, '{"count":3}')
            assert json.loads(client.recv(60)) == {"pk": 7, "count": 3}
            status, page = ask(address, "GET", "/nothing/")
            assert (status, "mysite.urls" in page) == (404, True)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(60)
    assert closed.value.rcvd == Close(1012, "")
    assert "hidden" not in program.output
