"""``threads.py``: handshakes apart from lanes, and what consumers find in their lanes."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.core.signals import got_request_exception
from django.db import OperationalError, connections
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from tests.engines import free_port
from tests.fakes import until
from tests.syncing import Client, Syncing, clients, database
from wsconsumer import threads
from wsconsumer.counters import counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LANES = 4

# What middleware leaves behind for the view, as packages for tenants and "current users" do.
current = threading.local()


def tenants(get_response: Any) -> Any:
    """Note the tenant of the request in the thread, and on the database connection."""

    def middleware(request: Any) -> Any:
        request.tenant = request.GET.get("tenant", "")
        current.tenant = request.tenant
        with connections["pg"].cursor() as cursor:
            cursor.execute("SELECT set_config('app.tenant', %s, false)", [request.tenant])
        return get_response(request)

    return middleware


def tell(_: str = "") -> str:
    """Return the tenant of the thread, and that of the database connection."""
    with connections["pg"].cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant', true)")
        (tenant,) = cursor.fetchone()
    return f"{getattr(current, 'tenant', None)} {tenant or None}"


@contextmanager
def tenant_of(request: Any) -> Iterator[None]:
    """Work for the request's tenant; there is no tenant of the name "nobody"."""
    if request.tenant == "nobody":
        raise LookupError("there is no such tenant")
    current.tenant = request.tenant
    with connections["pg"].cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant', %s, false)", [request.tenant])
        try:
            yield
        finally:
            del current.tenant
            cursor.execute("SELECT set_config('app.tenant', '', false)")


def project(*middleware: str, **settings: Any) -> Any:
    """Use middleware of this module, and settings of ours."""
    return override_settings(
        MIDDLEWARE=[f"{__name__}.{name}" for name in middleware],
        WSCONSUMER={"THREADS": LANES, **settings},
    )


# Whose thread state


@pytest.mark.usefixtures("pg")
async def test_nobody_finds_what_middleware_left_for_another() -> None:
    """Neither in the thread nor on the connection is there anything of any handshake."""
    with project("tenants"):
        opened = [Client(Syncing, query=f"tenant=t{n}", work=staticmethod(tell)) for n in range(24)]
        for client in opened:
            await client.wire.until_sent(1)
        assert [await client.ask("whose") for client in opened] == ["None None"] * 24
        await asyncio.gather(*(client.leave() for client in opened))


@pytest.mark.usefixtures("pg")
async def test_thread_context() -> None:
    """With THREAD_CONTEXT each piece of work finds its own, and leaves nothing behind."""
    with project("tenants", THREAD_CONTEXT=f"{__name__}.tenant_of"):
        opened = [Client(Syncing, query=f"tenant=t{n}", work=staticmethod(tell)) for n in range(24)]
        for client in opened:
            await client.wire.until_sent(1)
        for _ in range(2):
            told = await asyncio.gather(*(client.ask("whose") for client in opened))
            assert told == [f"t{n} t{n}" for n in range(24)]
        left = [lane.submit(tell).result() for lane in threads.lanes().all]
        assert left == ["None None"] * LANES
        await asyncio.gather(*(client.leave() for client in opened))


@pytest.mark.usefixtures("pg")
async def test_a_thread_context_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Then the work fails too, and is never done without it."""
    done: list[str] = []
    with project("tenants", THREAD_CONTEXT=f"{__name__}.tenant_of"):
        client = Client(Syncing, query="tenant=nobody", work=staticmethod(done.append))
        await client.wire.until_sent(1)
        assert await client.fail("work") == 1011
    assert "LookupError: there is no such tenant" in caplog.text
    assert done == []


# Which thread


def noting(get_response: Any) -> Any:
    """Note the thread of the handshake, and let the test hold it up."""

    def middleware(request: Any) -> Any:
        Noting.names.append(threading.current_thread().name)
        if request.GET.get("wait"):
            Noting.release.wait(10)
        return get_response(request)

    return middleware


class Noting:
    """What ``noting`` has seen, and what it waits for."""

    names: list[str]
    release: threading.Event


@pytest.fixture
def noted() -> Iterator[type[Noting]]:
    """Let ``noting`` begin anew, and wait for nothing after the test."""
    Noting.names, Noting.release = [], threading.Event()
    yield Noting
    Noting.release.set()


async def test_handshakes_have_threads_of_their_own(noted: type[Noting]) -> None:
    """No handshake runs in a lane, and no consumer in a handshake thread."""
    with project("noting", HANDSHAKE_THREADS=2):
        async with clients(20, Syncing) as opened:
            worked = {await client.ask("who") for client in opened}
    assert worked == {f"wsconsumer-lane-{n}" for n in range(LANES)}
    assert len(noted.names) == 20
    assert set(noted.names) <= {"wsconsumer-handshake_0", "wsconsumer-handshake_1"}


async def test_slow_consumers_hold_up_no_handshake() -> None:
    """With every lane at work, and more waiting, a websocket opens."""
    release = threading.Event()
    working: list[str] = []

    def work(data: str) -> str:
        working.append(data)
        release.wait(10)
        return "done"

    with project():
        async with clients(LANES * 2, Syncing, work=staticmethod(work)) as opened:
            asking = [asyncio.create_task(client.ask("slow")) for client in opened]
            await until(lambda: len(working) == LANES)
            async with clients(8, Syncing) as others:
                assert (
                    await asyncio.gather(*(other.ask("echo") for other in others)) == ["echo"] * 8
                )
            assert not any(task.done() for task in asking)
            release.set()
            assert await asyncio.gather(*asking) == ["done"] * LANES * 2


async def test_a_bounded_number_of_handshakes_waits(
    noted: type[Noting], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond it a handshake is denied at once, with 503; those before are served in the end."""
    monkeypatch.setattr(threads, "MAX_WAITING", 3)
    with project("noting", HANDSHAKE_THREADS=1):
        waiting = [Client(Syncing, query="wait=1") for _ in range(4)]
        await until(lambda: threads.handshake_threads().pending == 4)
        assert await Client(Syncing).denied() == 503
        assert counters["handshake_refused"] == 1
        assert (
            "Refused a websocket on /ws/ with 503: too many handshakes are waiting" in caplog.text
        )
        noted.release.set()
        for client in waiting:
            await client.wire.until_sent(1)
            assert await client.ask("echo") == "echo"
            await client.leave()
        async with clients(1, Syncing):
            pass


# A database that is away


def user_of(alias: str) -> Callable[..., Any]:
    """Return middleware that puts a lazy user on the request."""

    def ask() -> Any:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")

    def factory(get_response: Any) -> Any:
        def middleware(request: Any) -> Any:
            request.user = SimpleLazyObject(ask)
            return get_response(request)

        return middleware

    return factory


user_in_away = user_of("away")


@pytest.mark.parametrize("engine", ["sqlite3", "postgresql"])
async def test_a_database_that_is_away_while_the_user_is_loaded(
    engine: str, tmp_path: Path, django_db_blocker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an error like any other in a view: 500, a record with traceback, and the signal."""
    settings = {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": "nowhere" if engine == "postgresql" else str(tmp_path / "no" / "such" / "folder"),
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
    }
    seen: list[str] = []

    def note(request: Any, **_: Any) -> None:
        seen.append(request.path)

    got_request_exception.connect(note)
    try:
        with django_db_blocker.unblock(), database("away", settings), project("user_in_away"):
            assert await Client(Syncing).denied() == 500
    finally:
        got_request_exception.disconnect(note)
    assert seen == ["/ws/"]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[0] is OperationalError
    assert record.getMessage() == "Internal Server Error: /ws/"
