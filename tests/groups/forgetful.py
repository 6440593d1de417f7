"""A backend that can't keep, as third parties may have written them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsconsumer.groups.base import Backend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsconsumer.groups.base import Deliver


class ForgetfulBackend(Backend):
    """Carries to its own loop, and keeps nothing."""

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def subscribe(self, groups: Sequence[str]) -> None:
        """Everything comes anyway."""

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        """Everything comes anyway."""

    async def publish(self, group: str, body: bytes) -> None:
        await self._deliver(group, body)

    def publish_sync(self, group: str, body: bytes) -> None:
        """Nobody is there."""

    async def aclose(self) -> None:
        """Nothing is open."""
