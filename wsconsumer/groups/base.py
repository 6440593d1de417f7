"""
The contract of a backend: a transport that carries bodies between processes, and nothing else.

Who is in which group, and delivery to the members, is the hub's. A backend knows groups by name
only and never looks into a body. Subclass ``Backend``, name the class in
``WSCONSUMER["GROUPS"]["BACKEND"]``, and run ``wsconsumer.test.BackendContract`` against it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from ..masking import mask

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence


class Position(NamedTuple):
    """A place in a history: its epoch, and the offset of a broadcast, of which 1 is the first."""

    epoch: str
    offset: int


class Deliver(Protocol):
    """
    Takes a group and a body that came for it, and its position if the backend keeps it.

    Await each before the next: that keeps the order, and slows a publisher that is faster than the
    members, for a bounded time per body.
    """

    def __call__(
        self, group: str, body: bytes, position: Position | None = None, /
    ) -> Coroutine[Any, Any, None]: ...


class Backend(ABC):
    """
    Carries bodies from any process to every process that subscribes to their group.

    An instance belongs to the event loop in which ``start()`` ran. One that was never started can
    still ``publish_sync()``: that is how processes without an event loop broadcast.

    ``location`` (empty by default), ``prefix`` and ``options`` are those of
    ``WSCONSUMER["GROUPS"]``. The constructor opens nothing; it raises ``ImproperlyConfigured`` for
    settings that can't work.

    Bodies are delivered at most once, in order from one publisher to one group, to all that had
    subscribed before the body was published, including the publishing process. While the engine is
    away ``publish`` raises, and what others publish is lost.
    """

    needs_subscriptions: ClassVar[bool] = True
    """Whether ``subscribe`` and ``unsubscribe`` do anything."""

    is_local: ClassVar[bool] = False
    """Whether it carries within one process only."""

    def __init__(
        self, location: str | Sequence[str], prefix: str, options: Mapping[str, Any]
    ) -> None:
        self.location = location
        self.prefix = prefix
        self.options = options

    @classmethod
    def default_prefix(cls, location: str | Sequence[str]) -> str:
        """
        Return the prefix where ``WSCONSUMER["GROUPS"]`` has none.

        Override it for an engine of which sites expect that ``location`` keeps them apart.
        """
        return "wsconsumer"

    def describe(self) -> str:
        """
        Return what ``manage.py websockets`` calls the engine, without passwords.

        Override it where there is more to say than ``LOCATION``.
        """
        return f"{type(self).__name__} at {mask(self.location) or 'no LOCATION'}"

    def warnings(self) -> Sequence[str]:
        """
        Return what is likely to surprise in these settings, for ``manage.py check``.

        Override it where settings can be right and yet not do what they seem to.
        """
        return ()

    @abstractmethod
    async def start(self, deliver: Deliver) -> None:
        """
        Begin to carry; from now on call ``deliver`` for what comes in for subscribed groups.

        Called once, before any ``subscribe``. An engine that is away is no error: log it, and go on
        trying until ``aclose()``.
        """

    @abstractmethod
    async def subscribe(self, groups: Sequence[str]) -> None:
        """
        Return when what is published from now on to these groups will come in.

        Never raises because the engine is away: it returns, within bounds, and the subscription is
        made when the engine is back. Called with groups that are not subscribed; never twice at
        once, nor at once with ``unsubscribe``.
        """

    @abstractmethod
    async def unsubscribe(self, groups: Sequence[str]) -> None:
        """End the subscription of groups that are subscribed. Never raises either."""

    @abstractmethod
    async def publish(self, group: str, body: bytes) -> None:
        """
        Hand a body to the engine; return when it has taken it.

        Called on the loop of ``start()``. Raises ``BackendError`` if the engine did not take it.
        """

    @abstractmethod
    def publish_sync(self, group: str, body: bytes) -> None:
        """
        Do the same from a thread that has no event loop, whether the backend was started or not.

        Called from any thread; on a started backend if this process has one, so that an engine that
        is known to be away can fail at once. Raises ``BackendError`` if the engine did not take it.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """
        End all subscriptions and connections. Nothing is called after this.

        Tasks of the backend must also release what they hold when they are cancelled: an event loop
        may end without this call.
        """
