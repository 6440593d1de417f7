"""
Where Redis is: ``LOCATION`` and ``OPTIONS`` read, and the connections that follow from them.

One server, those that a Sentinel watches, or a cluster. Nothing is opened here, and no error shows
a password.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import redis
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import Sentinel
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import SSLConnection as SyncSSLConnection
from redis.connection import parse_url as sync_parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

from ..options import SECONDS, TIMEOUT, check_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    what they watch; there are none for a Unix socket.
    """

    url: str = field(repr=False)
    addresses: tuple[tuple[str, int], ...]
    timeout: float
    is_cluster: bool = False
    sentinel: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

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
        kwargs = self._kwargs(parse_url(self.url))
        try:
            kwargs.pop("connection_class", Connection)(**kwargs)
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

    def pool(self, address: tuple[str, int] | None = None) -> Any:
        """Return a new pool for an event loop, for the server or for this one of a cluster."""
        kwargs = self._kwargs(parse_url(self.url))
        if self.sentinel:
            return self._master(Sentinel, kwargs, SSLConnection).connection_pool
        if address is not None:
            kwargs["host"], kwargs["port"] = address
        return ConnectionPool(**kwargs)

    def sync_client(self) -> Any:
        """Return this process's client for threads that have no event loop."""
        return _sync_client(os.getpid(), self)

    def make_sync_client(self) -> Any:
        """Return a new client for threads; of a cluster, after asking it for its servers."""
        url = sync_parse_url(self.url)  # type: ignore[no-untyped-call]  # redis-py's
        kwargs = self._kwargs(url, Retry(NoBackoff(), 0))
        if self.sentinel:
            return self._master(redis.Sentinel, kwargs, SyncSSLConnection)
        if not self.is_cluster:
            return redis.Redis(connection_pool=redis.ConnectionPool(**kwargs))
        kwargs = _tell_ssl(kwargs, SyncSSLConnection)
        nodes = [
            ClusterNode(host, port)  # type: ignore[no-untyped-call]  # redis-py's
            for host, port in self.addresses
        ]
        return redis.RedisCluster(startup_nodes=nodes, **kwargs)

    def _kwargs(self, url: Any, retry: Any = None) -> dict[str, Any]:
        """
        Return what to make connections with: the URL's parameters, and what must be so.

        Nothing is retried: a broadcast must not be made twice. RESP2 is what all versions speak.
        In an event loop the time for a reply is kept by the caller.
        """
        url.pop("retry_on_timeout", None)
        return {
            **url,
            "socket_timeout": self.timeout if retry else None,
            "socket_connect_timeout": self.timeout,
            "retry": retry,
            "health_check_interval": 0,
            "protocol": 2,
            "decode_responses": False,
        }

    def _master(self, manager: Any, kwargs: dict[str, Any], ssl_class: type) -> Any:
        kwargs = _tell_ssl(kwargs, ssl_class)
        sentinels = manager(
            self.addresses,
            sentinel_kwargs={
                **kwargs,
                "db": 0,
                "socket_timeout": self.timeout,
                "retry": Retry(NoBackoff(), 0),
                "username": self.sentinel_username,
                "password": self.sentinel_password,
            },
        )
        return sentinels.master_for(self.sentinel, **kwargs)


@cache
def _sync_client(pid: int, location: Location) -> Any:
    """Make a client once; its pool is safe with threads, and a forked process has another pid."""
    return location.make_sync_client()


def forget_sync_clients() -> None:
    """Let go of all clients for threads; their connections close with them."""
    _sync_client.cache_clear()


def _tell_ssl(kwargs: dict[str, Any], ssl_class: type) -> dict[str, Any]:
    """Say TLS the way that clients want it said, who know their server from elsewhere."""
    kwargs = {key: value for key, value in kwargs.items() if key not in ("host", "port")}
    return {**kwargs, "ssl": kwargs.pop("connection_class", None) is ssl_class}


def _check_options(options: Mapping[str, Any]) -> None:
    check_options("Redis", options, OPTIONS)
    if options.get("CLUSTER") and options.get("SENTINEL"):
        raise ImproperlyConfigured(
            "WSCONSUMER['GROUPS']['OPTIONS'] has both CLUSTER and SENTINEL. A cluster looks after "
            "its own servers: leave SENTINEL out, or CLUSTER."
        )


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
