"""
Pages that are rendered while others write: what is said in between is not lost, on any engine.

Writers commit rows and broadcast them, each in one transaction; pages are rendered in threads, by
Django's own handler; their sockets open at any time later. A page has the rows that it was rendered
with, and those that its socket brings.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path
from django.views.generic import TemplateView

from tests.engines import Redis
from tests.groups.postgres.harness import alias_of
from wsconsumer import Group, broadcast
from wsconsumer.groups import declared
from wsconsumer.groups.hub import close_hub
from wsconsumer.live import LiveConsumer, LiveView, position
from wsconsumer.test import Page, WebsocketClient, real_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pytest_django import Settings


pytestmark = [pytest.mark.urls(__name__), pytest.mark.timeout(120)]

T = TypeVar("T")

WRITERS: Final = 2
PAGES: Final = 12

LAST: Final = "last"

PATIENCE: Final = 30.0
"""Seconds that a race may take; the machine may be busy."""


class Commits:
    """Counts what was committed; whoever reads may wait for the next commit."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.begin()

    def begin(self) -> None:
        """Count from zero."""
        self._count = 0
        self._is_over = False

    def add(self) -> None:
        """Count one."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def wait_for(self, more: int) -> None:
        """Wait until there are so many more."""
        with self._changed:
            wanted = self._count + more
            self._changed.wait_for(lambda: self._is_over or self._count >= wanted)


commits = Commits()
numbers = count(1)


def read_rows() -> list[int]:
    """Return all rows that are committed."""
    with connections["race"].cursor() as cursor:
        cursor.execute("SELECT id FROM row_of_race")
        return [number for (number,) in cursor.fetchall()]


def write_row(number: int) -> None:
    """Write a row and say so, as a part of one transaction."""
    with transaction.atomic("race"):
        with connections["race"].cursor() as cursor:
            cursor.execute("INSERT INTO row_of_race (id) VALUES (%s)", [number])
        broadcast("room.race", str(number), using="race")
    commits.add()


class Slow(LiveView, TemplateView):
    """A page that takes its position first, as ``LiveView`` does, and then some time to read."""

    live_groups = ("room.race",)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        commits.wait_for(self.kwargs["before"])
        rows = read_rows()
        commits.wait_for(self.kwargs["after"])
        return super().get_context_data(rows=rows, **kwargs)

    def render_to_response(self, context: dict[str, Any], **_: Any) -> HttpResponse:
        return JsonResponse({"live": context["live"], "rows": context["rows"]})


def by_hand(request: HttpRequest, before: int, after: int) -> HttpResponse:
    """A page that does so by hand."""
    live = position("room.race", request=request)
    commits.wait_for(before)
    rows = read_rows()
    commits.wait_for(after)
    return JsonResponse({"live": live, "rows": rows})


def wrong(request: HttpRequest, before: int, after: int) -> HttpResponse:
    """A page that takes its position last."""
    commits.wait_for(before)
    rows = read_rows()
    commits.wait_for(after)
    return JsonResponse({"live": position("room.race", request=request), "rows": rows})


urlpatterns = [
    path("slow/<int:before>/<int:after>/", Slow.as_view()),
    path("by-hand/<int:before>/<int:after>/", by_hand),
    path("wrong/<int:before>/<int:after>/", wrong),
    path("ws/live/", LiveConsumer.as_view()),
]


class Race:
    """One run of a seed: writers, and pages of one kind that are rendered while they write."""

    def __init__(self, kind: str, seed: int) -> None:
        self._kind = kind
        self._chance = random.Random(f"{kind} {seed}")  # noqa: S311  # a seed is wanted
        self._are_rendered = threading.Event()
        self._rendering = asyncio.Semaphore(2)

    async def run(self) -> list[set[int]]:
        """Return what each page lacks in the end."""
        commits.begin()
        with ThreadPoolExecutor(WRITERS + PAGES) as self._pool:
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._run()
            finally:
                self._are_rendered.set()
                commits.end()

    async def _run(self) -> list[set[int]]:
        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(self._in_thread(self._write)) for _ in range(WRITERS)]
            rendering = [tasks.create_task(self._render()) for _ in range(PAGES)]
            reading = [tasks.create_task(self._read(page)) for page in rendering]
            await asyncio.wait(rendering)
            self._are_rendered.set()
            await asyncio.wait(writing)
            commits.end()
            await self._in_thread(partial(broadcast, "room.race", LAST))
        truth = set(await self._in_thread(read_rows))
        return [truth - await has for has in reading]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do work that may use the database, and leave no connection to it behind."""

        def do() -> T:
            try:
                return work()
            finally:
                connections.close_all()

        return await asyncio.get_running_loop().run_in_executor(self._pool, do)

    def _write(self) -> None:
        """Write until all pages are rendered."""
        while not self._are_rendered.is_set():
            write_row(next(numbers))

    async def _render(self) -> Any:
        """Return what is in a page."""
        before, after = self._chance.randrange(3), self._chance.randrange(1, 4)
        url = f"/{self._kind}/{before}/{after}/"
        async with self._rendering:
            return (await self._in_thread(partial(Client().get, url))).json()

    async def _read(self, rendering: asyncio.Task[Any]) -> set[int]:
        """Open the socket of a page, some commits later; return what the page has in the end."""
        later = self._chance.randrange(30)
        page = await rendering
        await self._in_thread(partial(commits.wait_for, later))
        has = set(page["rows"])
        live = Page(page["live"])
        async with WebsocketClient().connect("/ws/live/", page=live) as ws:
            while (said := await ws.receive()) != LAST:
                has.add(int(said))
        assert not live.reloads
        return has


MIDDLEWARE: Final = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]

SQLITE: Final = {
    "ENGINE": "django.db.backends.sqlite3",
    "OPTIONS": {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA synchronous = OFF",
    },
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short path, as a Unix socket wants it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


ENGINES: Final = ["memory", pytest.param("redis", marks=pytest.mark.engines), "postgresql"]


@pytest.fixture(params=ENGINES)
def _engine(
    request: pytest.FixtureRequest, settings: Settings, folder: Path, django_db_blocker: Any
) -> Iterator[None]:
    """Let an engine carry, and a database have the rows."""
    database: dict[str, Any] = {**SQLITE, "NAME": str(folder / "rows.sqlite3")}
    groups: dict[str, Any] = {}
    with ExitStack() as stack:
        if request.param == "redis":
            redis = Redis(folder)
            stack.callback(redis.stop)
            groups = {"BACKEND": "wsconsumer.groups.redis.RedisBackend", "LOCATION": redis.url}
        elif request.param == "postgresql":
            database = request.getfixturevalue("postgres").settings
            settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "wsconsumer.groups.postgres"]
            groups = {
                "BACKEND": "wsconsumer.groups.postgres.PostgresBackend",
                "LOCATION": "race",
            }
        settings.WSCONSUMER = {"GROUPS": groups}
        settings.MIDDLEWARE = MIDDLEWARE
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(alias_of("race", database))
        if request.param == "postgresql":
            call_command("migrate", "wsconsumer_postgres", database="race", verbosity=0)
        with connections["race"].cursor() as cursor:
            cursor.execute("CREATE TABLE row_of_race (id integer PRIMARY KEY)")
        yield
        with connections["race"].cursor() as cursor:
            cursor.execute("DROP TABLE row_of_race")
        connections["race"].close()
        del connections["race"]  # the next has other settings


@pytest.fixture(autouse=True)
async def _groups(_engine: None) -> AsyncIterator[None]:
    with real_engine(), declared.only():
        Group("room.{slug}", keep=10_000)
        yield
        await close_hub()


@pytest.mark.parametrize("kind", ["slow", "by-hand"])
async def test_a_page_lacks_nothing(kind: str) -> None:
    """Whatever was committed while it was rendered, and until its socket opened, it has."""
    for seed in range(3):
        assert not any(await Race(kind, seed).run()), f"seed {seed}"


async def test_a_page_that_takes_its_position_last() -> None:
    """It lacks what was committed in between, so the race is one that can be lost."""
    assert any(await Race("wrong", 1).run())
