"""``Websocket``: the client's end of one whose application runs beside the test."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.signals import got_request_exception

from ..escaping import quote
from ..messages.types import Message
from ..protocol import CloseCode, check_close
from ..signals import settle
from .clock import advance, turns
from .commits import describe_waiting
from .database import PATIENCE
from .dialects import DIALECTS
from .messages import Asking, Reader
from .misuse import Calls, notes_calls
from .page import Page
from .server import StrictServer
from .tasks import note_tasks, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.http import SimpleCookie
    from django.utils.datastructures import CaseInsensitiveMapping

    from ..protocol import Application, Scope
    from .server import Denial

_PACKAGE: Final = str(Path(__file__).parents[1])


@notes_calls
class Websocket(Asking):
    """
    The client's end of a websocket whose application runs beside the test, in ``connect()``.

    Exceptions in the application, including its hooks, are raised here by the next call, and at the
    latest when the block ends.
    """

    def __init__(
        self,
        application: Application,
        scope: Scope,
        *,
        server: str,
        allow_unread: bool,
        raise_exceptions: bool,
        reader: Reader,
        databases: Iterable[BaseDatabaseWrapper],
        page: Page | None = None,
    ) -> None:
        self.calls = Calls()
        self._changed = asyncio.Event()
        self._server = StrictServer(
            DIALECTS[server], list(scope["subprotocols"]), self._changed.set, page
        )
        self._application = application
        self._scope = scope
        self._allow_unread = allow_unread
        self._raise_exceptions = raise_exceptions
        self._exceptions: list[BaseException] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._told = 0
        self._reader = reader
        self._refs = count(1)
        self._databases = databases
        self._served_by: Any = None
        self._is_over = False

    # Facts

    @property
    def accepted(self) -> bool:
        """Whether the application accepted the connection."""
        return bool(self._server.accepted)

    @property
    def denial(self) -> Denial | None:
        """The denial response, with ``status``, ``headers`` and ``body``, if there was one."""
        return self._server.denial

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the application chose."""
        return self._server.subprotocol

    @property
    def headers(self) -> CaseInsensitiveMapping[str]:
        """The headers that went out with the accept, by their names in any case."""
        return self._server.headers

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that went out with the accept."""
        return self._server.cookies

    @property
    def close_code(self) -> int | None:
        """The code with which the application closed; ``None`` as long as it has not."""
        return self._server.close_code

    @property
    def close_reason(self) -> str:
        """The reason with which the application closed."""
        return self._server.close_reason

    # Verbs

    @property
    def _is_open(self) -> bool:
        return self._server.is_open

    async def send(self, data: str | bytes | Message) -> None:
        """Send text, bytes, or a message."""
        self._raise_what_failed()
        if isinstance(data, Message):
            data = self._reader.codec.payload(data)
        if not isinstance(data, str | bytes):
            raise TypeError(
                f"send() expects str, bytes or a Message, got {quote(data)}. Use send_json()."
            )
        if not self._server.is_open:
            raise AssertionError(f"send() needs an open connection. {self._story()}")
        self._server.put_message(data if self._server.page is None else Page.escape(data))

    async def send_json(self, content: Any) -> None:
        """Send content as JSON text."""
        await self.send(json.dumps(content))

    async def _receive(
        self, is_wanted: Callable[[str | bytes], bool], what: str, patience: float
    ) -> str | bytes:
        server = self._server
        found: list[str | bytes] = []

        def is_there() -> bool:
            found.extend(next(([data] for data in server.messages if is_wanted(data)), []))
            return bool(found) or server.close_code is not None

        await self._until(is_there, what, patience)
        if not found:
            raise AssertionError(
                f"Expected {what}, but the application closed the connection with "
                f"{server.close_code} {server.close_reason!r}. {self._story()}"
            )
        server.messages.remove(found[0])
        return found[0]

    async def receive_json(self, timeout: float = PATIENCE) -> Any:  # noqa: ASYNC109  # as receive()
        """Return what the next message, JSON text, says."""
        return json.loads(await self.receive(timeout=timeout))

    async def receive_close(self, timeout: float = PATIENCE) -> int:  # noqa: ASYNC109  # as receive()
        """Wait until the application closes the connection, and return the close code."""
        await self._until(lambda: self.close_code is not None, "a close", timeout)
        assert self.close_code is not None  # what was waited for
        return self.close_code

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave with a close code and reason, and wait until the application has ended."""
        check_close(code, reason)
        await self._leave(code, reason)

    async def vanish(self) -> None:
        """Leave without a closing handshake, as a lost client does: the application sees 1006."""
        await self._leave(CloseCode.ABNORMAL.value, "")

    async def _leave(self, code: int, reason: str) -> None:
        self._raise_what_failed()
        self._server.leave(code, reason)
        await self._ended()
        self._raise_what_failed()

    async def settle(self) -> None:
        """Wait until the application has nothing to do before something else arrives."""
        await self._until(
            lambda: self._server.is_idle or self._task.done(),
            "the application to wait for the next event",
            PATIENCE,
        )
        await turns()
        self._raise_what_failed()

    async def expect_nothing(self) -> None:
        """Settle, and fail if the application sent something, or closed the connection."""
        before = self.close_code
        await self.settle()
        if self._server.messages:
            got = f"{list(self._server.messages)!r}"
        elif self.close_code != before:
            got = f"a close with {self.close_code} {self.close_reason!r}"
        else:
            return
        raise AssertionError(f"Expected nothing, got {got}. {self._story()}")

    async def advance(self, seconds: float) -> None:
        """Move the event loop's clock: see ``wsconsumer.test.advance``."""
        self._check_use()
        await advance(seconds)
        self._raise_what_failed()

    def pause(self) -> None:
        """Stop reading: the application's ``send()`` waits."""
        self._server.pause()

    def resume(self) -> None:
        """Start reading again."""
        self._server.resume()

    # From the first to the last moment

    async def start(self) -> None:
        """Run the application until it has decided."""
        got_request_exception.connect(self._on_exception)
        self._loop = asyncio.get_running_loop()
        note_tasks(self._loop)
        token = started.set(self._tasks)
        self._task = asyncio.create_task(self._run())
        started.reset(token)
        self._task.add_done_callback(lambda _: self._changed.set())
        await self._until(lambda: self._server.accepted is not None, "a decision", PATIENCE)

    def served_by(self, application: object) -> None:
        """The handshake has led to this application, which may be a consumer."""
        self._served_by = application

    async def stop(self, error: BaseException | None = None) -> None:
        """
        Leave, wait for the application to end, and raise what went wrong.

        After an ``error`` of the test only that counts; a forgotten ``await`` may explain it.
        """
        try:
            await self._leave_and_wait(quietly=error is not None)
        finally:
            got_request_exception.disconnect(self._on_exception)
            await self._cancel_what_is_left()
            forgotten = self.calls.forgotten()
            self.calls.close()
        if error is not None:
            for text in forgotten:
                error.add_note(text)
            return
        self._raise_what_failed()
        if forgotten:
            raise AssertionError(" ".join(forgotten))
        self._raise_what_is_unread()

    def end(self) -> None:
        """The block is over."""
        self._is_over = True

    async def _leave_and_wait(self, *, quietly: bool) -> None:
        await turns()  # so that an answer that is on its way is seen
        if not self._task.done():
            self._server.resume()
            self._server.leave(1001)
            try:
                await self._ended()
            except BaseException:
                if not quietly:
                    raise

    async def _ended(self) -> None:
        await self._until(self._task.done, "the end of the application", PATIENCE)

    async def _cancel_what_is_left(self) -> None:
        await settle(PATIENCE)  # Django starts tasks for receivers, which are not left behind
        left = [task for task in self._tasks if not task.done() and task is not self._task]
        for task in (*left, self._task):
            task.cancel()
        await asyncio.wait([*left, self._task], timeout=PATIENCE)
        if left:
            names = ", ".join(task.get_coro().__qualname__ for task in left)  # type: ignore[union-attr]  # tasks of coroutines
            self._exceptions.append(
                AssertionError(f"The application has ended, but left tasks running: {names}.")
            )

    async def _run(self) -> None:
        await self._application(self._scope, self._server.receive, self._server.send)

    def _on_exception(self, request: Any = None, **_: Any) -> None:
        """A hook or the handshake failed; called in a thread, with the exception at hand."""
        scope = getattr(request, "scope", None) or {}
        error = sys.exc_info()[1]
        if scope.get("wsconsumer.test") is self and error is not None:
            self._exceptions.append(error)
            self._loop.call_soon_threadsafe(self._changed.set)

    # What went wrong

    async def _until(self, condition: Callable[[], bool], what: str, patience: float) -> None:
        """Wait, without ever touching the application, until something is so."""
        self._check_use()
        try:
            async with asyncio.timeout(patience):
                while not condition():
                    self._raise_what_failed()
                    if self._task.done():
                        raise AssertionError(f"Expected {what}, but {self._end()}. {self._story()}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"Expected {what} within {patience} seconds. {self._story()}\n"
                + "\n".join([*self._reasons(), self._where()])
            ) from None
        self._raise_what_failed()

    def _check_use(self) -> None:
        """
        Raise ``RuntimeError`` after the end, where nothing can happen any more.

        And in another event loop, where asyncio would say little or hang.
        """
        if self._is_over:
            raise RuntimeError(
                "This websocket has ended with its block. Use it inside of "
                "`async with connect(...) as ws:`; only its facts can be read afterwards."
            )
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "This websocket belongs to the event loop that it was opened in, and another one "
                "runs here. With pytest-asyncio, give the fixture that opens it and the test that "
                "uses it the same loop_scope: @pytest_asyncio.fixture(loop_scope=...) and "
                "@pytest.mark.asyncio(loop_scope=...)."
            )

    def _raise_what_failed(self) -> None:
        """Raise, once each, what the application raised or sent illegally."""
        self._check_use()
        failures = [*self._server.illegal, *(self._exceptions if self._raise_exceptions else ())]
        if self._task.done() and not self._task.cancelled():
            error = self._task.exception()
            if error is not None and error not in failures:
                failures.append(error)
        if len(failures) > self._told:
            failure = failures[self._told]
            self._told = len(failures)
            raise failure

    def _raise_what_is_unread(self) -> None:
        if self._server.messages and not self._allow_unread:
            raise AssertionError(
                f"The application sent messages that the test did not receive: "
                f"{list(self._server.messages)!r}. Receive them, or pass allow_unread=True. "
                f"{self._story()}"
            )

    def _end(self) -> str:
        denial = self.denial
        if denial is None:
            return "the application has ended"
        return f"{self._scope['path']!r} was denied with {denial.status}"

    def _story(self) -> str:
        return "So far:\n" + "\n".join(f"  {line}" for line in self._server.log or ["nothing"])

    def _reasons(self) -> Iterator[str]:
        """Say what may be why nothing came."""
        yield from self.calls.forgotten()
        groups = getattr(self._served_by, "groups", None)
        if groups is not None:
            names = ", ".join(map(repr, sorted(groups)))
            yield f"The client is in the groups {names}." if names else "The client is in no group."
        yield from describe_waiting(self._databases)

    def _where(self) -> str:
        """Say in which lines the application's own coroutines wait, outermost first."""
        lines = []
        coroutine: Any = self._task.get_coro()
        while (frame := getattr(coroutine, "cr_frame", None)) is not None:
            if not frame.f_code.co_filename.startswith(_PACKAGE):
                lines += traceback.format_stack(frame, 1)
            coroutine = coroutine.cr_await
        if self._server.is_waited_for:
            return "The application waits for the next event."
        return "The application waits here:\n" + "".join(lines)
