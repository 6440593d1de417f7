"""`scripts/serve.py`: two processes, an engine between them, and members on either side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.programs import require

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "serve.py"
PROGRAMS = {"redis": ("redis-server", "redis-server"), "postgres": ("initdb", "postgresql")}
PATIENCE = 20.0
"""Seconds that anything may take before the test gives up."""


@pytest.fixture(params=PROGRAMS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of the example project, served by two processes."""
    require(*PROGRAMS[request.param])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, str(SCRIPT), request.param, "--port", str(port)]
    environment = {**os.environ, "DJANGO_DATABASE": str(tmp_path / "db.sqlite3")}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    output = []
    listening = 0
    while listening < 2:
        line = process.stdout.readline()
        output.append(line)
        assert line, "".join(output)
        listening += "Listening on" in line
    yield f"127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def post(opener: OpenerDirector, jar: CookieJar, url: str, **data: str) -> None:
    """Fill in a form as a browser does: get it first, for its token."""
    opener.open(url, timeout=PATIENCE).close()
    (token,) = [cookie.value for cookie in jar if cookie.name == "csrftoken"]
    body = urlencode({**data, "csrfmiddlewaretoken": token}).encode()
    opener.open(url, body, timeout=PATIENCE).close()


def cookie_of(site: str, name: str) -> str:
    """Sign up; return the cookie that says so."""
    jar = CookieJar()
    opener = build_opener(HTTPCookieProcessor(jar))
    password = "correct horse battery staple"
    signup = f"http://{site}/accounts/signup/"
    post(opener, jar, signup, username=name, password1=password, password2=password)
    if name == "ada":
        post(opener, jar, f"http://{site}/chat/", slug="lobby")
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


async def enter(stack: AsyncExitStack, site: str, cookie: str) -> tuple[ClientConnection, int]:
    """Enter the room; return the socket and the process that serves it."""
    headers = {"Cookie": cookie}
    url = f"ws://{site}/ws/chat/lobby/"
    client = await stack.enter_async_context(connect(url, additional_headers=headers, proxy=None))
    await client.send(json.dumps({"type": "enter", "ref": 1}))
    welcome = json.loads(await client.recv())
    return client, welcome["process"]


async def said(client: ClientConnection) -> tuple[str, str]:
    """Wait for the next thing that is said in the room."""
    message: dict[str, Any] = {}
    while message.get("type") != "said":
        message = json.loads(await client.recv())
    return message["author"], message["text"]


async def test_members_on_two_processes_talk(site: str) -> None:
    """Who is served by one process hears who is served by the other, both ways."""
    ada, bob = [await asyncio.to_thread(cookie_of, site, name) for name in ("ada", "bob")]
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        one, process = await enter(stack, site, ada)
        other = process
        while other == process:
            two, other = await enter(stack, site, bob)
        await one.send(json.dumps({"type": "say", "text": "hello"}))
        assert await said(one) == await said(two) == ("ada", "hello")
        await two.send(json.dumps({"type": "say", "text": "hi"}))
        assert await said(one) == await said(two) == ("bob", "hi")
