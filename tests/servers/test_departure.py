"""``servers/departure.py``: whether a client has left, asked of sockets and of servers' objects."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from wsconsumer.servers import client_has_left, give_up
from wsconsumer.servers.departure import LINGER, has_hung_up
from wsconsumer.test import advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection: the server's and the client's."""
    with ExitStack() as stack:
        server, client = socket.socketpair()
        yield stack.enter_context(server), stack.enter_context(client)


Pair = tuple[socket.socket, socket.socket]


def test_an_end_of_stream_behind_unread_data(pair: Pair) -> None:
    """It shows although nobody reads what stands before it; unread data alone is no end."""
    server, client = pair
    client.sendall(b"unread")
    assert has_hung_up(server.fileno()) is False
    client.shutdown(socket.SHUT_WR)
    assert has_hung_up(server.fileno()) is True
    assert server.recv(100) == b"unread"


def test_a_socket_that_is_closed_here() -> None:
    """A descriptor that is gone belongs to a connection that is over."""
    assert has_hung_up(-1) is True


def send_of(package: str, **attributes: Any) -> Any:
    """Return a bound ``send`` of an object of a server, as ``type().__module__`` tells it."""
    protocol = type("Protocol", (), {"__module__": f"{package}.protocol", **attributes})()
    return SimpleNamespace(__self__=protocol)


@pytest.mark.parametrize("server_name", ["uvicorn", "hypercorn"])
async def test_asyncio_servers(server_name: str, pair: Pair) -> None:
    """Their transport says that it is closing, or leads to the socket."""
    server, client = pair
    _, writer = await asyncio.open_connection(sock=server)
    if server_name == "uvicorn":
        send = send_of("uvicorn", transport=writer.transport)
    else:
        tcp_server = SimpleNamespace(writer=writer)
        protocol = SimpleNamespace(send=SimpleNamespace(__self__=tcp_server))
        send = send_of("hypercorn", send=SimpleNamespace(__self__=protocol))
    assert client_has_left(send) is False
    reading: Any = writer.transport
    reading.pause_reading()
    client.sendall(b"unread")
    client.close()
    assert client_has_left(send) is True
    writer.close()
    assert client_has_left(send) is True


@pytest.mark.parametrize(
    "send",
    [
        print,
        send_of("tests"),
        send_of("uvicorn"),
        send_of("hypercorn"),
        send_of("hypercorn", send=SimpleNamespace(__self__=None)),
    ],
    ids=["function", "unknown", "uvicorn", "hypercorn", "hypercorn's stream"],
)
def test_what_is_not_known(send: Any) -> None:
    """A server whose objects are not what we know can't be asked."""
    assert client_has_left(send) is None


def test_a_transport_without_a_socket() -> None:
    """A transport need not have a socket."""
    transport = SimpleNamespace(is_closing=lambda: False, get_extra_info=lambda name: None)
    assert client_has_left(send_of("uvicorn", transport=transport)) is None


@pytest.mark.parametrize(
    ("send", "times"),
    [
        (lambda transport: send_of("uvicorn", transport=transport), 1),
        (lambda transport: of_hypercorn("H11Protocol", transport), 1),
        (lambda transport: of_hypercorn("H2Protocol", transport), 0),
        (lambda transport: send_of("tests", transport=transport), 0),
        (lambda transport: print, 0),
    ],
    ids=["uvicorn", "hypercorn", "http2", "unknown", "function"],
)
async def test_a_connection_that_is_given_up(send: Callable[[Any], Any], times: int) -> None:
    """It is reset after a while, unless others share it, or nothing is known of it."""
    aborted: list[bool] = []
    give_up(send(SimpleNamespace(abort=lambda: aborted.append(True))))
    await advance(LINGER - 1)
    assert aborted == []
    await advance(2)
    assert len(aborted) == times


def of_hypercorn(protocol: str, transport: Any) -> Any:
    """Return a ``send`` of a stream of hypercorn's, inside of a protocol of this name."""
    server = SimpleNamespace(writer=SimpleNamespace(transport=transport))
    stream = type(protocol, (), {"send": SimpleNamespace(__self__=server)})()
    return send_of("hypercorn", send=SimpleNamespace(__self__=stream))
