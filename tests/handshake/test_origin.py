"""``handshake/origin.py``: Host and Origin."""

from __future__ import annotations

import pytest
from django.core import signals
from django.test import override_settings
from django.urls import path

from tests.fakes import ACCEPT, DENIAL, DENIED, disconnect, run
from tests.handshake.telling import denied, headers
from tests.origins import ORIGIN_SETTINGS, ORIGINS
from wsconsumer import WebsocketConsumer
from wsconsumer.counters import counters
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.origins import Origin

pytestmark = pytest.mark.urls("tests.handshake.telling")


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
    assert "expected one Origin, got 2: http://example.com, http://example.com." in caplog.text


@override_settings(WSCONSUMER={"ALLOWED_ORIGINS": ["*"]}, MIDDLEWARE=[])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("http://evil.com", True), ("null", True), ("file://", True), ("a b", False)],
)
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
