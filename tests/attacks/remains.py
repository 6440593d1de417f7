"""What a server still holds of clients that are gone: tasks, files, threads, memory."""

import asyncio
import time

from tests.attacks.connects import SPARE, ask
from tests.attacks.table import BOUND, MIB, memory
from tests.servers.harness import PATIENCE, Server

KINDS = {"files": "fds", "tasks": "tasks", "threads": "threads"}
"""What is counted in the server, and its name in the table."""

THREADS = 4 + 8 + 4
"""What a server starts when it first needs it, and keeps: for handshakes, hooks, and its own."""


class Remains:
    """What a server holds more than it did when this was made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._first = ask(server)
        self._memory = memory(server)
        self._bound = BOUND

    def allow_crowds(self) -> None:
        """Let the server keep what two crowds take: one is here, and the next may come before."""
        self._bound += 2 * max(0, memory(self._server) - self._memory)

    async def count(self, name: str) -> int:
        """Return how many more there are."""
        return (await asyncio.to_thread(ask, self._server))[name] - self._first[name]

    async def until(self, name: str, count: int, patience: float = PATIENCE) -> float | None:
        """Wait until there are so many more ``connects`` or ``disconnects``; return the seconds."""
        began = time.monotonic()
        while await self.count(name) < count:
            if time.monotonic() - began > patience:
                return None
            await asyncio.sleep(0.1)  # it is another process: there is no event to wait for
        return time.monotonic() - began

    async def end(self, patience: float = 1.5 * PATIENCE) -> tuple[str, bool]:
        """Say what is left once it gets no less, and whether it is next to nothing."""
        deadline = time.monotonic() + patience
        while not self._is_clean(last := await asyncio.to_thread(ask, self._server)):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)  # as above
        growth = memory(self._server) - self._memory
        stay = last["connects"] - last["disconnects"]
        more = {kind: last[kind] - self._first[kind] for kind in KINDS}
        parts = [f"{stay} connections", *(f"{more[kind]:+} {KINDS[kind]}" for kind in KINDS)]
        is_clean = self._is_clean(last)
        text = "nothing stays" if is_clean else ", ".join(parts)
        return f"{growth / MIB:+.0f} MiB, {text}", is_clean and growth < self._bound

    def _is_clean(self, last: dict[str, int]) -> bool:
        spare = {"files": SPARE, "tasks": SPARE, "threads": THREADS}
        return last["connects"] == last["disconnects"] and all(
            last[kind] <= self._first[kind] + spare[kind] for kind in KINDS
        )


def after(seconds: float | None, patience: float) -> str:
    """Say when something happened, or that it did not."""
    return f"not in {patience:.0f} s" if seconds is None else f"after {seconds:.1f} s"
