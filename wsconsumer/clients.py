"""
Who a client is where connections are counted across processes: its user, and its address.

Both are made into keys in a thread: a project may say itself what the address of a request is, and
what the primary key of a user looks like.
"""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .addresses import client_address
from .limits import CONNECTION_LIMITS
from .log_fields import label_of, loaded_user, pk_of
from .log_thread import log

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger("wsconsumer.consumer")

NETWORK: Final = 64
"""Bits of an IPv6 address that one customer or machine has for itself (RFC 6177)."""

MAX_KEY: Final = 200
"""Characters of a key; of a longer one the engine gets a digest."""


def is_counted(consumer: Any) -> bool:
    """Return whether a consumer limits how many connections there are."""
    return any(getattr(consumer, name) is not None for name in CONNECTION_LIMITS)


def entry_of(consumer: Any) -> tuple[tuple[str, int], ...]:
    """
    Return what the connection of a consumer counts for: keys, each with its limit.

    Call it in a thread.
    """
    entry = []
    if consumer.max_connections_per_user is not None:
        user = user_of(consumer.request)
        if user is not None:
            entry.append((_key("user", user, consumer), consumer.max_connections_per_user))
    if consumer.max_connections_per_address is not None:
        address = client_address(consumer.request)
        if address is None:
            _explain_unknown()
        else:
            key = _key("address", neighbourhood(address), consumer)
            entry.append((key, consumer.max_connections_per_address))
    return tuple(entry)


class User(NamedTuple):
    """A user: the model's label, and the primary key."""

    label: str
    pk: Any

    def __str__(self) -> str:
        return f"{self.label}:{self.pk}"


def user_of(request: HttpRequest) -> User | None:
    """Return who is logged in, as far as it was loaded; ``None`` if nobody is."""
    user: Any = loaded_user(request)
    pk = pk_of(user)
    return None if pk is None else User(user._meta.label, pk)  # noqa: SLF001  # Django's public one


def neighbourhood(address: str) -> str:
    """
    Return what counts as one address.

    That is an IPv4 address, or the /64 network of an IPv6 address: whoever has one, has them all.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address  # the project's own idea of one
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), NETWORK), strict=False))


def _key(kind: str, who: object, consumer: object) -> str:
    """Return a key of the engine's: each class counts for itself."""
    key = f"{kind}:{who}:{label_of(type(consumer))}"
    return key if len(key) <= MAX_KEY else f"#{hashlib.sha256(key.encode()).hexdigest()}"


@cache
def _explain_unknown() -> None:
    log(
        logger,
        logging.WARNING,
        "max_connections_per_address limits nothing here: nobody knows the addresses of clients. "
        "Let the server read them from a header, or name a function in "
        "WSCONSUMER['CLIENT_ADDRESS'].",
    )
