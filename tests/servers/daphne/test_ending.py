"""``servers/daphne/ending.py``: an orderly end of TCP, and a code for a life that is over."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from websockets.frames import Close

from tests.servers.daphne.peer import Daphne, Recorder, settled
from wsconsumer import servers
from wsconsumer.servers.daphne import ending
from wsconsumer.servers.daphne.flow import QUEUED_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.daphne.peer import Lent


@pytest.fixture
def aborted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note each reset of a transport, which a ``StringTransport`` does not tell from a close."""
    from twisted.internet.testing import StringTransportWithDisconnection

    resets: list[bool] = []
    abort = StringTransportWithDisconnection.abortConnection

    def abort_connection(transport: Any) -> None:
        resets.append(True)
        abort(transport)

    monkeypatch.setattr(StringTransportWithDisconnection, "abortConnection", abort_connection)
    return resets


@pytest.mark.parametrize("code", [1000, 1009, 1011, 1012, 4000])
async def test_the_server_closes(lent: Lent, aborted: list[bool], code: int) -> None:
    """Once the client has answered, TCP ends without a reset."""
    await lent.send({"type": "websocket.close", "code": code})
    lent.peer.events()
    lent.peer.flush()
    assert not lent.peer.transport.connected
    assert aborted == []


async def test_the_client_closes(lent: Lent, aborted: list[bool]) -> None:
    """The same when the client closes first."""
    lent.peer.close()
    assert not lent.peer.transport.connected
    assert aborted == []


async def test_a_client_that_does_not_answer(lent: Lent, aborted: list[bool]) -> None:
    """One that leaves our close unanswered is reset."""
    await lent.send({"type": "websocket.close"})
    lent.peer.protocol.onCloseHandshakeTimeout()
    assert aborted == [True]


async def test_a_client_that_closes_and_never_reads(
    lent: Lent, aborted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is buffered for it may keep the connection for a while, and no longer."""
    monkeypatch.setattr(ending, "CLOSE_TIMEOUT", 0)
    transport = lent.peer.transport
    lose = transport.loseConnection
    # There is more to write.
    monkeypatch.setattr(transport, "loseConnection", lambda: lose() if aborted else None)
    lent.peer.close()
    assert transport.connected
    assert (await lent.receive())["type"] == "websocket.disconnect"
    assert aborted == [True]


async def test_a_life_that_is_over(serve: Callable[..., Any]) -> None:
    """``--websocket_timeout`` closes with 4408, and not as if the client had left."""
    peer: Daphne = await serve(Recorder)
    peer.events()
    peer.server.websocket_timeout = 0
    peer.protocol.check_timeouts()
    peer.protocol.check_timeouts()
    (frame,) = peer.events()
    assert Close.parse(frame.data) == Close(4408, "")
    peer.flush()
    await settled()
    assert Recorder.log == [(4408, "")]


async def test_whether_the_client_has_left(lent: Lent) -> None:
    """Autobahn's state tells, or the socket of a client that is not read from."""
    assert servers.client_has_left(lent.send) is None  # a transport of strings has no socket
    server, client = socket.socketpair()
    with server, client:
        lent.peer.transport.fileno = server.fileno
        assert servers.client_has_left(lent.send) is False
        client.close()
        assert servers.client_has_left(lent.send) is True
    lent.peer.transport.loseConnection()
    del lent.peer.transport.fileno
    assert servers.client_has_left(lent.send) is True


async def test_a_queue_that_is_half_empty_is_filled_again(lent: Lent) -> None:
    """What stands behind is read before all is taken, a client's close too."""
    await lent.flood(*[1] * (QUEUED_EVENTS + 1))
    assert lent.peer.transport.producerState == "paused"
    for _ in range(QUEUED_EVENTS // 2 + 1):
        await lent.receive()
    assert lent.peer.transport.producerState == "producing"
