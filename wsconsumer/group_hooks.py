"""What groups bring to a consumer whose own hooks take it, instead of its client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .groups.envelope import RESET, log_malformed
from .groups.framed import FramedMember
from .protocol import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .connection.connection import Connection
    from .groups.envelope import Broadcast
    from .groups.member import Member
    from .observing import Account


class GroupHooks:
    """The part of a session that calls ``group_message()`` and ``group_reset()``."""

    __slots__ = ()

    if TYPE_CHECKING:
        connection: Connection
        member: Member | None
        account: Account
        _hears_resets: bool

        def _contain(
            self, hook: str, error: BaseException, task: int | None = None
        ) -> Coroutine[Any, Any, bool]: ...

    async def _hear(self, broadcast: Broadcast) -> None:
        """Run ``group_message()`` for one broadcast."""
        if self.connection.state is not ConnectionState.OPEN:
            return
        if broadcast.kind is RESET:
            await self._hear_reset(broadcast)
            return
        try:
            data = broadcast.data
        except ValueError as error:
            log_malformed(broadcast.group, error)
            return
        task = id(asyncio.current_task())
        try:
            await self.account.hooks.group_message(broadcast.group, data)
        except BaseException as error:
            if not await self._contain("group_message", error, task):
                raise
        if isinstance(self.member, FramedMember):
            await self.member.note(broadcast)

    async def _hear_reset(self, broadcast: Broadcast) -> None:
        """Run ``group_reset()``, if it is overridden; else a client of ours is told to reload."""
        if isinstance(self.member, FramedMember):
            await self.member.tell_reset(broadcast, is_reload=not self._hears_resets)
        if self._hears_resets:
            task = id(asyncio.current_task())
            try:
                await self.account.hooks.group_reset(broadcast.group)
            except BaseException as error:
                if not await self._contain("group_reset", error, task):
                    raise
