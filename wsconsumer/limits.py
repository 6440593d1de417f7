"""
Limits: class attributes of a consumer whose defaults are keys of ``WSCONSUMER``.

``max_groups = 5`` on a class, or ``as_view(max_groups=5)``, says otherwise for that class or view.
"""

from __future__ import annotations

from typing import Any, Final, cast

from . import conf
from .escaping import quote


class Limit:
    """A class attribute that is read from the settings, until a class or instance sets it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name.upper()

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return conf.get(self._key)


class Limits:
    """The limits that every consumer has; where one may be ``None``, that is no limit."""

    connect_timeout: float | None = cast("float | None", Limit())
    """Seconds in which ``connect()`` must decide, or the client gets 503; 10."""

    idle_timeout: float | None = cast("float | None", Limit())
    """Seconds without a message from the client, then it is closed with 4408; ``None``."""

    max_lifetime: float | None = cast("float | None", Limit())
    """Seconds from accept to a close with 4408, 10 % more or less; ``None``."""

    max_message_size: int | None = cast("int | None", Limit())
    """Bytes of a message, text in UTF-8; a bigger one closes with 1009; 1 MiB."""

    rate_limit: str | None = cast("str | None", Limit())
    """Messages of a connection, such as ``"20/s"``; one more closes with 4429; ``None``."""

    rate_limit_per_user: str | None = cast("str | None", Limit())
    """The same for all connections of a user to this class, in one process; ``None``."""

    max_connections_per_user: int | None = cast("int | None", Limit())
    """Connections of a user to this class, in all processes; beyond it 4429 or 429; ``None``."""

    max_connections_per_address: int | None = cast("int | None", Limit())
    """The same for all clients of an IPv4 address, or of a /64 network of IPv6; ``None``."""

    max_tasks: int = cast("int", Limit())
    """Tasks of ``spawn()`` that may run at a time; 1,000."""

    revalidate_every: float | None = cast("float | None", Limit())
    """Seconds within which the session and the user are checked again; 60."""

    slow_hook_seconds: float | None = cast("float | None", Limit())
    """Seconds after which the log says where a hook waits; 30."""

    max_groups: int = cast("int", Limit())
    """Groups that a connection may be in; default ``WSCONSUMER["MAX_GROUPS"]``, 100."""

    outbox_limit: int = cast("int", Limit())
    """Bytes of broadcasts that may wait for a slow client; ``"OUTBOX_LIMIT"``, 1 MiB."""

    outbox_policy: str = cast("str", Limit())
    """What happens beyond that: ``"close"`` (with 1013), ``"drop_oldest"`` or ``"drop_newest"``."""

    send_timeout: float = cast("float", Limit())
    """Seconds in which a client must take a broadcast; ``"SEND_TIMEOUT"``, 30."""


LIMITS: Final = tuple(name for name, value in vars(Limits).items() if isinstance(value, Limit))
"""The attributes; the settings have the same names in capitals."""

CONNECTION_LIMITS: Final = ("max_connections_per_user", "max_connections_per_address")
"""Those that count connections, across processes."""


def check_limit(owner: str, name: str, value: object) -> None:
    """Raise ``ValueError`` if a limit can't have this value."""
    setting = conf.SETTINGS[name.upper()]
    if not setting.is_valid(value):
        raise ValueError(
            f"{owner}.{name} must be {setting.expected}, got {quote(value)}. "
            f"The default is {setting.default!r}."
        )


def check_limits(cls: type) -> None:
    """Check the limits that a class sets."""
    for name in LIMITS:
        if name in vars(cls):
            check_limit(cls.__name__, name, vars(cls)[name])
