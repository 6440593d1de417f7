"""``sessions.py``: the session of the handshake is a snapshot, and ``fresh_session()`` is not."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import aget_user, alogout
from django.contrib.auth.models import User
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.urls import path

from tests.fakes import run, scope
from tests.handshake.telling import headers, logged_in
from wsconsumer import InvalidState, WebsocketConsumer, asgi_view
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.handshake.request import WebsocketRequest
from wsconsumer.sessions import fresh_session, is_snapshot
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.contrib.sessions.backends.base import SessionBase

BACKENDS = ["db", "cached_db", "cache", "file"]

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Run a test with each kind of store that the server keeps."""
    engine = f"django.contrib.sessions.backends.{request.param}"
    with override_settings(SESSION_ENGINE=engine, SESSION_FILE_PATH=str(tmp_path)):
        yield engine


def store(key: str | None = None) -> SessionBase:
    """Return a session as a page has it."""
    made: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return made


@sync_to_async
def create(**values: Any) -> str:
    """Create a session, and return its key."""
    session = store()
    session.update(values)
    session.create()
    session.update(values)
    session.save()
    assert session.session_key is not None
    return session.session_key


@sync_to_async
def write(key: str, **values: Any) -> None:
    """Change a session, as a page does."""
    session = store(key)
    session.update(values)
    session.save()


@sync_to_async
def read(key: str) -> dict[str, Any]:
    """Return what a page finds in a session."""
    return dict(store(key).items())


def opened(consumer: type[WebsocketConsumer], key: str | None, **more: Any) -> Any:
    """Open a websocket with a session's cookie."""
    cookie = [] if key is None else [("cookie", f"sessionid={key}")]
    application = WebsocketDispatcher([path("ws/", consumer.as_view())])
    return connect(application, "/ws/", headers=[("host", "example.com"), *cookie], **more)


class Cart(WebsocketConsumer):
    """Puts what it hears into the session, and says what is in there."""

    async def receive(self, data: str | bytes) -> None:
        async with fresh_session(self.request) as session:
            session["socket"] = data
        await self.send(",".join(sorted(self.request.session.keys())))


class SyncCart(WebsocketConsumer):
    """The same in sync code."""

    def put(self, data: str | bytes) -> str:
        with fresh_session(self.request) as session:
            session["socket"] = data
        return ",".join(sorted(self.request.session.keys()))

    async def receive(self, data: str | bytes) -> None:
        await self.send(await sync_to_async(self.put)(data))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("consumer", [Cart, SyncCart])
async def test_what_pages_wrote_is_kept(consumer: type[WebsocketConsumer]) -> None:
    """The block starts from what pages have written since the handshake, and adds to it."""
    key = await create(old=1)
    async with opened(consumer, key) as ws:
        await write(key, page=2)
        await ws.send("a")
        assert await ws.receive() == "old,page,socket"
        assert await read(key) == {"old": 1, "page": 2, "socket": "a"}
        await write(key, page=3)
        await ws.send("b")
        await ws.receive()
    assert await read(key) == {"old": 1, "page": 3, "socket": "b"}


@pytest.mark.usefixtures("backend")
async def test_at_the_same_moment_the_last_one_wins() -> None:
    """A page that saves while the block runs is overwritten, as by another page."""

    class Slow(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            async with fresh_session(self.request) as session:
                await write(str(session.session_key), page=1)
                session["socket"] = data
            await self.send("saved")

    key = await create(old=1)
    async with opened(Slow, key) as ws:
        await ws.send("a")
        await ws.receive()
    assert await read(key) == {"old": 1, "socket": "a"}


@pytest.mark.usefixtures("backend")
async def test_what_is_not_modified_is_not_saved() -> None:
    """A block that only reads, or that raises, leaves the session to the pages."""

    class Reading(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            try:
                async with fresh_session(self.request) as session:
                    await write(str(session.session_key), page=1)
                    if data == "raise":
                        session["socket"] = data
                        raise LookupError
            except LookupError:
                assert "page" not in self.request.session
            await self.send("done")

    key = await create(old=1)
    async with opened(Reading, key) as ws:
        for text in ("read", "raise"):
            await ws.send(text)
            await ws.receive()
    assert await read(key) == {"old": 1, "page": 1}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("when", ["before", "inside"])
async def test_a_session_that_has_ended(when: str, caplog: pytest.LogCaptureFixture) -> None:
    """A session that is gone closes the connection with 4401, and is no error."""

    class Late(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            async with fresh_session(self.request) as session:
                await sync_to_async(store(key).delete)()
                session["socket"] = data

    caplog.set_level(logging.INFO, "wsconsumer.consumer")
    key = await create(old=1)
    async with opened(Late, key) as ws:
        if when == "before":
            await sync_to_async(store(key).delete)()
        await ws.send("a")
        assert await ws.receive_close() == 4401
    assert caplog.messages == ["receive on /ws/: the session has ended."]
    assert await read(key) == {}


def test_an_expired_file(tmp_path: Path) -> None:
    """The file backend's replacement for an expired session is not left behind."""
    engine = "django.contrib.sessions.backends.file"
    with override_settings(SESSION_ENGINE=engine, SESSION_FILE_PATH=str(tmp_path)):
        page = store()
        page.create()
        request = WebsocketRequest(scope(session=store(page.session_key)))
        with override_settings(SESSION_COOKIE_AGE=-1), pytest.raises(SessionInterrupted):
            fresh_session(request).__enter__()
        assert list(tmp_path.iterdir()) == []


class Verb(WebsocketConsumer):
    """Calls a method of the session by its name, and says what came of it."""

    async def receive(self, data: str | bytes) -> None:
        try:
            outcome = getattr(self.request.session, str(data))()
            if outcome is not None:
                await outcome
        except InvalidState as error:
            await self.send(str(error))
        else:
            await self.send("done")


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("verb", ["save", "create", "cycle_key", "asave", "acreate", "acycle_key"])
async def test_the_snapshot_refuses_to_be_saved(verb: str) -> None:
    """Each verb that would save what is old names fresh_session, before and after its use."""
    key = await create(old=1)
    async with opened(Verb, key) as ws:
        await ws.send(verb)
        assert str(await ws.receive()).startswith(f"request.session.{verb}() would save what was")
    assert await read(key) == {"old": 1}


@pytest.mark.usefixtures("backend")
async def test_what_was_fresh_is_a_snapshot_again() -> None:
    """After the block the session refuses to be saved, too, and can be fetched again."""

    class Twice(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            for number in range(2):
                async with fresh_session(self.request) as session:
                    session[str(number)] = data
                with pytest.raises(InvalidState, match="fresh_session"):
                    await self.request.session.asave()
            await self.send("done")

    key = await create()
    async with opened(Twice, key) as ws:
        await ws.send("a")
        assert await ws.receive() == "done"
    assert await read(key) == {"0": "a", "1": "a"}


@pytest.mark.usefixtures("backend")
async def test_flush_ends_the_session(caplog: pytest.LogCaptureFixture) -> None:
    """aflush() works on the snapshot, is no lost change, and fresh_session() is 4401 then."""

    class Leaving(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await self.request.session.aflush()
            await self.send("gone")
            async with fresh_session(self.request):
                raise AssertionError

    key = await create(old=1)
    async with opened(Leaving, key) as ws:
        await ws.send("a")
        assert await ws.receive() == "gone"
        assert await ws.receive_close() == 4401
    assert await read(key) == {}
    assert caplog.messages == []


@pytest.mark.usefixtures("backend")
async def test_logging_out() -> None:
    """alogout() works: the session is gone, a page sees nobody, and the websocket is closed."""
    seen = []

    class Leaving(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            await alogout(self.request)
            seen.append(str(self.user))

    user = await User.objects.acreate_user("ada")
    ((_, cookie),) = (pair for pair in await sync_to_async(logged_in)(user) if pair[0] == b"cookie")
    key = cookie.decode().partition("=")[2]
    async with opened(Leaving, key) as ws:
        await ws.send("a")
        assert await ws.receive_close() == 4501
    assert seen == ["AnonymousUser"]
    request = WebsocketRequest(scope(session=store(key)))
    assert not (await aget_user(request)).is_authenticated


@pytest.mark.parametrize("action", ["cycle_key", "flush"])
async def test_another_key_in_the_block(action: str) -> None:
    """A new key would be one that the client never hears of."""
    key = await create(old=1)
    request = WebsocketRequest(scope(session=store(key)))
    block = fresh_session(request)
    session = await block.__aenter__()
    await getattr(session, f"a{action}")()
    session["new"] = 1
    with pytest.raises(InvalidState, match="got another key"):
        await block.__aexit__(None, None, None)


async def test_flush_in_the_block() -> None:
    """A session that ends in the block is not saved again."""
    key = await create(old=1)
    request = WebsocketRequest(scope(session=store(key)))
    async with fresh_session(request) as session:
        await session.aflush()
    assert await read(key) == {}
    assert request.session.is_empty()


async def test_a_visitor_without_a_session() -> None:
    """Without a session there is nothing to load: a page has to make it."""

    class Visited(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            with pytest.raises(InvalidState, match=r"visitor has none\. Create it on a page"):
                await fresh_session(self.request).__aenter__()
            await self.send("told")

    async with opened(Visited, None) as ws:
        await ws.send("a")
        assert await ws.receive() == "told"


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
async def test_signed_cookies(caplog: pytest.LogCaptureFixture) -> None:
    """A session in a cookie can be read, also a forged one, but not be written: it says why."""

    class Signed(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            with pytest.raises(ImproperlyConfigured, match="lives in the client's cookie"):
                await fresh_session(self.request).__aenter__()
            await self.send(str(await self.request.session.aget("old")))

    session = store()
    session["old"] = 1
    session.save()
    with override_settings(MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"]):
        for key, found in ((session.session_key, "1"), ("forged-key", "None")):
            async with opened(Signed, key) as ws:
                await ws.send("a")
                assert await ws.receive() == found
    assert caplog.messages == []


def test_no_session() -> None:
    """A request without a session says what to add."""
    with (
        pytest.raises(ImproperlyConfigured, match=r"SessionMiddleware to MIDDLEWARE"),
        fresh_session(WebsocketRequest(scope())),
    ):
        raise AssertionError


async def test_a_change_that_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """A changed snapshot is told once for a class of consumers."""

    class Losing(WebsocketConsumer):
        async def connect(self) -> None:
            self.request.session["lost"] = 1

    key = await create(old=1)
    for _ in range(2):
        async with opened(Losing, key):
            pass
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("wsconsumer.consumer", "WARNING")
    assert record.getMessage().startswith("Losing changed request.session, and the change is lost")
    assert await read(key) == {"old": 1}


async def test_what_the_handshake_wrote_is_saved(caplog: pytest.LogCaptureFixture) -> None:
    """What setup() changes is saved by the middleware, and is no lost change."""

    class Counting(WebsocketConsumer):
        def setup(self, *args: Any, **kwargs: Any) -> None:
            super().setup(*args, **kwargs)
            self.request.session["opened"] = 1

    key = await create(old=1)
    async with opened(Counting, key):
        pass
    assert await read(key) == {"old": 1, "opened": 1}
    assert caplog.messages == []


async def test_other_applications_keep_their_session() -> None:
    """The session of an asgi_view() and of as_asgi() can be saved as ever."""
    key = await create(old=1)
    seen: list[Any] = []

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["mounted"] = 1
        await scope["session"].asave()
        seen.append(scope["session"])

    class Plain(WebsocketConsumer):
        async def connect(self) -> None:
            async with fresh_session(self.request) as session:
                session["plain"] = 1
            await self.request.session.asave()
            seen.append(self.request.session)

    lines = headers(cookie=f"sessionid={key}")
    dispatcher = WebsocketDispatcher([path("ws/", asgi_view(mounted))])
    await run(dispatcher, path="/ws/", headers=lines)
    await run(Plain.as_asgi(), {"type": "websocket.disconnect"}, session=store(key))
    assert [is_snapshot(session) for session in seen] == [False, False]
    assert await read(key) == {"old": 1, "mounted": 1, "plain": 1}


async def test_an_error_in_sync_code_saves_nothing() -> None:
    """An exception leaves the session of the store and of the request as they were."""
    key = await create(old=1)
    request = WebsocketRequest(scope(session=store(key)))

    def fail() -> None:
        with fresh_session(request) as session:
            session["new"] = 1
            raise LookupError

    with pytest.raises(LookupError):
        await sync_to_async(fail)()
    assert await read(key) == {"old": 1}


@pytest.mark.usefixtures("backend")
async def test_a_snapshot_is_read_late() -> None:
    """A session that nothing read in the handshake is loaded when a hook reads it."""

    class Late(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            session = self.request.session
            await self.send(str(await sync_to_async(session.get)("old")))
            await self.send(str(await session.aget("old")))

    only = ["django.contrib.sessions.middleware.SessionMiddleware"]
    key = await create(old=1)
    with override_settings(MIDDLEWARE=only):
        async with opened(Late, key) as ws:
            await ws.send("a")
            assert [await ws.receive(), await ws.receive()] == ["1", "1"]
