"""A browser's only way to send a token with the handshake: a subprotocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.servers.harness import HOST, new_key, running

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome

HEAR = """
    const [url, subprotocols, done] = arguments;
    const socket = new WebSocket(url, subprotocols);
    socket.onmessage = ({ data }) => done([data, socket.protocol]);
    socket.onerror = () => done(null);
"""


def test_a_browser_sends_a_token(browser: Chrome, tmp_path: Path) -> None:
    """The consumer finds the header, and the browser is content with the answer."""
    token = f"eyJ.{new_key()}.c2ln"
    with running("daphne", tmp_path) as server:
        browser.get(f"http://{HOST}:{server.port}/plain/{new_key()}/")
        address = server.url(f"/ws/tells/{new_key()}/")
        told, answer = browser.execute_async_script(HEAR, address, ["bearer", token])
    assert json.loads(told)["authorization"] == f"Bearer {token}"
    assert answer == "bearer"
