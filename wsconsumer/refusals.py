"""
Whom this process was told to disconnect within the last minute.

A handshake may be under way while the order to close somebody's websockets comes, and a client may
be back before its session is gone: ``user_logged_out`` is sent before that. So each process
remembers, and refuses. Sessions are refused by the hash of their key, whenever the handshake began;
users only if it began before the order, since they may log in again.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from .counters import counters
from .escaping import escape
from .identities import UserKey, hash_of_session, key_of_session, key_of_user
from .log_fields import loaded_user

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger("wsconsumer.handshake")

STATUS: Final = 403
"""Of the denial: a 401 would have to name a scheme (RFC 9110 section 11.6.1)."""

SECONDS: Final = 60.0
"""How long an order is remembered."""

LIMIT: Final = 50_000
"""How many orders of a kind are remembered; beyond it, the oldest are forgotten."""

K = TypeVar("K")


class Verdict(NamedTuple):
    """How the websockets of somebody are closed; ``at``: when the order came, monotonic."""

    at: float
    code: int
    reason: str


class Remembered(Generic[K]):
    """The verdicts of the last minute, by whom they are about."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._verdicts: dict[K, Verdict] = {}  # in the order in which they came
        self._limit = limit
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._verdicts)

    def add(self, key: K, verdict: Verdict) -> None:
        """Remember a verdict, and forget what is old."""
        with self._lock:
            self._verdicts.pop(key, None)
            self._verdicts[key] = verdict
            while len(self._verdicts) > self._limit or self._is_first_over(verdict.at):
                del self._verdicts[next(iter(self._verdicts))]

    def find(self, key: K, now: float) -> Verdict | None:
        """Return the verdict that counts now."""
        verdict = self._verdicts.get(key)
        return None if verdict is None or _is_over(verdict, now) else verdict

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._verdicts.clear()

    def _is_first_over(self, now: float) -> bool:
        return _is_over(next(iter(self._verdicts.values())), now)


def _is_over(verdict: Verdict, now: float) -> bool:
    return verdict.at + SECONDS < now


sessions: Final[Remembered[str]] = Remembered()
"""By the hash of the key."""

users: Final[Remembered[UserKey]] = Remembered()


def find_verdict(request: HttpRequest) -> Verdict | None:
    """Return the verdict on whoever asks for a websocket; nearly always there is none."""
    now = monotonic()
    if sessions:
        session = key_of_session(request)
        verdict = session and sessions.find(hash_of_session(session), now)
        if verdict:
            return verdict
    if users:
        user = key_of_user(loaded_user(request))
        verdict = user and users.find(user, now)
        if verdict and verdict.at >= request.wsconsumer_began:  # type: ignore[attr-defined]  # a WebsocketRequest
            return verdict
    return None


def log_refused(request: HttpRequest, verdict: Verdict) -> None:
    """Log and count a handshake that a verdict refuses."""
    counters["disconnected_refused"] += 1
    logger.info(
        "Refused a websocket on %s with %d: its user or session was disconnected within the last "
        "minute (%d, %s).",
        escape(request.path),
        STATUS,
        verdict.code,
        escape(verdict.reason),
    )
