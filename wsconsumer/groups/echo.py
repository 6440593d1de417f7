"""
An echo: whether a broadcast comes back through the engine, for ``manage.py websockets``.

It goes to a group of its own, so that nobody else hears it, once from an event loop and once from a
thread, as views do it. All of it has bounds, and runs in threads that nobody waits for: an engine
behind a firewall that drops packets must not hold up whoever wants to know.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, wait
from secrets import token_hex
from time import perf_counter
from typing import TYPE_CHECKING, Final

from django.db import connections

from ..exceptions import BackendError
from ..loops import in_thread

if TYPE_CHECKING:
    from .base import Backend

PATIENCE: Final = 5.0
"""Seconds in which the echo has to come."""

CLOSING: Final = 1.0
"""Seconds that the backend has for closing its connections."""

BODY: Final = b"echo"


def hear_echo(backend: Backend, patience: float = PATIENCE) -> float:
    """
    Start a backend, and close it; return the seconds that a broadcast took to come back.

    Raises ``BackendError`` with what prevented it.
    """
    echo = _Echo(backend)
    ended = in_thread(lambda: asyncio.run(echo.run(patience)))
    # A backend that blocks its event loop is not stopped by a timeout in it.
    wait([echo.seconds], patience + CLOSING)
    wait([ended], CLOSING)
    if not echo.seconds.done():
        raise BackendError(echo.too_late(patience))
    return echo.seconds.result()


class _Echo:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._group = f"wsconsumer.echo.{token_hex(8)}"
        self._doing = "it connected"
        self.seconds: Future[float] = Future()

    def too_late(self, patience: float) -> str:
        return f"no answer within {patience:g} seconds, while {self._doing}"

    async def run(self, patience: float) -> None:
        """Settle ``seconds``, and close the backend."""
        until = asyncio.get_running_loop().time() + patience
        try:
            async with asyncio.timeout_at(until):
                self._came = asyncio.Event()
                await self._backend.start(self._deliver)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told
            self._fail(error, patience)
            return
        try:
            async with asyncio.timeout_at(until):
                seconds = await self._hear()
        except Exception as error:  # noqa: BLE001  # as above
            self._fail(error, patience)
        else:
            self.seconds.set_result(seconds)
        finally:
            await self._backend.aclose()

    async def _hear(self) -> float:
        self._doing = "it subscribed"
        await self._backend.subscribe([self._group])
        self._doing = "a broadcast went out and came back"
        began = perf_counter()
        await self._backend.publish(self._group, BODY)
        await self._came.wait()
        seconds = perf_counter() - began
        self._came.clear()
        self._doing = "a broadcast from a thread went out and came back"
        await asyncio.wrap_future(in_thread(self._publish_in_thread))
        await self._came.wait()
        return seconds

    def _publish_in_thread(self) -> None:
        try:
            self._backend.publish_sync(self._group, BODY)
        finally:
            connections.close_all()

    async def _deliver(self, group: str, body: bytes, _: object = None) -> None:
        self._came.set()

    def _fail(self, error: Exception, patience: float) -> None:
        if isinstance(error, TimeoutError):
            text = self.too_late(patience)
        else:
            # The text of a BackendError speaks of a broadcast of the project's.
            cause = error.__cause__ if isinstance(error, BackendError) else error
            text = f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
        failure = BackendError(text)
        failure.__cause__ = error
        self.seconds.set_exception(failure)
