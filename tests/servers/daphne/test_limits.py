"""Limits of daphne's own that the documentation names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daphne.cli import CommandLineInterface

from tests.servers.harness import COMMANDS, new_key, running

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_disconnect_that_takes_too_long(tmp_path: Path) -> None:
    """Daphne cancels an application so many seconds after its client has gone."""
    command = [*COMMANDS["daphne"], "--application-close-timeout", "1"]
    key = new_key()
    with running("daphne", tmp_path, command=command) as server:
        async with server.connect(f"/ws/waits-in-disconnect/{key}/"):
            pass
        story = await server.ended(key)
    assert story.how("disconnect ended") == "raised CancelledError"
    assert CommandLineInterface().parser.get_default("application_close_timeout") == 10
