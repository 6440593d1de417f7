"""The application that every server serves."""

import atexit
import gc
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

application = get_asgi_application()
