"""``handshake/handler.py``: the project's middleware, decorators and signals."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.core import signals
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path, reverse
from django.utils.decorators import async_only_middleware, sync_and_async_middleware

from tests.fakes import DENIED, run
from tests.handshake.telling import Tell, denied, headers, heard, opened
from wsconsumer.handshake.dispatcher import WebsocketDispatcher

pytestmark = pytest.mark.urls("tests.handshake.telling")


other_urlpatterns = [
    path("other/", Tell.as_view(fact=staticmethod(lambda _: reverse("there"))), name="there")
]


# Middleware


def seeing(get_response: Any) -> Any:
    """Note the request's type, and the thread."""

    def middleware(request: Any) -> Any:
        request.seen = (
            request.scope["type"],
            threading.current_thread() is threading.main_thread(),
        )
        return get_response(request)

    return middleware


@async_only_middleware
def async_only(get_response: Any) -> Any:
    """Async code in the middle of the chain."""

    async def middleware(request: Any) -> Any:
        await asyncio.sleep(0)
        request.seen = (*getattr(request, "seen", ()), "async")
        return await get_response(request)

    return middleware


@sync_and_async_middleware
def either(get_response: Any) -> Any:
    """Can be both; the chain is sync, so it is sync."""
    assert not iscoroutinefunction(get_response)

    def middleware(request: Any) -> Any:
        request.seen = (*getattr(request, "seen", ()), "either")
        return get_response(request)

    return middleware


def blocking(get_response: Any) -> Any:
    """Answer everything itself."""
    return lambda request: HttpResponse("closed", status=503, headers={"Retry-After": "60"})


def failing(get_response: Any) -> Any:
    """Fail on every request."""

    def middleware(request: Any) -> Any:
        raise RuntimeError("the secret")

    return middleware


@async_only_middleware
def failing_async(get_response: Any) -> Any:
    """Fail on every request, in async code."""

    async def middleware(request: Any) -> Any:
        raise RuntimeError("the secret")

    return middleware


def with_cookie(get_response: Any) -> Any:
    """Set a cookie on every response."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response.set_cookie("tracked", "yes", httponly=True)
        return response

    return middleware


def other_urlconf(get_response: Any) -> Any:
    """Choose a URLconf by request, as tenants do."""

    def middleware(request: Any) -> Any:
        import types

        module = types.ModuleType("tests.tenant_urls")
        module.urlpatterns = other_urlpatterns  # type: ignore[attr-defined]
        request.urlconf = module
        return get_response(request)

    return middleware


class ProcessHooks:
    """Notes process_view, and turns an exception into a response."""

    seen: list[Any] = []  # noqa: RUF012  # emptied by its test

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        self.seen.append((view.websocket_application, args, kwargs))

    def process_exception(self, request: Any, exception: Exception) -> Any:
        self.seen.append(type(exception))
        return HttpResponse("handled", status=409)


def answering(_: Any) -> Any:
    """Answer with the status that the client asks for, and with framing that is wrong."""

    def middleware(request: Any) -> HttpResponse:
        framing = {"Transfer-Encoding": "chunked", "Content-Length": "7"}
        return HttpResponse(
            b"maybe",
            status=int(request.headers["X-Answer"]),
            headers=framing,
            content_type="text/plain",
        )

    return middleware


def mine(*names: str) -> Any:
    """Use these middlewares of this module."""
    return override_settings(MIDDLEWARE=[f"{__name__}.{name}" for name in names])


async def test_sync_middleware_runs_in_a_thread() -> None:
    """The chain runs, beside the event loop's thread, on a request that says what it is."""
    with mine("seeing"):
        assert await heard("/ws/seen/") == "('websocket', False)"


async def test_async_only_middleware_runs_too() -> None:
    """Middleware that can only be async is adapted, with sync ones around it."""
    with mine("seeing", "async_only", "either"):
        assert await heard("/ws/seen/") == "('websocket', False, 'async', 'either')"


async def test_the_consumer_runs_on_the_event_loop() -> None:
    """Whatever the handshake does in threads, the consumer is in the loop's own."""
    with mine():
        assert await heard("/ws/thread/") == threading.current_thread().name


async def test_middleware_that_answers_itself() -> None:
    """Its response is the denial, with status, headers and body."""
    with mine("blocking"):
        denial = await denied()
        assert (denial.status, denial.body) == (503, b"closed")
        assert denial.headers["Retry-After"] == "60"


@pytest.mark.parametrize("name", ["failing", "failing_async"])
async def test_middleware_that_fails(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is a 500 and in the log as for a page; under DEBUG too the text stays here."""
    with mine(name), override_settings(DEBUG=True):
        denial = await denied()
    assert (denial.status, denial.body) == (500, b"")
    assert "RuntimeError: the secret" in caplog.text


async def test_cookies_go_out_with_accept() -> None:
    """A cookie that middleware sets reaches the client with the 101."""
    with mine("with_cookie"):
        async with opened("/ws/thread/", []) as ws:
            assert ws.headers["Set-Cookie"] == "tracked=yes; HttpOnly; Path=/"
            await ws.receive()


async def test_a_urlconf_of_the_request() -> None:
    """request.urlconf picks the view, and reverse() in the consumer knows it."""
    with mine("other_urlconf"):
        assert await heard("/other/") == "/other/"
        assert (await denied("/ws/")).status == 404


async def test_process_view_and_process_exception() -> None:
    """Both are called as for a page: with the view and its arguments, and with what it raises."""
    ProcessHooks.seen.clear()
    with mine("ProcessHooks"):
        assert await heard("/ws/thread/")
        denial = await denied("/ws/raises/")
        assert (await denied("/nowhere/")).status == 404
    assert (denial.status, denial.body) == (409, b"handled")
    assert ProcessHooks.seen == [(Tell, (), {}), (Tell, (), {}), RuntimeError]


async def test_request_signals() -> None:
    """request_started and request_finished are sent once each, around the handshake."""
    seen = []

    def started(sender: Any, scope: Any, **_: Any) -> None:
        seen.append(scope["type"])

    def finished(**_: Any) -> None:
        seen.append("finished")

    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    try:
        with mine("seeing"):
            await heard("/ws/seen/")
    finally:
        signals.request_started.disconnect(started)
        signals.request_finished.disconnect(finished)
    assert seen == ["websocket", "finished"]


async def test_locale() -> None:
    """The language that LocaleMiddleware picks is active in the consumer."""
    with override_settings(MIDDLEWARE=["django.middleware.locale.LocaleMiddleware"]):
        assert await heard("/ws/language/", headers(accept_language="de")) == "de"


# Denials


async def test_a_response_of_a_decorator() -> None:
    """Status, headers, cookies and body of any response are the denial's."""
    with mine():
        denial = await denied("/ws/teapot/")
    assert (denial.status, denial.body) == (418, b"short and stout")
    assert dict(denial.headers) == {
        "content-length": "15",
        "content-type": "text/html; charset=utf-8",
        "set-cookie": "milk=no; Path=/",
        "x-pot": "tea",
    }


@pytest.mark.parametrize(
    ("status", "framing", "body"),
    [
        (200, {"content-length": "5"}, b"maybe"),
        (204, {}, b""),
        (205, {"content-length": "0"}, b""),
        (304, {}, b""),
    ],
)
async def test_a_response_is_framed_by_its_status(
    status: int, framing: dict[str, str], body: bytes
) -> None:
    """Its length is true, some have none, and no Transfer-Encoding stands beside it."""

    with mine("answering"):
        denial = await denied("/ws/seen/", headers(x_answer=str(status)))
    assert (denial.status, denial.body) == (status, body)
    assert dict(denial.headers) == {"content-type": "text/plain", **framing}


@pytest.mark.parametrize("status", [101, 103])
async def test_a_response_that_ends_no_request(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Middleware that answers with an interim response is told so in the log; it is a 500."""
    with mine("answering"):
        assert (await denied("/ws/seen/", headers(x_answer=str(status)))).status == 500
    assert f"Middleware answered a websocket with {status}" in caplog.text


async def test_a_streaming_response() -> None:
    """A stream is sent whole."""
    with mine():
        assert (await denied("/ws/stream/")).body == b"ab"


async def test_a_decorator_that_raises() -> None:
    """PermissionDenied is a 403, as for a page; anything else a 500."""
    with mine():
        assert (await denied("/ws/denied/")).status == 403
        assert (await denied("/ws/raises/")).status == 500


async def test_a_denial_without_the_extension(caplog: pytest.LogCaptureFixture) -> None:
    """A server without denial responses gets a close, and the log has the status."""
    caplog.set_level(logging.INFO, "wsconsumer")
    with mine():
        assert await run(WebsocketDispatcher(), path="/ws/teapot/") == [DENIED]
    assert "No denial response here: the client gets 403, not 418." in caplog.messages


async def test_no_authentication_middleware() -> None:
    """Without authentication there is no user to load, and nothing fails."""
    with mine("seeing"):
        assert await heard("/ws/seen/") == "('websocket', False)"
