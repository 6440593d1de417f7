"""``connected/facts.py``: what is told of a connection, and that no code of the project's runs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.cache import SessionStore
from django.test import override_settings
from django.test.utils import isolate_apps
from django.utils.functional import SimpleLazyObject

from tests.connected.members import Hanging, Member, asked
from tests.fakes import CONNECT, KnownServer, disconnect, scope
from wsconsumer import WebsocketConsumer, abroadcast
from wsconsumer.connected.facts import (
    MAX_GROUPS,
    MAX_PATH,
    SHOWN,
    session_hash,
    text_of,
    user_of,
)
from wsconsumer.groups.hub import close_hub
from wsconsumer.identities import hash_of_session
from wsconsumer.servers import server_of
from wsconsumer.servers.granian import GranianConnection
from wsconsumer.sessions import make_snapshot
from wsconsumer.test import Websocket, connect

if TYPE_CHECKING:
    from collections.abc import Callable


with isolate_apps("django.contrib.auth"):

    class Raising(User):
        """A user of which nothing may be asked."""

        class Meta:
            app_label = "auth"
            proxy = True

        def __str__(self) -> NoReturn:
            raise AssertionError

        __repr__ = __str__


class Echoing(WebsocketConsumer):
    """Sends what it gets."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


class Guest:
    """A user that is no model."""


class Request:
    """As much of a request as matters."""

    def __init__(self, **facts: Any) -> None:
        vars(self).update(facts)


def fail() -> NoReturn:
    """Load what must not be loaded."""
    raise AssertionError


async def test_what_is_told() -> None:
    """The path without its query, the user's key, a hash of the session's, and the groups."""
    session = SessionStore("k" * 32)
    user = Raising(pk=7, username="ada")
    async with connect(
        Member, "/ws/?token=secret", kwargs={"groups": ["b", "a"]}, user=user, session=session
    ) as ws:
        await ws.settle()
        (row,) = (await asked()).rows
    assert (row.consumer, row.path) == (f"{Member.__module__}.Member", "/ws/")
    assert (row.user, row.who) == ("7", "")
    assert row.session == hash_of_session("k" * 32)[:SHOWN]
    assert "k" * 32 not in str(row)
    assert (row.groups, row.group_count) == (("b", "a"), 2)
    assert (row.state, row.hook, row.outbox, row.server) == ("open", "", 0, "")
    assert 0 <= row.age < 10


@override_settings(WSCONSUMER={"METRICS": True})
async def test_rates() -> None:
    """Where messages are counted, it is told how many a second come and go, on average."""
    async with connect(Echoing) as ws:
        for _ in range(10):
            await ws.send("hello")
            await ws.receive()
        await ws.advance(4)
        (row,) = (await asked()).rows
    assert (row.received, row.sent) == pytest.approx((2.5, 2.5), rel=0.1)


async def test_a_connection_that_is_in_no_group() -> None:
    """Most connections have neither groups nor an outbox, and some no session."""
    async with connect(Member, kwargs={"groups": []}) as ws:
        await ws.settle()
        (row,) = (await asked()).rows
    assert (row.groups, row.group_count, row.outbox, row.session) == ((), 0, 0, None)
    assert (row.user, row.who) == (None, "anonymous")


async def test_a_hook_that_runs() -> None:
    """Where it is known that a hook works, it is told which."""
    async with connect(Hanging) as ws:
        await ws.send("hang")
        await ws.settle()
        (row,) = (await asked()).rows
        assert (row.state, row.hook) == ("open", "receive")


async def test_names_that_are_long() -> None:
    """What strangers can make long is cut, and the groups that are not told are counted."""
    names = [f"{number:03}{'x' * 197}" for number in range(100)]
    async with connect(Member, f"/{'p' * 1000}", kwargs={"groups": names}) as ws:
        await ws.settle()
        (row,) = (await asked()).rows
    assert row.groups == tuple(names[:MAX_GROUPS])
    assert row.group_count == 100
    assert row.path == f"/{'p' * (MAX_PATH - 1)}..."


async def test_the_server_and_what_waits() -> None:
    """A slow client has bytes in its outbox; its server has a name, and passes on any path."""
    wire = KnownServer(CONNECT)
    application = Member.as_asgi()
    connected = scope(path="/\udcff", url_route={"kwargs": {"groups": ["room"]}})
    task = asyncio.create_task(application(connected, wire.receive, wire.send))
    await wire.until_sent(1)
    wire.shut()
    await abroadcast("room", "x" * 1000)
    (row,) = (await asked()).rows
    assert (row.server, row.path) == ("uvicorn", r"/\udcff")
    assert row.outbox > 1000
    wire.open()
    wire.put(disconnect())
    await task
    await close_hub()


async def send(event: Any) -> None:
    """Stand for a server's send, or for middleware that hides it."""


def wrapping(send: Any) -> Any:
    """Return what middleware that can be seen through puts around a send."""

    async def wrapped(event: Any) -> None:
        await send(event)

    return wrapped


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (KnownServer().send, "uvicorn"),
        (wrapping(KnownServer().send), "uvicorn"),
        (partial(KnownServer().send), "uvicorn"),
        (GranianConnection(None, None).send, "granian"),  # type: ignore[arg-type]  # not called
        (send, ""),
        (Websocket.send, ""),
    ],
    ids=["server", "middleware", "partial", "adapted", "function", "kit"],
)
async def test_names_of_servers(function: Any, name: str) -> None:
    """A server is told by what it sends with, also where that was adapted or wrapped."""
    assert server_of(function) == name


@pytest.mark.parametrize(
    ("user", "told"),
    [
        (None, (None, "no user")),
        (AnonymousUser(), (None, "anonymous")),
        (SimpleLazyObject(fail), (None, "not loaded")),
        (Guest(), (None, "Guest")),
        (User(), (None, "User")),
        (Raising(pk=3), ("3", "")),
    ],
    ids=["none", "anonymous", "lazy", "no model", "unsaved", "saved"],
)
def test_who_it_is(user: object, told: tuple[str | None, str]) -> None:
    """A user that was not loaded is not loaded for this."""
    assert user_of(Request(user=user)) == told  # type: ignore[arg-type]  # as much as it needs


def test_a_user_that_was_loaded() -> None:
    """One that was loaded before is told."""
    user = SimpleLazyObject(lambda: User(pk=5))
    assert str(user.pk) == "5"
    assert user_of(Request(user=user)) == ("5", "")  # type: ignore[arg-type]  # the same


@pytest.mark.parametrize(
    ("pk", "text"),
    [
        ("ada", "ada"),
        ("\udcff", r"\udcff"),
        (7, "7"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Guest(), f"<{__name__}.Guest object>"),
    ],
    ids=["str", "surrogate", "int", "UUID", "other"],
)
def test_primary_keys(pk: object, text: str) -> None:
    """A key is told as the admin writes it in URLs; of others, the type."""
    assert text_of(pk) == text


def snapshot() -> SessionStore:
    """Return a session that was flushed after its handshake."""
    session = SessionStore(None)
    make_snapshot(session, "k" * 32)
    return session


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: SessionStore("k" * 32), "k" * 32),
        (lambda: SessionStore(None), None),
        (snapshot, "k" * 32),
        (lambda: {"key": "value"}, None),
        (lambda: SimpleLazyObject(fail), None),
    ],
    ids=["session", "visitor", "flushed", "no session of Django's", "lazy"],
)
def test_sessions(make: Callable[[], object], key: str | None) -> None:
    """A session is the one of the handshake, by the hash of its key."""
    found = session_hash(Request(session=make()))  # type: ignore[arg-type]  # as much as it needs
    assert found == (None if key is None else hash_of_session(key))


async def test_an_engine_of_sessions_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The others are told of, and the rest of what there is to tell."""

    class Broken(SessionStore):
        @property
        def session_key(self) -> NoReturn:
            raise RuntimeError("the key is gone")

    wire = KnownServer()
    wire.put(CONNECT)
    app = Hanging.as_asgi()(scope(session=Broken()), wire.receive, wire.send)
    async with connect(Hanging):
        task = asyncio.create_task(app)
        await wire.until_sent(1)
        answers = await asked()
        assert [row.session for row in answers.rows] == [None, None]
        assert answers.reports[0].total == 2
        wire.put(disconnect())
        await task
    assert "A session's key can't be read." in caplog.messages


def test_a_request_without_a_session() -> None:
    """There may be no sessions at all."""
    assert session_hash(Request()) is None  # type: ignore[arg-type]  # the same
