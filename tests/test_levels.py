"""How many coroutines of ours a message passes through: each level costs every message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import path

import wsconsumer
from tests.fakes import CONNECT, KnownServer, Wire, disconnect, scope, until
from tests.servers.daphne.peer import Daphne, settled
from wsconsumer import WebsocketConsumer
from wsconsumer.asgi import get_asgi_application

if TYPE_CHECKING:
    from types import CodeType

PACKAGE = str(Path(wsconsumer.__file__).parent)

LIMIT = 3

urlpatterns = [path("ws/", WebsocketConsumer.as_view())]
here = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])


def levels(task: asyncio.Task[Any]) -> list[str]:
    """Return the coroutines of this package that a task waits in, from the outermost."""
    coroutine: Any = task.get_coro()
    names = []
    while coroutine is not None:
        code: CodeType | None = getattr(coroutine, "cr_code", None)
        if code is not None and code.co_filename.startswith(PACKAGE):
            names.append(code.co_qualname)
        coroutine = getattr(coroutine, "cr_await", None)
    return names


@here
@pytest.mark.parametrize("server", [Wire, KnownServer])
async def test_a_connection_that_waits(server: type[Wire]) -> None:
    """By URL, at most three coroutines of ours stand between the server and its receive()."""
    wire = server(CONNECT)
    application = get_asgi_application()(scope(path="/ws/"), wire.receive, wire.send)
    task = asyncio.ensure_future(application)
    await wire.until_sent(1)
    await asyncio.sleep(0)
    assert 1 <= len(levels(task)) <= LIMIT, levels(task)
    wire.put(disconnect())
    await task


@here
async def test_a_connection_that_waits_on_daphne() -> None:
    """The adapter adds none."""
    peer = Daphne(get_asgi_application())
    peer.open()
    await until(peer.events)
    await settled()
    assert 1 <= len(levels(peer.task)) <= LIMIT, levels(peer.task)
    peer.task.cancel()
    await asyncio.wait([peer.task])
