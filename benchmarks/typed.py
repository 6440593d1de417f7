"""
What a validated JSON message costs: parsed, checked, handled, and answered with another message,
against raw ASGI loops by hand and what other frameworks offer for it.

Run it with ``python benchmarks/typed.py``; ``benchmarks/README.md`` says how to read it.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from django.conf import settings

from benchmarks.crowd import allow_files, free_port, open_websockets, pin, wait_for
from benchmarks.echo import Clients, Run, frame, measure, sheet
from benchmarks.micro import MODES, message_event, websocket_scope
from benchmarks.micro import measure as measure_mode
from benchmarks.rounds import (
    BrokenContenderError,
    Table,
    arguments,
    environment,
    report,
    take_turns,
)
from benchmarks.served import Served
from benchmarks.typed_contenders import (
    CONTENDERS,
    OURS,
    PREFIX,
    RAW,
    SLOW,
    answer_of,
    message_for,
)

if TYPE_CHECKING:
    import argparse

    from benchmarks.crowd import Sheet
    from benchmarks.rounds import Application, Event

NOTE = """\
Why this misleads: the handler does nothing, so it shows the frameworks at their most expensive, and
a message of 64 bytes says little about large ones. Only the ratios mean anything, and only to
contenders in the same table.

Contenders take turns in rounds; a ratio compares one round's times, and the table has the median
over all rounds (and the quartiles).
"""

PACKAGES = ("Django", "msgspec", "orjson", "litestar", "fastapi", "pydantic", "chanx", "channels")
SERVER = "uvicorn-websockets"


async def verify(name: str, application: Application) -> None:
    """Refuse a contender that does not answer as it should."""
    numbers = (1, 22, 333)
    events: list[Event] = [{"type": "websocket.connect"}]
    events += [message_event(message_for(name, number)) for number in numbers]
    events.append({"type": "websocket.disconnect", "code": 1000})
    waiting = iter(events)
    sent: list[Event] = []

    async def receive() -> Event:
        return next(waiting)

    async def send(event: Event) -> None:
        sent.append(event)

    await application(websocket_scope(), receive, send)
    answers = [json.loads(event["text"]) for event in sent if event["type"] == "websocket.send"]
    if answers != [answer_of(name, number) for number in numbers]:
        raise BrokenContenderError(f"{name} answered {sent!r}")


async def in_process(options: argparse.Namespace) -> list[Table]:
    """Measure the contenders with a fake ``receive`` and ``send``."""
    applications = {name: CONTENDERS[name]() for name in options.contender}
    for name, application in applications.items():
        await verify(name, application)
    tables = []
    for title, mode in MODES.items():
        measures = {
            name: measure_mode(
                mode,
                application,
                message_for(name, 7),
                options.slow_messages if name in SLOW else options.messages,
            )
            for name, application in applications.items()
        }
        samples = await take_turns(measures, options.rounds)
        tables.append(Table.of(title, "message", samples, [RAW, OURS]))
    return tables


def answer_frame(name: str, port: int) -> bytes:
    """Ask once; return the frame that comes, if it is the right one."""
    (client,) = open_websockets(port, "/ws/echo/", 1)
    with client:
        client.sendall(frame(message_for(name, 7).encode()))
        received = client.recv(4096)
    if json.loads(received[2:]) != answer_of(name, 7):
        raise BrokenContenderError(f"{name} answered with {received!r}")
    return received


async def served(options: argparse.Namespace) -> Sheet:
    """Measure them on a real server, each in a process of its own."""
    runs: dict[str, list[Run]] = {name: [] for name in options.contender}
    with ExitStack() as stack:
        measures = {}
        for name in options.contender:
            port = free_port()
            process = stack.enter_context(Served(SERVER, PREFIX + name, port))
            wait_for(port)
            request, answer = message_for(name, 7).encode(), answer_frame(name, port)
            clients = Clients(process.pid, port, options.connections, request, answer)
            measures[name] = measure(clients, runs[name], options.seconds)
        samples = await take_turns(measures, options.rounds)
    return sheet(f"{SERVER}, {options.connections} connections", samples, runs, RAW)


async def run(options: argparse.Namespace) -> list[Any]:
    """Measure what is asked for."""
    tables: list[Any] = await in_process(options)
    if not options.in_process:
        allow_files(options.connections * 8)
        pin(1)
        tables.append(await served(options))
    return tables


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = arguments(__doc__, rounds=20)
    parser.add_argument(
        "--contender",
        nargs="+",
        choices=CONTENDERS,
        default=list(CONTENDERS),
        help="default: all of them; the raw loop with json and ours take part in any case",
    )
    parser.add_argument("--in-process", action="store_true", help="leave out the real server")
    parser.add_argument(
        "--messages", type=int, default=10_000, help="per measurement, default: %(default)s"
    )
    parser.add_argument(
        "--slow-messages",
        type=int,
        default=400,
        help=f"the same for {' and '.join(SLOW)}, default: %(default)s",
    )
    parser.add_argument("--connections", type=int, default=100, help="default: %(default)s")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.5,
        help="of each turn on the server; default: %(default)s",
    )
    options = parser.parse_args()
    options.contender = list(dict.fromkeys([RAW, OURS, *options.contender]))
    settings.configure()
    tables = asyncio.run(run(options))
    report(NOTE, environment(*PACKAGES), tables, options.json)


if __name__ == "__main__":
    main()
