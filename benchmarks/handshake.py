"""
What it costs to open a websocket: from ``websocket.connect`` to ``accept`` with the user known, in
process, against Channels' ``AuthMiddlewareStack`` and against Django's own async middleware chain.

Run it with ``python benchmarks/handshake.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import django
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from benchmarks.distance import at_distance
from benchmarks.rounds import (
    Application,
    BrokenContenderError,
    Event,
    Measure,
    Receive,
    Scope,
    Send,
    Table,
    arguments,
    environment,
    report,
    take_turns,
)
from wsconsumer import WebsocketConsumer, conf
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.threads import close_threads, handshake_threads

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

NOTE = """\
Why this misleads: everything is in one process, with no network, no server and no TLS. What is
measured is Python: how often a handshake hops to a thread, what runs there, and whether it has to
connect to the database first. SQLite, the default here, connects and answers sooner than any
database server. Only the ratios mean anything, and only to contenders in the same table. Nor do all
do the same: wsconsumer and Django's chain run seven middlewares, Channels does sessions and
authentication only, and only wsconsumer checks Host and Origin.

Contenders take turns in rounds; a ratio compares one round's times, and the table has the median
over all rounds (and the quartiles). The cyclic garbage collector runs before a measurement, and as
it likes during one.
"""

PACKAGES = ("Django", "asgiref", "channels")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

CHANNELS = "Channels"
DJANGO = "Django async"

DEFAULT = conf.SETTINGS["HANDSHAKE_THREADS"].default
MOST_THREADS = 16

seen: list[bool | None] = []
"""What each handshake found ``user.is_authenticated`` to be; ``None`` where nobody asked."""


class Hello(WebsocketConsumer):
    """Look at the user, then accept."""

    async def connect(self) -> None:
        """Decide, as most consumers do, by the user."""
        seen.append(self.user.is_authenticated)
        await self.accept()


class Bare(WebsocketConsumer):
    """Accept; without middleware there is no user."""

    async def connect(self) -> None:
        """Decide without asking."""
        seen.append(None)
        await self.accept()


class ChannelsHello(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """Look at the user, then accept, in Channels."""

    async def connect(self) -> None:
        """Decide by the user."""
        seen.append(self.scope["user"].is_authenticated)
        await self.accept()


async def hello(request: HttpRequest) -> HttpResponse:
    """Look at the user, in a Django view."""
    user = await request.auser()
    seen.append(user.is_authenticated)
    return HttpResponse()


urlpatterns = [
    path("ws/hello/", Hello.as_view()),
    path("ws/bare/", Bare.as_view()),
    path("hello/", hello),
]


class AsyncChain(ASGIHandler):
    """A handshake that goes through Django's middleware the way Django runs it for HTTP."""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Accept what the view answers with 200, then wait for the end."""
        await receive()
        request = ASGIRequest({**scope, "type": "http", "method": "GET"}, BytesIO())
        async with ThreadSensitiveContext():
            await signals.request_started.asend(sender=type(self), scope=request.scope)
            response = await self.get_response_async(request)
            if response.status_code == 200:
                await send({"type": "websocket.accept"})
            await receive()
            # As Django does: the thread ends with the context, so its connection must be closed.
            await sync_to_async(response.close)()


@dataclass(frozen=True, slots=True)
class Contender:
    """An application, where it is found, and whether it knows the user."""

    application: Application
    path: str
    asks: bool = True
    threads: int | None = None
    """Of ``HANDSHAKE_THREADS``; ``None`` for the default."""


def contenders(threads: list[int]) -> dict[str, Contender]:
    """Name the applications, ours with so many threads too."""
    with override_settings(MIDDLEWARE=[]):
        bare = WebsocketDispatcher()
    channels = AuthMiddlewareStack(URLRouter([path("ws/hello/", ChannelsHello.as_asgi())]))
    return {
        "wsconsumer, no middleware": Contender(bare, "/ws/bare/", asks=False),
        "wsconsumer": Contender(WebsocketDispatcher(), "/ws/hello/"),
        **{
            f"wsconsumer, {number} threads": Contender(
                WebsocketDispatcher(), "/ws/hello/", threads=number
            )
            for number in threads
        },
        CHANNELS: Contender(channels, "/ws/hello/"),
        DJANGO: Contender(AsyncChain(), "/hello/"),
    }


def websocket_scope(url: str, cookie: str | None) -> Scope:
    """Return the scope of a browser's handshake."""
    headers = [
        (b"host", b"testserver"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"origin", b"http://testserver"),
        (b"sec-websocket-version", b"13"),
        (b"user-agent", b"Mozilla/5.0"),
        (b"accept-language", b"en-GB,en;q=0.5"),
    ]
    if cookie is not None:
        headers.append((b"cookie", cookie.encode()))
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": url,
        "raw_path": url.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "extensions": {},
    }


async def shake_hands(application: Application, scope: Scope) -> None:
    """Open one websocket and leave at once."""
    events: list[Event] = [
        {"type": "websocket.disconnect", "code": 1005},
        {"type": "websocket.connect"},
    ]
    sent: list[Event] = []

    async def receive() -> Event:
        return events.pop()

    async def send(event: Event) -> None:
        sent.append(event)

    await application(scope, receive, send)
    if [event["type"] for event in sent] != ["websocket.accept"]:
        raise BrokenContenderError(f"{application!r} answered the handshake with {sent!r}")


def measure(contender: Contender, cookie: str | None, count: int, at_once: int) -> Measure:
    """Return the measurement of one contender: ``count`` handshakes, so many at a time."""
    expected = (cookie is not None) if contender.asks else None

    async def client(handshakes: int) -> None:
        for _ in range(handshakes):
            await shake_hands(contender.application, websocket_scope(contender.path, cookie))

    async def run() -> float:
        with override_settings(WSCONSUMER={"HANDSHAKE_THREADS": contender.threads or DEFAULT}):
            if handshake_threads().number != (contender.threads or DEFAULT):
                close_threads()
                # Each thread connects to the database once, which is not what is measured.
                await asyncio.gather(*(client(2) for _ in range(2 * MOST_THREADS)))
            seen.clear()
            begin = time.perf_counter()
            await asyncio.gather(*(client(count // at_once) for _ in range(at_once)))
            seconds = time.perf_counter() - begin
        if seen != [expected] * count:
            raise BrokenContenderError(f"{contender}: expected {expected!r} {count} times: {seen}")
        return seconds / count

    return run


async def run(options: argparse.Namespace, cookie: str) -> list[Table]:
    """Measure anonymous and logged-in visitors, one at a time and many at once."""
    applications = contenders(options.threads)
    tables = []
    for at_once in (1, options.at_once):
        for visitor, sent_cookie in (("Anonymous", None), ("Logged in", cookie)):
            measures = {
                name: measure(contender, sent_cookie, options.handshakes, at_once)
                for name, contender in applications.items()
            }
            samples = await take_turns(measures, options.rounds)
            title = f"{visitor}, {at_once} at a time"
            tables.append(Table.of(title, "handshake", samples, [CHANNELS, DJANGO]))
    return tables


def configure(database: dict[str, Any]) -> None:
    """Set Django up as a project with the default middleware."""
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": database},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
        ],
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=__name__,
        SECRET_KEY="for a benchmark only",
        USE_TZ=True,
    )
    django.setup()


def sqlite(directory: str) -> dict[str, Any]:
    """Return the settings of a database in a file: in memory, threads could not share it."""
    name = str(Path(directory, "db.sqlite3"))
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "TEST": {"NAME": name}}


def postgres(conninfo: str) -> dict[str, Any]:
    """Return the settings of a database server; what is made there is ``test_`` plus the name."""
    from psycopg.conninfo import conninfo_to_dict

    given = conninfo_to_dict(conninfo)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password"}
    names |= {"HOST": "host", "PORT": "port"}
    chosen = {key: given[name] for key, name in names.items() if name in given}
    return {"ENGINE": "django.db.backends.postgresql"} | chosen


@contextmanager
def migrated() -> Iterator[None]:
    """Make the tables in a database that is thrown away afterwards."""
    creation = connection.creation
    name = connection.settings_dict["NAME"]
    creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        yield
    finally:
        _disconnect_everyone()
        connections.close_all()
        creation.destroy_test_db(name, verbosity=0)


def _disconnect_everyone() -> None:
    """Close the connections that threads keep: Postgres does not drop a database in use."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def log_in() -> str:
    """Make a user and a session; return the cookie of its browser."""
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create_user("ann"))
    connections.close_all()
    return f"sessionid={client.cookies['sessionid'].value}"


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = arguments(__doc__, rounds=15)
    parser.add_argument(
        "--handshakes", type=int, default=100, help="per measurement, default: %(default)s"
    )
    parser.add_argument(
        "--at-once", type=int, default=50, help="concurrent handshakes, default: %(default)s"
    )
    parser.add_argument(
        "--persistent",
        action="store_true",
        help="CONN_MAX_AGE = None in place of 0, Django's default",
    )
    parser.add_argument(
        "--postgres",
        metavar="CONNINFO",
        help="a server in place of SQLite, such as 'host=localhost user=me dbname=bench'",
    )
    parser.add_argument(
        "--distance",
        type=float,
        default=0,
        metavar="MS",
        help="let the server's answers come so many milliseconds later",
    )
    parser.add_argument(
        "--threads",
        type=int,
        nargs="*",
        default=[],
        metavar="N",
        help="of HANDSHAKE_THREADS, each besides the default",
    )
    options = parser.parse_args()
    if options.handshakes % options.at_once:
        parser.error("--handshakes must be a multiple of --at-once")
    max_age = None if options.persistent else 0
    with TemporaryDirectory() as directory, ExitStack() as stack:
        database = postgres(options.postgres) if options.postgres else sqlite(directory)
        if options.distance:
            here = database.get("HOST", "localhost"), int(database.get("PORT", 5432))
            port = stack.enter_context(at_distance(*here, options.distance / 1000))
            database |= {"HOST": "127.0.0.1", "PORT": port}
        configure(database | {"CONN_MAX_AGE": max_age})
        with migrated():
            tables = asyncio.run(run(options, log_in()))
    facts = environment(*PACKAGES)
    facts |= {"database": connection.vendor, "CONN_MAX_AGE": str(max_age)}
    facts |= {"distance": f"{options.distance} ms"} if options.distance else {}
    report(NOTE, facts, tables, options.json)


if __name__ == "__main__":
    main()
