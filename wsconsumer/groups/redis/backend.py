"""
The backend for Redis, Valkey and whatever speaks their protocol: publish/subscribe, and no more.

A broadcast is one command, and nothing of it stays in Redis. Read ``node.py`` for how a server is
listened to, ``publisher.py`` and ``threads.py`` for publishing, ``cluster.py`` for several servers,
``location.py`` for the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from ..base import Backend
from ..batching import not_accepted
from .cluster import Cluster
from .location import Location, database
from .node import PLAIN, SHARDED, Node
from .role import Watch
from .sentinels import Opener
from .threads import threads_publisher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..base import Deliver


class RedisBackend(Backend):
    """
    Carries bodies through Redis 6 or later, or Valkey.

    ``LOCATION`` is a URL: ``redis://user:password@host:6379``, ``rediss://`` for TLS, or
    ``unix:///path/to/socket``. Parameters of redis-py's connections go behind it, such as
    ``rediss://host?ssl_ca_certs=/path``; ``max_connections`` (100) bounds those of threads. Groups
    are channels named ``PREFIX:group``, so the user needs the right to ``&PREFIX:*``, to the
    commands of publish/subscribe and to PING. Without a ``PREFIX`` it is ``wsconsumer``, or
    ``wsconsumer/1`` where the URL has the database 1.

    ``OPTIONS``:

    - ``TIMEOUT``: seconds for connecting, and for a reply (5).
    - ``CLUSTER``: true for a Redis Cluster of version 7 or later, whose sharded publish/subscribe
      is used. ``LOCATION`` then is some of its servers: a list, or separated by commas.
    - ``SENTINEL``: the name of the master that Sentinels watch, such as ``"mymaster"``.
      ``LOCATION`` then is the Sentinels, in the same way; user and password in the first URL are
      those of the master.
    - ``SENTINEL_USERNAME``, ``SENTINEL_PASSWORD``: those of the Sentinels, if they ask for them.

    Of several URLs, the first gives user, password, TLS and parameters; the others may be just
    ``host:port``.
    """

    def __init__(
        self, location: str | Sequence[str], prefix: str, options: Mapping[str, Any]
    ) -> None:
        self._given = location
        self._location = Location.read(location, options)
        super().__init__(self._location.url, prefix, options)
        self._prefix = f"{prefix}:".encode()
        self._commands = SHARDED if self._location.is_cluster else PLAIN
        self._engine: Node | Cluster | None = None

    @classmethod
    def default_prefix(cls, location: str | Sequence[str]) -> str:
        """Return one with the database's number, which keeps sites apart elsewhere in Redis."""
        prefix = super().default_prefix(location)
        number = database(location)
        return f"{prefix}/{number}" if number else prefix

    def describe(self) -> str:
        """Call it what the log calls it."""
        return self._location.name

    def warnings(self) -> Sequence[str]:
        """Tell that publish/subscribe knows no databases."""
        number = database(self._given)
        if not number:
            return ()
        is_default = self.prefix == self.default_prefix(self._given)
        meaning = (
            f"it is a part of the channels' names ({self.prefix}:...), so processes of this site "
            "that name another number, or none, are not reached"
            if is_default
            else f"the number separates nothing: all sites with the PREFIX {self.prefix!r} hear "
            "each other"
        )
        return (
            f"WSCONSUMER['GROUPS']['LOCATION'] has the database {number}, but Redis' "
            f"publish/subscribe knows no databases: {meaning}. Leave the number out, and give "
            "each site a PREFIX of its own.",
        )

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._engine = self._make_engine()
        await self._engine.tried()

    def _make_engine(self) -> Node | Cluster:
        location = self._location
        if location.is_cluster:
            return Cluster(location, self._take)
        watch = Watch(location.name)
        opener = Opener(location)
        return Node(location.name, opener, location.timeout, PLAIN, self._take, watch.check)

    async def subscribe(self, groups: Sequence[str]) -> None:
        await self._started().subscribe([self._channel(group) for group in groups])

    async def unsubscribe(self, groups: Sequence[str]) -> None:
        await self._started().unsubscribe([self._channel(group) for group in groups])

    async def publish(self, group: str, body: bytes) -> None:
        await self._started().publish(self._channel(group), body)

    def publish_sync(self, group: str, body: bytes) -> None:
        channel = self._channel(group)
        if self._engine is not None:
            self._engine.refuse_if_away(channel)
        try:
            threads_publisher(self._location, self._commands.publish).publish(channel, body)
        except (RedisError, OSError) as error:
            raise not_accepted(self._location.name, channel.decode(), error) from error

    async def aclose(self) -> None:
        if self._engine is not None:
            await self._engine.aclose()

    def _started(self) -> Node | Cluster:
        assert self._engine is not None, "start() comes first"  # noqa: S101
        return self._engine

    def _channel(self, group: str) -> bytes:
        return self._prefix + group.encode()

    async def _take(self, channel: bytes, body: bytes) -> None:
        await self._deliver(channel[len(self._prefix) :].decode(), body)
