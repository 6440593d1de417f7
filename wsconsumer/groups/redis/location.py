"""
Where Redis is: ``LOCATION`` and ``OPTIONS`` read, and the connections that follow from them.

One server, those that a Sentinel watches, or a cluster. Nothing is opened here, and no error shows
a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import Connection, parse_url
from redis.backoff import NoBackoff
from redis.connection import Connection as SyncConnection
from redis.connection import parse_url as sync_parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

from ..options import SECONDS, TIMEOUT, check_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Address: TypeAlias = "tuple[str, int]"
"""Host and port."""

MAX_CONNECTIONS: Final = 100
"""Connections of a process's threads, unless the URL's ``max_connections`` says otherwise."""

NOT_FOR_HERE: Final = {
    "timeout": "A thread waits for a connection as long as OPTIONS['TIMEOUT'] says.",
    "queue_class": "The pool of connections is ours.",
}
"""Parameters of redis-py's URLs that belong to its pools, and why they are refused."""

OPTIONS: Final[Mapping[str, type | str]] = {
    "CLUSTER": bool,
    "SENTINEL": str,
    "SENTINEL_USERNAME": str,
    "SENTINEL_PASSWORD": str,
    "TIMEOUT": SECONDS,
}
"""Each option, and what it may be."""


@dataclass(frozen=True)
class Location:
    """
    Where Redis is. ``addresses`` are of the servers, or of the Sentinels if ``sentinel`` names
    what they watch; there are none for a Unix socket. ``max_connections`` are for threads.
    """

    url: str = field(repr=False)
    addresses: tuple[Address, ...]
    timeout: float
    max_connections: int = MAX_CONNECTIONS
    is_cluster: bool = False
    sentinel: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    is_sentinel: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, location: str | Sequence[str], options: Mapping[str, Any]) -> Location:
        """Read the settings, or raise ``ImproperlyConfigured``."""
        _check_options(options)
        sentinel = options.get("SENTINEL", "")
        urls = _split(location, is_many=bool(options.get("CLUSTER") or sentinel))
        read = cls(
            url=urls[0],
            addresses=_addresses(urls, 26379 if sentinel else 6379),
            timeout=options.get("TIMEOUT", TIMEOUT),
            max_connections=_max_connections(urls[0]),
            is_cluster=options.get("CLUSTER", False),
            sentinel=sentinel,
            sentinel_username=options.get("SENTINEL_USERNAME"),
            sentinel_password=options.get("SENTINEL_PASSWORD"),
        )
        read.check()
        return read

    def check(self) -> None:
        """Raise ``ImproperlyConfigured`` if this can't be made a connection of."""
        if not self.addresses and (self.is_cluster or self.sentinel):
            raise ImproperlyConfigured(
                "WSCONSUMER['GROUPS'] names a Unix socket, and CLUSTER or SENTINEL in its OPTIONS. "
                "Neither goes through a socket: give redis:// or rediss:// URLs as LOCATION."
            )
        try:
            self.connection()
        except (TypeError, ValueError, RedisError) as error:
            raise ImproperlyConfigured(
                f"WSCONSUMER['GROUPS']['LOCATION'] has parameters that a connection to Redis can't "
                f"take: {error}. See redis-py's documentation of its Connection."
            ) from error

    @property
    def name(self) -> str:
        """What the log calls it."""
        if not self.addresses:
            return f"Redis at {parse_url(self.url).get('path', '')}"
        addresses = ", ".join(f"{host}:{port}" for host, port in self.addresses)
        if self.sentinel:
            return f"Redis {self.sentinel!r} of the Sentinels at {addresses}"
        return f"Redis{' Cluster' if self.is_cluster else ''} at {addresses}"

    def connection(self, address: Address | None = None) -> Any:
        """Return a new connection for an event loop, not connected: here, or at this address."""
        kwargs = self._kwargs(parse_url(self.url), address)
        return kwargs.pop("connection_class", Connection)(**kwargs)

    def sync_connection(self, address: Address | None = None) -> Any:
        """Return one for a thread."""
        url = sync_parse_url(self.url)  # type: ignore[no-untyped-call]  # redis-py's
        kwargs = self._kwargs(url, address) | {
            "socket_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
        }
        return kwargs.pop("connection_class", SyncConnection)(**kwargs)

    def at_sentinel(self) -> Location:
        """Return where a Sentinel is, of the same kind: its user, and its share of the time."""
        return replace(
            self,
            timeout=self.timeout / len(self.addresses),
            is_sentinel=True,
            username=self.sentinel_username,
            password=self.sentinel_password,
        )

    def within(self, seconds: float) -> Location:
        """Return the same with another time limit."""
        return replace(self, timeout=seconds)

    def _kwargs(self, url: Any, address: Address | None) -> dict[str, Any]:
        """
        Return what to make connections with: the URL's parameters, and what must be so.

        Nothing is retried: a broadcast must not be made twice. RESP2 is what all versions speak.
        In an event loop the time for a reply is kept by the caller.
        """
        for name in ("retry_on_timeout", "retry_on_error", "max_connections"):
            url.pop(name, None)
        if address is not None:
            url["host"], url["port"] = address
        if self.is_sentinel:
            url |= {"db": 0, "username": self.username, "password": self.password}
        return {
            **url,
            "socket_timeout": None,
            "socket_connect_timeout": self.timeout,
            "retry": None,
            "health_check_interval": 0,
            "protocol": 2,
            "decode_responses": False,
        }


def _check_options(options: Mapping[str, Any]) -> None:
    check_options("Redis", options, OPTIONS)
    if options.get("CLUSTER") and options.get("SENTINEL"):
        raise ImproperlyConfigured(
            "WSCONSUMER['GROUPS']['OPTIONS'] has both CLUSTER and SENTINEL. A cluster looks after "
            "its own servers: leave SENTINEL out, or CLUSTER."
        )


def database(location: str | Sequence[str]) -> int:
    """Return the number of the database that a LOCATION names; 0 if there is none."""
    urls = [*re.split("[;,]", location), location] if isinstance(location, str) else location
    return next(filter(None, map(_database, urls)), 0)


def _database(url: str) -> int:
    try:
        return int(parse_url(url).get("db", 0))
    except ValueError:
        return 0  # the constructor tells what is wrong


def _max_connections(url: str) -> int:
    """Return how many connections threads may have; refuse other parameters of pools."""
    parameters: Any = parse_url(url)
    for name, reason in NOT_FOR_HERE.items():
        if name in parameters:
            raise ImproperlyConfigured(
                f"WSCONSUMER['GROUPS']['LOCATION'] has the parameter {name!r}, which is not for "
                f"here: {reason} Leave it out."
            )
    number: int = parameters.get("max_connections", MAX_CONNECTIONS)
    if number < 1:
        raise ImproperlyConfigured(
            "WSCONSUMER['GROUPS']['LOCATION'] has max_connections, which expects a number above "
            f"0, got {number}."
        )
    return number


def _split(location: str | Sequence[str], *, is_many: bool) -> list[str]:
    """Return the URLs; those after the first may be just host and port."""
    if isinstance(location, str):
        # One server's URL is taken as it is: its password may have a comma.
        urls = re.split(r"[;,]\s*", location) if is_many else [location]
    else:
        urls = list(location)
    if not urls or not urls[0] or (len(urls) > 1 and not is_many):
        raise ImproperlyConfigured(
            "WSCONSUMER['GROUPS']['LOCATION'] expects the URL of one Redis server, such as "
            f"'redis://localhost:6379', got {len(urls) if any(urls) else 'none'}. Several are for "
            "OPTIONS that say CLUSTER or SENTINEL."
        )
    scheme = urls[0].partition("://")[0]
    return [urls[0], *(url if "://" in url else f"{scheme}://{url}" for url in urls[1:])]


def _addresses(urls: list[str], port: int) -> tuple[tuple[str, int], ...]:
    addresses = []
    for url in urls:
        try:
            # Behind these, a part of the password would be read as something else, and be logged.
            if "@" in "".join(re.split("[/?#]", url.partition("://")[2])[1:]):
                raise ValueError
            parsed = parse_url(url)
        except ValueError:
            # Python's own words could quote a part of the password.
            raise ImproperlyConfigured(
                "WSCONSUMER['GROUPS']['LOCATION'] has a URL that can't be read. Write it as "
                "redis://user:password@host:6379, rediss://... for TLS, or unix:///path, with "
                "what is special in a password percent-encoded, such as %2F for a slash."
            ) from None
        if not url.startswith("unix:"):
            addresses.append((parsed.get("host", "localhost"), parsed.get("port", port)))
    return tuple(addresses)
