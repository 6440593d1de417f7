"""``protocol.py``: tables against tables."""

from __future__ import annotations

import pytest

from wsconsumer.exceptions import InvalidEvent
from wsconsumer.protocol import (
    TRANSITIONS,
    Action,
    CloseCode,
    ConnectionState,
    check_close,
    disconnected,
    encode_headers,
    encode_text,
)

LEGAL = {
    ("CONNECTING", "ACCEPT"): "OPEN",
    ("CONNECTING", "REJECT"): "CLOSED",
    ("CONNECTING", "DISCONNECT"): "CLOSED",
    ("CONNECTING", "JOIN"): "CONNECTING",
    ("OPEN", "SEND"): "OPEN",
    ("OPEN", "JOIN"): "OPEN",
    ("OPEN", "CLOSE"): "CLOSING",
    ("OPEN", "DISCONNECT"): "CLOSED",
    ("CLOSING", "CLOSE"): "CLOSING",
    ("CLOSING", "DISCONNECT"): "CLOSED",
    ("CLOSED", "CLOSE"): "CLOSED",
    ("CLOSED", "DISCONNECT"): "CLOSED",
}


@pytest.mark.parametrize("state", ConnectionState, ids=lambda state: state.name)
@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
def test_transitions(state: ConnectionState, action: Action) -> None:
    """Every pair of state and action leads where the ASGI specification says, or nowhere."""
    target = TRANSITIONS[state].get(action)
    assert (target and target.name) == LEGAL.get((state.name, action.name))


def test_close_codes() -> None:
    """The names mean what the IANA registry says; a new one is added here, too."""
    assert {code.name: code.value for code in CloseCode} == {
        "NORMAL": 1000,
        "GOING_AWAY": 1001,
        "PROTOCOL_ERROR": 1002,
        "UNSUPPORTED_DATA": 1003,
        "NO_STATUS_RECEIVED": 1005,
        "ABNORMAL": 1006,
        "INVALID_PAYLOAD": 1007,
        "POLICY_VIOLATION": 1008,
        "MESSAGE_TOO_BIG": 1009,
        "MANDATORY_EXTENSION": 1010,
        "INTERNAL_ERROR": 1011,
        "SERVICE_RESTART": 1012,
        "TRY_AGAIN_LATER": 1013,
        "BAD_GATEWAY": 1014,
        "NOT_AUTHENTICATED": 4401,
        "TIMED_OUT": 4408,
        "RATE_LIMITED": 4429,
        "DISCONNECTED": 4501,
        "REFUSED": 4503,
        "NO_SUCH_SOCKET": 4504,
    }


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1011, 1014, 3000, 4000, 4999])
def test_close_codes_that_may_be_sent(code: int) -> None:
    """An endpoint may send the codes that RFC 6455 section 7.4 allows it."""
    check_close(code, "")


@pytest.mark.parametrize(
    "code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65536]
)
def test_close_codes_that_may_not_be_sent(code: int) -> None:
    """The others are refused, with the ones that are allowed."""
    with pytest.raises(ValueError, match=rf"can't send the close code {code}: .* 3000-4999"):
        check_close(code, "")


@pytest.mark.parametrize("code", ["1000", 1000.0, None, True], ids=repr)
def test_a_close_code_is_an_int(code: object) -> None:
    """What is no int is no close code."""
    with pytest.raises(TypeError, match="expects code to be an int"):
        check_close(code, "")


def test_a_reason_fits_a_control_frame() -> None:
    """A reason of 123 bytes of UTF-8 is sent, one of 124 is refused with its size."""
    check_close(1000, "a" * 123)
    check_close(CloseCode.NORMAL, "é" * 61)
    with pytest.raises(ValueError, match="a reason of 124 bytes"):
        check_close(1000, "é" * 62)


def test_a_reason_is_text() -> None:
    """Bytes are no reason, and neither is text that UTF-8 can't say."""
    with pytest.raises(TypeError, match="expects reason to be a str, got b'bye'"):
        check_close(1000, b"bye")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        check_close(1000, "\ud800")


def test_encode_text_names_what_is_wrong() -> None:
    """The error for text that is no UTF-8 says what and where."""
    assert encode_text("é", "text") == b"\xc3\xa9"
    with pytest.raises(ValueError, match=r"^text can't be sent: .*at position 2"):
        encode_text("ab\udcff", "text")


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Name", "välue")],
        [(b"X-Name", "v\u00e4lue".encode("latin-1"))],
        {"X-Name": "välue"},
    ],
    ids=["str", "bytes", "mapping"],
)
def test_encode_headers(headers: object) -> None:
    """Headers may be pairs of str or bytes, or a mapping; ASGI gets lower-case latin-1."""
    assert encode_headers(headers, "accept()") == [(b"x-name", b"v\xe4lue")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "error", "message"),
    [
        (["X-Name: value"], TypeError, "pairs of name and value"),
        ([("X-Name", 1)], TypeError, "pairs of name and value"),
        ([("X-Name",)], TypeError, "pairs of name and value"),
        ([("X-Name", "\u20ac")], ValueError, "headers are latin-1"),
        ([("X Name", "value")], ValueError, "no HTTP token"),
        ([("", "value")], ValueError, "no HTTP token"),
        ([("X-Name", "a\r\nX-Evil: 1")], ValueError, "control character"),
        ([("X-Name", b"a\x00")], ValueError, "control character"),
        ([("Sec-WebSocket-Protocol", "chat")], ValueError, r"accept\(subprotocol=\.\.\.\)"),
        ([("Upgrade", "websocket")], ValueError, "the server writes it"),
    ],
    ids=lambda value: repr(value) if isinstance(value, list) else "",
)
def test_headers_that_can_not_be_sent(
    headers: list[object], error: type[Exception], message: str
) -> None:
    """What HTTP does not allow in a header is refused before it is sent."""
    with pytest.raises(error, match=message):
        encode_headers(headers, "accept()")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"code": 1001, "reason": "away"}, (1001, "away")),
        ({"code": 1001}, (1001, "")),
        ({"code": 1001, "reason": None}, (1001, "")),
        ({"code": None}, (1005, "")),
        ({}, (1005, "")),
    ],
    ids=["uvicorn", "daphne", "none-reason", "none-code", "hypercorn"],
)
def test_disconnected(event: dict[str, object], expected: tuple[int, str]) -> None:
    """A disconnect event has a code and a reason, whatever its server leaves out."""
    assert disconnected({"type": "websocket.disconnect", **event}) == expected


def test_an_unknown_event_is_the_servers_fault() -> None:
    """An event that ASGI does not have is refused with its type."""
    with pytest.raises(InvalidEvent, match=r"got 'websocket\.ping'"):
        disconnected({"type": "websocket.ping"})
