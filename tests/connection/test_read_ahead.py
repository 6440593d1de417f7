"""``read_ahead.py``: a client that leaves behind more than is read ahead."""

from __future__ import annotations

from typing import Any

from tests.connection.test_monitor import Run, Slow, tick
from tests.fakes import Wire, disconnect, text
from wsconsumer.connection.read_ahead import READ_AHEAD_EVENTS
from wsconsumer.counters import counters


class Telling:
    """A ``send`` of a server that can tell whether the client has left."""

    def __init__(self, wire: Wire) -> None:
        self._send = wire.send
        self.has_left: bool | None = None

    async def __call__(self, event: dict[str, Any]) -> None:
        await self._send(event)

    def client_has_left(self) -> bool | None:
        """Return what the test says."""
        return self.has_left


async def test_a_client_that_leaves_behind_more_than_is_read() -> None:
    """Where nothing more is read ahead, the server is asked whether the client has left, once."""
    wire = Wire()
    wire.send = telling = Telling(wire)  # type: ignore[method-assign, assignment]
    run = Run(Slow, text("slow"), *[text("x")] * (READ_AHEAD_EVENTS + 1), wire=wire)
    await run.started()
    await tick(READ_AHEAD_EVENTS)
    for telling.has_left in (None, False):
        await tick()
        assert run.log == ["slow"]
    telling.has_left = True
    run.wire.put(disconnect(1001, "away"))
    await tick()
    await run.finished()
    assert run.log == ["slow", (1001, "away")]
    assert counters["hook_interrupted"] == 1


async def test_the_server_is_not_asked_while_there_is_room() -> None:
    """While messages are read ahead, the disconnect event is what counts."""
    wire = Wire()
    wire.send = telling = Telling(wire)  # type: ignore[method-assign, assignment]
    run = Run(Slow, text("slow"), text("x"), wire=wire)
    await run.started()
    telling.has_left = True
    await tick(10)
    run.go_on.set()
    run.wire.put(disconnect())
    await run.finished()
    assert run.log == ["slow", "x", (1001, "")]
