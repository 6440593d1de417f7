"""``groups/postgres/payload.py``: what NOTIFY carries."""

from __future__ import annotations

import pytest

from wsconsumer.groups.base import Position
from wsconsumer.groups.postgres import payload as postgres_payload
from wsconsumer.groups.postgres.payload import (
    MAX_BODY,
    MAX_PAYLOAD,
    Decoder,
    channel,
    decode_kept,
    encode,
    encode_kept,
    token,
)

BODIES = [
    b"",
    b"\x11\x00hello",
    b"\x7f0 \x7f1 \x7f\x00\x7f",
    b"\x7f" * 9_000,
    bytes(range(256)),
    "чат 🙂".encode(),
    b"\x00" * 20_000,
    b"\xff" * 20_000,
    b"1 1/1 g a",
]


def short(body: object) -> str:
    """Return what names a body."""
    assert isinstance(body, bytes)
    return f"{body[:8]!r}-{len(body)}"


def decoder(*groups: str) -> Decoder:
    """Return one that is asked for these groups."""
    return Decoder({token(group).encode(): group for group in groups})


def feed(decoder: Decoder, payloads: list[str]) -> list[tuple[str, bytes]]:
    """Return what comes out, which is not kept."""
    came = [found for text in payloads if (found := decoder.feed(text.encode())) is not None]
    assert all(position is None for _, _, position in came)
    return [(group, body) for group, body, _ in came]


@pytest.mark.parametrize("body", BODIES, ids=short)
def test_what_goes_in_comes_out(body: bytes) -> None:
    """Any body is ASCII without NUL on the way, within the limit, and whole at the end."""
    payloads = encode("g", body)
    assert all(text.isascii() and "\0" not in text for text in payloads)
    assert all(len(text) <= MAX_PAYLOAD for text in payloads)
    assert feed(decoder("g"), payloads) == [("g", body)]


@pytest.mark.parametrize("size", range(MAX_PAYLOAD - 40, MAX_PAYLOAD + 2))
def test_bodies_about_as_large_as_a_payload(size: int) -> None:
    """A body goes in one payload if it fits in, and in two otherwise."""
    payloads = encode("g", b"x" * size)
    assert all(len(text) <= MAX_PAYLOAD for text in payloads)
    assert len(payloads) <= 2
    assert feed(decoder("g"), payloads) == [("g", b"x" * size)]


def test_short_text_is_readable() -> None:
    """Whoever looks at the channel can read what is ASCII."""
    (payload,) = encode("room.lobby", b"hello")
    assert payload.endswith(" 1/1 room.lobby ahello")


def test_no_two_payloads_are_alike() -> None:
    """PostgreSQL would take equal ones in a transaction for one."""
    payloads = [*encode("g", b"x" * 50_000), *encode("g", b"x" * 50_000), *encode("g", b"")]
    assert len(set(payloads)) == len(payloads)


def test_the_largest_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit, and the error says so."""
    monkeypatch.setattr(postgres_payload, "MAX_BODY", 10)
    assert encode("g", b"x" * 10)
    with pytest.raises(ValueError, match="a body has at most 10 bytes, got 11"):
        encode("g", b"x" * 11)


def test_groups_that_are_not_asked_for() -> None:
    """They are passed over, whatever their payload says."""
    assert decoder("g").feed(b"1 1/1 h ?") is None
    assert feed(decoder("g"), encode("h", b"x" * 9_000)) == []


def test_names_of_groups() -> None:
    """Each name has a token of its own, which is ASCII without spaces and not long."""
    names = ["g", "a b", "a%20b", "#", "é", "部" * 200, "部" * 199, "x" * 200, "~", "room:1"]
    tokens = [token(name) for name in names]
    assert len(set(tokens)) == len(names)
    assert all(text.isascii() and " " not in text and len(text) <= 200 for text in tokens)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", "four fields"),
        (b"1 1/1 g", "four fields"),
        (b"1 1/1 g ", "no known way"),
        (b"1 1/1 g \xff", "no known way"),
        (b"1 1/1 g b***", "base64"),
        (b"1 1/1 g bYQ", "padding"),
        (b"1 1 g a", "no part"),
        (b"1 0/1 g a", "no part"),
        (b"1 1/-1 g a", "no part"),
        (b"1 1/999999999 g a", "no part"),
        (b"5fe2a0b1:0 1/1 g a", "no position"),
        (b"5fe2a0b1:12345678901234567890 1/1 g a", "no position"),
        (b"x:1 1/1 g a", "no position"),
        (b"\xff:1 1/1 g a", "ascii"),
    ],
)
def test_what_is_no_payload(payload: bytes, error: str) -> None:
    """It is refused, and what comes after it is read."""
    reader = decoder("g")
    with pytest.raises(ValueError, match=f"(?i){error}"):
        reader.feed(payload)
    assert reader.feed(b"1 1/1 g ab") == ("g", b"b", None)


# What is kept


@pytest.mark.parametrize("group", ["g", "x" * 200], ids=["short", "long"])
@pytest.mark.parametrize("body", [*BODIES, b"\x7f," * 20_000, b"\0" * 20_000], ids=short)
def test_what_is_kept_comes_out(group: str, body: bytes) -> None:
    """PostgreSQL cuts it where it is marked, and each part is within the limit, at any position."""
    text = encode_kept(group, body)
    parts = text.split("\x7f,")
    payloads = [
        f"5fe2a0b1:{2**63 - 1} {index}/{len(parts)} {token(group)} {part}"
        for index, part in enumerate(parts, 1)
    ]
    assert all(len(payload) <= MAX_PAYLOAD for payload in payloads)
    reader = decoder(group)
    came = [found for payload in payloads if (found := reader.feed(payload.encode()))]
    assert came == [(group, body, Position("5fe2a0b1", 2**63 - 1))]
    assert decode_kept(text.encode()) == body


# Parts


def test_parts_of_which_the_first_came_too_early() -> None:
    """Who subscribes in the middle of a body gets the next one."""
    first, *rest = encode("g", b"x" * 30_000)
    groups: dict[bytes, str] = {}
    reader = Decoder(groups)
    assert feed(reader, [first]) == []
    groups[b"g"] = "g"
    assert feed(reader, rest) == []
    assert feed(reader, encode("g", b"y" * 30_000)) == [("g", b"y" * 30_000)]


def test_parts_that_are_not_all_there() -> None:
    """A body with a gap does not come, and neither does one of two halves."""
    one, two = encode("g", b"x" * 20_000), encode("g", b"y" * 20_000)
    for payloads in ([one[0], one[2]], [one[0], *two[1:]], [one[0], one[0], one[2]]):
        assert feed(decoder("g"), payloads) == []
    assert feed(decoder("g"), [one[0], *two]) == [("g", b"y" * 20_000)]


def test_parts_of_two_groups_are_not_mixed() -> None:
    """The number is not all that holds parts together."""
    reader = decoder("g", "h")
    assert reader.feed(b"7 1/2 g ax") is None
    assert reader.feed(b"7 2/2 h y") is None
    assert reader.feed(b"7 1/2 h ax") is None
    assert reader.feed(b"7 2/2 h y") == ("h", b"xy", None)


def test_parts_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held for parts that are still to come has a limit."""
    monkeypatch.setattr(postgres_payload, "_MAX_TEXT", 20)
    reader = decoder("g")
    assert reader.feed(b"7 1/9 g a123456789") is None
    assert reader.feed(b"7 2/9 g 0123456789") is None
    with pytest.raises(ValueError, match=f"more than {MAX_BODY} bytes"):
        reader.feed(b"7 3/9 g 0")
    assert reader.feed(b"7 4/9 g 0") is None


# The channel


@pytest.mark.parametrize("prefix", ["wsconsumer", "a:b.c-d_1", "x" * 63])
def test_a_plain_prefix_is_the_channel(prefix: str) -> None:
    """It is what an administrator would look for."""
    assert channel(prefix) == prefix


def test_any_other_prefix_has_a_channel() -> None:
    """Whatever the prefix is, its channel is its own, and one that PostgreSQL takes."""
    prefixes = ["", " ", 'a"b', "é", "x" * 64, "x" * 65, "a\n"]
    channels = {channel(prefix) for prefix in prefixes}
    assert len(channels) == len(prefixes)
    assert all(name.isascii() and name.isprintable() and len(name) <= 63 for name in channels)
