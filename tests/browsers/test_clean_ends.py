"""What a browser and a proxy see at the end of a websocket on daphne: one that is in order."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.certificates import make_certificate
from tests.proxies.running import Nginx, proxied
from tests.servers.harness import HOST, Server, free_port, new_key, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

MAX_SIZE = 1024 * 1024
"""Bytes of a message that daphne takes."""

TOO_LONG = (
    f"received WebSocket message size {MAX_SIZE + 1} exceeds payload limit of {MAX_SIZE} octets"
)

OPEN = """
    const [path, length, code, done] = arguments;
    const url = location.origin.replace("http", "ws") + path;
    const socket = new WebSocket(url);
    window.ended = new Promise((resolve) => {
        socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
    });
    socket.onopen = () => {
        if (length) socket.send("x".repeat(length));
        if (code) socket.close(code, "farewell");
        done(true);
    };
    socket.onerror = () => done(false);
"""

END = "const done = arguments[0]; window.ended.then(done);"


class Site(NamedTuple):
    """A server as a browser gets to it: directly, by TLS, or through nginx."""

    url: str
    server: Server
    nginx: Nginx | None = None


@contextmanager
def serve(how: str, folder: Path) -> Iterator[Site]:
    """Start daphne, and what stands before it."""
    options = []
    if how == "tls":
        made = make_certificate(folder)
        port = free_port()
        files = f"privateKey={made.key}:certKey={made.certificate}"
        options = ["-e", f"ssl:{port}:interface={HOST}:{files}"]
    with running("daphne", folder, options=options) as server:
        if how == "tls":
            yield Site(f"https://{HOST}:{port}", server)
        elif how == "nginx":
            with proxied("nginx", folder, server) as nginx:
                assert isinstance(nginx, Nginx)
                yield Site(f"http://{HOST}:{nginx.port}", server, nginx)
        else:
            yield Site(f"http://{HOST}:{server.port}", server)


def open_socket(browser: Chrome, path: str, *, length: int = 0, code: int = 0) -> None:
    """Open a websocket from the page, send so many characters, and close it with a code if any."""
    assert browser.execute_async_script(OPEN, path, length, code)


def end(browser: Chrome) -> tuple[int, str, bool]:
    """Wait for the end of the page's websocket; return code, reason and whether it was clean."""
    code, reason, was_clean = browser.execute_async_script(END)
    return code, reason, was_clean


WAYS = ["plain", "tls", "nginx"]


@pytest.mark.parametrize("how", WAYS)
def test_clean_ends(how: str, browser: Chrome, tmp_path: Path) -> None:
    """Whoever closes, and why: the browser sees a clean end, and nginx no error."""
    with serve(how, tmp_path) as site:
        browser.get(f"{site.url}/plain/{new_key()}/")
        for path, length, code, expected in ENDS:
            open_socket(browser, f"{path}{new_key()}/", length=length, code=code)
            assert end(browser) == (*expected, True), (path, length, code)
        open_socket(browser, f"/ws/echo/{new_key()}/")
        site.server.terminate()
        assert end(browser) == (1012, "", True)
        if site.nginx is not None:
            site.nginx.stop()
            assert site.nginx.has_exited()
            assert "recv() failed" not in site.nginx.errors()


ENDS: list[tuple[str, int, int, tuple[int, str]]] = [
    # path, characters to send, code to close with, what the browser is told
    ("/ws/close/1000/", 1, 0, (1000, "because 1000")),
    ("/ws/close/1012/", 1, 0, (1012, "because 1012")),
    ("/ws/close/4001/", 1, 0, (4001, "because 4001")),
    ("/ws/fails-in-receive/", 1, 0, (1011, "")),
    ("/ws/echo/", MAX_SIZE + 1, 0, (1009, TOO_LONG)),
    # Autobahn answers whatever code with 1000, and no reason.
    ("/ws/echo/", 0, 1000, (1000, "")),
    ("/ws/echo/", 1, 4321, (1000, "")),
]
