"""``max_connections_per_user`` and ``max_connections_per_address``, as clients meet them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings
from django.urls import path

from tests.fakes import ACCEPT, CONNECT, DENIAL, DENIED, Wire, disconnect, run, scope, until
from wsconsumer import WebsocketConsumer, limiting
from wsconsumer.clients import entry_of
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters
from wsconsumer.groups.hub import hub
from wsconsumer.handshake.request import WebsocketRequest
from wsconsumer.test import WebsocketClient, advance, connect
from wsconsumer.test.clock import turns
from wsconsumer.test.engine import own_hub

if TYPE_CHECKING:
    from django.http import HttpRequest

USER = User(pk=5, username="ann")
OWN = ["wsconsumer.v1"]
PAUSE = 0.05


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again soon."""
    monkeypatch.setattr(limiting, "LOOK_AGAIN_AFTER", PAUSE)


class Chat(WebsocketConsumer):
    """Two for each user."""

    max_connections_per_user = 2
    connected: Any = None

    async def connect(self) -> None:
        if self.connected is not None:
            self.connected.append(self.user.pk)


class Other(Chat):
    """Has its own two."""


async def test_one_too_many(caplog: pytest.LogCaptureFixture) -> None:
    """It gets 429 and when to come back, before ``connect()`` runs, and the log says why."""
    async with connect(Chat, user=USER), connect(Chat, user=USER):
        ran: list[int] = []

        class Watched(Chat):
            connected = ran

        Watched.__module__, Watched.__qualname__ = Chat.__module__, Chat.__qualname__
        async with connect(Watched, "/ws/?token=secret", user=USER) as ws:
            assert ws.denial is not None
            assert (ws.denial.status, ws.denial.headers["retry-after"]) == (429, "30")
        assert ran == []
    assert counters["crowd_refused"] == 1
    assert caplog.messages == [
        "Watched on /ws/: refused with 429, there are too many connections of the client (user 5; "
        "max_connections_per_user is 2)."
    ]


async def test_one_too_many_of_our_client() -> None:
    """A client of our subprotocol gets 4429, since its page can see no status."""
    async with (
        connect(Chat, user=USER),
        connect(Chat, user=USER),
        connect(Chat, user=USER, subprotocols=OWN) as ws,
    ):
        assert await ws.receive_close() == 4429
        assert ws.close_reason == "after=30"


async def test_others_have_their_own() -> None:
    """Other users and classes count apart, and anonymous ones not at all."""
    async with (
        connect(Chat, user=USER),
        connect(Chat, user=USER),
        connect(Other, user=USER) as one,
        connect(Chat, user=User(pk=6)) as two,
        connect(Chat, user=AnonymousUser()) as three,
        connect(Chat, user=AnonymousUser()) as four,
        connect(Chat, user=AnonymousUser()) as five,
    ):
        assert [ws.accepted for ws in (one, two, three, four, five)] == [True] * 5


async def test_who_leaves_makes_room() -> None:
    """However often a user comes and goes."""
    for _ in range(3):
        async with connect(Chat, user=USER) as one, connect(Chat, user=USER) as two:
            assert one.accepted
            assert two.accepted
    assert counters["crowd_refused"] == 0


def places() -> list[Any]:
    """Return the places of the connections that are open here, as far as it is known whose."""
    return [session._place for session in monitor().sessions]  # type: ignore[attr-defined]  # noqa: SLF001  # of sessions


async def looked(number: int) -> None:
    """Wait until so many connections have looked for a place; the last one is to look again."""
    async with asyncio.timeout(10):
        # Whose a connection is, a thread finds out.
        while len(places()) < number or None in places():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)
    await turns(20)


async def test_a_page_that_reloads() -> None:
    """The new connection comes before the old one has gone, and gets its place soon."""
    async with own_hub():
        old = [Wire(CONNECT) for _ in range(2)]
        served = [asyncio.create_task(serve(wire)) for wire in old]
        for wire in old:
            await wire.until_sent(1)
        new = Wire(CONNECT)
        served.append(asyncio.create_task(serve(new)))
        await looked(3)
        assert new.sent == []
        old[0].put(disconnect())
        await advance(PAUSE)
        await new.until_sent(1)
        assert new.sent == [ACCEPT]
        old[1].put(disconnect())
        new.put(disconnect())
        await asyncio.gather(*served)


def serve(wire: Wire, consumer: type[WebsocketConsumer] = Chat, **more: Any) -> Any:
    """Return the coroutine that serves a user on a wire, without a handshake."""
    return consumer.as_asgi()(scope(user=USER, **more), wire.receive, wire.send)


def counted() -> int:
    """Return how many connections of the user count here."""
    return hub().registry().count(f"user:auth.User:5:{__name__}.Chat")


async def test_a_slow_disconnect() -> None:
    """A connection that has ended counts no more while its ``disconnect()`` runs."""
    closing = asyncio.Event()

    class Slow(WebsocketConsumer):
        max_connections_per_user = 1

        async def disconnect(self, code: int, reason: str) -> None:
            await closing.wait()

    async with own_hub():
        first, second = Wire(CONNECT, disconnect()), Wire(CONNECT)
        one = asyncio.create_task(serve(first, Slow))
        await first.until_sent(1)
        two = asyncio.create_task(serve(second, Slow))
        await advance(PAUSE)
        await second.until_sent(1)
        assert second.sent == [ACCEPT]
        assert not one.done()
        closing.set()
        second.put(disconnect())
        await asyncio.gather(one, two)


async def test_a_client_without_a_handshake() -> None:
    """``as_asgi()`` counts as well, and denies as far as the server can."""
    async with own_hub():
        wires = [Wire(CONNECT) for _ in range(2)]
        served = [asyncio.create_task(serve(wire)) for wire in wires]
        for wire in wires:
            await wire.until_sent(1)
        assert await run(Chat.as_asgi(), user=USER) == [DENIED]
        start, _ = await run(Chat.as_asgi(), user=USER, **DENIAL)
        assert start["status"] == 429
        for wire in wires:
            wire.put(disconnect())
        await asyncio.gather(*served)
        assert counted() == 0


@pytest.mark.parametrize("how", ["rejects", "fails", "cancelled"])
async def test_however_it_ends(how: str) -> None:
    """Its place is free again, whatever ended it."""

    class Ending(Chat):
        async def connect(self) -> None:
            assert counted() == 1
            if how == "rejects":
                await self.reject()
            if how == "fails":
                raise RuntimeError("the secret")

    Ending.__module__, Ending.__qualname__ = Chat.__module__, Chat.__qualname__
    async with own_hub():
        wire = Wire(CONNECT)
        task = asyncio.create_task(serve(wire, Ending))
        await wire.until_sent(1)
        if how == "cancelled":
            task.cancel()
            await asyncio.sleep(0)
            wire.put(disconnect())
        await asyncio.wait([task])
        assert counted() == 0


async def test_a_coroutine_that_is_thrown_away() -> None:
    """Its place is free as well, though nothing more is awaited."""
    async with own_hub():
        wire = Wire(CONNECT)
        consumer = Chat()
        consumer.setup(WebsocketRequest(scope(user=USER)))
        consumer._wsconsumer.count_as(entry_of(consumer))  # noqa: SLF001  # as the handshake does
        coroutine = consumer(scope(), wire.receive, wire.send)
        waited = coroutine.send(None)
        while not wire.sent:
            await until(waited.done)
            waited = coroutine.send(None)
        assert counted() == 1
        coroutine.close()
        assert counted() == 0


async def test_a_client_that_leaves_while_it_waits() -> None:
    """Who is gone before there was a place takes none."""
    async with own_hub():
        wires = [Wire(CONNECT) for _ in range(3)]
        served = [asyncio.create_task(serve(wire)) for wire in wires[:2]]
        for wire in wires[:2]:
            await wire.until_sent(1)
        third = asyncio.create_task(serve(wires[2]))
        await advance(PAUSE / 2)
        third.cancel()
        await asyncio.wait([third])
        assert counted() == 2
        for wire in wires[:2]:
            wire.put(disconnect())
        await asyncio.gather(*served)
        assert counted() == 0


class Public(WebsocketConsumer):
    """Two for each address."""

    max_connections_per_address = 2
    max_connections_per_user = 1


async def opened(*clients: str, user: Any = None) -> list[int]:
    """Return how many clients of these addresses are let in, one after the other."""
    async with own_hub():
        wires = [Wire(CONNECT) for _ in clients]
        served = []
        for wire, client in zip(wires, clients, strict=True):
            more = {"client": [client, 4711], "user": user}
            application = Public.as_asgi()(scope(**more), wire.receive, wire.send)
            served.append(asyncio.create_task(application))
            await wire.until_sent(1)
        accepted = [wires.index(wire) for wire in wires if wire.sent == [ACCEPT]]
        for wire in wires:
            wire.put(disconnect())
        await asyncio.gather(*served)
        return accepted


async def test_addresses() -> None:
    """An IPv4 address has its limit, and so has a network of IPv6 with all its addresses."""
    assert await opened("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2") == [0, 1, 3]
    assert await opened("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1") == [0, 1, 3]


async def test_an_address_and_a_user() -> None:
    """A user who is refused takes no place of the address."""
    assert await opened("192.0.2.1", "192.0.2.1", user=USER) == [0]
    async with own_hub():
        assert hub().registry().count(f"address:192.0.2.1:{__name__}.Public") == 0


_threads: list[str] = []


def of_thread(request: HttpRequest) -> str:
    """Note where it runs."""
    _threads.append(threading.current_thread().name)
    return "192.0.2.9"


urlpatterns = [path("ws/", Public.as_view(max_connections_per_address=1))]


@pytest.mark.urls(__name__)
@override_settings(WSCONSUMER={"CLIENT_ADDRESS": f"{__name__}.of_thread"})
async def test_the_project_says_whose_address_it_is() -> None:
    """In a thread of the handshake; and a view has its own limit."""
    _threads.clear()
    client: Any = WebsocketClient()
    async with client.connect("/ws/") as one, client.connect("/ws/") as two:
        assert one.accepted
        assert two.denial is not None
        assert two.denial.status == 429
    assert len(_threads) == 2
    assert threading.current_thread().name not in _threads


@override_settings(WSCONSUMER={"CLIENT_ADDRESS": f"{__name__}.of_nobody"})
async def test_an_address_that_can_not_be_found_out() -> None:
    """An error of the project's function is the end of the handshake, as any of a view."""
    async with connect(Public, raise_exceptions=False) as ws:
        assert ws.denial is not None
        assert ws.denial.status == 500


def of_nobody(request: HttpRequest) -> str:
    """Raise."""
    raise LookupError(request.path)


async def test_off_is_off() -> None:
    """Without a limit nothing counts, and there is nobody to talk to the engine."""
    async with connect(WebsocketConsumer, user=USER) as ws:
        assert ws.accepted
        assert hub()._registry is None  # noqa: SLF001  # whether it was ever asked for
