"""``log_thread.py``: records are made where something happens, and emitted in a thread."""

from __future__ import annotations

import ast
import asyncio
import logging
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.conf import settings
from django.core.signals import got_request_exception
from django.db import connections
from django.test import RequestFactory

import wsconsumer
from wsconsumer import log_thread as module
from wsconsumer.asgi import WebsocketDispatcher, get_asgi_application
from wsconsumer.counters import counters
from wsconsumer.log_thread import (
    FLUSH_TIMEOUT,
    LIMIT,
    LOGGERS,
    LogThread,
    enable_loggers,
    let_end,
    log,
)
from wsconsumer.reporting import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest

logger = logging.getLogger("tests.log_thread")

WAIT = 10
"""Seconds that a test waits for another thread."""


class Gate:
    """Something to emit that takes until ``open()``."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self.opened.wait(WAIT)

    def hold(self, thread: LogThread) -> None:
        """Return when the thread is busy with us."""
        thread.submit(self)
        assert self.entered.wait(WAIT)

    def open(self) -> None:
        self.opened.set()


@pytest.fixture
def thread() -> LogThread:
    """Return a thread of the test's own."""
    return LogThread()


@pytest.fixture
def own(thread: LogThread, monkeypatch: pytest.MonkeyPatch) -> LogThread:
    """Return a thread that ``log()`` uses."""
    monkeypatch.setattr(module, "_threads", [thread])
    return thread


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a gate that is open at the end of the test."""
    found = Gate()
    yield found
    found.open()


class Collecting(logging.Handler):
    """Keeps records, and what ``note`` returns beside each."""

    def __init__(self, note: Callable[[], Any] = threading.current_thread) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.notes: list[Any] = []
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(self._note())
        self.records.append(record)

    def __enter__(self) -> Self:
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logger.removeHandler(self)


def test_emits_in_order(thread: LogThread) -> None:
    """What was submitted first is emitted first."""
    seen: list[int] = []
    for number in range(100):
        thread.submit(lambda number=number: seen.append(number))  # type: ignore[misc]
    assert thread.flush(WAIT)
    assert seen == list(range(100))


def test_what_waits_is_bounded(
    thread: LogThread, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the limit new records are dropped, counted, and told once with their number."""
    seen: list[int] = []
    gate.hold(thread)
    for number in range(LIMIT + 5):
        thread.submit(lambda number=number: seen.append(number))  # type: ignore[misc]
    gate.open()
    assert thread.flush(WAIT)
    assert seen == list(range(LIMIT))
    assert counters["log_dropped"] == 5
    assert [r.getMessage() for r in caplog.records] == [
        "More log records came than could be emitted. Dropped: 5."
    ]


def test_what_strangers_cause_is_dropped_first(thread: LogThread, gate: Gate) -> None:
    """A refused stranger makes room for what a connection has to say, and never the reverse."""
    seen: list[str] = []
    gate.hold(thread)
    thread.submit(lambda: seen.append("stranger"), from_stranger=True)
    for _ in range(LIMIT - 1):
        thread.submit(lambda: seen.append("known"))
    thread.submit(lambda: seen.append("late stranger"), from_stranger=True)
    thread.submit(lambda: seen.append("last"))
    gate.open()
    assert thread.flush(WAIT)
    assert seen == ["known"] * (LIMIT - 1) + ["last"]
    assert counters["log_dropped"] == 2


def test_a_flush_is_bounded(thread: LogThread, gate: Gate) -> None:
    """A handler that blocks holds up a flush only so long, and the submitter not at all."""
    gate.hold(thread)
    thread.submit(lambda: None)
    assert not thread.flush(0.01)
    gate.open()
    assert thread.flush(WAIT)


async def test_an_async_flush_lets_the_loop_run(thread: LogThread, gate: Gate) -> None:
    """While a flush waits, the event loop goes on: here it opens the gate."""
    await thread.aflush()
    gate.hold(thread)
    asyncio.get_running_loop().call_soon(gate.open)
    await thread.aflush(WAIT)
    assert thread.flush(0)


async def test_a_process_that_ends_waits_once(thread: LogThread, gate: Gate) -> None:
    """What the server's stop has waited for in vain, Python's end does not wait for again."""
    gate.hold(thread)
    await thread.aflush(0.01)
    began = time.monotonic()
    assert not thread.close_connections()
    assert time.monotonic() - began < FLUSH_TIMEOUT
    gate.open()
    assert thread.flush(WAIT)
    seen: list[str] = []
    thread.submit(lambda: seen.append("later"))
    assert thread.close_connections()
    assert seen == ["later"]


@pytest.mark.parametrize("error", [RuntimeError("out of it"), SystemExit(3)], ids=["error", "exit"])
def test_an_emit_that_raises(
    thread: LogThread, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and what comes behind it is emitted."""
    seen: list[str] = []

    def emit() -> None:
        raise error

    thread.submit(emit)
    thread.submit(lambda: seen.append("next"))
    assert thread.flush(WAIT)
    assert seen == ["next"]
    (record,) = caplog.records
    assert record.getMessage() == "A log record was not emitted."
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_in_place(thread: LogThread) -> None:
    """While a block says so, records are emitted at once, in the thread that logs."""
    seen: list[threading.Thread] = []
    with thread.in_place():
        thread.submit(lambda: seen.append(threading.current_thread()))
        assert seen == [threading.current_thread()]
    thread.submit(lambda: seen.append(threading.current_thread()))
    assert thread.flush(WAIT)
    assert seen[1].name == "wsconsumer-log"


def test_a_record_is_made_where_it_happens(own: LogThread) -> None:
    """It names the caller and his thread, has the exception, and is emitted in the log's thread."""
    error = ValueError("wrong")
    with Collecting() as handler:
        log(logger, logging.ERROR, "about %s", "it", error=error, extra={"status_code": 500})
        assert own.flush(WAIT)
    (record,) = handler.records
    assert record.getMessage() == "about it"
    assert (record.filename, record.funcName) == (
        "test_log_thread.py",
        "test_a_record_is_made_where_it_happens",
    )
    assert record.thread == threading.get_ident()
    assert record.exc_info == (ValueError, error, None)
    assert record.status_code == 500  # type: ignore[attr-defined]
    assert handler.notes[0].name == "wsconsumer-log"


def test_a_level_that_is_not_enabled(own: LogThread) -> None:
    """Nothing is made for nobody."""
    with Collecting() as handler:
        log(logger, logging.DEBUG, "a detail")
        assert own.flush(WAIT)
    assert handler.records == []


def test_the_context_of_the_connection(own: LogThread) -> None:
    """Filters and handlers see the context variables of whoever logged."""
    tenant = ContextVar("tenant", default="nobody")
    tenant.set("acme")
    with Collecting(tenant.get) as handler:
        log(logger, logging.WARNING, "slow")
        tenant.set("another")
        assert own.flush(WAIT)
    assert handler.notes == ["acme"]


def test_the_signal_has_the_exception_at_hand(own: LogThread) -> None:
    """Error trackers find what failed in ``sys.exc_info()``, in the log's thread."""
    seen: list[Any] = []

    def receiver(request: Any, **_: Any) -> None:
        seen.append((request.path, sys.exc_info()[1], threading.current_thread().name))

    class Failed:
        request: HttpRequest = RequestFactory().get("/ws/")

    error = RuntimeError("a hook failed")
    got_request_exception.connect(receiver)
    try:
        report(Failed(), "receive", error)
        assert own.flush(WAIT)
    finally:
        got_request_exception.disconnect(receiver)
    assert seen == [("/ws/", error, "wsconsumer-log")]
    assert error.__traceback__ is None


def test_one_context_for_the_signal_and_the_record(own: LogThread) -> None:
    """
    The signal comes first, as for a page, and the record in the same context.

    By what it left there, an error tracker that hears both knows the error again.
    """
    last_seen: ContextVar[object] = ContextVar("last_seen", default=None)

    class Failed:
        request: HttpRequest = RequestFactory().get("/ws/")

    def receiver(**_: Any) -> None:
        last_seen.set(sys.exc_info()[1])

    error = RuntimeError("a hook failed")
    got_request_exception.connect(receiver)
    handler = Collecting(last_seen.get)
    logging.getLogger("wsconsumer.consumer").addHandler(handler)
    try:
        report(Failed(), "receive", error)
        assert own.flush(WAIT)
    finally:
        logging.getLogger("wsconsumer.consumer").removeHandler(handler)
        got_request_exception.disconnect(receiver)
    assert handler.notes == [error]
    assert last_seen.get() is None


def test_a_signal_is_sent_at_any_level(own: LogThread) -> None:
    """Error trackers hear of what the log leaves out."""
    sent: list[str] = []
    silent = logging.getLogger("test-log-thread.silent")
    silent.setLevel(logging.CRITICAL)
    log(silent, logging.ERROR, "failed", signal=lambda: sent.append("signal"))
    assert own.flush(WAIT)
    assert sent == ["signal"]


def run_program(program: str) -> str:
    """Run a program that logs; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


START = """
import logging, os, sys, threading, warnings
from django.conf import settings
settings.configure()
from wsconsumer.log_thread import log, log_thread
logging.basicConfig(stream=sys.stdout, format="%(message)s")
logger = logging.getLogger("program")
"""


def test_a_forked_process_has_its_own_thread() -> None:
    """A child logs although the thread of its parent is not there."""
    program = """
warnings.simplefilter("ignore")  # of a fork with threads, which is what this is about
log(logger, logging.WARNING, "parent")
log_thread().flush()
if os.fork() == 0:
    log(logger, logging.WARNING, "child")
    os._exit(0 if log_thread().flush() else 1)
print("child ended with", os.wait()[1], flush=True)
"""
    assert run_program(START + program).splitlines() == ["parent", "child", "child ended with 0"]


def test_a_process_that_ends_logs_first() -> None:
    """At exit what waits is emitted, within bounds."""
    program = """
held = threading.Event()
log_thread().submit(lambda: held.wait(0.3))
log(logger, logging.WARNING, "the last word")
"""
    assert run_program(START + program) == "the last word\n"


def test_a_process_that_ends_beside_a_handler_that_hangs() -> None:
    """It waits for a bounded time, and other handlers still emit what they have kept."""
    program = """
import logging.handlers
class Hanging(logging.Handler):
    def emit(self, record):
        threading.Event().wait()
kept = logging.handlers.MemoryHandler(10, target=logging.getLogger().handlers[0])
for handler in kept, Hanging():
    logging.getLogger("wsconsumer").addHandler(handler)
log(logging.getLogger("wsconsumer.consumer"), logging.WARNING, "kept")
"""
    assert run_program(START + program).splitlines() == ["kept"]


async def test_the_lock_of_a_handler_that_hangs(own: LogThread, gate: Gate) -> None:
    """At the end of the process it is replaced, so that nobody waits for it; others stay."""
    hanging, idle, null = Collecting(gate), Collecting(), logging.NullHandler()
    locks = [handler.lock for handler in (hanging, idle, null)]
    source = logging.getLogger(LOGGERS[0])
    with attached(source, idle, null, hanging):
        let_end()
        assert [handler.lock for handler in (hanging, idle, null)] == locks
        log(source, logging.WARNING, "hangs")
        assert await asyncio.to_thread(gate.entered.wait, WAIT)
        await own.aflush(0.01)
        let_end()
        assert [handler.lock for handler in (idle, null)] == locks[1:]
        assert hanging.lock is not locks[0]
        gate.open()
        assert own.flush(WAIT)


@contextmanager
def attached(source: logging.Logger, *handlers: logging.Handler) -> Iterator[None]:
    """Give handlers to a logger."""
    for handler in handlers:
        source.addHandler(handler)
    yield
    for handler in handlers:
        source.removeHandler(handler)


# Loggers


def sources() -> Iterator[Path]:
    """Return the package's sources; what the kit says, it says to who runs the test."""
    package = Path(wsconsumer.__file__).parent
    return (path for path in package.rglob("*.py") if package / "test" not in path.parents)


def named_loggers() -> set[str]:
    """Return the names of all loggers that the package's sources ask for."""
    return {
        node.args[0].value
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "getLogger"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def test_all_loggers_are_known() -> None:
    """The list of loggers is complete, and stands in the documentation."""
    assert named_loggers() == set(LOGGERS)
    page = (Path(__file__).parents[1] / "docs/consumers.md").read_text()
    assert [name for name in LOGGERS if f"`{name}`" not in page] == []


def test_nobody_waits_for_a_handler() -> None:
    """What is said at WARNING and ERROR goes through the thread, but for what it says itself."""
    package = Path(wsconsumer.__file__).parent
    loud = {
        str(path.relative_to(package))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"warning", "error", "exception", "critical"}
        and ast.unparse(node.func.value) == "logger"
    }
    # The memory backend speaks once, in a process that serves nobody.
    assert loud == {"log_thread.py", "groups/memory.py"}


@pytest.fixture
def disabled() -> Iterator[None]:
    """Have all our loggers disabled, as ``dictConfig()`` leaves them."""
    for name in LOGGERS:
        logging.getLogger(name).disabled = True
    yield
    for name in LOGGERS:
        logging.getLogger(name).disabled = False


@pytest.mark.usefixtures("disabled")
@pytest.mark.parametrize("make", [get_asgi_application, WebsocketDispatcher])
def test_the_application_enables_our_loggers(make: Callable[[], object]) -> None:
    """Whoever serves websockets hears of their errors, whatever ``LOGGING`` has disabled."""
    make()
    assert [name for name in LOGGERS if logging.getLogger(name).disabled] == []


@pytest.mark.usefixtures("disabled")
def test_a_logger_that_logging_names_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the project says about one of our loggers holds."""
    # Not with override_settings(), which configures logging anew.
    monkeypatch.setattr(settings, "LOGGING", {"version": 1, "loggers": {"wsconsumer.groups": {}}})
    enable_loggers()
    assert [name for name in LOGGERS if logging.getLogger(name).disabled] == ["wsconsumer.groups"]


@pytest.mark.usefixtures("disabled")
def test_a_logging_of_another_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ``LOGGING_CONFIG`` of the project's own, ``LOGGING`` may be anything."""
    monkeypatch.setattr(settings, "LOGGING", "logging.ini")
    enable_loggers()
    assert not any(logging.getLogger(name).disabled for name in LOGGERS)


def test_a_handler_that_asks_the_database(sqlite: str) -> None:
    """The thread keeps no connection that Django would close at the end of a request."""
    seen: list[Any] = []

    def ask() -> None:
        connection = connections[sqlite]
        connection.ensure_connection()
        seen.append(connection)

    thread = LogThread()
    thread.submit(ask)
    assert thread.flush()
    assert [connection.connection for connection in seen] == [None]


def test_its_connections_can_be_closed(thread: LogThread, sqlite: str) -> None:
    """They are closed behind what waits; a thread that never began has none."""
    thread.close_connections()
    used = []

    def use() -> None:
        with connections[sqlite].cursor() as cursor:
            cursor.execute("SELECT 1")
        connections[sqlite].close_at = None  # as with CONN_MAX_AGE = None
        used.append(connections[sqlite])

    thread.submit(use)
    thread.flush()
    assert used[0].connection is not None
    thread.close_connections()
    assert used[0].connection is None
