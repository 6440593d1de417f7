"""Stands where a member stands, in tests of the hub."""

from __future__ import annotations

from typing import Any

from wsconsumer.groups.hub import hub


class Recorder:
    """Stands where a member stands: takes what is delivered."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.groups: dict[str, None] = {}
        self.sender_id = b""
        self.connection = self

    owner = "Recorder"

    def check_joinable(self) -> None: ...

    def deliver(self, broadcast: Any) -> None:
        self.got.append(broadcast.data)

    async def forget(self, group: str) -> None: ...


async def join(member: Recorder, group: str = "g", limit: int = 100) -> None:
    await hub().join(member, group, limit)  # type: ignore[arg-type]


async def leave(member: Recorder, group: str = "g") -> None:
    await hub().leave(member, group)  # type: ignore[arg-type]
