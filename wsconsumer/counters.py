"""
Failure counters of this process, by name: ``counters["origin_refused"]``.

Every name that can occur is in ``COUNTERS``; each is counted where its log line is written.
"""

from __future__ import annotations

from typing import Final

COUNTERS: Final = {
    "host_refused": "handshakes refused because ALLOWED_HOSTS has no such host",
    "handshake_refused": "handshakes refused because too many were waiting for a thread",
    "origin_refused": "handshakes refused because of their Origin",
    "drain_refused": "handshakes refused because the server was going to stop (DRAIN_SECONDS)",
    "hook_interrupted": "hooks that were cancelled because the client left",
    "hook_slow": "hooks that ran for longer than slow_hook_seconds",
    "loop_blocked": "hooks that blocked the event loop for more than a second",
    "message_dropped": "messages that came after the close, so that no hook saw them",
    "message_malformed": "messages that were not JSON, to a JsonWebsocketConsumer",
    "message_too_big": "connections that ended with 1009, since a message was too big",
    "connect_timed_out": "handshakes denied because connect() did not decide in time",
    "idle_closed": "connections that were closed because their client sent nothing for too long",
    "lifetime_closed": "connections that were closed at the end of their max_lifetime",
    "drained": "connections that were closed because the server was going to stop (DRAIN_SECONDS)",
    "rate_limited": "connections that were closed because of a rate limit",
    "crowd_refused": "handshakes refused because their user or address had too many connections",
    "count_failed": "handshakes that were judged by the counts of this process alone",
    "disconnected": "connections that were closed by a logout, or by disconnect_user()",
    "disconnected_refused": "handshakes refused since their session was disconnected just before",
    "disconnect_lost": "logouts, new passwords and deactivations that could not be told",
    "session_ended": "connections whose session or user had ended when revalidate_every looked",
    "revalidation_failed": "checks by revalidate_every that failed or are late: somebody stays",
    "token_expired": "connections that were closed at the end of their token",
    "hook_failed": "exceptions that came out of a hook or a spawned coroutine",
    "transaction_left": "transactions that a consumer's sync code had left open",
    "owner_closed": "connections that were closed by hand: websockets --close, or the staff page",
    "outbox_dropped": "broadcasts that a slow client's outbox had no room for",
    "outbox_closed": "connections that were closed because their client was too slow",
    "body_refused": "bodies from the engine behind the groups that were no broadcasts",
    "broadcast_unnumbered": "broadcasts to a group that keeps, by a process that does not know it",
    "recovery_failed": "times that the history of a group could not say what a client had missed",
    "broadcast_failed": "broadcasts after a commit that the engine did not take",
    "question_dropped": "questions for who is connected that were not answered, as too many waited",
    "log_dropped": "log records that were not emitted, since too many waited",
    "signal_dropped": "signals that were not sent, since too many waited for their receivers",
    "subscription_refused": "channels that the engine behind the groups did not let us listen to",
    "engine_lost": "times that the engine behind the groups went away",
}
"""Each counter and what it counts."""

counters: Final[dict[str, int]] = dict.fromkeys(COUNTERS, 0)
"""The counts since this process started. Read it; no lock guards it, so it may miss one."""
