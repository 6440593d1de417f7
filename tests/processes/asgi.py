"""The application that every server serves."""

import atexit
import gc
import os
import sys
from typing import Any


def tell_what_is_open() -> None:
    """Print the connections to PostgreSQL that nobody has closed."""
    psycopg: Any = sys.modules.get("psycopg")
    for found in gc.get_objects() if psycopg else ():
        if isinstance(found, psycopg.Connection | psycopg.AsyncConnection) and not found.closed:
            sys.stdout.write(f"left open: {found}\n")
    sys.stdout.write("the process ends\n")


# The first that is registered is the last that runs, so this comes before the application.
atexit.register(tell_what_is_open)

from wsconsumer.asgi import get_asgi_application  # noqa: E402
from wsconsumer.groups import registry  # noqa: E402

if "PROCESSES_LEASE" in os.environ:
    registry.LEASE = float(os.environ["PROCESSES_LEASE"])  # type: ignore[misc]  # a short one
    registry.BEAT_EVERY = registry.LEASE / 4  # type: ignore[misc]  # the same
    registry.RETRY_EVERY = registry.LEASE / 8  # type: ignore[misc]  # the same

application = get_asgi_application()
