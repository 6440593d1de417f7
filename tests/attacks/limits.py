"""Cells that are bad because of the server itself, and what bounds them."""

import sys
from typing import Final

UVICORN: Final = ("uvicorn-websockets", "uvicorn-sansio", "uvicorn-wsproto")
OWN: Final = "an error of its own, before the application,"

NO_PINGS: Final = "it sends no pings unless told to: `idle_timeout` ends it"
NO_TIMEOUT: Final = "it has no timeout for a handshake; nginx has `client_header_timeout`"
ORPHANS: Final = "its worker outlives it: let systemd or a container end the group"
DROPS_FIRST: Final = "it drops the connections before the application is told"

LIMITS: Final[dict[tuple[str, str], str]] = {
    ("uvicorn-sansio", "floods_pings"): "`--ws-ping-interval` and `--ws-ping-timeout` end it",
    ("uvicorn-sansio", "fragments"): "`--ws-max-size 1048576` bounds it",
    ("granian", "vanishes_behind_messages"): "noticed once the hook has ended",
    ("granian", "floods_pings"): "no setting, a proxy bounds it",
    ("daphne", "handshakes"): f"{OWN} at a subprotocol that is not ASCII",
    ("uvicorn-websockets", "handshakes"): f"{OWN} at headers that are not ASCII",
    ("uvicorn-wsproto", "handshakes"): f"{OWN} at a Host that is not ASCII",
    ("hypercorn", "handshakes"): f"{OWN} at headers that it will not accept",
    ("uvicorn-sansio", "frames"): f"{OWN} at text that is not UTF-8",
    ("granian", "compresses"): "beyond 16 MiB it closes without a code",
    ("granian", "sigterm"): DROPS_FIRST,
    ("granian", "sigterm_under_load"): DROPS_FIRST,
    ("granian", "vanishes"): NO_PINGS,
    ("granian", "half_open"): NO_PINGS,
    ("hypercorn", "vanishes"): NO_PINGS,
    ("hypercorn", "half_open"): NO_PINGS,
    ("granian", "sigkill"): ORPHANS,
    ("hypercorn", "sigkill"): ORPHANS,
    ("daphne", "clock_jumps"): "`--websocket_timeout` goes by the wall clock",
    **{(name, "slow_handshakes"): NO_TIMEOUT for name in ("daphne", *UVICORN)},
}
"""By server and attack; a test holds that these are bad, and no others."""

AT_FULL_SIZE: Final[dict[tuple[str, str], str]] = {
    ("daphne", "connects"): "until Python's cyclic collector runs, then no more",
    ("granian", "stopped"): "it may keep the sockets until the client leaves",
    ("daphne", "reconnects"): "its backlog is 50: `-e tcp:8000:backlog=2048` in place of `-p`",
    **{(name, "out_of_files"): "asyncio's own: raise `ulimit -n`" for name in UVICORN},
}
"""Those that show only in a crowd, or on some days."""

if sys.version_info >= (3, 12):
    for attack in ("sigterm", "sigterm_under_load"):
        LIMITS["hypercorn", attack] = "on Python 3.12 and later it waits until the clients left"
