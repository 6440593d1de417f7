"""
Event loops of several processes that come, go and are killed while connections come and go.

What the engine has in the end is the truth, and on the way no limit is ever passed. Each process
here is a backend and a registry of its own; one that is killed says nothing any more.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from wsconsumer.groups import registry as registries
from wsconsumer.groups.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import pytest

    from wsconsumer.groups.leasing import LeasingBackend

KEYS: Final = ("ann", "bob", "eve")
LIMIT: Final = 4
LEASE: Final = 1.5
PROCESSES: Final = 4


async def _nothing(*_: object) -> None:
    """Deliver nothing."""


class Process:
    """A process, and the connections that it has."""

    def __init__(self, backend: LeasingBackend) -> None:
        self.backend = backend
        self.registry = Registry(backend, lambda: backend.start(_nothing))
        self.connections: Counter[str] = Counter()

    async def come(self, key: str) -> None:
        """Let one come."""
        if await self.registry.enter([(key, LIMIT)]):
            self.connections[key] += 1

    def go(self, key: str) -> None:
        """Let one go, if there is one."""
        if self.connections[key]:
            self.connections[key] -= 1
            self.registry.leave([(key, LIMIT)])

    async def kill(self) -> None:
        """End it without a word."""
        task = self.registry._task  # noqa: SLF001  # as SIGKILL would
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            await self.backend.aclose()

    async def stop(self) -> None:
        """End it in good order."""
        if self.registry._task is not None:  # noqa: SLF001  # it was never used otherwise
            await self.registry.aclose()
            await self.backend.aclose()


class Stress:
    """One run."""

    def __init__(self, make_backend: Callable[[], LeasingBackend], seed: int) -> None:
        self._make_backend = make_backend
        self._random = random.Random(seed)  # noqa: S311  # to be repeated
        self._processes = [Process(make_backend()) for _ in range(PROCESSES)]

    @property
    def truth(self) -> Mapping[str, int]:
        """How many there are of each key."""
        return {key: sum(one.connections[key] for one in self._processes) for key in KEYS}

    async def run(self, steps: int, lose: Callable[[], Awaitable[None]] | None = None) -> None:
        """Let things happen, and then wait for the truth; ``lose`` loses what the engine has."""
        for step in range(steps):
            await asyncio.gather(*(self._act(one) for one in self._processes))
            if lose is None:
                assert max(self.truth.values()) <= LIMIT, f"step {step}: {self.truth}"
            if self._random.random() < 0.02:
                await self._replace()
            if lose is not None and self._random.random() < 0.02:
                await lose()
        observer = Process(self._make_backend())
        await observer.come("nobody")
        try:
            await self._until_true(observer.backend)
        finally:
            for one in (*self._processes, observer):
                await one.stop()

    async def _act(self, process: Process) -> None:
        key = self._random.choice(KEYS)
        if self._random.random() < 0.5:
            await process.come(key)
        else:
            process.go(key)

    async def _replace(self) -> None:
        place = self._random.randrange(PROCESSES)
        old, self._processes[place] = self._processes[place], Process(self._make_backend())
        if self._random.random() < 0.7:
            await old.kill()
        else:
            await old.stop()

    async def _until_true(self, backend: LeasingBackend) -> None:
        found: dict[str, int] = {}
        try:
            async with asyncio.timeout(10 * LEASE):
                while found != self.truth:
                    await asyncio.sleep(0)  # memory answers in the same turn of the loop
                    counted = await backend.counted(KEYS)
                    found = {key: sum(counts.values()) for key, counts in counted.items()}
        except TimeoutError:
            raise AssertionError(f"the engine has {found}, the truth is {self.truth}") from None


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases be short."""
    monkeypatch.setattr(registries, "LEASE", LEASE)
    monkeypatch.setattr(registries, "BEAT_EVERY", 0.2)
    monkeypatch.setattr(registries, "PATIENCE", 10.0)
