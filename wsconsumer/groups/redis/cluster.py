"""
A Redis Cluster: which server has which channel, and what happens when that changes.

Channels are sharded (Redis 7): each belongs to a slot, and each slot to one server, the channel's
home. The map of the slots is requested at the start, when a server is lost, and every few seconds;
a server that no longer has a slot says which one has it, but one that became a replica goes on
without a word. A channel is subscribed at its home and nowhere else, so nothing comes twice; what
two servers bring while it moves is told apart by its stamp. Read ``node.py`` first.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError

from ...escaping import escape
from ...exceptions import BackendError
from ...log_thread import log
from ..batching import answering, not_accepted
from ..envelope import log_refused
from ..reconnecting import Outage
from .letters import SHARDED
from .node import Node
from .role import ping
from .scripts import NO_STAMP
from .sentinels import Opener
from .slots import MAP, MOVES, SLOTS, read_ranges, share, size, spread
from .stamps import Recent, Stamps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from .location import Address, Location
    from .node import Resumed, Take
    from .role import Command
    from .slots import Ranges


logger = logging.getLogger("wsconsumer.groups")

MAP_EVERY: Final = 5.0
"""Seconds between two requests for the map."""


class Cluster:
    """The servers of a cluster. Create it on the event loop that it serves."""

    def __init__(
        self, location: Location, take: Take, interrupted: Resumed, resumed: Resumed
    ) -> None:
        self._location = location
        self._take = take
        self._interrupted = interrupted
        self._resumed = resumed
        self._stamps = Stamps()
        self._recent = Recent(time.monotonic())
        self._channels: dict[bytes, int] = {}
        self._slots: dict[int, Address] = {}
        self._nodes: dict[Address, Node] = {}
        self._outage = Outage(location.name)
        self._tried = asyncio.Event()
        self._moves: set[asyncio.Task[None]] = set()
        self._finding: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._followed: Counter[int] = Counter()
        self._map: Ranges | None = None
        self._find()
        self._refreshing = asyncio.create_task(self._refresh_always())

    async def tried(self) -> None:
        """Wait until it is known whether the cluster is there."""
        await self._tried.wait()

    async def subscribe(self, channels: Iterable[bytes]) -> None:
        """Subscribe, each channel at its server, and wait for the confirmation."""
        new = {channel: key_slot(channel) for channel in channels}
        self._channels.update(new)
        if not await self._place(new):
            self._find()
        while self._moves:
            await asyncio.wait(self._moves)

    async def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """End the subscription."""
        ended = {channel for channel in channels if self._channels.pop(channel, None) is not None}
        for node in [*self._nodes.values()]:
            await node.unsubscribe(ended & node.channels.keys())

    async def publish(self, channel: bytes, body: bytes) -> None:
        """Publish at the channel's server."""
        # Stamped when it goes out: before an attempt that failed, others may have overtaken it.
        await self._ask_home(
            channel, lambda node: node.publish(channel, self._stamps.next() + body)
        )

    async def run(self, channel: bytes, command: Command, size: int) -> Any:
        """Return the reply to a command at a channel's server."""
        return await self._ask_home(channel, lambda node: node.run(channel, command, size))

    async def _ask_home(self, channel: bytes, ask: Callable[[Node], Awaitable[Any]]) -> Any:
        """Ask the channel's server; follow it if it has just moved."""
        slot = key_slot(channel)
        for _ in range(MOVES):
            address = self._slots.get(slot)
            if address is None:
                break
            node = self._node(address)
            await node.tried()
            if self._slots.get(slot) != address:
                continue  # it moved meanwhile
            try:
                return await ask(node)
            except BackendError as error:
                if not isinstance(error.__cause__, MovedError):
                    raise
                self._learn(address, error.__cause__)
        self._find()
        reason = self._outage.error or RedisError(f"no server was found to have slot {slot}")
        raise not_accepted(self._location.name, channel.decode(), reason) from reason

    def refuse_if_away(self, channel: bytes) -> None:
        """Raise ``BackendError`` while the channel's server is known to be away."""
        address = self._slots.get(key_slot(channel))
        node = None if address is None else self._nodes.get(address)
        if node is not None:
            node.refuse_if_away(channel)

    async def aclose(self) -> None:
        """End all connections."""
        await self._close_nodes()  # from now on nobody tells of a move
        tasks = {*self._moves, *self._retiring, self._refreshing}
        if self._finding is not None:
            tasks.add(self._finding)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._close_nodes()  # those that the tasks have made meanwhile

    async def _close_nodes(self) -> None:
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    async def _take_once(self, channel: bytes, stamped: bytes) -> None:
        # What has a position is taken once by that.
        is_kept = stamped.startswith(NO_STAMP)
        try:
            body = stamped[len(NO_STAMP) :] if is_kept else self._recent.take(channel, stamped)
        except ValueError as error:
            log_refused("what came for '%s': %s.", escape(channel), escape(error))
            return
        if body is not None:
            await self._take(channel, body)

    # Which server has what

    def _find(self) -> None:
        """Request the map until every channel has a server."""
        if self._finding is None:
            self._finding = asyncio.create_task(self._find_all())

    async def _find_all(self) -> None:
        try:
            while True:
                try:
                    await self._ask()
                    if await self._place(self._channels):
                        break
                    raise RedisError("it has slots without a server")
                except Exception as error:  # noqa: BLE001  # whatever it is, it must not end this
                    wait = self._outage.failed(error)
                self._tried.set()
                await asyncio.sleep(wait)
            self._outage.over()
            self._let_go()
        finally:
            self._tried.set()
            self._finding = None

    async def _refresh_always(self) -> None:
        """Ask for the map every few seconds, and follow it."""
        while True:
            await asyncio.sleep(MAP_EVERY)
            self._recent.forget(time.monotonic())
            self._followed.clear()
            with suppress(RedisError, OSError):  # a server's supervision tells
                if await self._ask():
                    self._move(dict(self._channels))

    async def _ask(self) -> bool:
        """
        Get the map from the first server whose map is full, or else the fullest.

        Those known to be there are asked first.

        Return whether it is another one than before.
        """
        away = {address for address, node in self._nodes.items() if node.outage.is_on}
        known = [address for address in self._nodes if address not in away]
        random.shuffle(known)
        failed: Exception = RedisError("no slot has a server")
        fullest: Ranges = ()
        addresses = dict.fromkeys([*known, *self._location.addresses, *away])
        location = self._location.within(share(self._location.timeout, len(addresses)))
        for address in addresses:
            try:
                reply = await self._ask_one(location, address)
            except (RedisError, OSError) as error:
                failed = error
                continue
            fullest = max(fullest, read_ranges(reply, address[0]), key=size)
            if size(fullest) == SLOTS:
                break
        if not fullest:
            raise failed
        return self._follow(fullest)

    async def _ask_one(self, location: Location, address: Address) -> Any:
        node = self._nodes.get(address)
        if node is None or node.outage.is_on:
            return await _ask_stranger(location, address)
        async with answering(location.timeout):
            return await node.ask(MAP)

    def _follow(self, ranges: Ranges) -> bool:
        if ranges == self._map:  # the usual case; a map has 16,384 slots
            return False
        self._map = ranges
        self._slots = spread(ranges)
        return True

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(
                f"Redis at {address[0]}:{address[1]}",
                Opener(self._location, address),
                self._location.timeout,
                SHARDED,
                self._take_once,
                ping,
                self._interrupted,
                self._resumed,
                moved=partial(self._moved, address),
                lost=partial(self._lost, address),
            )
        return node

    async def _place(self, channels: Mapping[bytes, int]) -> bool:
        """Subscribe to channels at their servers; return whether all have one."""
        homes: dict[Address, list[bytes]] = {}
        for channel, slot in channels.items():
            if slot in self._slots:
                homes.setdefault(self._slots[slot], []).append(channel)
        await asyncio.gather(*(self._place_at(*home) for home in homes.items()))
        return sum(map(len, homes.values())) == len(channels)

    async def _place_at(self, address: Address, channels: list[bytes]) -> None:
        node = self._node(address)
        await node.tried()
        here = self._at_home(address, channels)
        # Before they are subscribed here: otherwise a message could come from both.
        others = [other for other in self._nodes.values() if other is not node]
        left = [(other, other.channels.keys() & set(here)) for other in others]
        await asyncio.gather(*(other.unsubscribe(gone) for other, gone in left if gone))
        # They may have moved on meanwhile.
        here = self._at_home(address, here)
        new = [channel for channel in here if channel not in node.channels]
        self._interrupted(new)
        await node.subscribe(new)
        self._resumed(new)

    def _at_home(self, address: Address, channels: Iterable[bytes]) -> list[bytes]:
        """Return the channels that are wanted still, and belong to this server now."""
        wanted = [channel for channel in channels if channel in self._channels]
        return [one for one in wanted if self._slots.get(self._channels[one]) == address]

    def _let_go(self) -> None:
        """Close connections to servers that have nothing of ours any more."""
        homes = set(self._slots.values())
        for address, node in [*self._nodes.items()]:
            if address not in homes and not node.channels and not node.outage.is_on:
                del self._nodes[address]
                task = asyncio.create_task(node.retire())
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)

    def _learn(self, asked: Address, error: MovedError) -> None:
        """Remember where a slot is now, as its former server says."""
        self._slots[error.slot_id] = (error.host or asked[0], error.port)
        self._map = None  # the next map may be one that was true before

    def _moved(self, asked: Address, error: MovedError) -> None:
        """Subscribe to the channels of a slot at its new server."""
        self._learn(asked, error)
        slot = error.slot_id
        there = {name: slot for name in self._nodes[asked].channels if key_slot(name) == slot}
        for channel in there:
            del self._nodes[asked].channels[channel]
        self._followed[slot] += 1
        if self._followed[slot] <= MOVES:
            self._move({name: slot for name in there if name in self._channels})
        else:
            text = (
                "%s: the servers send slot %d to one another, so its groups get nothing. The map "
                "is requested again within %d seconds."
            )
            log(logger, logging.WARNING, text, self._location.name, slot, MAP_EVERY)

    def _move(self, channels: Mapping[bytes, int]) -> None:
        task = asyncio.create_task(self._place_quietly(channels))
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)

    async def _place_quietly(self, channels: Mapping[bytes, int]) -> None:
        if await self._place(channels):
            self._let_go()
        else:
            self._find()

    async def _lost(self, address: Address) -> bool:
        """Look up who has the slots of a lost server now; return whether it still has some."""
        try:
            await self._ask()
        except (RedisError, OSError):
            return True
        is_needed = address in self._slots.values()
        if not is_needed:
            self._nodes.pop(address).outage.replaced()
        self._move(dict(self._channels))
        return is_needed


async def _ask_stranger(location: Location, address: Address) -> Any:
    connection = await Opener(location, address).connect()
    try:
        async with answering(location.timeout):
            await connection.send_command(*MAP, check_health=False)
            return await connection.read_response(disable_decoding=True)
    finally:
        await connection.disconnect(nowait=True)
