"""
A deploy: at SIGTERM the websockets are closed over ``DRAIN_SECONDS``, before the server stops.

Without that a server closes them all in the same moment, and all come back in the next. Here the
process first takes no new ones (503), then closes one after the other, while HTTP goes on, and lets
the server have its signal when the last is gone. Only SIGTERM does that: Ctrl-C stops at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Final

from django.conf import settings

from .. import conf
from ..connection.monitor import monitor
from ..counters import counters
from ..log_thread import log
from ..loops import PerLoop, at_end, start_task
from ..servers.stopping import CannotHold, NothingToHold, hold_stop
from ..serving import note_draining
from .running import running_websockets

if TYPE_CHECKING:
    from ..servers.stopping import Held

logger = logging.getLogger("wsconsumer.server")

GRACE: Final = 5.0
"""Seconds beyond the window that hooks and clients have; what takes longer is the server's."""

SETTLE: Final = 2.0
"""Seconds that handshakes have, once the websockets are gone."""

ECHO: Final = 2.0
"""
Seconds within which a second SIGTERM is the first one again.

systemd sends it to all processes of a service, and a parent then sends it to its workers.
"""


class Drain:
    """The end of one event loop's websockets, and what becomes of the signal meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._began_at = 0.0
        self._seconds: float = conf.get("DRAIN_SECONDS") or 0 if conf.is_good() else 0
        self._held: Held | None = self._hold() if self._seconds else None

    def renew(self) -> None:
        """See to it that the signal still comes here first."""
        if self._held is not None:
            self._held.renew()

    def end(self) -> None:
        """Leave the signal to the server, which stops without it."""
        if self._held is not None:
            held, self._held = self._held, None
            held.end()
        if self._task is not None:
            self._task.cancel()

    def _hold(self) -> Held | None:
        if settings.DEBUG:
            # Servers that reload code stop their process by SIGTERM, and nobody wants to wait then.
            log(logger, logging.INFO, "DRAIN_SECONDS has no effect while DEBUG is on.")
            return None
        try:
            return hold_stop(self._on_stop)
        except CannotHold as problem:
            level = logging.INFO if isinstance(problem, NothingToHold) else logging.WARNING
            text = "DRAIN_SECONDS has no effect in this event loop: %s."
            log(logger, level, text, str(problem))
            return None

    def _on_stop(self, number: int) -> None:
        if self._held is None:
            return
        if self._task is None:
            note_draining()
            self._held.hold_interrupt()
            self._began_at = self._loop.time()
            self._task = start_task(self._run())
        elif number == signal.SIGINT or self._loop.time() - self._began_at >= ECHO:
            log(logger, logging.INFO, "A second signal: the server stops at once.")
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._close_all()
        finally:
            if self._held is not None:
                held, self._held = self._held, None
                held.let_go()

    async def _close_all(self) -> None:
        text = "The server was asked to stop. Websockets to close over %g s: %d."
        log(logger, logging.INFO, text, self._seconds, len(monitor().sessions))
        try:
            async with asyncio.timeout(self._seconds + GRACE):
                await monitor().drain(self._seconds).wait()
                await running_websockets().settle(SETTLE)
        except TimeoutError:
            pass
        log(
            logger,
            logging.INFO,
            "The server may stop after %.1f s. Websockets closed: %d, refused: %d, left: %d.",
            self._loop.time() - self._began_at,
            counters["drained"],
            counters["drain_refused"],
            len(monitor().sessions),
        )


_drains = PerLoop(Drain)


def watch_for_stop() -> None:
    """Have SIGTERM close the websockets of the running event loop first, if the settings say so."""
    _drains.get().renew()


@at_end
async def end_watching() -> None:
    """Leave SIGTERM to the server again."""
    drain = _drains.pop()
    if drain is not None:
        drain.end()
