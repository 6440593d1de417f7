"""``groups/api.py`` and ``loading.py``: groups from outside of consumers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import connections, transaction
from django.test import override_settings

from wsconsumer import BackendError, Group, WebsocketConsumer, abroadcast, broadcast
from wsconsumer.counters import counters
from wsconsumer.groups import declared, loading
from wsconsumer.groups.hub import close_hub, hub
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.test import captured_broadcasts, connect, real_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest_django


class News(WebsocketConsumer):
    async def connect(self) -> None:
        await self.join("news")


def count() -> None:
    for number in range(5):
        broadcast("news", number)


async def test_from_a_thread() -> None:
    """``broadcast()`` on any thread reaches the members, in the order of the calls."""
    async with connect(News) as ws:
        await asyncio.to_thread(count)
        assert [await ws.receive_json() for _ in range(5)] == list(range(5))


async def test_threads_and_the_loop_in_order() -> None:
    """One publisher that changes between thread and loop keeps its order."""
    async with connect(News) as ws:
        for number in range(0, 20, 2):
            await asyncio.to_thread(broadcast, "news", number)
            await abroadcast("news", number + 1)
        assert [await ws.receive_json() for _ in range(20)] == list(range(20))


async def test_not_in_a_loop() -> None:
    """Where an event loop runs, the error says what to write."""
    with pytest.raises(SynchronousOnlyOperation, match=r"Write `await abroadcast\(\.\.\.\)`"):
        broadcast("news", "hello")


@pytest.mark.parametrize(
    ("group", "data", "error"), [("", "x", ValueError), ("news", object(), TypeError)]
)
async def test_mistakes_are_told_at_once(group: str, data: Any, error: type[Exception]) -> None:
    """What can't be sent is an error for the caller, in all three ways."""
    for call in (
        lambda: asyncio.to_thread(broadcast, group, data),
        lambda: asyncio.to_thread(broadcast, group, data, on_commit=True),
        lambda: abroadcast(group, data),
    ):
        with captured_broadcasts() as broadcasts, pytest.raises(error):
            await call()
        assert broadcasts == []


async def test_captured() -> None:
    """The kit sees what is broadcast, with members and without, from consumers and outside."""

    class Speaks(News):
        async def receive(self, data: str | bytes) -> None:
            await self.broadcast("other", data)

    with captured_broadcasts() as broadcasts:
        await abroadcast("news", 1)
        async with connect(Speaks) as ws:
            await ws.send("two")
            await ws.settle()
            await abroadcast("nobody's", 3)
    assert broadcasts == [("news", 1), ("other", "two"), ("nobody's", 3)]


@pytest.mark.django_db(transaction=True)
def test_on_commit() -> None:
    """It waits for the commit; what is rolled back is not broadcast."""
    with captured_broadcasts() as broadcasts:
        with transaction.atomic():
            broadcast("news", 1, on_commit=True)
            assert broadcasts == []
        assert broadcasts == [("news", 1)]
        with suppress(KeyError), transaction.atomic():
            broadcast("news", 2, on_commit=True)
            raise KeyError
        broadcast("news", 3, on_commit=True)
    assert broadcasts == [("news", 1), ("news", 3)]


@pytest.mark.django_db(transaction=True)
def test_a_group_that_keeps_waits_for_the_commit() -> None:
    """Unless it is told otherwise: a page in between would know of what it can't see."""
    with declared.only(), captured_broadcasts() as broadcasts:
        Group("news", keep=5)
        with transaction.atomic():
            broadcast("news", 1)
            broadcast("news", 2, on_commit=False)
            broadcast("other", 3)
        broadcast("news", 4)
        with suppress(KeyError), transaction.atomic():
            broadcast("news", 5)
            raise KeyError
    assert [data for _, data in broadcasts] == [2, 3, 1, 4]


async def test_a_group_that_keeps_from_a_thread() -> None:
    """``broadcast()`` numbers in the same history as the loop, and a key counts for both."""
    with declared.only():
        Group("news", keep=5)
        async with connect(News) as ws:
            await asyncio.to_thread(broadcast, "news", 1, key="a")
            await abroadcast("news", 1, key="a")
            await abroadcast("news", 2)
            assert [await ws.receive_json(), await ws.receive_json()] == [1, 2]


@override_settings(WSCONSUMER={"GROUPS": {"BACKEND": "tests.groups.forgetful.ForgetfulBackend"}})
async def test_a_backend_that_can_not_keep() -> None:
    """The error says what to do, for who broadcasts and for who joins."""
    text = "can't keep. Leave keep= out, or name another BACKEND"
    with real_engine(), declared.only():
        Group("news", keep=5)
        with pytest.raises(ImproperlyConfigured, match=text):
            await abroadcast("news", 1)
        with pytest.raises(ImproperlyConfigured, match=text):
            async with connect(News):
                pass
        await close_hub()


@pytest.fixture
def _other(django_db_blocker: pytest_django.DjangoDbBlocker) -> Iterator[None]:
    """Let there be a second database, which no mark knows of."""
    connections.settings["other"] = {**connections.settings["default"]}
    with django_db_blocker.unblock():
        yield
    connections["other"].connection.close()
    del connections["other"]
    del connections.settings["other"]


@pytest.mark.usefixtures("_other")
def test_on_commit_of_another_database(caplog: pytest.LogCaptureFixture) -> None:
    """It waits for the transaction on ``using``, and says so if only another one is open."""
    with captured_broadcasts() as broadcasts, transaction.atomic(using="other"):
        broadcast("news", 1, on_commit=True, using="other")
        assert broadcasts == []
        assert not any("on_commit" in message for message in caplog.messages)
        broadcast("news", 2, on_commit=True)
        assert broadcasts == [("news", 2)]
    assert broadcasts == [("news", 2), ("news", 1)]
    # The first broadcast of a process that serves nobody says so as well, once.
    told = [message for message in caplog.messages if "on_commit" in message]
    assert told == [
        "A broadcast to 'news' with on_commit=True does not wait: there is no transaction on "
        "'default', but there is one on 'other'. Write using='other' if that is the one to wait "
        "for."
    ]


async def test_using_without_on_commit() -> None:
    """There is nothing to wait for, so it is a mistake."""
    async with connect(News):
        for call in (
            lambda: asyncio.to_thread(broadcast, "news", 1, using="other"),
            lambda: abroadcast("news", 1, using="other"),
        ):
            with pytest.raises(TypeError, match=r"using='other' without on_commit=True"):
                await call()


@pytest.mark.django_db(transaction=True)
async def test_on_commit_from_async_code() -> None:
    """``abroadcast`` asks the thread that the transaction belongs to."""
    with captured_broadcasts() as broadcasts:
        await abroadcast("news", 1, on_commit=True)
    assert broadcasts == [("news", 1)]


class Away(MemoryBackend):
    """An engine that takes nothing."""

    def publish_sync(self, group: str, body: bytes) -> None:
        raise BackendError("away")


@pytest.mark.django_db(transaction=True)
@override_settings(WSCONSUMER={"GROUPS": {"BACKEND": f"{__name__}.Away"}})
def test_an_engine_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Who can act gets the error; after a commit it is logged and counted."""
    with pytest.raises(BackendError, match="away"):
        broadcast("news", 1)
    before = counters["broadcast_failed"]
    broadcast("news", 1, on_commit=True)
    assert counters["broadcast_failed"] == before + 1
    assert "A broadcast to 'news' after the commit was lost." in caplog.text


class KnowsItsEngine(MemoryBackend):
    """An engine that only a started backend knows to be away."""

    knows = False

    async def start(self, deliver: Any) -> None:
        await super().start(deliver)
        self.knows = True

    def publish_sync(self, group: str, body: bytes) -> None:
        if self.knows:
            raise BackendError("known to be away")
        super().publish_sync(group, body)


@override_settings(WSCONSUMER={"GROUPS": {"BACKEND": f"{__name__}.KnowsItsEngine"}})
async def test_a_thread_knows_what_the_started_backend_knows() -> None:
    """``broadcast()`` asks the backend that the hub has started, until that is closed."""
    with real_engine():
        async with connect(News):
            with pytest.raises(BackendError, match="known to be away"):
                await asyncio.to_thread(broadcast, "news", 1)
            with override_settings(WSCONSUMER={"GROUPS": {"PREFIX": "other"}}):
                await asyncio.to_thread(broadcast, "news", 1)
    await asyncio.to_thread(broadcast, "news", 1)


@override_settings(WSCONSUMER={"GROUPS": {"BACKEND": f"{__name__}.KnowsItsEngine"}})
def test_a_backend_whose_loop_has_ended_knows_nothing() -> None:
    """A loop may end without ``close_hub()``; its backend is not asked any more."""

    async def serve() -> None:
        await hub().publish("news", 0)

    asyncio.run(serve())
    broadcast("news", 1)


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ({"BACKEND": "no.such.Backend"}, "names the backend 'no.such.Backend', which can't be"),
        ({"BACKEND": "wsconsumer.conf.get"}, "as the backend, which is no subclass of"),
        ({"BACKEND": f"{__name__}.News"}, "which is no subclass of wsconsumer.groups.base.Backend"),
        ({"LOCATION": "redis://"}, "the memory backend, which takes no LOCATION"),
        ({"OPTIONS": {"A": 1}}, "takes no LOCATION and no OPTIONS, got '' and ['A']"),
        ({"BACKENDS": "x"}, "WSCONSUMER['GROUPS'] has no setting 'BACKENDS'. Did you mean"),
        ("redis://", "WSCONSUMER['GROUPS'] must be a dict with BACKEND"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_configuration_mistakes(groups: Any, text: str) -> None:
    """A wrong ``GROUPS`` raises where it is first used."""
    with (
        override_settings(WSCONSUMER={"GROUPS": groups}),
        pytest.raises(ImproperlyConfigured) as caught,
    ):
        broadcast("news", "hello")
    assert text in str(caught.value)


def test_one_backend_per_process_is_kept() -> None:
    """Threads that broadcast share one backend, until the settings change."""
    first = loading.sync_backend()
    assert loading.sync_backend() is first
    with override_settings(WSCONSUMER={"GROUPS": {"PREFIX": "other"}}):
        assert loading.sync_backend().prefix == "other"
    assert loading.sync_backend().prefix == "wsconsumer"


async def test_json_on_the_bus_that_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """A ``group_message`` is spared what can't be read; the connection stays."""
    caplog.set_level(logging.INFO, "wsconsumer")

    class Hears(News):
        async def group_message(self, group: str, data: Any) -> None:
            await self.send(f"{data}")

    before = counters["body_refused"]
    async with connect(Hears) as ws:
        await hub().deliver("news", b"\x13\x00{")
        await abroadcast("news", "fine")
        assert await ws.receive() == "fine"
    assert counters["body_refused"] == before + 1
    assert "Refused what came for the group 'news'" in caplog.text
