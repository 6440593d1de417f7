"""``servers/daphne/warned.py``: what Python warns of is seen under daphne too."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from twisted.logger import globalLogBeginner

from tests.servers.daphne.peer import Recorder, settled

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


async def test_a_forgotten_await(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Twisted has taken the warnings, as daphne has it do, they go to stderr again."""
    shown: list[Any] = []
    # What Twisted replaced: here it was pytest's.
    monkeypatch.setattr(globalLogBeginner, "_oldshowwarning", lambda *args: shown.append(args))

    class Forgetting(Recorder):
        async def receive(self, data: str | bytes) -> None:
            self.send(data)  # type: ignore[unused-coroutine]  # the mistake

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        twisteds: Any = globalLogBeginner.showwarning
        warnings.showwarning = twisteds
        peer = await serve(Forgetting)
        peer.events()
        peer.client.send_text(b"hello")
        peer.flush()
        await settled()
    [(message, category, _, _, file, _)] = shown
    assert (category, file) == (RuntimeWarning, sys.stderr)
    assert str(message) == "coroutine 'WebsocketConsumer.send' was never awaited"


async def test_warnings_that_something_else_takes(serve: Callable[..., Any]) -> None:
    """What the project has put there stays."""
    with warnings.catch_warnings():
        mine: Any = lambda *args, **kwargs: None  # noqa: E731  # compared by identity
        warnings.showwarning = mine
        await serve(Recorder)
        assert warnings.showwarning is mine
