"""``verdicts.py``: what an exception means for the client, and who is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    SuspiciousFileOperation,
    SuspiciousOperation,
)
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from django.test import override_settings
from django.urls import path
from django.utils.decorators import async_only_middleware

from tests.fakes import ACCEPT, DENIAL, close, disconnect, run, text
from tests.handshake.telling import headers, raising
from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters
from wsconsumer.handshake.dispatcher import WebsocketDispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpResponse

ERRORS = [
    (BadRequest("no id"), [("django.request", "WARNING", "no id: /ws/")]),
    (MultiPartParserError("cut"), [("django.request", "WARNING", "cut: /ws/")]),
    (SessionInterrupted("gone"), [("django.request", "WARNING", "gone: /ws/")]),
    (SuspiciousOperation("a\nb"), [("django.security.SuspiciousOperation", "ERROR", r"a\nb")]),
    (
        SuspiciousFileOperation("path"),
        [("django.security.SuspiciousFileOperation", "ERROR", "path")],
    ),
    (
        ExceptionGroup("both", [BadRequest("a"), SuspiciousOperation("b")]),
        [
            ("django.request", "WARNING", "a: /ws/"),
            ("django.security.SuspiciousOperation", "ERROR", "b"),
        ],
    ),
]


class Failing(WebsocketConsumer):
    """Raises in the hook that is named."""

    error: Any = None
    where = ""

    async def connect(self) -> None:
        if self.where == "connect":
            raise self.error

    async def receive(self, data: str | bytes) -> None:
        raise self.error


def bad_page(request: Any, exception: Any) -> HttpResponse:
    """Stand for a project's ``handler400``, which nobody could look at."""
    raise AssertionError


handler400 = bad_page
urlpatterns: list[Any] = []


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Return logger, level and text of what was logged."""
    return [(record.name, record.levelname, record.getMessage()) for record in caplog.records]


project: Any = settings  # with one that Django does not know


class Raising:
    """Middleware that raises the error which the project keeps in its settings."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        raise project.ERROR


class RaisingForView(Raising):
    """Middleware that raises it when the view is known."""

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_view(self, request: Any, *_: Any) -> None:
        raise project.ERROR


@async_only_middleware
def raising_async(get_response: Any) -> Any:
    """Middleware that can only be async, and raises it."""

    async def middleware(request: Any) -> Any:
        raise project.ERROR

    return middleware


def passing(get_response: Any) -> Any:
    """Middleware around another, which gets a response from it and no exception."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response["X-Passed"] = str(response.status_code)
        return response

    return middleware


def in_connect(error: Exception) -> Any:
    """Raise in ``connect()``."""
    return Failing.as_view(error=error, where="connect"), []


def in_the_view(error: Exception) -> Any:
    """Raise in a decorator."""
    return raising(error)(Failing.as_view()), []


def in_middleware(name: str) -> Any:
    """Raise in this middleware, within another."""
    chain = [f"{__name__}.passing", f"{__name__}.{name}"]
    return lambda error: (Failing.as_view(), chain)


PLACES = [
    pytest.param(in_connect, id="connect"),
    pytest.param(in_the_view, id="view"),
    *(
        pytest.param(in_middleware(name), id=name)
        for name in ("Raising", "RaisingForView", "raising_async")
    ),
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("debug", [True, False], ids=["debug", "production"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=lambda value: type(value).__name__)
async def test_bad_requests(
    error: Exception,
    expected: list[Any],
    place: Callable[[Exception], Any],
    debug: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before accept() they are 400, empty, and in the log as for a page."""
    view, chain = place(error)
    with override_settings(DEBUG=debug, MIDDLEWARE=chain, ERROR=error):
        application = WebsocketDispatcher([path("ws/", view)])
        start, body = await run(application, path="/ws/", headers=headers(), **DENIAL)
    assert (start["status"], body["body"]) == (400, b"")
    assert ((b"x-passed", b"400") in start["headers"]) == bool(chain)
    assert lines(caplog) == expected
    assert all(record.exc_info for record in caplog.records)
    assert counters["hook_failed"] == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SystemExit(3), 500),
        (asyncio.CancelledError(), 500),
        (GeneratorExit(), 500),
        (ExceptionGroup("one kind", [PermissionDenied("no"), PermissionDenied("nor this")]), 403),
        (ExceptionGroup("one kind", [Http404("none")]), 404),
        (ExceptionGroup("mixed", [Http404("none"), ValueError()]), 500),
    ],
    ids=["exit", "cancelled", "generator", "denied", "not-found", "mixed"],
)
async def test_what_is_raised_in_the_handshake(
    error: BaseException, status: int, place: Callable[[Any], Any]
) -> None:
    """Wherever it is raised, it is judged alike, and nothing leaves the application."""
    view, chain = place(error)
    with override_settings(MIDDLEWARE=chain, ERROR=error):
        application = WebsocketDispatcher([path("ws/", view)])
        start, _ = await run(application, path="/ws/", headers=headers(), **DENIAL)
    assert start["status"] == status


@override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=1, MIDDLEWARE=[])
async def test_too_many_fields(caplog: pytest.LogCaptureFixture) -> None:
    """A query string with too many fields is the client's fault, wherever it is read."""

    class Reading(WebsocketConsumer):
        async def connect(self) -> None:
            self.request.GET.get("id")

    application = WebsocketDispatcher([path("ws/", Reading.as_view())])
    more: dict[str, Any] = {"query_string": b"a=1&b=2&c=3", **DENIAL}
    start, body = await run(application, path="/ws/", headers=headers(), **more)
    assert (start["status"], body["body"]) == (400, b"")
    assert [record.name for record in caplog.records] == ["django.security.TooManyFieldsSent"]


async def test_a_mixed_group_is_a_500() -> None:
    """A group with something else in it is an error of ours."""
    error = ExceptionGroup("mixed", [BadRequest("a"), PermissionDenied("b")])
    start, _ = await run(Failing.as_asgi(error=error, where="connect"), **DENIAL)
    assert start["status"] == 500
    assert counters["hook_failed"] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("no id"), 1011),
        (SuspiciousOperation("no"), 1011),
        (SessionInterrupted("gone"), 4401),
        (ExceptionGroup("one kind", [SessionInterrupted("gone")]), 4401),
        (ExceptionGroup("mixed", [SessionInterrupted("gone"), ValueError()]), 1011),
    ],
    ids=["bad", "suspicious", "session", "group", "mixed"],
)
async def test_after_accept(error: Exception, code: int) -> None:
    """After accept() they are errors of the hook, but for a session that has ended."""
    messages = await run(Failing.as_asgi(error=error), text("a"), disconnect())
    assert messages == [ACCEPT, close(code)]
    assert counters["hook_failed"] == (code == 1011)
