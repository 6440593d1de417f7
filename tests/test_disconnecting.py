"""``disconnect_user()`` and ``disconnect_session()``: whose websockets are closed, and how."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.cache import SessionStore
from django.core.exceptions import SynchronousOnlyOperation
from django.test import override_settings
from django.test.utils import isolate_apps
from django.utils.functional import SimpleLazyObject

from tests.fakes import ACCEPT, CONNECT, KnownServer, Wire, close, disconnect, scope, text, until
from wsconsumer import (
    BackendError,
    WebsocketConsumer,
    adisconnect_session,
    adisconnect_user,
    disconnect_session,
    disconnect_user,
    disconnecting,
)
from wsconsumer.connection.monitor import monitor
from wsconsumer.counters import counters
from wsconsumer.disconnecting import DisconnectSession, DisconnectUser
from wsconsumer.groups import memory
from wsconsumer.groups.orders import atell
from wsconsumer.identities import MAX_PK
from wsconsumer.refusals import Verdict
from wsconsumer.test import advance, connect
from wsconsumer.test.clock import turns

ADA, BOB = User(pk=1, username="ada"), User(pk=2, username="bob")


with isolate_apps("django.contrib.auth"):

    class Person(User):
        """A model that inherits from that of the users."""

        class Meta:
            app_label = "auth"

    class Staff(User):
        """A proxy."""

        class Meta:
            app_label = "auth"
            proxy = True


class Ended(WebsocketConsumer):
    """Notes how it ended."""

    ended: Any = None

    async def disconnect(self, code: int, reason: str) -> None:
        if self.ended is not None:
            self.ended.append((code, reason))


def session(key: str = "k" * 32, **data: Any) -> SessionStore:
    """Return a session with this key."""
    store = SessionStore(key)
    store._session_cache = data  # type: ignore[attr-defined]  # noqa: SLF001  # as if it was loaded
    return store


def session_of_ada(key: str = "k" * 32) -> SessionStore:
    """Return a session that Ada is logged in by."""
    return session(key, _auth_user_id="1", _auth_user_hash="x", _auth_user_backend="y")


@pytest.mark.parametrize(
    "named",
    [
        ADA,
        Staff(pk=1),
        Person(pk=1, user_ptr_id=1),
        SimpleLazyObject(lambda: ADA),
        1,
        "1",
    ],
    ids=["user", "proxy", "heir", "lazy", "pk", "text"],
)
async def test_a_user_is_disconnected(named: Any) -> None:
    """Each websocket of the user is closed with 4501; those of others stay."""
    async with (
        connect(Ended, user=ADA) as one,
        connect(Ended, user=SimpleLazyObject(lambda: ADA)) as other,
        connect(Ended, user=BOB) as bob,
        connect(Ended) as nobody,
    ):
        bool(other)
        await adisconnect_user(named, reason="be kind")
        for ws in (one, other):
            assert (await ws.receive_close(), ws.close_reason) == (4501, "be kind")
        await bob.expect_nothing()
        await nobody.expect_nothing()
    assert counters["disconnected"] == 2


async def test_the_twin_for_sync_code() -> None:
    """Threads without an event loop have functions of their own."""
    async with connect(Ended, user=ADA) as user, connect(Ended, session=session()) as visitor:
        await asyncio.to_thread(disconnect_user, ADA, code=4401)
        await asyncio.to_thread(disconnect_session, "k" * 32, code=4000)
        assert await user.receive_close() == 4401
        assert await visitor.receive_close() == 4000


async def test_a_session_is_disconnected() -> None:
    """Whoever has the session is closed, logged in or not; another session stays."""
    async with (
        connect(Ended, session=session()) as visitor,
        connect(Ended, user=ADA, session=session_of_ada()) as ada,
        connect(Ended, user=ADA, session=session_of_ada("other" * 7)) as elsewhere,
        connect(Ended, user=ADA) as without,
    ):
        await adisconnect_session("k" * 32, reason="bye")
        for ws in (visitor, ada):
            assert (await ws.receive_close(), ws.close_reason) == (4501, "bye")
        await elsewhere.expect_nothing()
        await without.expect_nothing()


async def test_a_session_that_is_not_the_users() -> None:
    """A user who came with a token stays when the session of a cookie ends that was there too."""
    async with connect(Ended, user=ADA, session=session()) as ws:
        await adisconnect_session("k" * 32)
        await ws.expect_nothing()
        await adisconnect_user(ADA)
        assert await ws.receive_close() == 4501


class Introduced(WebsocketConsumer):
    """Learns its user from a message."""

    async def receive(self, data: str | bytes) -> None:
        self.request.user = ADA
        await self.send("hello")


async def test_a_user_whom_the_consumer_sets() -> None:
    """The user counts who is set now, not the one of the handshake."""
    async with connect(Introduced) as ws:
        await adisconnect_user(ADA)
        await ws.expect_nothing()
        await ws.send("I am Ada")
        assert await ws.receive() == "hello"
        await adisconnect_user(ADA)
        assert await ws.receive_close() == 4501


class Slow(Ended):
    """Takes its time in connect()."""

    begun: Any = None
    may_end: Any = None
    user_after: Any = None

    async def connect(self) -> None:
        self.begun.set()
        await self.may_end.wait()
        if self.user_after is not None:
            self.request.user = self.user_after


@pytest.mark.parametrize("is_ticked", [False, True], ids=["at-accept", "at-tick"])
async def test_while_connect_runs(is_ticked: bool) -> None:
    """A websocket that is not accepted yet is closed once it is."""
    begun, may_end = asyncio.Event(), asyncio.Event()
    ended: list[Any] = []
    wire = Wire(CONNECT)
    made = scope(user=ADA)
    application = Slow.as_asgi(begun=begun, may_end=may_end, ended=ended)
    task = asyncio.create_task(application(made, wire.receive, wire.send))
    await begun.wait()
    await adisconnect_user(ADA)
    await advance(0.5 if is_ticked else 0)
    assert wire.sent == []
    may_end.set()
    await advance(1)
    assert wire.sent[-1] == {"type": "websocket.close", "code": 4501, "reason": ""}
    wire.put(disconnect(4501))
    await task
    assert ended == [(4501, "")]


async def test_a_user_whom_connect_sets() -> None:
    """An order that came while ``connect()`` found out who it is counts, too."""
    begun, may_end = asyncio.Event(), asyncio.Event()
    wire = Wire(CONNECT)
    application = Slow.as_asgi(begun=begun, may_end=may_end, user_after=ADA)
    task = asyncio.create_task(application(scope(), wire.receive, wire.send))
    await begun.wait()
    await adisconnect_user(ADA)
    await advance(0)
    may_end.set()
    await advance(0)
    assert wire.sent[-1] == {"type": "websocket.close", "code": 4501, "reason": ""}
    wire.put(disconnect(4501))
    await task


class Late(WebsocketConsumer):
    """Accepts, and finds out who it is when ``may_go_on`` is set."""

    may_go_on: Any = None

    async def connect(self) -> None:
        await self.accept()
        await self.may_go_on.wait()
        self.request.user = ADA


async def test_a_user_whom_connect_sets_after_it_accepted() -> None:
    """An order that came between the two counts as well."""
    may_go_on = asyncio.Event()
    wire = Wire(CONNECT)
    application = Late.as_asgi(may_go_on=may_go_on)
    task = asyncio.create_task(application(scope(), wire.receive, wire.send))
    await wire.until_sent(1)
    await adisconnect_user(ADA)
    await advance(1)
    assert wire.sent == [ACCEPT]
    may_go_on.set()
    await wire.until_sent(2)
    assert wire.sent[-1] == {"type": "websocket.close", "code": 4501, "reason": ""}
    wire.put(disconnect(4501))
    await task


async def test_a_client_that_leaves_while_its_close_waits() -> None:
    """Nobody goes on sending a close to whoever has gone."""
    wire = KnownServer(CONNECT)
    task = asyncio.create_task(Ended.as_asgi()(scope(user=ADA), wire.receive, wire.send))
    await wire.until_sent(1)
    wire.shut()
    await adisconnect_user(ADA)
    await until(lambda: wire.begun == 2)
    wire.put(disconnect(1006))
    await task
    await turns()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_many_orders_are_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is ordered within the same twentieth of a second is searched for together."""
    searches = []
    look_for = disconnecting.Search._look_for  # noqa: SLF001  # to see what it is asked for

    async def counted(self: Any, wanted: Any) -> float:
        searches.append(len(wanted))
        return await look_for(self, wanted)

    monkeypatch.setattr(disconnecting.Search, "_look_for", counted)
    async with AsyncExitStack() as stack:
        users = [User(pk=pk) for pk in range(10, 14)]
        opened = [await stack.enter_async_context(connect(Ended, user=user)) for user in users]
        for user in users:
            await adisconnect_user(user)
        for ws in opened:
            assert await ws.receive_close() == 4501
    assert sum(searches) == 4
    assert len(searches) <= 2


async def test_searches_leave_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who logs in and out in a loop takes a fifth of it, however many there are."""
    seconds = iter(range(100))
    monkeypatch.setattr(disconnecting, "perf_counter", lambda: float(next(seconds)))
    monkeypatch.setattr(disconnecting, "SLICE", 1)
    async with connect(Ended, user=BOB), connect(Ended, user=BOB):
        search = disconnecting.Search()
        search.begin("a" * 32, Verdict(0, 4501, ""))
        task = search._task  # noqa: SLF001  # to wait for it
        assert task is not None
        await task
        rest = search._not_before - asyncio.get_running_loop().time()  # noqa: SLF001  # the same
        # A search took three seconds: one for each of two slices, and one for the end.
        assert disconnecting.REST * 3 - 1 < rest <= disconnecting.REST * 3


async def test_a_search_goes_on_after_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop has its turn in between, and what comes then is searched for too."""
    monkeypatch.setattr(disconnecting, "SLICE", 1)
    async with connect(Ended, user=BOB) as bob, connect(Ended, user=ADA) as ada:
        await adisconnect_user(ADA)
        await adisconnect_user(BOB)
        assert await ada.receive_close() == 4501
        assert await bob.receive_close() == 4501


class Broken(SessionStore):
    """An engine whose keys can't be read any more."""

    is_broken = False

    @property
    def session_key(self) -> str:
        if self.is_broken:
            raise RuntimeError("the key is gone")
        return "b" * 32


async def test_an_engine_of_sessions_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the other websockets are found."""
    broken: Any = Broken()
    wire = Wire(CONNECT)
    app = Ended.as_asgi()(scope(session=broken), wire.receive, wire.send)
    async with connect(Ended, user=ADA) as ws:
        task = asyncio.create_task(app)
        await wire.until_sent(1)
        broken.is_broken = True
        await adisconnect_user(ADA)
        assert await ws.receive_close() == 4501
    wire.put(disconnect())
    await task
    assert "Ended: a disconnected user or session can't be told from others." in caplog.messages


async def test_what_is_closed_already() -> None:
    """A websocket that is closing keeps its own code."""

    class Leaving(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.close(4000)

    wire = Wire(CONNECT, text("go"))
    task = asyncio.create_task(Leaving.as_asgi()(scope(user=ADA), wire.receive, wire.send))
    await wire.until_sent(2)
    await adisconnect_user(ADA)
    await turns()
    wire.put(disconnect(4000))
    await task
    assert wire.sent == [ACCEPT, close(4000)]
    assert counters["disconnected"] == 0


async def test_one_that_was_rejected() -> None:
    """There is nothing to close where ``connect()`` has refused."""

    class Refusing(WebsocketConsumer):
        async def connect(self) -> None:
            await adisconnect_user(ADA)
            await self.reject()

    async with connect(Refusing, user=ADA) as ws:
        assert ws.denial is not None
    assert counters["disconnected"] == 0


@pytest.mark.parametrize(
    "order", [DisconnectUser("auth.user", "1", 1005, ""), DisconnectSession("a" * 32, 1005, "")]
)
async def test_an_order_that_can_not_be_obeyed(
    order: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes from the engine is not trusted: a code that nobody may send closes nobody."""
    async with connect(Ended, user=ADA) as ws:
        await atell(order)
        await ws.expect_nothing()
        assert "An order failed" in caplog.text


@pytest.mark.parametrize(
    "order",
    [
        DisconnectUser("auth.user", "1" * (MAX_PK + 1), 4501, ""),
        DisconnectUser("m" * 201, "1", 4501, ""),
        DisconnectSession("a" * 33, 4501, ""),
        DisconnectSession("x" * 32, 4501, ""),
    ],
    ids=["pk", "model", "long", "hash"],
)
async def test_an_order_that_would_fill_the_memory(order: Any) -> None:
    """What is remembered for a minute is bounded, whoever wrote it."""
    async with connect(Ended, user=ADA) as ws:
        await atell(order)
        await ws.expect_nothing()
    assert counters["body_refused"] == 1


WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (AnonymousUser(), {}, TypeError, "expects a user or a primary key .* got <.*AnonymousUser"),
    (None, {}, TypeError, "got None. For somebody who is not logged in"),
    (True, {}, TypeError, "got True"),
    (User(), {}, ValueError, "a user that was saved, .*, got a User without one"),
    (
        "ada",
        {},
        ValueError,
        "got 'ada', which is no primary key of auth.User: .*must be an integer. Pass the user, or",
    ),
    (User(pk="p" * 401), {}, ValueError, "a str of at most 400 characters, got a User without one"),
    ("1" * 401, {}, ValueError, "a primary key of at most 400 characters, got one of 401"),
    (1, {"code": 1005}, ValueError, r"disconnect_user\(\) can't send the close code 1005"),
    (1, {"code": "4501"}, TypeError, r"disconnect_user\(\) expects code to be an int"),
    (1, {"reason": "x" * 124}, ValueError, r"disconnect_user\(\) can't send a reason of 124 bytes"),
]


@pytest.mark.parametrize(("user", "more", "kind", "text"), WRONG, ids=[row[3] for row in WRONG])
def test_what_is_no_user(user: Any, more: dict[str, Any], kind: type[Exception], text: str) -> None:
    """The error says what was expected, and what came."""
    with pytest.raises(kind, match=text):
        disconnect_user(user, **more)


@pytest.mark.parametrize(
    ("key", "kind", "text"),
    [
        (session(), TypeError, "a session key, a str, got SessionStore. Write request.session"),
        (None, TypeError, "got None. A visitor whose session was never saved has no key"),
        (b"k", TypeError, "got bytes. Write request.session.session_key"),
        ("", ValueError, "got an empty str"),
    ],
    ids=["session", "none", "bytes", "empty"],
)
def test_what_is_no_session(key: Any, kind: type[Exception], text: str) -> None:
    """The error says what was expected, and what came."""
    with pytest.raises(kind, match=text):
        disconnect_session(key)


async def test_sync_functions_in_an_event_loop() -> None:
    """They would block it, so they name their twins."""
    with pytest.raises(SynchronousOnlyOperation, match=r"`await adisconnect_user\(user\)`"):
        disconnect_user(1)
    with pytest.raises(SynchronousOnlyOperation, match=r"`await adisconnect_session\(session_key"):
        disconnect_session("x")


def test_where_nobody_can_hear(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process without websockets the memory backend says once that it reaches nobody."""
    monkeypatch.setattr(memory, "is_serving", lambda: False)
    memory._explain_alone.cache_clear()  # noqa: SLF001  # as in a new process
    disconnect_user(1)
    disconnect_user(2)
    (line,) = caplog.messages
    assert line.startswith("disconnect_user() or disconnect_session() was called in a process that")


def test_an_engine_that_reaches_others(caplog: pytest.LogCaptureFixture) -> None:
    """Where others can be reached, there is nothing to explain; what fails is raised."""
    groups = {
        "BACKEND": "wsconsumer.groups.redis.RedisBackend",
        "LOCATION": "redis://127.0.0.1:9",
        "OPTIONS": {"TIMEOUT": 0.5},
    }
    with override_settings(WSCONSUMER={"GROUPS": groups}), pytest.raises(BackendError):
        disconnect_user(1)
    assert caplog.messages == []


async def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each close is a line at INFO, without the key."""
    caplog.set_level(logging.INFO, "wsconsumer")
    async with connect(Ended, session=session()) as ws:
        await adisconnect_session("k" * 32, reason="bye")
        await ws.receive_close()
    assert "Ended: closing with 4501, bye." in caplog.messages
    assert "kkkk" not in caplog.text


async def test_nothing_is_left() -> None:
    """When all is done, no task is left and nothing holds a websocket."""
    async with connect(Ended, user=ADA) as ws:
        await adisconnect_user(ADA)
        await ws.receive_close()
    assert monitor().sessions == ()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
