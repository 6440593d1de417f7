"""A token in the subprotocols, and what Sentry's own SDK sends when something fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.handshake.test_authorization import TOKEN

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("how", "is_shown"),
    [("usual", False), ("all", False), ("middleware", True)],
    ids=["usual", "all", "middleware"],
)
def test_no_event_shows_the_token(how: str, is_shown: bool) -> None:
    """
    Neither request, frames, their variables nor breadcrumbs have it, whatever may be sent.

    The SDK's middleware around the application sees what the server gave, as the page says.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.authentication.reporting_to_sentry", how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    failed = [event for event in json.loads(done.stdout) if "exception" in event]
    hooks = {
        event["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"] for event in failed
    }
    assert hooks == {"failing", "connect", "receive"}
    assert (TOKEN in done.stdout) == is_shown
