"""``asgi.py``: each scope type to the right place, and the end of what runs at shutdown."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.fakes import ACCEPT, CONNECT, Wire, close, disconnect, run, scope
from wsconsumer import WebsocketConsumer
from wsconsumer.asgi import WebsocketDispatcher, get_asgi_application, lifespan
from wsconsumer.connection import connection
from wsconsumer.handshake import dispatcher, running
from wsconsumer.handshake.running import running_websockets

if TYPE_CHECKING:
    from wsconsumer.protocol import Application


class Recorder(WebsocketConsumer):
    """Notes what ``disconnect()`` is told; each test begins with an empty list."""

    log: list[Any] = []  # noqa: RUF012  # emptied by the fixture
    go_on = asyncio.Event()

    async def disconnect(self, code: int, reason: str) -> None:
        self.log.append((code, reason))


urlpatterns = [
    path("page/", lambda request: HttpResponse("a page")),
    path("ws/", WebsocketConsumer.as_view()),
    path("recorder/", Recorder.as_view()),
]

AUTH, TYPES = "django.contrib.auth", "django.contrib.contenttypes"

here = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])


@here
async def test_websocket() -> None:
    """A websocket goes to the dispatcher."""
    assert await run(get_asgi_application(), disconnect(), path="/ws/") == [ACCEPT]


@here
async def test_http() -> None:
    """HTTP goes to Django's own handler."""
    wire = Wire({"type": "http.request", "body": b""})
    http: dict[str, Any] = scope(type="http", method="GET", path="/page/")
    await get_asgi_application()(http, wire.receive, wire.send)
    assert wire.sent[0]["status"] == 200
    assert wire.sent[1]["body"] == b"a page"


@here
async def test_lifespan() -> None:
    """Startup and shutdown are answered, so that servers neither wait nor warn."""
    wire = Wire({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await get_asgi_application()({"type": "lifespan"}, wire.receive, wire.send)
    assert [message["type"] for message in wire.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


@pytest.mark.parametrize(
    ("installed", "is_told"),
    [([AUTH, TYPES], True), ([AUTH, TYPES, "wsconsumer"], False), ([], False)],
    ids=["users alone", "both", "neither"],
)
def test_an_app_that_is_not_installed(
    installed: list[str], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there are users and our app is missing, a warning says what that means."""
    with override_settings(INSTALLED_APPS=installed):
        get_asgi_application()
    told = [text for text in caplog.messages if 'INSTALLED_APPS has no "wsconsumer"' in text]
    assert len(told) == is_told


@here
async def test_another_type() -> None:
    """A type that nobody here serves is an error that names it."""
    with pytest.raises(ValueError, match=r"http, websocket or lifespan, got 'telnet'"):
        await get_asgi_application()({"type": "telnet"}, None, None)


# Shutdown


class Lingering(Recorder):
    """Takes its time over ``disconnect()``."""

    async def disconnect(self, code: int, reason: str) -> None:
        await super().disconnect(code, reason)
        await self.go_on.wait()
        self.log.append("done")


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    Recorder.log.clear()
    Recorder.go_on = asyncio.Event()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing that is not there at once."""
    monkeypatch.setattr(running, "GRACE", 0)
    monkeypatch.setattr(connection, "STOP_TIMEOUT", 0)


class Served:
    """A consumer with a client, accepted, in a task like those that servers make."""

    def __init__(self, application: Application, **more: Any) -> None:
        self.wire = wire = Wire(CONNECT)

        async def serve() -> None:
            await application(scope(**more), wire.receive, wire.send)

        self.task = asyncio.create_task(serve())

    @classmethod
    async def begin(cls, application: Application, **more: Any) -> Served:
        served = cls(application, **more)
        await served.wire.until_sent(1)
        return served


def serving(consumer: type[WebsocketConsumer]) -> Application:
    """Return an application that serves a consumer and keeps count of its websockets."""
    with override_settings(MIDDLEWARE=[]):
        return WebsocketDispatcher([path("", consumer.as_view())])


async def turns(count: int = 20) -> None:
    """Let everything run that can run without the outside."""
    for _ in range(count):
        await asyncio.sleep(0)


@here
@pytest.mark.usefixtures("impatient")
async def test_shutdown_ends_what_runs() -> None:
    """What the server left running is closed with 1012 before the server gets its answer."""
    application = get_asgi_application()
    served = await Served.begin(application, path="/recorder/")
    wire = Wire({"type": "lifespan.shutdown"})
    await application({"type": "lifespan"}, wire.receive, wire.send)
    assert wire.sent == [{"type": "lifespan.shutdown.complete"}]
    assert served.wire.sent == [ACCEPT, close(1012)]
    assert Recorder.log == [(1012, "")]
    assert served.task.done()
    assert not served.task.cancelled(), "the server would log it as an error"


async def test_shutdown_lets_what_ends_by_itself() -> None:
    """A websocket whose disconnect event is on its way is not cancelled."""
    websockets = serving(Recorder)
    served = await Served.begin(websockets)
    ending = asyncio.create_task(running_websockets().end())
    await turns()
    served.wire.put(disconnect(1001, "away"))
    await ending
    assert Recorder.log == [(1001, "away")]
    assert served.wire.sent == [ACCEPT]


@pytest.mark.usefixtures("impatient")
async def test_shutdown_leaves_a_task_alone_that_has_served() -> None:
    """Once its websocket has ended, what a server's task goes on to do is none of our business."""
    websockets = serving(Recorder)
    wire = Wire(CONNECT, disconnect())
    served = asyncio.Event()

    async def serve() -> str:
        await websockets(scope(), wire.receive, wire.send)
        served.set()
        await Recorder.go_on.wait()
        return "done"

    task = asyncio.create_task(serve())
    await served.wait()
    await running_websockets().end()
    Recorder.go_on.set()
    assert await task == "done"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("ended_by", ["client", "shutdown"])
async def test_a_task_that_has_ended_is_forgotten(ended_by: str) -> None:
    """Nothing keeps the task of a connection that is over."""
    websockets = serving(Recorder)
    served = await Served.begin(websockets)
    if ended_by == "client":
        served.wire.put(disconnect())
        await served.task
    else:
        await running_websockets().end()
    task = weakref.ref(served.task)
    del served
    await turns()
    gc.collect()
    assert task() is None


@pytest.mark.usefixtures("impatient")
async def test_shutdown_leaves_other_event_loops_alone() -> None:
    """The websockets of another thread's event loop are that loop's own to end."""
    websockets = serving(Recorder)
    began, ended = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        served = await Served.begin(websockets)
        began.set()
        await asyncio.to_thread(ended.wait)
        served.wire.put(disconnect())
        await served.task

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    await asyncio.to_thread(began.wait)
    await running_websockets().end()
    assert Recorder.log == []
    ended.set()
    await thread
    assert Recorder.log == [(1001, "")]


@pytest.mark.usefixtures("impatient")
async def test_shutdown_cancels_nobody_twice() -> None:
    """What the server has cancelled already is waited for, its disconnect() not interrupted."""
    websockets = serving(Lingering)
    served = await Served.begin(websockets)
    served.task.cancel()
    await turns()
    ending = asyncio.create_task(running_websockets().end())
    await turns()
    Recorder.go_on.set()
    await ending
    assert Recorder.log == [(1012, ""), "done"]
    assert served.task.cancelled()


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_cancels_too() -> None:
    """A cancellation that is not ours alone goes on to the server."""
    websockets = serving(Lingering)
    served = await Served.begin(websockets)
    ending = asyncio.create_task(running_websockets().end())
    while not Recorder.log:
        await turns()
    served.task.cancel()
    await ending
    assert Recorder.log == [(1012, "")]
    assert served.task.cancelled()


@pytest.mark.usefixtures("impatient")
async def test_shutdown_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disconnect() that does not end is left behind, and the log says so."""
    monkeypatch.setattr(running, "SHUTDOWN_TIMEOUT", 0)
    websockets = serving(Lingering)
    served = await Served.begin(websockets)
    await running_websockets().end()
    assert caplog.messages == ["Websockets that did not end before the server: 1."]
    Recorder.go_on.set()
    await served.task
    assert Recorder.log == [(1012, ""), "done"]


async def test_a_task_that_cannot_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A websocket without a task of its own is served all the same."""
    monkeypatch.setattr(dispatcher, "current_task", lambda: None)
    websockets = serving(Recorder)
    served = await Served.begin(websockets)
    await running_websockets().end()
    served.wire.put(disconnect())
    await served.task
    assert Recorder.log == [(1001, "")]


# In another framework


@here
@pytest.mark.usefixtures("impatient")
async def test_mounted_in_starlette() -> None:
    """``Starlette(lifespan=lifespan)`` ends the websockets of what is mounted."""
    outer = Starlette(routes=[Mount("/in", get_asgi_application())], lifespan=lifespan)
    events = asyncio.Queue[dict[str, Any]]()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    outer_lifespan = asyncio.create_task(outer({"type": "lifespan", "state": {}}, events.get, send))
    served = await Served.begin(outer, path="/in/recorder/", root_path="")
    events.put_nowait({"type": "lifespan.startup"})
    events.put_nowait({"type": "lifespan.shutdown"})
    await outer_lifespan
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert Recorder.log == [(1012, "")]
    assert served.wire.sent[-1] == close(1012)
    await served.task
