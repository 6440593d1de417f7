"""Cells that are bad because of the server itself, and what bounds them."""

import sys
from typing import Final

OWN: Final = "an error of its own, before the application,"

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
    ("granian", "sigterm"): "it drops the connections before the application is told",
}
"""By server and attack; a test holds that these are bad, and no others."""

if sys.version_info >= (3, 12):
    LIMITS["hypercorn", "sigterm"] = "on Python 3.12 and later it waits until the clients left"
