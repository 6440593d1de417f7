"""How each server speaks ASGI, as seen by an application; tested on the servers."""

from __future__ import annotations

from typing import Final, NamedTuple


class Dialect(NamedTuple):
    """What one server does where ASGI leaves it open, and what it leaves out."""

    name: str
    denial_response: bool = True
    accept_headers: bool = True
    both_keys: bool = False
    """Whether a message has ``text`` and ``bytes``, one of them ``None``."""
    disconnect_keys: tuple[str, ...] = ("code", "reason")
    send_after_disconnect: type[Exception] | None = OSError
    """What ``send()`` raises once the client has gone; ``None`` for silence."""
    only_own_close_codes: bool = False
    """Whether a close code must be 1000 or 3000-4999, as for a browser."""
    drops_empty_messages: bool = False


DIALECTS: Final = {
    dialect.name: dialect
    for dialect in (
        Dialect("asgi"),
        Dialect("daphne"),  # as servers/daphne/ adapts it
        Dialect(
            "daphne-unadapted",  # as behind another application's send()
            denial_response=False,
            accept_headers=False,
            disconnect_keys=("code",),
            send_after_disconnect=None,
            only_own_close_codes=True,
            drops_empty_messages=True,
        ),
        Dialect("uvicorn"),
        Dialect(
            "hypercorn",
            both_keys=True,
            disconnect_keys=(),
            send_after_disconnect=None,
        ),
        Dialect(
            "granian",
            accept_headers=False,
            disconnect_keys=("code",),
            send_after_disconnect=RuntimeError,
        ),
    )
}
"""By name. ``asgi`` follows the specification to the letter, and is the kit's default."""
