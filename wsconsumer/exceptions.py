"""
Every error of ours, split by who is at fault.

    WsconsumerError
    ├── InvalidState      the application called a verb that the connection's state forbids
    ├── ConnectionClosed  nobody: the other side is gone, or the socket was already closed
    ├── TooManyGroups     the application, or a client that it lets choose: a join beyond the limit
    ├── TooManyTasks      the same, for a spawn beyond the limit
    ├── BackendError      the engine that carries groups between processes did not take a message
    └── InvalidEvent      the server sent an event that ASGI does not allow here

Wrong arguments raise Python's own ``TypeError`` and ``ValueError``, wrong settings Django's
``ImproperlyConfigured``.
"""

from __future__ import annotations


class WsconsumerError(Exception):
    """Base of every error that this package defines."""


class InvalidState(WsconsumerError):
    """A verb was called in a state that forbids it, such as ``send()`` before ``accept()``."""


class ConnectionClosed(WsconsumerError):
    """
    The connection is closing or closed, so what was asked for can't reach the client.

    ``code`` (int) and ``reason`` (str) are those of the close as far as it is known yet:
    1006 and ``""`` when the client went away without a word (RFC 6455 section 7.1.5).
    """

    def __init__(self, message: str, *, code: int, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class TooManyGroups(WsconsumerError):
    """A connection asked to be in more groups than ``max_groups``; it is in those before."""


class TooManyTasks(WsconsumerError):
    """A connection was to run more tasks than ``max_tasks``; those before run on."""


class BackendError(WsconsumerError):
    """
    A broadcast did not get to the engine that carries groups between processes.

    Whether it reached anybody is unknown: delivery is at most once. The cause is ``__cause__``.
    """


class InvalidEvent(WsconsumerError):
    """The server sent an event that the ASGI specification does not allow at this point."""
