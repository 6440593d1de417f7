"""Log lines of ours, with everything that a client can put into them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import SuspiciousOperation
from django.test import override_settings
from django.urls import path

from tests.fakes import CONNECT, DENIAL, Wire, disconnect, scope, text
from wsconsumer import ConnectionClosed, JsonWebsocketConsumer, WebsocketConsumer
from wsconsumer.groups.envelope import encode, log_malformed
from wsconsumer.groups.names import check_group
from wsconsumer.groups.reconnecting import Outage
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.messages import MessageConsumer
from wsconsumer.protocol import encode_headers, encode_text

if TYPE_CHECKING:
    from collections.abc import Callable

EVIL = "\n2026-01-01 ERROR all is lost \x1b[31m" + "x" * 9000
PATH = f"/ws/{EVIL}"

MAX_LINE = 700
"""Characters of a line that quotes two values, with words of ours around them."""


class Hostile(WebsocketConsumer):
    """Does with what the client sent what the test says."""

    do: Any = None

    async def receive(self, data: str | bytes) -> None:
        await self.do(self, data)


async def fail(consumer: WebsocketConsumer, data: str) -> None:
    raise ValueError("no")


async def suspect(consumer: WebsocketConsumer, data: str) -> None:
    raise SuspiciousOperation(data)


async def send_after_the_end(consumer: WebsocketConsumer, data: str) -> None:
    await consumer.close(4000, data[:30])
    await consumer.send(data)


async def quote(consumer: WebsocketConsumer, data: str) -> None:
    await consumer.close(4000)
    raise ConnectionClosed(data, code=4000) from ValueError(data)


def check(caplog: pytest.LogCaptureFixture) -> None:
    """Each line is one line, fit for a terminal, and not long; there is at least one."""
    ours = [record for record in caplog.records if record.name.startswith("wsconsumer")]
    assert ours
    for record in ours:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < MAX_LINE


@pytest.mark.parametrize("do", [fail, suspect, send_after_the_end, quote])
@override_settings(MIDDLEWARE=[])
async def test_what_hooks_do(do: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """The path and the texts of errors can write no line of their own."""
    caplog.set_level(logging.DEBUG, "wsconsumer")
    view = Hostile.as_view(do=staticmethod(do))
    application = WebsocketDispatcher([path("ws/<path:more>", view)])
    wire = Wire(CONNECT, text(EVIL), disconnect(4001, EVIL[:60]))
    # A converter takes no line break, so that only Django's own words can be about it.
    await application(scope(path=PATH.replace("\n", "\r"), **DENIAL), wire.receive, wire.send)
    check(caplog)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", EVIL.encode())],
        [(b"host", b"testserver"), (b"origin", EVIL.encode())],
        [(b"host", b"testserver"), (b"origin", b"http://" + b"x" * 9000)],
        [(b"host", b"testserver"), (b"origin", EVIL.encode()), (b"origin", b"null")],
    ],
    ids=["host", "malformed-origin", "long-origin", "two-origins"],
)
async def test_refusals(
    headers: list[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor can Host and Origin, and a Host of 9 kB makes no line of 36 kB."""
    wire = Wire(CONNECT)
    asked = scope(path=PATH, headers=headers, **DENIAL)
    await WebsocketDispatcher([])(asked, wire.receive, wire.send)
    check(caplog)


SECRET = "hunter2-hunter2"


class Malformed(JsonWebsocketConsumer):
    async def receive_json(self, content: Any) -> None: ...


class Typed(MessageConsumer):
    invalid_limit = 1


class Fails(WebsocketConsumer):
    async def receive(self, data: str | bytes) -> None:
        raise ValueError("no")


class Leaves(WebsocketConsumer):
    async def receive(self, data: str | bytes) -> None:
        await self.close(4000)


@pytest.mark.parametrize(
    "view",
    [
        Fails.as_view(),
        Leaves.as_view(),
        Malformed.as_view(),
        Typed.as_view(),
        Fails.as_view(max_message_size=5),
        Leaves.as_view(rate_limit="1/h"),
        WebsocketConsumer.as_view(),
    ],
    ids=["fails", "leaves", "malformed", "invalid", "too-big", "too-many", "ignored"],
)
@override_settings(MIDDLEWARE=[], DEBUG=True)
async def test_no_line_has_what_clients_sent(view: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a message nor the query string, a cookie or a header, at any level."""
    caplog.set_level(logging.DEBUG)
    wire = Wire(CONNECT, *[text(SECRET)] * 3, disconnect(4001))
    asked = scope(
        path="/ws/",
        query_string=f"token={SECRET}".encode(),
        headers=[
            (b"host", b"testserver"),
            (b"cookie", f"sessionid={SECRET}".encode()),
            (b"authorization", f"Bearer {SECRET}".encode()),
        ],
    )
    await WebsocketDispatcher([path("ws/", view)])(asked, wire.receive, wire.send)
    assert [record for record in caplog.records if record.name.startswith("wsconsumer")]
    assert SECRET not in caplog.text


def test_what_comes_from_an_engine(caplog: pytest.LogCaptureFixture) -> None:
    """What others put on the bus, and what an engine says, is quoted with the same care."""
    log_malformed(EVIL, ValueError(EVIL))
    Outage("Redis at localhost").failed(OSError(EVIL))
    check(caplog)


@pytest.mark.parametrize(
    "quote",
    [
        lambda: check_group(EVIL),
        lambda: check_group("x" * 9000),
        lambda: encode_text("\ud800" * 9000, "text"),
        lambda: encode_headers([("x-name", EVIL)], "accept()"),
        lambda: encode_headers([("x-name", "\u20ac" * 9000)], "accept()"),
        lambda: encode("\ud800" * 9000),
    ],
    ids=["group", "long-group", "text", "header", "long-header", "broadcast"],
)
def test_errors_that_quote(quote: Callable[[], object]) -> None:
    """An error of ours quotes what a client may have chosen, on one line and cut."""
    with pytest.raises(ValueError, match=r"can't send|can't be sent|printable") as caught:
        quote()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < MAX_LINE
