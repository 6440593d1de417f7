"""
A session in libpq's pipeline mode: statements go out before the last ones are answered.

Each batch is one statement and a transaction of its own, and the answers come in its order. There
is no task: the event loop says when there is something to read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.pq.abc import PGconn, PGresult

    from ..batching import Waiting


class Statement(NamedTuple):
    """
    What is sent for a batch.

    ``answer`` returns what is told to the one who waits for the item with this index.
    """

    sql: str
    answer: Callable[[Any, int], Any] = lambda _result, _index: None


class _Sent(NamedTuple):
    batch: Sequence[Waiting[Any]]
    answer: Callable[[Any, int], Any]


class Wire:
    """Sends batches, and settles those who wait. ``timeout`` is the one of their deadlines."""

    def __init__(self, pgconn: PGconn, timeout: float) -> None:
        pgconn.enter_pipeline_mode()
        self.is_open = True
        """Whether it takes batches."""
        self._pgconn = pgconn
        self._socket = pgconn.socket
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._sent: deque[_Sent] = deque()
        self._result: PGresult | None = None
        self._refusal: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._written = asyncio.Event()
        self._loop.add_reader(self._socket, self._read)

    async def send(
        self, batch: Sequence[Waiting[Any]], statement: Statement, *arguments: str
    ) -> None:
        """Send the statement for a batch; return when the network has taken it."""
        if not self.is_open:
            raise ConnectionError("the connection was lost")
        self._sent.append(_Sent(batch, statement.answer))
        if self._timer is None:
            self._timer = self._loop.call_at(batch[0].deadline, self._expire)
        try:
            encoded = [argument.encode() for argument in arguments]
            self._pgconn.send_query_params(statement.sql.encode(), encoded)
            self._pgconn.pipeline_sync()
            self._write()
        except psycopg.Error as error:
            self.close(error)
        await self._written.wait()

    def look(self) -> bool:
        """Return whether it is open, after a look at what came in while it idled."""
        # The first may read the server's last words, the second finds that they were.
        self._read()
        self._read()
        return self.is_open

    def close(self, error: Exception) -> None:
        """Close it at once; whoever waits for an answer gets this error."""
        if not self.is_open:
            return
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._pgconn.finish()
        self._written.set()
        while self._sent:
            self._settle(error)

    def _write(self) -> None:
        """Write as much as the network takes; come back for the rest."""
        if self._pgconn.flush():
            self._written.clear()
            self._loop.add_writer(self._socket, self._read)
        elif not self._written.is_set():
            self._loop.remove_writer(self._socket)
            self._written.set()

    def _read(self) -> None:
        """Take what came, and write what could not be written before."""
        if not self.is_open:
            return
        try:
            self._pgconn.consume_input()
            while self._sent and not self._pgconn.is_busy():
                self._take(self._pgconn.get_result())
            self._write()
        except psycopg.Error as error:
            self.close(self._refusal or error)  # the server's last words say why

    def _take(self, result: PGresult | None) -> None:
        """Take one result: of a statement, nothing behind it, and then that of its batch's end."""
        if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
            refusal, self._refusal = self._refusal, None
            self._settle(refusal)
            self._result = None
        elif result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            self._refusal = _error(result)
        elif result is not None:
            self._result = result
        if self._pgconn.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError("the connection is lost")

    def _settle(self, error: Exception | None) -> None:
        batch, answer = self._sent.popleft()
        for index, waiting in enumerate(batch):
            if error is None:
                waiting.succeed(answer(self._result, index))
            else:
                waiting.fail(error)

    def _expire(self) -> None:
        """Give up if the next answer is overdue; otherwise come back when it would be."""
        self._timer = None
        self._read()  # it may be there already, and only our own event loop be late
        if self._sent:
            deadline = self._sent[0].batch[0].deadline
            if deadline <= self._loop.time():
                self.close(TimeoutError(f"no answer within {self._timeout:.1f} seconds"))
            else:
                self._timer = self._loop.call_at(deadline, self._expire)


def _error(result: PGresult) -> psycopg.Error:
    """Return what the server said, with its code."""
    error = psycopg.OperationalError(result.error_message.decode(errors="replace"))
    error.sqlstate = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    return error
