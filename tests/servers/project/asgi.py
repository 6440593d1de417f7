"""The application under test, and around it a note of how each of its websocket calls ended."""

import atexit
import os
from typing import Any

from tests.servers.project.journal import note

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.servers.project.settings"

from wsconsumer.asgi import get_asgi_application  # the settings come first

django_application: Any = get_asgi_application()
# Registered last it runs first: before what the package does when Python ends.
atexit.register(note, "", "exit")


def wrapped(send: Any) -> Any:
    """Return a ``send`` that stands before the server's, as a middleware's does."""

    async def send_on(event: Any) -> None:
        event["by"] = "a middleware"  # the event is its own to edit
        del event["by"]
        await send(event)

    return send_on


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Run wsconsumer's application with exactly what the server gave."""
    if scope["type"] != "websocket":
        await django_application(scope, receive, send)
        return
    if scope["path"].startswith("/ws/fanout/wrapped/"):
        send = wrapped(send)
    how = "returned"
    try:
        await django_application(scope, receive, send)
    except BaseException as error:
        how = f"raised {type(error).__name__}"
        raise
    finally:
        note(scope["path"].rstrip("/").rpartition("/")[2], "end", how=how)
