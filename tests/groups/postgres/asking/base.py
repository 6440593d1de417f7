"""A database engine that asks a cloud for the password, as those for RDS, Vault or Entra do."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connections
from django.db.backends.postgresql import base


class Cloud:
    """Answers when it is told to; notes the threads that ask."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.asked = threading.Event()
        self.asked_again = threading.Event()
        self.answer = threading.Event()
        self.error: BaseException | None = None

    def ask(self) -> None:
        """Return when there is an answer."""
        self.threads.append(threading.get_ident())
        (self.asked_again if self.asked.is_set() else self.asked).set()
        self.answer.wait(30)
        if self.error is not None:
            raise self.error


cloud = Cloud()


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL with a password from the cloud, which is found in a database."""

    def get_connection_params(self) -> dict[str, Any]:
        with connections["address"].cursor() as cursor:
            cursor.execute("SELECT 42")
        cloud.ask()
        params: dict[str, Any] = super().get_connection_params()
        return params
