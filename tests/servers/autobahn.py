"""Groups 1 to 7 and 10 of the Autobahn suite's fuzzing client, as a table of frames.

The suite (https://github.com/crossbario/autobahn-testsuite) is the usual measure of a WebSocket
server, but its newest release, 25.10.1, still needs Python 2.7. These are its 247 cases of framing,
pings, reserved bits, opcodes, fragments, UTF-8 and closing, under its own numbers. Where it waits a
second for something to happen, these wait until it happens. The groups left out measure speed (9)
and compression (12, 13).
"""

from collections.abc import Iterator

from tests.servers.autobahn_case import (
    FIRST_PAUSE,
    INVALID_PAYLOAD,
    NORMAL,
    PROTOCOL_ERROR,
    REFUSED_CLOSE,
    REFUSED_REASON,
    SECOND_PAUSE,
    Case,
    Ending,
    Event,
    Hear,
    Send,
)
from tests.servers.autobahn_wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close,
)

HELLO = b"Hello, world!"
NOT_UTF8 = bytes.fromhex("00fffefdfcfb00ff")


def at_once(*frames: Frame) -> Send:
    """Write all frames in one go."""
    return Send((b"".join(frame.masked() for frame in frames),))


def by_frame(*frames: Frame) -> Send:
    """Write each frame by itself."""
    return Send(tuple(frame.masked() for frame in frames))


def by_octets(size: int, *frames: Frame) -> Send:
    """Write so many octets of a frame at a time."""
    octets = [frame.masked() for frame in frames]
    return Send(tuple(o[i : i + size] for o in octets for i in range(0, len(o), size)))


def fragments(payload: bytes, size: int) -> list[Frame]:
    """Return a text message in frames of a size."""
    starts = range(0, len(payload), size)
    return [
        Frame(
            CONTINUATION if start else TEXT,
            payload[start : start + size],
            fin=start == starts[-1],
        )
        for start in starts
    ]


def parts(*payloads: bytes) -> list[Frame]:
    """Return a text message in frames with these payloads."""
    last = len(payloads) - 1
    return [
        Frame(CONTINUATION if number else TEXT, payload, fin=number == last)
        for number, payload in enumerate(payloads)
    ]


def text(payload: bytes) -> Event:
    return ("text", payload)


def pong(payload: bytes) -> Event:
    return ("pong", payload)


def echoed(name: str, send: Send, *expected: Event) -> Case:
    """Return a case that is legal: the client hears these, closes, and is answered."""
    return Case(name, (send,), expected, NORMAL, closes_when_done=True)


def failed(name: str, send: Send, *expected: Event, ending: Ending = PROTOCOL_ERROR) -> Case:
    """Return a case in which the server has to fail the connection.

    What it had to answer before may be lost with it.
    """
    return Case(name, (send,), expected, ending, non_strict=() if expected else None)


def closed(name: str, send: Send, ending: Ending = NORMAL) -> Case:
    """Return a case in which the client closes, and must hear nothing but the answer."""
    return Case(name, (send,), (), ending)


def framing() -> Iterator[Case]:
    """Group 1: text and binary messages of all lengths that have a form of their own."""
    for group, opcode, kind, octet in ((1, TEXT, "text", b"*"), (2, BINARY, "binary", b"\xfe")):
        for number, length in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
            frame = Frame(opcode, octet * length)
            yield echoed(f"1.{group}.{number}", at_once(frame), (kind, frame.payload))
        yield echoed(f"1.{group}.8", by_octets(997, frame), (kind, frame.payload))


def pings() -> Iterator[Case]:
    """Group 2: pings are answered with their payload, pongs with nothing."""
    unsolicited = Frame(PONG, b"unsolicited pong payload")
    longest = Frame(PING, b"\xfe" * 125)
    ten = [Frame(PING, b"payload-%d" % number) for number in range(10)]
    yield echoed("2.1", at_once(Frame(PING)), pong(b""))
    yield echoed("2.2", at_once(Frame(PING, HELLO)), pong(HELLO))
    yield echoed("2.3", at_once(Frame(PING, NOT_UTF8)), pong(NOT_UTF8))
    yield echoed("2.4", at_once(longest), pong(longest.payload))
    yield failed("2.5", at_once(Frame(PING, b"\xfe" * 126)))
    yield echoed("2.6", by_octets(1, longest), pong(longest.payload))
    yield closed("2.7", at_once(Frame(PONG), close(1000)))
    yield closed("2.8", at_once(unsolicited, close(1000)))
    yield echoed("2.9", at_once(unsolicited, Frame(PING, b"ping payload")), pong(b"ping payload"))
    yield echoed("2.10", at_once(*ten), *(pong(ping.payload) for ping in ten))
    yield echoed("2.11", by_octets(1, *ten), *(pong(ping.payload) for ping in ten))


def reserved_bits() -> Iterator[Case]:
    """Group 3: a reserved bit that no extension gave a meaning fails the connection."""
    hello, ping = Frame(TEXT, HELLO), Frame(PING)
    yield failed("3.1", at_once(Frame(TEXT, HELLO, rsv=1)))
    yield failed("3.2", at_once(hello, Frame(TEXT, HELLO, rsv=2), ping), text(HELLO))
    yield failed("3.3", by_frame(hello, Frame(TEXT, HELLO, rsv=3), ping), text(HELLO))
    yield failed("3.4", by_octets(1, hello, Frame(TEXT, HELLO, rsv=4), ping), text(HELLO))
    yield failed("3.5", at_once(Frame(BINARY, NOT_UTF8, rsv=5)))
    # Autobahn describes this one as a ping, and sends a binary message.
    yield failed("3.6", at_once(Frame(BINARY, HELLO, rsv=6)))
    yield failed("3.7", at_once(Frame(CLOSE, rsv=7)))


def opcodes() -> Iterator[Case]:
    """Group 4: a reserved opcode fails the connection."""
    hello, ping = Frame(TEXT, HELLO), Frame(PING)
    for group, first in ((1, 3), (2, 11)):
        yield failed(f"4.{group}.1", at_once(Frame(first)))
        yield failed(f"4.{group}.2", at_once(Frame(first + 1, b"reserved opcode payload")))
        yield failed(f"4.{group}.3", at_once(hello, Frame(first + 2), ping), text(HELLO))
        yield failed(f"4.{group}.4", at_once(hello, Frame(first + 3, HELLO), ping), text(HELLO))
        yield failed(
            f"4.{group}.5", by_octets(1, hello, Frame(first + 4, HELLO), ping), text(HELLO)
        )


def fragmentation() -> Iterator[Case]:
    """Group 5: messages in fragments, pings between them, and fragments of nothing."""
    one, two, three, four, five = (b"fragment%d" % number for number in range(1, 6))
    both = text(one + two)
    ping, answer = Frame(PING, b"ping payload"), pong(b"ping payload")
    start, end = parts(one, two)
    ways = (at_once, by_frame, lambda *frames: by_octets(1, *frames))

    yield failed("5.1", at_once(Frame(PING, one, fin=False), Frame(CONTINUATION, two)))
    yield failed("5.2", at_once(Frame(PONG, one, fin=False), Frame(CONTINUATION, two)))
    for number, way in enumerate(ways):
        yield echoed(f"5.{3 + number}", way(start, end), both)
    for number, way in enumerate(ways):
        yield echoed(f"5.{6 + number}", way(start, ping, end), answer, both)
    for first, fin in ((9, True), (12, False)):
        nothing = Frame(CONTINUATION, b"non-continuation payload", fin=fin)
        for number, way in enumerate(ways, first):
            yield failed(f"5.{number}", way(nothing, Frame(TEXT, HELLO)))
    rest = (Frame(CONTINUATION, three, fin=False), Frame(TEXT, four))
    yield failed("5.15", at_once(start, end, *rest), both)
    for number, fin in ((16, False), (17, True)):
        frames = [Frame(CONTINUATION, one, fin=fin), *parts(two, three)]
        yield failed(f"5.{number}", at_once(*frames, *frames))
    yield failed("5.18", at_once(Frame(TEXT, one, fin=False), Frame(TEXT, two)))

    pings = (b"pongme 1!", b"pongme 2!")
    frames = parts(one, two, three, four, five)
    heard = (pong(pings[0]), pong(pings[1]), text(one + two + three + four + five))
    for number, way in ((19, at_once), (20, by_frame)):
        script = (
            way(*frames[:2], Frame(PING, pings[0])),
            Hear(1),
            way(*frames[2:4], Frame(PING, pings[1]), frames[4]),
        )
        yield Case(f"5.{number}", script, heard, NORMAL, closes_when_done=True)


GREEK = bytes.fromhex("cebae1bdb9cf83cebcceb5")
"""A Greek word of five characters."""

MIXED = "Hello-µ@ßöäüàá-UTF-8!!".encode()
EDITED = b"edited"
SURROGATE = bytes.fromhex("eda080")
TOO_HIGH = bytes.fromhex("f4908080")
"""U+110000, which the second octet gives away."""


def utf8() -> Iterator[Case]:
    """Group 6, to 6.4: empty messages, UTF-8 across fragments, and how soon it is refused."""
    yield echoed("6.1.1", at_once(Frame(TEXT)), text(b""))
    yield echoed("6.1.2", at_once(*parts(b"", b"", b"")), text(b""))
    middle = b"middle frame payload"
    yield echoed("6.1.3", at_once(*parts(b"", middle, b"")), text(middle))
    cut = MIXED.index("ü".encode())
    yield echoed("6.2.1", at_once(Frame(TEXT, MIXED)), text(MIXED))
    yield echoed("6.2.2", at_once(*parts(MIXED[:cut], MIXED[cut:])), text(MIXED))
    yield echoed("6.2.3", at_once(*fragments(MIXED, 1)), text(MIXED))
    yield echoed("6.2.4", at_once(*fragments(GREEK, 1)), text(GREEK))
    wrong = GREEK + SURROGATE + EDITED
    yield failed("6.3.1", at_once(Frame(TEXT, wrong)), ending=INVALID_PAYLOAD)
    yield failed("6.3.2", at_once(*fragments(wrong, 1)), ending=INVALID_PAYLOAD)

    payload = GREEK + TOO_HIGH + EDITED
    cuts = ((len(GREEK), len(GREEK + TOO_HIGH)), (12, 13))
    for number, (a, b) in enumerate(cuts, 1):
        pieces = [frame.masked() for frame in parts(payload[:a], payload[a:b], payload[b:])]
        yield fails_fast(f"6.4.{number}", *pieces)
    for number, (a, b) in enumerate(cuts, 3):
        octets = Frame(TEXT, payload).masked()
        head = len(octets) - len(payload)
        yield fails_fast(
            f"6.4.{number}", octets[: head + a], octets[head + a : head + b], octets[head + b :]
        )


def fails_fast(name: str, good: bytes, bad: bytes, rest: bytes) -> Case:
    """Return a case in which the server should not wait for the rest of a wrong message."""
    script = (Send((good,)), FIRST_PAUSE, Send((bad,)), SECOND_PAUSE, Send((rest,)))
    first, second = ("timeout", b"A"), ("timeout", b"B")
    return Case(name, script, (first,), INVALID_PAYLOAD, non_strict=(first, second))


Sequence = tuple[bool, str]
"""Whether it is valid UTF-8, and the octets in hex."""


def valid(*sequences: str) -> tuple[Sequence, ...]:
    return tuple((True, sequence) for sequence in sequences)


def invalid(*sequences: str) -> tuple[Sequence, ...]:
    return tuple((False, sequence) for sequence in sequences)


CHARACTER_ENDS = (2, 5, 7, 9, 11)
"""The lengths at which a character of `GREEK` ends."""

LONELY = ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
"""The octets that start a sequence of 2 to 6; like Autobahn's, the tests stop before the last."""

INCOMPLETE = (
    *("c0", "e080", "f08080", "f8808080", "fc80808080"),
    *("df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"),
)
HIGH_SURROGATES = ("eda080", "edadbf", "edae80", "edafbf")
NONCHARACTERS = (plane << 16 | last for plane in range(0x11) for last in (0xFFFE, 0xFFFF))

SEQUENCES: dict[int, tuple[Sequence, ...]] = {
    # Valid sequences, and all prefixes of one
    5: valid(*(f"hello{c}world".encode().hex() for c in "$¢€\U00024b62"), GREEK.hex()),
    6: tuple((end in CHARACTER_ENDS, GREEK[:end].hex()) for end in range(1, len(GREEK) + 1)),
    # The first and the last of each length; Unicode ends at U+10FFFF
    7: valid("00", "c280", "e0a080", "f0908080"),
    8: invalid("f888808080", "fc8480808080"),
    9: valid("7f", "dfbf", "efbfbf", "f48fbfbf"),
    10: invalid("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"),
    11: (*valid("ed9fbf", "ee8080", "efbfbd", "f48fbfbf"), *invalid("f4908080")),
    # Octets that continue nothing, start nothing, or miss their last
    12: invalid(
        *("80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf"),
        bytes(range(0x80, 0xBF)).hex(),
    ),
    13: invalid(*("".join(f"{o:02x}20" for o in range(*ends)) for ends in LONELY)),
    14: invalid(*INCOMPLETE),
    15: invalid("".join(INCOMPLETE)),
    # Octets that UTF-8 does not have
    16: invalid("fe", "ff", "fefeffff"),
    # Longer than need be: a slash, the last of each length, NUL
    17: invalid("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"),
    18: invalid("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"),
    19: invalid("c080", "e08080", "f0808080", "f880808080", "fc8080808080"),
    # Surrogates, alone and in pairs
    20: invalid(*HIGH_SURROGATES, "edb080", "edbe80", "edbfbf"),
    21: invalid(*(high + low for high in HIGH_SURROGATES for low in ("edb080", "edbfbf"))),
    # Noncharacters and specials, which are valid
    22: valid(*(chr(point).encode().hex() for point in NONCHARACTERS)),
    23: valid(*(f"efbf{last:02x}" for last in range(0xB9, 0xC0))),
}
"""6.5 to 6.23, after Markus Kuhn's UTF-8 decoder stress test."""


def utf8_sequences() -> Iterator[Case]:
    """Group 6, from 6.5: single messages that are valid UTF-8 or not."""
    for group, sequences in SEQUENCES.items():
        for number, (is_valid, sequence) in enumerate(sequences, 1):
            name, payload = f"6.{group}.{number}", bytes.fromhex(sequence)
            send = at_once(Frame(TEXT, payload))
            if is_valid:
                yield echoed(name, send, text(payload))
            else:
                yield failed(name, send, ending=INVALID_PAYLOAD)


VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
INVALID_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
UNDEFINED_CODES = (5000, 65535)


def closing() -> Iterator[Case]:
    """Group 7: what comes after a close frame, and close frames of all kinds."""
    hello = Frame(TEXT, b"Hello World!")
    start, end = parts(b"fragment1", b"fragment2")
    long = Frame(TEXT, (b"BAsd7&jh23" * 26215)[: 256 * 1024])
    yield echoed("7.1.1", at_once(hello), text(hello.payload))
    yield closed("7.1.2", at_once(close(1000), Frame(CLOSE)))
    yield closed("7.1.3", at_once(close(1000), Frame(PING)))
    yield closed("7.1.4", at_once(close(1000), hello))
    yield closed("7.1.5", at_once(start, close(1000), end))
    yield undefined("7.1.6", at_once(long, hello, close(1000), Frame(PING)))
    yield closed("7.3.1", at_once(Frame(CLOSE)))
    yield closed("7.3.2", at_once(Frame(CLOSE, b"a")), REFUSED_CLOSE)
    yield closed("7.3.3", at_once(close(1000)))
    yield closed("7.3.4", at_once(close(1000, b"Hello World!")))
    yield closed("7.3.5", at_once(close(1000, b"*" * 123)))
    yield closed("7.3.6", at_once(close(1000, b"*" * 124)), REFUSED_CLOSE)
    yield closed("7.5.1", at_once(close(1000, GREEK + SURROGATE + EDITED)), REFUSED_REASON)
    for number, code in enumerate(VALID_CODES, 1):
        ending = Ending(by_client=True, codes=(1000, code), is_clean=True)
        yield closed(f"7.7.{number}", at_once(close(code)), ending)
    for number, code in enumerate(INVALID_CODES, 1):
        yield closed(f"7.9.{number}", at_once(close(code)), REFUSED_CLOSE)
    for number, code in enumerate(UNDEFINED_CODES, 1):
        yield undefined(f"7.13.{number}", at_once(close(code)))


def undefined(name: str, send: Send) -> Case:
    """Return a case whose outcome the RFC leaves open."""
    return Case(name, (send,), (), NORMAL, is_informational=True)


def auto_fragmentation() -> Iterator[Case]:
    """Group 10: one long message in many frames."""
    payload = b"*" * 65536
    yield echoed("10.1.1", at_once(*fragments(payload, 1300)), text(payload))


CASES = (
    *framing(),
    *pings(),
    *reserved_bits(),
    *opcodes(),
    *fragmentation(),
    *utf8(),
    *utf8_sequences(),
    *closing(),
    *auto_fragmentation(),
)
