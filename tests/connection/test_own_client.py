"""What clients of our subprotocol get that others don't: heartbeats, and codes for denials."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.urls import path

from tests.fakes import CONNECT, KnownServer, disconnect, scope
from wsconsumer import CloseCode, WebsocketConsumer
from wsconsumer.connection.heartbeats import PERIOD
from wsconsumer.test import WebsocketClient, advance, connect

if TYPE_CHECKING:
    from django.http import HttpRequest

OWN = ["wsconsumer.v1"]


class Room(WebsocketConsumer):
    """Is in a group."""

    async def connect(self) -> None:
        await self.join("news")


async def test_a_heartbeat_comes_now_and_then() -> None:
    """It says how many seconds it is until the next one."""
    async with connect(Room, subprotocols=OWN) as ws:
        await ws.expect_nothing()
        for _ in range(3):
            await advance(PERIOD + 1)
            assert await ws.receive() == f'\x1e{{"ping":{PERIOD}}}'


async def test_heartbeats_begin_with_the_accept() -> None:
    """A ``connect()`` that has accepted may go on for hours, and its client knows that it does."""

    class Telling(WebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            await asyncio.get_running_loop().create_future()

    async with connect(Telling, subprotocols=OWN) as ws:
        for _ in range(3):
            await advance(PERIOD + 1)
            assert await ws.receive() == f'\x1e{{"ping":{PERIOD}}}'


async def test_others_get_none() -> None:
    """A client that does not speak the subprotocol never sees one."""
    async with connect(Room) as ws:
        await advance(3 * PERIOD)
        await ws.expect_nothing()


async def test_a_heartbeat_that_can_not_be_sent() -> None:
    """A client that has gone is no error; it is noticed when the server says so."""
    wire = KnownServer()
    wire.put(CONNECT)
    task = asyncio.create_task(Room.as_asgi()(scope(subprotocols=OWN), wire.receive, wire.send))
    await wire.until_sent(1)
    wire.fail_on = "websocket.send"
    await advance(PERIOD + 1)
    await advance(PERIOD + 1)
    wire.put(disconnect())
    await task
    assert len(wire.sent) == 1


async def test_a_slow_client_is_sent_one_at_a_time() -> None:
    """While one heartbeat, or anything else, waits to be sent, no other is added."""
    wire = KnownServer()
    wire.put(CONNECT)
    task = asyncio.create_task(Room.as_asgi()(scope(subprotocols=OWN), wire.receive, wire.send))
    await wire.until_sent(1)
    wire.shut()
    for _ in range(4):
        await advance(PERIOD + 1)
    assert wire.begun == 2
    wire.put(disconnect())
    await task


class Refusing(WebsocketConsumer):
    """Refuses as it is told to."""

    async def connect(self) -> None:
        status = int(self.kwargs["status"])
        if status == 403:
            raise PermissionDenied
        if status == 404:
            raise Http404
        after = self.request.GET.get("after")
        await self.reject(status, "no", [("Retry-After", after)] if after else ())


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("ws/<int:status>/", Refusing.as_view()),
    path("ws/members/", login_required(Room.as_view())),
    path("page/", view),
]


@pytest.mark.urls(__name__)
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("where", "status", "code"),
    [
        ("/ws/401/", 401, CloseCode.NOT_AUTHENTICATED),
        ("/ws/403/", 403, CloseCode.REFUSED),
        ("/ws/404/", 404, CloseCode.NO_SUCH_SOCKET),
        ("/ws/429/", 429, None),
        ("/ws/429/?after=Wed,%2021%20Oct%202026%2007:28:00%20GMT", 429, None),
        ("/ws/429/?after=7", 429, CloseCode.RATE_LIMITED),
        ("/ws/503/", 503, None),
        ("/ws/302/", 302, None),
        ("/ws/members/", 302, CloseCode.NOT_AUTHENTICATED),
        ("/nowhere/", 404, CloseCode.NO_SUCH_SOCKET),
        ("/page/", 404, CloseCode.NO_SUCH_SOCKET),
    ],
)
async def test_a_denial_that_a_page_can_see(
    where: str, status: int, code: CloseCode | None
) -> None:
    """
    A client of ours gets a close code for what another try will not change, or not yet; others get
    a status.
    """
    client: Any = WebsocketClient()
    async with client.connect(where) as ws:
        assert ws.denial is not None
        assert ws.denial.status == status
    async with client.connect(where, subprotocols=OWN) as ws:
        if code is None:
            assert ws.denial.status == status
        else:
            assert ws.subprotocol == "wsconsumer.v1"
            assert await ws.receive_close() == code
            assert ws.close_reason == ("after=7" if status == 429 else str(status))


@pytest.mark.urls(__name__)
async def test_a_foreign_page_is_told_nothing() -> None:
    """A wrong Origin gets its 403, whatever it offers to speak."""
    client: Any = WebsocketClient()
    headers = {"origin": "https://evil.example"}
    async with client.connect("/ws/404/", subprotocols=OWN, headers=headers) as ws:
        assert ws.denial.status == 403


async def test_a_client_that_is_gone_before_its_denial() -> None:
    """Nobody is left to be told, and that is no error."""
    wire = KnownServer()
    wire.put(CONNECT)
    wire.fail_on = "websocket.close"
    found = scope(subprotocols=OWN, url_route={"kwargs": {"status": "403"}})
    await Refusing.as_asgi()(found, wire.receive, wire.send)
    assert [message["type"] for message in wire.sent] == ["websocket.accept"]
