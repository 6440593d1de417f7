"""
Fails with a token in the subprotocols, and prints the events that Sentry's own SDK would send.

A program of its own: the SDK changes Django for the whole process. Its argument says what the SDK
is told to send, or that its middleware stands around the application.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

import sentry_sdk  # noqa: E402  # what it finds is set up
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware  # noqa: E402
from sentry_sdk.transport import Transport  # noqa: E402

from tests.fakes import DENIAL, Wire, disconnect, text  # noqa: E402
from tests.handshake.test_authorization import TOKEN, offering, using_tokens  # noqa: E402
from wsconsumer.asgi import get_asgi_application  # noqa: E402
from wsconsumer.log_thread import log_thread  # noqa: E402

if TYPE_CHECKING:
    from sentry_sdk.envelope import Envelope


class Recorded(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events += [item.payload.json for item in envelope.items]


async def fail(application: Any, where: str) -> None:
    """Open a websocket whose view or hook fails."""
    given = offering(f"chat, bearer, {TOKEN}", path=f"/ws/fails/{where}/", **DENIAL)
    wire = Wire({"type": "websocket.connect"}, text("go"), disconnect())
    await application(given, wire.receive, wire.send)


def main(how: str) -> None:
    transport = Recorded()
    more: dict[str, Any] = {"send_default_pii": True} if how == "all" else {}
    sentry_sdk.init(
        "https://key@sentry.invalid/1", transport=transport, traces_sample_rate=1.0, **more
    )
    with using_tokens, log_thread().in_place():
        application: Any = get_asgi_application()
        if how == "middleware":
            application = SentryAsgiMiddleware(application)
        for where in ("view", "connect", "receive"):
            asyncio.run(fail(application, where))
    sentry_sdk.flush()
    print(json.dumps(transport.events))  # noqa: T201  # what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
