"""``per_thread.py``: a cache backend for each thread, not for each websocket."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextvars import copy_context
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import django
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django.db import connections
from django.test import override_settings
from django.urls import path
from django.utils.connection import BaseConnectionHandler
from django.utils.decorators import async_only_middleware

from tests.engines import Redis
from tests.fakes import CONNECT, Wire, disconnect, run, scope, text
from tests.syncing import clients
from wsconsumer import WebsocketConsumer
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.per_thread import StandIn, adapt_handlers, enter_websocket, leave_websocket
from wsconsumer.sessions import fresh_session
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from django.contrib.sessions.backends.base import SessionBase

    ThingHandler = BaseConnectionHandler["Thing"]
else:
    ThingHandler = BaseConnectionHandler

LANES = 3
HANDSHAKES = 2
SOCKETS = 24
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
USER = "django.contrib.auth.middleware.AuthenticationMiddleware"


class Recording(LocMemCache):
    """Notes which thread asks which of its instances."""

    made: ClassVar[list[Recording]] = []
    asked: ClassVar[list[tuple[str, Recording]]] = []

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(name, params)
        self.made.append(self)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append((threading.current_thread().name, self))
        return super().get(*args, **kwargs)

    @classmethod
    def forget(cls) -> None:
        """Start anew."""
        cls.made.clear()
        cls.asked.clear()


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    Recording.forget()
    with override_settings(
        WSCONSUMER={"THREADS": LANES, "HANDSHAKE_THREADS": HANDSHAKES},
        MIDDLEWARE=[SESSION, USER],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={"default": {"BACKEND": f"{__name__}.Recording"}},
    ):
        yield


async def session_cookie() -> str:
    """Create a session, as a page does, and return its cookie."""
    # In a context of its own, so that the test's has no backend that websockets might inherit.
    return await asyncio.create_task(sync_to_async(create_session)())


def create_session() -> str:
    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore()
    session["visits"] = 7
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


# Ways to a cache, in a hook.


async def aget(_: Any) -> object:
    return await cache.aget("key")


async def aget_many(_: Any) -> object:
    return await caches["default"].aget_many(["key", "other"])


async def straight(_: Any) -> object:
    return cache.get("key")


async def in_lane(_: Any) -> object:
    return await sync_to_async(cache.get)("key")


async def in_any_thread(_: Any) -> object:
    return await sync_to_async(lambda: cache.get("key"), thread_sensitive=False)()


async def taken_to_lane(_: Any) -> object:
    backend = caches["default"]
    return await sync_to_async(lambda: backend.get("key"))()


async def method_taken_to_lane(_: Any) -> object:
    return await sync_to_async(caches["default"].get)("key")


async def taken_from_lane(_: Any) -> object:
    backend: Any = await sync_to_async(lambda: caches["default"])()
    return backend.get("key")


async def back_from_lane(_: Any) -> object:
    return await sync_to_async(async_to_sync(at_once))(None)


async def session(consumer: Any) -> object:
    consumer.request.session.__dict__.pop("_session_cache", None)
    return await consumer.request.session.aget("visits")


async def session_in_lane(consumer: Any) -> object:
    consumer.request.session.__dict__.pop("_session_cache", None)
    return await sync_to_async(consumer.request.session.get)("visits")


async def session_cache(consumer: Any) -> object:
    return await consumer.request.session._cache.aget("key")  # noqa: SLF001  # what is inside is what is tested


async def fresh(consumer: Any) -> object:
    async with fresh_session(consumer.request) as session:
        return session["visits"]


async def at_once(_: Any) -> object:
    return await asyncio.gather(aget(_), straight(_), in_lane(_), taken_to_lane(_))


WAYS = [
    aget,
    aget_many,
    straight,
    in_lane,
    in_any_thread,
    taken_to_lane,
    method_taken_to_lane,
    taken_from_lane,
    back_from_lane,
    session,
    session_in_lane,
    session_cache,
    fresh,
    at_once,
]


class Using(WebsocketConsumer):
    """Uses the cache in each hook, in the ``way`` of the test."""

    way: Any = staticmethod(aget)

    async def connect(self) -> None:
        await self.way(self)
        await self.accept()

    async def receive(self, data: str | bytes) -> None:
        await self.send(str(await self.way(self)))


def check_pairs(pairs: set[tuple[str, Recording]]) -> None:
    """Check that each thread has one backend, and each backend one thread."""
    assert pairs
    assert len({thread for thread, _ in pairs}) == len(pairs)
    assert len({backend for _, backend in pairs}) == len(pairs)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_thread_has_one_and_no_two_share_one(way: Callable[..., Awaitable[object]]) -> None:
    """However a hook comes to its cache, the thread that asks has a backend of its own."""
    cookie = await session_cookie()
    Recording.forget()
    async with clients(SOCKETS, Using, cookie=cookie, way=staticmethod(way)) as opened:
        for _ in range(2):
            await asyncio.gather(*(client.ask("go") for client in opened))
    check_pairs(set(Recording.asked))
    if way is not in_any_thread:
        assert len(Recording.made) <= HANDSHAKES + LANES + 1


@pytest.mark.parametrize(
    "way", [aget, aget_many, in_lane, session, session_cache, fresh], ids=lambda way: way.__name__
)
async def test_what_a_hook_awaits_is_asked_in_its_lane(
    way: Callable[..., Awaitable[object]],
) -> None:
    """The event loop asks nobody, and nobody asks what a handshake has used."""
    cookie = await session_cookie()
    async with clients(1, Using, cookie=cookie, way=staticmethod(way)) as (client,):
        shaken = {one for name, one in Recording.asked if name.startswith("wsconsumer-handshake")}
        Recording.asked.clear()
        await client.ask("go")
    ((thread, backend),) = set(Recording.asked)
    assert thread.startswith("wsconsumer-lane-")
    assert shaken
    assert backend not in shaken


@async_only_middleware
def asking(get_response: Any) -> Any:
    """Ask the cache, straight in the event loop and by way of a thread."""

    async def middleware(request: Any) -> Any:
        cache.get("key")
        await cache.aget("key")
        return await get_response(request)

    return middleware


@override_settings(MIDDLEWARE=[f"{__name__}.asking"])
async def test_async_middleware() -> None:
    """It leaves nothing in the context of the connection either."""
    async with clients(SOCKETS, Using, way=staticmethod(aget)) as opened:
        await asyncio.gather(*(client.ask("go") for client in opened))
    check_pairs(set(Recording.asked))
    assert len(Recording.made) <= HANDSHAKES + LANES + 1


async def test_a_consumer_without_a_handshake() -> None:
    """With as_asgi() there are two threads: the event loop's, and that of asgiref."""
    application = Using.as_asgi(way=staticmethod(at_once))
    wires = [Wire(CONNECT, text("go"), disconnect()) for _ in range(SOCKETS)]
    await asyncio.gather(*(application(scope(), wire.receive, wire.send) for wire in wires))
    assert [len(wire.sent) for wire in wires] == [2] * SOCKETS
    check_pairs(set(Recording.asked))
    assert len(Recording.made) == 2


# A real cache server


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory with a short path, as a Unix socket wants it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class OnRedis(RedisCache):
    """Can be closed, unlike that of Django, which leaves it to the garbage collector."""

    made: ClassVar[list[OnRedis]] = []

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self.made.append(self)

    @classmethod
    def disconnect(cls) -> None:
        """Close all connections."""
        while cls.made:
            client = cls.made.pop()._cache.get_client()  # noqa: SLF001  # what is inside is what is tested
            client.connection_pool.disconnect()


@pytest.fixture
def redis(directory: Path) -> Iterator[Redis]:
    """A Redis server that is the project's cache."""
    server = Redis(directory)
    caches = {"default": {"BACKEND": f"{__name__}.OnRedis", "LOCATION": server.url}}
    with override_settings(CACHES=caches):
        yield server
        OnRedis.disconnect()
    server.stop()


async def nothing(_: Any) -> object:
    return None


SITUATIONS = {
    "session never read": ([SESSION], nothing),
    "session read in the handshake": ([SESSION, USER], nothing),
    "session read in a hook": ([SESSION], session),
    "session read in a lane": ([SESSION, USER], session_in_lane),
    "aget": ([], aget),
    "straight": ([SESSION, USER], at_once),
}


@pytest.mark.parametrize(("middleware", "way"), SITUATIONS.values(), ids=SITUATIONS)
async def test_the_clients_of_a_cache_server(
    redis: Redis, middleware: list[str], way: Callable[..., Awaitable[object]]
) -> None:
    """They are as many as there are threads, not as many as there are websockets."""
    cookie = await session_cookie()
    before = connected(redis)
    with override_settings(MIDDLEWARE=middleware):
        async with clients(SOCKETS, Using, cookie=cookie, way=staticmethod(way)) as opened:
            await asyncio.gather(*(client.ask("go") for client in opened))
            there = connected(redis)
    assert there - before <= HANDSHAKES + LANES + 1


def connected(redis: Redis) -> int:
    """Return how many clients a server has, the one that asks included."""
    count: int = redis.command("INFO", "clients")["connected_clients"]
    return count


# What is left as it was


async def test_code_that_is_no_websocket() -> None:
    """It gets what Django gives it: the backend itself, that of the context."""
    mine = caches["default"]
    async with clients(1, Using):
        assert caches["default"] is mine
    assert caches["default"] is mine
    assert type(mine) is Recording
    assert caches.all(initialized_only=True) == [mine]


async def test_where_a_caller_has_decided() -> None:
    """In the kit a consumer finds the backend of its test."""
    mine = caches["default"]
    found: list[object] = []

    async def way(_: Any) -> None:
        found.append(caches["default"])

    async with connect(Using.as_asgi(way=staticmethod(way))):
        pass
    assert found == [mine]
    assert type(found[0]) is Recording


async def test_database_connections() -> None:
    """Django keeps these by thread itself, so nothing stands before them."""

    def way(_: Any) -> Any:
        return sync_to_async(lambda: type(connections["default"]))()

    async with clients(1, Using, way=staticmethod(way)) as (client,):
        assert await client.ask("go") == str(type(connections["default"]))


async def test_after_the_connection() -> None:
    """Whoever awaits the application itself has his own backend again."""
    mine = caches["default"]
    await run(Using.as_asgi(), text("go"), disconnect())
    assert caches["default"] is mine
    dispatcher = WebsocketDispatcher([path("ws/", Using.as_view())])
    await run(dispatcher, text("go"), disconnect(), path="/ws/")
    assert caches["default"] is mine


def test_a_coroutine_that_is_thrown_away() -> None:
    """It ends in another context, which has nothing to restore."""
    entered = copy_context().run(enter_websocket)
    leave_websocket(entered)
    assert type(caches["default"]) is Recording


# What stands for a connection


class Thing:
    """A connection of a handler that is not Django's."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.closed = 0
        self.whoami: Any = lambda: threading.current_thread().name

    def me(self) -> Thing:
        return self

    async def also_me(self) -> Thing:
        return self.me()

    async def several(self) -> AsyncIterator[Thing]:
        yield self.me()

    def close(self) -> None:
        self.closed += 1

    @property
    def double(self) -> str:
        return self.alias * 2

    @classmethod
    def kind(cls) -> type:
        return cls

    @staticmethod
    def total(*numbers: int) -> int:
        return sum(numbers)

    def __contains__(self, key: object) -> bool:
        return key == "key"


class Things(ThingHandler):
    """A handler of things."""

    def create_connection(self, alias: str) -> Thing:
        return Thing(alias)


@pytest.fixture
def things() -> Things:
    """A handler of two things."""
    adapt_handlers()
    return Things({"a": {}, "b": {}})


@pytest.fixture
def marked() -> Iterator[None]:
    """Let a test that is not async be the code of a websocket."""
    entered = enter_websocket()
    assert entered is not None
    yield
    leave_websocket(entered)


@pytest.mark.usefixtures("marked")
def test_it_is_what_it_stands_for(things: Things) -> None:
    """It has all that the connection has, and says that it is one."""
    thing = things["a"]
    assert isinstance(thing, Thing)
    assert type(thing) is not Thing
    assert type(thing.me()) is Thing
    assert thing.me() is thing.me()
    assert thing.double == "aa"
    assert thing.kind() is Thing
    assert thing.total(1, 2) == 3
    assert "key" in thing
    assert "other" not in thing
    assert thing is things["a"]
    assert thing is not things["b"]
    thing.alias = "c"
    assert thing.me().alias == "c"
    del thing.alias
    assert not hasattr(thing.me(), "alias")


@pytest.mark.usefixtures("marked")
def test_what_a_handler_says_of_its_connections(things: Things) -> None:
    """What it has, in this thread, can be listed, closed, taken away and replaced."""
    assert hasattr(Things, "_connections")
    assert list(things) == ["a", "b"]
    assert things.all(initialized_only=True) == []
    first = things["a"].me()
    assert things.all(initialized_only=True) == [things["a"]]
    things.close_all()
    assert (first.closed, things["b"].me().closed) == (1, 0)
    del things["a"]
    assert things["a"].me() is not first
    things["a"] = first
    assert things["a"].me() is first
    with pytest.raises(Things.exception_class, match="The connection 'c' doesn't exist"):
        things["c"]


async def test_each_thread_has_its_own(things: Things) -> None:
    """Methods, functions on the connection, async methods: the thread that runs them decides."""

    async def look() -> None:
        thing = things["a"]
        here, there = thing.me(), await in_another_thread(thing.me)
        assert here is not there
        assert thing.me() is here
        assert await in_another_thread(thing.whoami) != thing.whoami()
        assert await thing.also_me() is here
        assert [one async for one in thing.several()] == [here]
        assert await in_another_thread(async_to_sync(thing.also_me)) is here

    entered = enter_websocket()
    await look()
    leave_websocket(entered)


async def in_another_thread(function: Callable[[], Any]) -> Any:
    """Call a function in another thread, in the same context."""
    return await sync_to_async(function, thread_sensitive=False)()


@pytest.mark.usefixtures("marked")
def test_other_settings() -> None:
    """When a test's settings replace the caches, each thread makes its own anew."""
    adapt_handlers()
    assert isinstance(caches["default"], Recording)
    backend = "django.core.cache.backends.dummy.DummyCache"
    with override_settings(CACHES={"default": {"BACKEND": backend}}):
        assert not isinstance(caches["default"], Recording)
    assert isinstance(caches["default"], Recording)


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has tasks since 6.0")
@pytest.mark.usefixtures("marked")
def test_task_backends() -> None:
    """They have a handler of the same kind."""
    from django.tasks import task_backends  # older releases have none

    adapt_handlers()
    backend: Any = task_backends["default"]
    assert type(backend) is StandIn
    assert backend.alias == "default"
