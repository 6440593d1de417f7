"""``handshake/authorization.py``: a token in the subprotocols becomes a header."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.core import mail
from django.core.exceptions import BadRequest, ImproperlyConfigured
from django.test import override_settings
from django.urls import path
from django.utils.log import AdminEmailHandler
from django.views.debug import technical_500_response

from tests.fakes import ACCEPT, DENIAL, DENIED, Wire, disconnect, run, scope, text
from wsconsumer import WebsocketConsumer, asgi_view
from wsconsumer.handshake.authorization import authorize
from wsconsumer.handshake.dispatcher import WebsocketDispatcher
from wsconsumer.test import WebsocketClient, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpResponse

MAILED: dict[str, Any] = {
    "ADMINS": ["admin@example.com"] if django.VERSION >= (6, 0) else [("Admin", "a@example.com")]
}
if django.VERSION >= (6, 1):
    MAILED["MAILERS"] = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOjF9.c2ln"

using_tokens = override_settings(
    WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": "Bearer"}, MIDDLEWARE=[], ROOT_URLCONF=__name__
)


class Tells(WebsocketConsumer):
    """Says what is left of the handshake."""

    choice: str | None = None

    async def connect(self) -> None:
        await self.accept(self.choice)
        facts = {
            "authorization": self.request.headers.get("Authorization"),
            "protocol": self.request.headers.get("Sec-WebSocket-Protocol"),
            "meta": {key: str(value) for key, value in self.request.META.items()},
            "headers": [[name.decode(), value.decode()] for name, value in self.scope["headers"]],
            "subprotocols": self.scope["subprotocols"],
            "subprotocol": self.subprotocol,
        }
        await self.send(json.dumps(facts))


class Fails(WebsocketConsumer):
    """Fails in the hook that the URL names."""

    where = "connect"

    async def connect(self) -> None:
        if self.where == "connect":
            raise RuntimeError("deliberate")
        if self.where == "bad":
            raise BadRequest("deliberate")

    async def receive(self, data: str | bytes) -> None:
        raise RuntimeError("deliberate")


def failing(request: Any) -> HttpResponse:
    """Fail as a view."""
    raise RuntimeError("deliberate")


failing.websocket_application = Tells  # type: ignore[attr-defined]  # what as_view() says of a view


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    """Choose nothing, say what came, and close."""
    await receive()
    await send({"type": "websocket.accept"})
    lines = {name.decode(): value.decode() for name, value in scope["headers"]}
    await send({"type": "websocket.send", "text": json.dumps(lines)})
    await send({"type": "websocket.close"})


urlpatterns = [
    path("ws/", Tells.as_view()),
    path("ws/chat/", Tells.as_view(choice="chat")),
    path("ws/name/", Tells.as_view(choice="Bearer")),
    path("ws/other/", Tells.as_view(choice="other")),
    path("ws/mounted/", asgi_view(mounted)),
    path("ws/fails/view/", failing),
    path("ws/fails/connect/", Fails.as_view()),
    path("ws/fails/bad/", Fails.as_view(where="bad")),
    path("ws/fails/receive/", Fails.as_view(where="receive")),
]


def offering(*lines: str, **more: Any) -> dict[str, Any]:
    """Return a scope with these lines of subprotocols, as servers make it."""
    headers = [
        (b"host", b"testserver"),
        *((b"sec-websocket-protocol", line.encode("latin-1")) for line in lines),
    ]
    offered = [name.strip() for line in lines for name in line.split(",")]
    return scope(**{"path": "/ws/", "headers": headers, "subprotocols": offered, **more})


async def told(*subprotocols: str, address: str = "/ws/", **more: Any) -> dict[str, Any]:
    """Open a websocket, and return what the consumer says, and what the client is answered."""
    async with WebsocketClient().connect(address, subprotocols=subprotocols, **more) as ws:
        facts: dict[str, Any] = await ws.receive_json()
        return facts | {"answer": ws.subprotocol}


@using_tokens
@pytest.mark.parametrize("name", ["bearer", "Bearer", "BEARER"])
async def test_the_pair_becomes_a_header(name: str) -> None:
    """The name is compared without case, and the scheme is spelt as in the setting."""
    facts = await told(name, TOKEN)
    assert facts["authorization"] == facts["meta"]["HTTP_AUTHORIZATION"] == f"Bearer {TOKEN}"
    assert ["authorization", f"Bearer {TOKEN}"] in facts["headers"]
    assert facts["answer"] == facts["subprotocol"] == name


@using_tokens
@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (("bearer", TOKEN), []),
        (("chat", "bearer", TOKEN), ["chat"]),
        (("bearer", TOKEN, "chat", "v2"), ["chat", "v2"]),
    ],
    ids=["alone", "behind-another", "before-others"],
)
async def test_the_pair_is_gone(offered: tuple[str, ...], left: list[str]) -> None:
    """META, headers and scope keep the other subprotocols only; the token is in the header."""
    facts = await told(*offered)
    line = ", ".join(left) or None
    assert facts["subprotocols"] == left
    assert facts["protocol"] == facts["meta"].get("HTTP_SEC_WEBSOCKET_PROTOCOL") == line
    assert dict(facts["headers"]).get("sec-websocket-protocol") == line
    del facts["authorization"], facts["meta"]["HTTP_AUTHORIZATION"]
    facts["headers"].remove(["authorization", f"Bearer {TOKEN}"])
    assert TOKEN not in json.dumps(facts)


@pytest.mark.parametrize(
    "given",
    [
        offering("bearer", TOKEN),
        offering("chat", f"bearer, {TOKEN}", subprotocols=["chat"]),
        offering(f"bearer,, {TOKEN}"),
        scope(path="/ws/", subprotocols=["bearer", TOKEN]),
    ],
    ids=["two-lines", "a-line-that-the-server-left-out", "an-empty-item", "no-header"],
)
@using_tokens
def test_however_it_is_offered(given: dict[str, Any]) -> None:
    """The pair is found and taken out whatever the server makes of the headers."""
    made, problem = authorize(given)
    assert problem is None
    assert (b"authorization", f"Bearer {TOKEN}".encode()) in made["headers"]
    assert TOKEN not in str(made["subprotocols"])
    assert TOKEN not in str([line for line in made["headers"] if line[0] != b"authorization"])


@using_tokens
def test_the_scope_of_the_server_stays_as_it_is() -> None:
    """What an outer application or the server has in its hands is not edited (ASGI)."""
    given = offering(f"bearer, {TOKEN}")
    authorize(given)
    assert given == offering(f"bearer, {TOKEN}")


@pytest.mark.parametrize(
    ("scheme", "offered"),
    [
        (None, ("bearer", TOKEN)),
        ("Token", ("bearer", TOKEN)),
        ("Bearer", ("chat",)),
        ("Bearer", ()),
    ],
    ids=["off", "another-scheme", "no-name", "nothing"],
)
def test_nothing_to_do(scheme: str | None, offered: tuple[str, ...]) -> None:
    """Without the setting or its name the scope is the server's own."""
    given = offering(", ".join(offered))
    with override_settings(WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": scheme}):
        made, problem = authorize(given)
    assert made is given
    assert problem is None


async def test_a_scheme_of_another_kind() -> None:
    """The scheme is whatever the setting says, such as DRF's Token."""
    with using_tokens, override_settings(WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": "Token"}):
        facts = await told("token", TOKEN)
    assert facts["authorization"] == f"Token {TOKEN}"


@pytest.mark.parametrize("value", ["Bearer", "basic YWRhOnB3", ""], ids=["same", "other", "empty"])
@using_tokens
async def test_a_header_that_is_there_stays(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """The token is dropped, which the log tells at INFO, and without the token."""
    caplog.set_level(logging.INFO, "wsconsumer")
    facts = await told("bearer", TOKEN, headers={"Authorization": value})
    assert facts["authorization"] == value
    assert facts["answer"] == "bearer"
    assert TOKEN not in json.dumps(facts)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("wsconsumer.handshake", "INFO")
    assert record.getMessage() == (
        "A websocket on /ws/ came with an Authorization header, which stays, and a token in its "
        "subprotocols, which was dropped."
    )


WITHOUT_TOKEN = (
    "the client offers the subprotocol Bearer with no token behind it, as in "
    "new WebSocket(url, ['Bearer', token])"
)
TWICE = "the client offers the subprotocol Bearer twice"


@using_tokens
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("bearer", WITHOUT_TOKEN),
        ("chat, bearer", WITHOUT_TOKEN),
        (f"{TOKEN}, bearer", WITHOUT_TOKEN),
        ("bearer, ", WITHOUT_TOKEN),
        ("bearer, wsconsumer.v1", WITHOUT_TOKEN),
        (f"bearer, {TOKEN}=", WITHOUT_TOKEN),
        (f"bearer, {TOKEN} {TOKEN}", WITHOUT_TOKEN),
        (f"bearer, {TOKEN}\xe9", WITHOUT_TOKEN),
        (f"bearer, {TOKEN}, bearer, {TOKEN}", TWICE),
        ("bearer, bearer", TWICE),
        (f"bearer, Bearer, {TOKEN}", TWICE),
    ],
    ids=[
        "alone",
        "last",
        "behind-the-token",
        "empty",
        "another-subprotocol",
        "padding",
        "two-words",
        "not-ascii",
        "two-pairs",
        "twice",
        "twice-in-other-case",
    ],
)
async def test_a_pair_that_is_none(
    line: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A name without a token, or twice, is a 400, with a line that does not show the token."""
    given = offering(line, **DENIAL)
    wire = Wire({"type": "websocket.connect"}, disconnect())
    await WebsocketDispatcher()(given, wire.receive, wire.send)
    assert wire.sent[0]["status"] == 400
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("wsconsumer.handshake", "WARNING")
    assert record.getMessage() == f"Refused a websocket on /ws/ with 400: {problem}"
    assert TOKEN not in str(vars(record))


@using_tokens
@pytest.mark.parametrize(
    ("address", "offered", "answer"),
    [
        ("/ws/", ("bearer", TOKEN), "bearer"),
        ("/ws/", ("chat", "BEARER", TOKEN), "BEARER"),
        ("/ws/", ("bearer", TOKEN, "wsconsumer.v1"), "wsconsumer.v1"),
        ("/ws/chat/", ("bearer", TOKEN, "chat", "wsconsumer.v1"), "chat"),
        ("/ws/name/", ("bEARER", TOKEN, "wsconsumer.v1"), "bEARER"),
    ],
    ids=["name", "name-as-spelt", "ours", "the-consumer's-choice", "the-name-chosen"],
)
async def test_the_answer(
    address: str, offered: tuple[str, ...], answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The consumer's choice wins, then our own subprotocol, then the name as the client has it."""
    caplog.set_level(logging.INFO, "wsconsumer")
    facts = await told(*offered, address=address)
    assert facts["answer"] == facts["subprotocol"] == answer
    assert caplog.records == []


@using_tokens
async def test_a_choice_that_was_not_offered() -> None:
    """What may be chosen is told with the name, and without the token."""
    client = WebsocketClient()
    with pytest.raises(ValueError, match="'other'") as caught:
        async with client.connect("/ws/other/", subprotocols=["chat", "bearer", TOKEN]):
            pass
    assert "the client offers ['chat', 'bearer']" in str(caught.value)


async def test_without_a_pair_nothing_is_answered() -> None:
    """A consumer that chooses nothing answers nothing, unless our own subprotocol is offered."""
    with using_tokens:
        assert (await told("chat"))["answer"] is None
        assert (await told("chat", "wsconsumer.v1"))["answer"] == "wsconsumer.v1"
        assert (await run(WebsocketDispatcher(), disconnect(), path="/ws/"))[0] == ACCEPT


@using_tokens
@pytest.mark.parametrize(
    ("offered", "answer"),
    [(("bearer", TOKEN), "bearer"), (("bearer", TOKEN, "wsconsumer.v1"), "bearer")],
    ids=["name", "ours"],
)
async def test_a_mounted_application(offered: tuple[str, ...], answer: str) -> None:
    """
    An application behind asgi_view() finds the header, and the browser gets its answer, which is
    not our subprotocol: the application does not speak it.
    """
    facts = await told(*offered, address="/ws/mounted/")
    assert facts["authorization"] == f"Bearer {TOKEN}"
    assert facts["answer"] == answer


@using_tokens
async def test_the_origin_is_still_checked() -> None:
    """A token lets no page of another site in."""
    lines = offering(f"bearer, {TOKEN}")["headers"]
    assert await run(
        WebsocketDispatcher(),
        disconnect(),
        path="/ws/",
        headers=[*lines, (b"origin", b"https://evil.example")],
        subprotocols=["bearer", TOKEN],
    ) == [DENIED]


async def test_a_wrong_setting_is_no_fault_of_the_client() -> None:
    """A mistake in the settings is raised, and not answered with 400."""
    with (
        using_tokens,
        override_settings(WSCONSUMER={"AUTHORIZATION_SUBPROTOCOL": "Bearer "}),
        pytest.raises(ImproperlyConfigured, match="the scheme of an Authorization header"),
    ):
        await run(WebsocketDispatcher(), path="/ws/")


async def test_there_is_no_handshake_in_as_asgi() -> None:
    """as_asgi() leaves the subprotocols as they are, and so a name is only one of them."""
    with using_tokens:
        offered = ["bearer", TOKEN]
        async with connect(Tells.as_asgi(), subprotocols=offered, allow_unread=True) as ws:
            assert (await ws.receive_json())["authorization"] is None
            assert ws.subprotocol is None


class Everything(logging.Handler):
    """Keeps all that a handler could write: the line, the traceback, a mail, and a debug page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
        if record.exc_info and (request := getattr(record, "request", None)) is not None:
            with override_settings(DEBUG=True):
                page = technical_500_response(request, *record.exc_info)
            self.texts.append(page.content.decode())


@pytest.fixture
def everything() -> Iterator[Everything]:
    """Hear all that is logged, and let errors be mailed with their page."""
    handler, mailer = Everything(), AdminEmailHandler(include_html=True)
    mailer.setLevel(logging.WARNING)
    root = logging.getLogger()
    names = ("wsconsumer", "django.request")
    level = root.level
    root.setLevel(logging.DEBUG)
    for name in names:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).addHandler(mailer)
    yield handler
    root.setLevel(level)
    for name in names:
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).removeHandler(mailer)


@using_tokens
@override_settings(**MAILED)
@pytest.mark.parametrize("where", ["view", "connect", "bad", "receive"])
async def test_no_log_no_mail_and_no_page_shows_it(where: str, everything: Everything) -> None:
    """Lines, tracebacks, error mails with their pages and DEBUG pages are free of the token."""
    given = offering(f"chat, bearer, {TOKEN}", path=f"/ws/fails/{where}/", **DENIAL)
    wire = Wire({"type": "websocket.connect"}, text("go"), disconnect())
    await WebsocketDispatcher()(given, wire.receive, wire.send)
    bodies = [
        str(part)
        for message in mail.outbox
        for part in (message.body, *getattr(message, "alternatives", ()))
    ]
    assert any("HTTP_AUTHORIZATION" in body for body in bodies)
    assert any("HTTP_AUTHORIZATION" in page for page in everything.texts)
    assert any("deliberate" in line for line in everything.texts)
    assert TOKEN not in "\n".join([*bodies, *everything.texts])
