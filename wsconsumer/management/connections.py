"""
``manage.py websockets --live`` and ``--close``: who is connected in all processes, as text or JSON.

``connected/`` asks and answers; this reads the options, and prints. Whatever came over the engine
is escaped.
"""

from __future__ import annotations

import json
import os
import socket
from argparse import ArgumentTypeError
from time import sleep
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from ..connected.asking import REASON, TIMEOUT, disconnect, in_own_loop, who_is_connected
from ..connected.questions import Selection, session_named, user_named
from ..connected.words import age_in_words, in_order, rates_in_words
from ..escaping import escape, quote
from ..exceptions import BackendError
from ..groups.loading import current_groups, make_backend
from ..masking import mask_text
from ..protocol import CloseCode, check_close
from ..serving import is_serving

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from django.core.management.base import BaseCommand

    from ..connected.asking import Answers, Report
    from ..connected.facts import Facts
    from ..processes import Process

T = TypeVar("T")

COLUMNS: Final = (
    "consumer", "path", "user", "session", "age", "groups", "outbox", "messages/s", "state",
    "server", "process",
)  # fmt: skip

WIDTH: Final = 60
"""Characters of a cell in the table."""

CLOSES: Final = ("user", "session", "group", "path", "connection")
"""The filters of which ``--close`` needs one."""

ONLY_LIVE: Final = ("limit", "watch")
"""The options that only ``--live`` takes."""

ONLY_CLOSE: Final = ("code", "reason", "no-input")
"""The options that only ``--close`` takes."""

A_DAY: Final = 86_400
"""Seconds: the longest that an option may say."""

CLEAR: Final = "\x1b[2J\x1b[H"
"""What clears a terminal."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``--live`` and ``--close``."""
    live = parser.add_argument_group(
        "who is connected", "Asks all processes, over the engine of the groups."
    )
    what = live.add_mutually_exclusive_group()
    what.add_argument(
        "--live", action="store_true", help="Tell who is connected where at this moment."
    )
    what.add_argument(
        "--close",
        action="store_true",
        help="Close the connections that one or more of --user, --session, --group, --path and "
        "--connection mean.",
    )
    live.add_argument("--user", help="Those of the user with this primary key.")
    live.add_argument(
        "--session", help="Those of this session: its key, or the hash that --live prints of it."
    )
    live.add_argument("--group", help="Those in this group; * stands for any characters.")
    live.add_argument("--path", help="Those at this path; * stands for any characters.")
    live.add_argument("--consumer", help="Those of this class, with or without its module, or *.")
    live.add_argument("--connection", help="The one with this id, which --live --json prints.")
    live.add_argument(
        "--limit", type=_number, help="Tell of so many connections in each event loop, at the most."
    )
    live.add_argument(
        "--timeout",
        type=_seconds,
        help=f"Seconds that a process has to begin its answer ({TIMEOUT:g}).",
    )
    live.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="Ask again after so many seconds (%(const)s), until Ctrl-C.",
    )
    live.add_argument(
        "--code",
        type=int,
        help=f"The code to close with ({CloseCode.DISCONNECTED.value}).",
    )
    live.add_argument("--reason", help=f"The reason that clients are told ({REASON}).")
    live.add_argument(
        "--no-input",
        "--noinput",
        action="store_false",
        dest="interactive",
        help="Close without asking for confirmation.",
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"expected an int of at least 0, got {quote(text)}.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= A_DAY:
        raise ArgumentTypeError(
            f"expected seconds, more than 0 and at most {A_DAY}, got {quote(text)}."
        )
    return seconds


def handle(command: BaseCommand, options: Mapping[str, Any]) -> None:
    """Do what ``--live`` or ``--close`` asks for."""
    _check_engine()
    selection = _selection(options)
    if options["close"]:
        _close(command, selection, options)
    elif options["watch"] is None:
        _write(command, selection, _ask_live(selection, options), options)
    else:
        _watch(command, selection, options)


def _watch(command: BaseCommand, selection: Selection, options: Mapping[str, Any]) -> None:
    """Ask again and again, until Ctrl-C."""
    try:
        while True:
            answers = _ask_live(selection, options)
            if not options["json"]:
                command.stdout.write(CLEAR, ending="")
            _write(command, selection, answers, options)
            command.stdout.flush()
            sleep(options["watch"])
    except KeyboardInterrupt:
        return


def check_unused(options: Mapping[str, Any]) -> None:
    """Raise the error for options that would not be used."""
    if options["live"] or options["close"]:
        mode, others = ("--live", ONLY_CLOSE) if options["live"] else ("--close", ONLY_LIVE)
        found = _given((*others, "routes"), options)
        if found:
            raise CommandError(f"{mode} can't be combined with {found}.")
        return
    found = _given((*CLOSES, "consumer", "timeout", *ONLY_LIVE, *ONLY_CLOSE), options)
    if found:
        raise CommandError(f"Expected --live or --close with {found}, got neither.")


def _given(names: Iterable[str], options: Mapping[str, Any]) -> str:
    """Return those of the options that are given, as they are written."""
    given = {
        **options,
        "no-input": None if options["interactive"] else True,
        "routes": options["routes"] or None,
    }
    return ", ".join(f"--{name}" for name in names if given[name] is not None)


def _check_engine() -> None:
    """Raise the error for groups in memory, which no other process can ask."""
    try:
        is_local = make_backend(current_groups()).is_local
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    if is_local and not is_serving():
        raise CommandError(
            "Groups are carried by the memory of each process (WSCONSUMER['GROUPS']), so this "
            "process can't ask the one that serves. Open the staff page (wsconsumer.staff), which "
            "runs in there, or name an engine that all processes reach, such as "
            "wsconsumer.groups.redis.RedisBackend."
        )


def _selection(options: Mapping[str, Any]) -> Selection:
    user, session = options["user"], options["session"]
    values = {
        "user": None if user is None else user_named(user),
        "session": None if session is None else session_named(session),
        **{name: options[name] for name in ("group", "path", "consumer", "connection")},
    }
    if options["close"] and all(values[name] is None for name in CLOSES):
        raise CommandError(
            "--close expects one or more of --user, --session, --group, --path and --connection, "
            "got none. To close all connections, write --path '*'."
        )
    try:
        return msgspec.convert(values, Selection)
    except msgspec.ValidationError as error:
        raise CommandError(f"No connection can be meant: {error}.") from error


def _ask_live(selection: Selection, options: Mapping[str, Any]) -> Answers:
    limit, patience = options["limit"], _patience(options)
    return _asked(lambda: who_is_connected(selection, limit=limit, patience=patience), patience)


def _patience(options: Mapping[str, Any]) -> float:
    return TIMEOUT if options["timeout"] is None else options["timeout"]


def _asked(ask: Callable[[], Coroutine[Any, Any, T]], patience: float) -> T:
    try:
        return in_own_loop(ask, patience)
    except BackendError as error:
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        raise CommandError(mask_text(f"{error}{cause}")) from error


# Closing


def _close(command: BaseCommand, selection: Selection, options: Mapping[str, Any]) -> None:
    code = CloseCode.DISCONNECTED.value if options["code"] is None else options["code"]
    reason = REASON if options["reason"] is None else options["reason"]
    patience = _patience(options)
    try:
        check_close(code, reason, "--close")
    except ValueError as error:
        raise CommandError(str(error)) from error
    if options["json"] and options["interactive"]:
        raise CommandError("--close --json can't ask for confirmation. Add --no-input.")
    if options["interactive"] and not _is_confirmed(command, selection, options):
        raise CommandError("Nothing was closed.")
    by = f"manage.py websockets --close (process {os.getpid()} on {socket.gethostname()})"
    answers = _asked(
        lambda: disconnect(selection, by=by, code=code, reason=reason, patience=patience), patience
    )
    if options["json"]:
        closed = [{**_process(each), "closed": each.closed} for each in answers.reports]
        command.stdout.write(json.dumps({"processes": closed}, indent=2))
        return
    for report in answers.reports:
        command.stdout.write(f"{_name(report.process)} closes {_connections(report.closed)}.")
    total = sum(report.closed for report in answers.reports)
    command.stdout.write(f"{_answered(answers)} They close {_connections(total)} with {code}.")


def _is_confirmed(command: BaseCommand, selection: Selection, options: Mapping[str, Any]) -> bool:
    answers = _ask_live(selection, {**options, "limit": 0})
    total = sum(report.meant for report in answers.reports)
    command.stdout.write(_answered(answers))
    if not total:
        command.stdout.write(_no_match(selection))
        return False
    command.stdout.write(f"Meant: {_connections(total)} ({escape(selection)}).")
    try:
        return input("Close them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError as error:
        raise CommandError(
            "Nothing was closed: nobody answered. Write --no-input to close without asking."
        ) from error


# What is printed


def _write(
    command: BaseCommand, selection: Selection, answers: Answers, options: Mapping[str, Any]
) -> None:
    if options["json"]:
        command.stdout.write(json.dumps(_report(answers), indent=2))
        return
    command.stdout.write(_answered(answers))
    for report in answers.reports:
        more = ", and is going to stop" if report.is_draining else ""
        more += "" if report.is_whole else ", and not all of its answer came"
        command.stdout.write(f"{_name(report.process)} has {_connections(report.total)}{more}.")
    consumers = answers.consumers
    if consumers:
        command.stdout.write()
        counts = [[escape(name), str(count)] for name, count in consumers.most_common()]
        _write_table(command, [["consumer", "connections"], *counts])
    if answers.rows:
        command.stdout.write()
        rows = [list(_cells(answers, row)) for row in in_order(answers)]
        _write_table(command, [list(COLUMNS), *rows])
    meant = sum(report.meant for report in answers.reports)
    if meant > len(answers.rows):
        command.stdout.write(f"... and {meant - len(answers.rows)} more.")
    if answers.reports and selection and not meant:
        command.stdout.write(_no_match(selection))


def _no_match(selection: Selection) -> str:
    hint = "" if selection.user is None else " --user takes a primary key."
    return f"No connection matches ({escape(selection)}).{hint}"


def _answered(answers: Answers) -> str:
    count = len(answers.reports)
    if not count:
        return "No process answered. A process does once it has had a websocket."
    return f"{count} {'process' if count == 1 else 'processes'} answered."


def _report(answers: Answers) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "processes": [
            {
                **_process(each),
                "is_draining": each.is_draining,
                "connections": each.total,
                "meant": each.meant,
            }
            for each in answers.reports
        ],
        "consumers": dict(answers.consumers.most_common()),
        "connections": [
            {**msgspec.structs.asdict(row), "process": _name_of(answers, row)}
            for row in in_order(answers)
        ],
    }


def _process(report: Report) -> dict[str, Any]:
    process = report.process
    return {"host": process.host, "pid": process.pid, "is_whole": report.is_whole}


def _cells(answers: Answers, row: Facts) -> Iterator[str]:
    yield escape(row.consumer)
    yield _cut(row.path)
    yield escape(row.who if row.user is None else row.user)
    yield escape(row.session) if row.session else "-"
    yield age_in_words(row.age)
    yield _groups(row)
    yield f"{row.outbox}"
    yield rates_in_words(row) or "-"
    yield f"{escape(row.state)}, in {escape(row.hook)}()" if row.hook else escape(row.state)
    yield escape(row.server) or "-"
    yield _name_of(answers, row) or "-"


def _groups(row: Facts) -> str:
    shown = row.groups[:3]
    more = row.group_count - len(shown)
    text = ", ".join(map(_cut, shown))
    return f"{text} and {more} more" if more else text or "-"


def _cut(text: str) -> str:
    return escape(text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}...")


def _name(process: Process) -> str:
    return f"{escape(process.host)}/{process.pid}"


def _name_of(answers: Answers, row: Facts) -> str | None:
    process = answers.process_of(row)
    return None if process is None else _name(process)


def _connections(count: int) -> str:
    return f"{count} connection" if count == 1 else f"{count} connections"


def _write_table(command: BaseCommand, rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        command.stdout.write("  ".join(padded).rstrip())
