"""
Opening connections: to a server that has an address, or to the one that Sentinels name.

The Sentinels are asked one after the other, each within its share of the time: one that is silent
must not use it all up. What answered is asked first next time, and what named a server that was of
no use is asked last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from ..batching import answering

if TYPE_CHECKING:
    from .location import Address, Location


class Order:
    """The Sentinels in the order in which they are asked; threads may share it."""

    def __init__(self, location: Location) -> None:
        self.addresses = location.addresses
        self.at_sentinel = location.at_sentinel()
        self.question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", location.sentinel)

    def praise(self, address: Address) -> None:
        """Ask this one first."""
        self.addresses = (address, *self._without(address))

    def blame(self, address: Address) -> None:
        """Ask this one last."""
        self.addresses = (*self._without(address), address)

    def _without(self, address: Address) -> tuple[Address, ...]:
        return tuple(other for other in self.addresses if other != address)

    def read(self, reply: Any) -> Address:
        """Return the address that a Sentinel named."""
        if not reply:
            raise RedisError(f"it does not know {self.question[-1]!r}")
        return reply[0].decode(), int(reply[1])


class Opener:
    """Opens connections for an event loop."""

    def __init__(self, location: Location, address: Address | None = None) -> None:
        self._location = location
        self._address = address
        self._order = Order(location) if location.sentinel else None
        self._named_by: Address | None = None

    async def connect(self) -> Any:
        """Return a connection that is connected; raise what prevented it, in time."""
        async with answering(self._location.timeout):
            address = self._address if self._order is None else await self._find(self._order)
            connection = self._location.connection(address)
            try:
                await connection.connect()
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            return connection

    def failed(self) -> None:
        """Note that the connection, or the attempt, was of no use."""
        if self._order is not None and self._named_by is not None:
            self._order.blame(self._named_by)
            self._named_by = None

    async def _find(self, order: Order) -> Address:
        errors = []
        for sentinel in order.addresses:
            try:
                found = order.read(await self._ask(order, sentinel))
            except (RedisError, OSError) as error:
                errors.append(f"{sentinel[0]}:{sentinel[1]}: {error}")
            else:
                order.praise(sentinel)
                self._named_by = sentinel
                return found
        raise _no_master(errors)

    async def _ask(self, order: Order, sentinel: Address) -> Any:
        connection = order.at_sentinel.connection(sentinel)
        try:
            async with answering(order.at_sentinel.timeout):
                await connection.connect()
                await connection.send_command(*order.question)
                return await connection.read_response(disable_decoding=True)
        finally:
            await connection.disconnect(nowait=True)


class SyncOpener:
    """Opens connections for threads."""

    def __init__(self, location: Location, address: Address | None = None) -> None:
        self._location = location
        self._address = address
        self._order = Order(location) if location.sentinel else None

    def connect(self) -> Any:
        """Return a connection that is connected; raise what prevented it."""
        if self._order is None:
            return _connected(self._location.sync_connection(self._address))
        errors = []
        for sentinel in self._order.addresses:
            try:
                found = self._order.read(self._ask(self._order, sentinel))
                connection = _connected(self._location.sync_connection(found))
            except (RedisError, OSError) as error:
                errors.append(f"{sentinel[0]}:{sentinel[1]}: {error}")
                self._order.blame(sentinel)
            else:
                return connection
        raise _no_master(errors)

    def failed(self) -> None:
        """Note that a connection led to a replica."""
        if self._order is not None:
            self._order.blame(self._order.addresses[0])

    def _ask(self, order: Order, sentinel: Address) -> Any:
        connection = _connected(order.at_sentinel.sync_connection(sentinel))
        try:
            connection.send_command(*order.question)
            return connection.read_response(disable_decoding=True)
        finally:
            connection.disconnect()


def _connected(connection: Any) -> Any:
    try:
        connection.connect()
    except BaseException:
        connection.disconnect()
        raise
    return connection


def _no_master(errors: list[str]) -> RedisError:
    return RedisError(f"no Sentinel names a master that can be reached ({'; '.join(errors)})")
