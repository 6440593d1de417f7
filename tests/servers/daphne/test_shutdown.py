"""``servers/daphne/shutdown.py``: the reactor waits for the applications."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from websockets.exceptions import InvalidStatus
from websockets.frames import Close

from tests.servers.daphne.peer import Daphne, Recorder, settled
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.servers.daphne.shutdown import (
    end_applications,
    end_with_the_server,
    stop_reactor,
    watch_shutdown,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


async def test_the_reactor_waits_for_the_applications(serve: Callable[..., Any]) -> None:
    """Before the reactor stops each application is cancelled, says 1012 and runs disconnect()."""
    peer = await serve(Recorder)
    peer.events()
    deferred = end_applications()
    again = end_applications()
    await settled()
    (frame,) = peer.events()
    assert Close.parse(frame.data) == Close(1012, "")
    assert Recorder.log == [(1012, "")]
    peer.flush()
    await settled()
    assert peer.task.cancelled()
    await deferred.asFuture(asyncio.get_running_loop())
    await again.asFuture(asyncio.get_running_loop())


async def test_a_reactor_in_a_thread() -> None:
    """When the interpreter exits the reactor is stopped, and its thread awaited; else nothing."""
    loop = asyncio.new_event_loop()
    reactor: Any = AsyncioSelectorReactor(loop)
    started = threading.Event()
    reactor.callWhenRunning(started.set)
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False})
    thread.start()
    assert await asyncio.to_thread(started.wait, 10)
    await asyncio.to_thread(stop_reactor, reactor, thread)
    assert not thread.is_alive()
    assert not reactor.running
    stop_reactor(reactor, thread)
    loop.close()


async def test_the_exit_of_the_interpreter_is_watched_from_a_thread_alone() -> None:
    """A reactor in the main thread is stopped by signals, as its own handlers do."""
    registered: list[Any] = threading._threading_atexits  # type: ignore[attr-defined]  # noqa: SLF001  # what is inside is what is tested
    before = len(registered)
    watch_shutdown.__wrapped__()
    assert len(registered) == before
    await asyncio.to_thread(watch_shutdown.__wrapped__)
    assert len(registered) == before + 1


async def test_outside_a_task(caplog: pytest.LogCaptureFixture) -> None:
    """Without a task there is nothing to end with the server."""
    caplog.set_level(logging.INFO)
    end_with_the_server(None)
    assert caplog.messages == []


async def test_the_dispatcher_on_daphne() -> None:
    """A 404 is a real 404 on daphne."""
    peer = Daphne(WebsocketDispatcher([]))
    peer.open()
    await peer.task
    peer.events()
    assert isinstance(peer.client.handshake_exc, InvalidStatus)
    assert peer.client.handshake_exc.response.status_code == 404
