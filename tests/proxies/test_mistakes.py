"""What goes wrong behind nginx when a line of docs/proxies.md is missing, and what then is said."""

from __future__ import annotations

import http.client
import shlex
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.documents import block_of
from tests.programs import require
from tests.proxies.running import PAGE, Nginx
from tests.servers.harness import HOST, PATIENCE, Server, free_port, new_key, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPGRADE: Final = "proxy_set_header Upgrade $http_upgrade;"
CONNECTION: Final = "proxy_set_header Connection $connection_upgrade;"
HOST_LINE: Final = "proxy_set_header Host $http_host;"

MISTAKES: Final = {
    "none": ("", ""),
    "no-upgrade": (f"{UPGRADE}\n        {CONNECTION}", ""),
    "no-connection": (CONNECTION, ""),
    "http-1.0": ("proxy_http_version 1.1;", "proxy_http_version 1.0;"),
    "host-without-port": (HOST_LINE, "proxy_set_header Host $host;"),
    "upstreams-host": (HOST_LINE, ""),
    "no-origin": (HOST_LINE, f"{HOST_LINE} proxy_set_header Origin '';"),
    "hidden-upgrade": (HOST_LINE, f"{HOST_LINE} proxy_hide_header Upgrade;"),
}
"""What is replaced in the file of the page, and by what."""


class MistakenNginx(Nginx):
    """An nginx with a port for each mistake."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder, server)
        self.port_of = {name: free_port() for name in MISTAKES}
        self.port = self.port_of["none"]

    def adapt(self, text: str, idle: int) -> str:
        shared, found, site = text.partition("server {\n    listen")
        sites = []
        for name, (line, other) in MISTAKES.items():
            assert line in site
            replaced = f"{found}{site}".replace(line, other) if line else f"{found}{site}"
            sites.append(replaced.replace("listen 80;", f"listen {HOST}:{self.port_of[name]};"))
        return super().adapt(shared + "".join(sites), idle)


class Behind(NamedTuple):
    """A server behind that nginx."""

    server: Server
    nginx: MistakenNginx


@pytest.fixture(scope="module", params=["daphne", "uvicorn-sansio"])
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Behind]:
    """A server of each kind behind it, the same for all mistakes."""
    with running(request.param, tmp_path_factory.mktemp(request.param)) as server:
        nginx = MistakenNginx(tmp_path_factory.mktemp("nginx"), server)
        try:
            nginx.start()
            yield Behind(server, nginx)
        finally:
            nginx.kill()


class Answer(NamedTuple):
    """The beginning of what comes back for a handshake, and the body where one is denied."""

    status: int
    upgrade: str | None
    body: str


def shake(port: int, path: str, origin: str = "") -> Answer:
    """Ask for a websocket, as a page of the origin, by default one of the site itself."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Origin": origin or f"http://{HOST}:{port}",
    }
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = "" if response.status == 101 else response.read().decode()
        return Answer(response.status, response.headers["Upgrade"], body)
    finally:
        connection.close()


ANSWERS: Final = [
    # the mistake, the status on daphne, on uvicorn, and what the log has
    ("none", 101, 101, ""),
    ("no-upgrade", 426, 426, "came as a page: it lost"),
    ("no-connection", 400, 426, ""),  # on daphne the application is never called
    ("host-without-port", 403, 403, "but a port, which the Host header lacks"),
    ("upstreams-host", 400, 400, "the Host 'mysite' is not allowed, but that of the Origin"),
]


@pytest.mark.parametrize(
    ("mistake", "on_daphne", "on_uvicorn", "logged"), ANSWERS, ids=[row[0] for row in ANSWERS]
)
async def test_a_line_that_is_missing(
    mistake: str, on_daphne: int, on_uvicorn: int, logged: str, behind: Behind
) -> None:
    """The status is the one that the page explains, and the log names the cause."""
    answer = shake(behind.nginx.port_of[mistake], f"/ws/echo/{new_key()}/")
    assert answer.status == (on_daphne if behind.server.name == "daphne" else on_uvicorn)
    if answer.status == 426:
        assert "a websocket handshake: it lost" in answer.body
        assert answer.upgrade is None
    if logged:
        (record, *_) = await behind.server.journal.wait_for_log(logged)
        assert (record["logger"], record["level"]) == ("wsconsumer.handshake", "WARNING")


def test_no_origin_lets_everybody_in(behind: Behind) -> None:
    """A proxy that takes the Origin away switches the check off."""
    path = f"/ws/echo/{new_key()}/"
    assert shake(behind.nginx.port_of["none"], path, "http://evil.com").status == 403
    assert shake(behind.nginx.port_of["no-origin"], path, "http://evil.com").status == 101


def test_a_hidden_upgrade_ends_all_websockets(behind: Behind) -> None:
    """To hide the header from HTTP/2 takes it away from the 101 too, which no client takes then."""
    answer = shake(behind.nginx.port_of["hidden-upgrade"], f"/ws/echo/{new_key()}/")
    assert (answer.status, answer.upgrade) == (101, None)


def test_asking_with_curl(behind: Behind) -> None:
    """The command of the page shows the 101, with the headers that make it one."""
    require("curl", "curl")
    command = block_of(PAGE, "sh").code.replace("\\\n", " ")
    here = f"{HOST}:{behind.nginx.port}"
    words = shlex.split(command.replace("https://example.com/ws/", f"http://{here}/ws/echo/curl/"))
    words = [word.replace("https://example.com", f"http://{here}") for word in words]
    words[words.index("--max-time") + 1] = "1"  # what is open stays so until then
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("HTTP/1.1 101 Switching Protocols\n")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in done.stdout
