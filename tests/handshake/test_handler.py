"""``handshake.py``: Host, Origin, the project's middleware, decorators, signals and the user."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth.decorators import (
    login_not_required,
    login_required,
    permission_required,
    user_passes_test,
)
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core import signals
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path, reverse
from django.utils.decorators import async_only_middleware, sync_and_async_middleware
from django.utils.translation import get_language

from tests.fakes import ACCEPT, DENIAL, DENIED, disconnect, run, sent
from tests.origins import ORIGIN_SETTINGS, ORIGINS
from tests.settings import MIDDLEWARE
from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.handshake.handler import Origin
from wsconsumer.test import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    from wsconsumer.test import Denial, Websocket


class Tell(WebsocketConsumer):
    """Says after accept() what ``fact`` makes of the consumer."""

    fact: Any = staticmethod(lambda consumer: str(consumer.user))

    async def connect(self) -> None:
        await self.accept()
        await self.send(str(self.fact(self)))


def raising(error: Exception) -> Callable[..., Any]:
    """Decorate a view so that it raises."""

    def decorator(view: Any) -> Any:
        def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
            raise error

        wrapper.__dict__.update(view.__dict__)
        return wrapper

    return decorator


def teapot(view: Any) -> Any:
    """Decorate a view so that it answers with a response of its own."""

    def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
        response = HttpResponse("short and stout", status=418, headers={"X-Pot": "tea"})
        response.set_cookie("milk", "no")
        return response

    wrapper.__dict__.update(view.__dict__)
    return wrapper


def streaming(view: Any) -> Any:
    """Decorate a view so that it answers with a stream."""

    def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
        return StreamingHttpResponse(iter(["a", "b"]), status=403)

    wrapper.__dict__.update(view.__dict__)
    return wrapper


ws = Tell.as_view()
urlpatterns = [
    path("ws/", ws, name="ws"),
    path("ws/login/", login_required(ws)),
    path("ws/open/", login_not_required(Tell.as_view())),
    path("ws/permission/", permission_required("auth.view_user", raise_exception=True)(ws)),
    path("ws/passes/", user_passes_test(lambda user: user.is_staff, login_url="/nope/")(ws)),
    path("ws/raises/", raising(RuntimeError("the secret"))(ws)),
    path("ws/denied/", raising(PermissionDenied("no"))(ws)),
    path("ws/teapot/", teapot(ws)),
    path("ws/stream/", streaming(ws)),
    path("ws/language/", Tell.as_view(fact=staticmethod(lambda _: get_language()))),
    path("ws/reverse/", Tell.as_view(fact=staticmethod(lambda _: reverse("ws")))),
    path("ws/thread/", Tell.as_view(fact=staticmethod(lambda _: threading.current_thread().name))),
    path("ws/seen/", Tell.as_view(fact=staticmethod(lambda consumer: consumer.request.seen))),
]

other_urlpatterns = [
    path("other/", Tell.as_view(fact=staticmethod(lambda _: reverse("there"))), name="there")
]


@pytest.fixture(autouse=True)
def _urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


def opened(
    address: str, lines: list[tuple[bytes, bytes]]
) -> AbstractAsyncContextManager[Websocket]:
    """Open a websocket to the dispatcher; what fails there is left to it, as in production."""
    texts = [(name.decode(), value.decode("latin-1")) for name, value in lines]
    return connect(WebsocketDispatcher(), address, headers=texts, raise_exceptions=False)


async def heard(address: str = "/ws/", headers: Iterable[tuple[bytes, bytes]] = ()) -> str | bytes:
    """Open a websocket that is accepted, and return what the consumer says first."""
    async with opened(address, list(headers)) as ws:
        assert ws.accepted, ws.denial
        return await ws.receive()


async def denied(address: str = "/ws/", headers: Iterable[tuple[bytes, bytes]] = ()) -> Denial:
    """Ask for a websocket that is denied, and return the denial response."""
    async with opened(address, list(headers)) as ws:
        assert ws.denial is not None
        return ws.denial


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    """Return headers with a host; underscores are dashes."""
    values = {"host": "example.com", **values}
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()]


# Host and Origin


@override_settings(**ORIGIN_SETTINGS, MIDDLEWARE=[])
@pytest.mark.parametrize(
    ("origin", "host", "secure", "allowed"),
    [row[1:] for row in ORIGINS],
    ids=[row[0] for row in ORIGINS],
)
async def test_origin(
    origin: str | None, host: str, secure: bool, allowed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Own, listed and absent origins are let in; all others get 403, a line and a count."""
    lines = headers(host=host)
    if origin is not None:
        lines.append((b"origin", origin.encode("latin-1")))
    application = WebsocketDispatcher([path("ws/", WebsocketConsumer.as_view())])
    messages = await run(
        application,
        disconnect(),
        path="/ws/",
        headers=lines,
        scheme="wss" if secure else "ws",
        **DENIAL,
    )
    if allowed:
        assert messages == [ACCEPT]
        assert caplog.records == []
        assert counters["origin_refused"] == 0
    else:
        assert messages[0]["status"] == 403
        assert counters["origin_refused"] == 1
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("wsconsumer.handshake", "WARNING")
        assert record.getMessage().startswith("Refused a websocket on /ws/ with 403: the Origin")
        assert "\n" not in record.getMessage()
        assert record.exc_info is None


async def test_several_origins(caplog: pytest.LogCaptureFixture) -> None:
    """Two Origin headers are refused, even when both are good."""
    lines = [*headers(origin="http://example.com"), (b"origin", b"http://example.com")]
    assert (await denied(headers=lines)).status == 403
    assert "expected one Origin, got [b'http://example.com', b'http://example.com']" in caplog.text


@override_settings(WSCONSUMER={"ALLOWED_ORIGINS": ["*"]}, MIDDLEWARE=[])
@pytest.mark.parametrize(("origin", "allowed"), [("http://evil.com", True), ("null", False)])
async def test_any_origin(origin: str, allowed: bool) -> None:
    """A star lets in every origin that is one."""
    application = WebsocketDispatcher([path("ws/", WebsocketConsumer.as_view())])
    messages = await run(application, disconnect(), path="/ws/", headers=headers(origin=origin))
    assert messages == ([ACCEPT] if allowed else [DENIED])


@override_settings(USE_X_FORWARDED_HOST=True, MIDDLEWARE=[])
async def test_origin_behind_a_proxy() -> None:
    """The own host is what request.get_host() says."""
    application = WebsocketDispatcher([path("ws/", WebsocketConsumer.as_view())])
    lines = headers(host="testserver", x_forwarded_host="example.com", origin="http://example.com")
    assert await run(application, disconnect(), path="/ws/", headers=lines) == [ACCEPT]


def test_an_ipv6_origin() -> None:
    """An IPv6 address is a host too."""
    assert Origin.parse("http://[::1]:8000") == Origin("http", "[::1]", "8000")


@pytest.mark.parametrize("host", ["evil.com", "exa mple.com", ""])
async def test_host(host: str, caplog: pytest.LogCaptureFixture) -> None:
    """A host that ALLOWED_HOSTS does not name gets 400, a line and a count."""
    assert (await denied(headers=headers(host=host))).status == 400
    assert counters["host_refused"] == 1
    assert caplog.messages[0].startswith("Refused a websocket on /ws/ with 400: ")
    assert caplog.records[0].exc_info is None


async def test_a_refused_request_runs_no_middleware() -> None:
    """What is refused for its Origin does not get as far as a thread."""
    started = []
    signals.request_started.connect(lambda **_: started.append(1), weak=False, dispatch_uid="t")
    try:
        await denied(headers=headers(origin="http://evil.com"))
    finally:
        signals.request_started.disconnect(dispatch_uid="t")
    assert started == []


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
    """Its response is the denial, with status, headers and without the body of a server error."""
    with mine("blocking"):
        denial = await denied()
        assert (denial.status, denial.body) == (503, b"")
        assert denial.headers["Retry-After"] == "60"


async def test_middleware_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """It is a 500 and in the log as for a page; under DEBUG too the text stays here."""
    with mine("failing"), override_settings(DEBUG=True):
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


# Users and sessions


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A user who may look at users."""
    user = User.objects.create_user("ada", password="secret")
    user.user_permissions.add(Permission.objects.get(codename="view_user"))
    return user


@pytest.fixture
def cookie(ada: User) -> list[tuple[bytes, bytes]]:
    """Headers with Ada's session."""
    return logged_in(ada)


def logged_in(user: User) -> list[tuple[bytes, bytes]]:
    """Log a user in, and return the headers that a browser would then send."""
    client = Client()
    client.force_login(user)
    return headers(cookie=f"sessionid={client.cookies['sessionid'].value}")


@pytest.fixture
def queries() -> Iterator[list[str]]:
    """Collect the SQL of handshakes, in whichever thread it runs."""
    statements: list[str] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        statements.append(sql)
        return execute(sql, *args)

    def started(**_: Any) -> None:
        connection.execute_wrappers.append(note)

    def finished(**_: Any) -> None:
        connection.execute_wrappers.remove(note)

    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    yield statements
    signals.request_started.disconnect(started)
    signals.request_finished.disconnect(finished)


@pytest.mark.usefixtures("transactional_db")
async def test_an_anonymous_visitor(queries: list[str]) -> None:
    """Without a session the user is anonymous, and the database is not asked."""
    assert await heard() == "AnonymousUser"
    assert queries == []


async def test_a_user(cookie: Any, queries: list[str]) -> None:
    """A session's user is there, loaded, in async code: one query besides the session's own."""
    assert await heard(headers=cookie) == "ada"
    session, user = queries
    assert "django_session" in session
    assert "auth_user" in user


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
async def test_a_user_costs_one_query(ada: User, queries: list[str]) -> None:
    """Where sessions are not in the database, the user's is the only query."""
    lines = await sync_to_async(logged_in)(ada)
    assert await heard(headers=lines) == "ada"
    (user,) = queries
    assert "auth_user" in user


@pytest.mark.parametrize(
    ("address", "anonymous", "user"),
    [
        ("/ws/login/", 302, None),
        ("/ws/permission/", 403, None),
        ("/ws/passes/", 302, 302),
    ],
)
async def test_decorators(address: str, anonymous: int, user: int | None, cookie: Any) -> None:
    """Django's own decorators work unmodified, and their response is the denial."""
    assert (await denied(address)).status == anonymous
    if user is None:
        assert await heard(address, cookie) == "ada"
    else:
        assert (await denied(address, cookie)).status == user


@pytest.mark.usefixtures("transactional_db")
async def test_login_required_redirects() -> None:
    """The redirect to the login page says where to come back to, for clients that look."""
    denial = await denied("/ws/login/")
    assert denial.headers["Location"] == "/accounts/login/?next=/ws/login/"


async def test_login_required_middleware(cookie: Any) -> None:
    """LoginRequiredMiddleware guards sockets like pages, login_not_required opens them."""
    guard = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, guard]):
        assert (await denied()).status == 302
        assert (await denied("/nowhere/")).status == 404
        assert await heard("/ws/open/") == "AnonymousUser"
        assert await heard(headers=cookie) == "ada"


async def test_a_session_is_written_from_a_consumer(cookie: Any, ada: User) -> None:
    """The documented way: async methods and asave(); a page sees it afterwards."""

    class Counting(WebsocketConsumer):
        async def receive(self, data: str | bytes) -> None:
            session = self.request.session
            await session.aset("visits", await session.aget("visits", 0) + 1)
            await session.asave()
            await self.send("saved")

    application = WebsocketDispatcher([path("ws/", Counting.as_view())])
    go = {"type": "websocket.receive", "text": "go"}
    messages = await run(application, go, go, disconnect(), path="/ws/", headers=cookie)
    assert messages[1:] == [sent("saved"), sent("saved")]
    key = dict(cookie)[b"cookie"].decode().partition("=")[2]
    assert await SessionStore(key).aget("visits") == 2


async def test_no_authentication_middleware() -> None:
    """Without authentication there is no user to load, and nothing fails."""
    with mine("seeing"):
        assert await heard("/ws/seen/") == "('websocket', False)"


@pytest.mark.usefixtures("transactional_db")
async def test_pages_are_served_as_before() -> None:
    """The same URLconf under HTTP: a consumer's path is 426 behind all the middleware."""
    response = await AsyncClient().get("/ws/")
    assert response.status_code == 426
    assert AnonymousUser() == response.asgi_request.user
