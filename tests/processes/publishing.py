"""
Publishers that are no members: a sync view, and a process without an event loop.

As a program it reads a line of JSON for each order, and writes one when it is done.
"""

import json
import sys
from contextlib import nullcontext
from typing import Any

import django
from django.db import transaction
from django.http import HttpRequest, JsonResponse

from wsconsumer import BackendError, broadcast


def obey(order: dict[str, Any]) -> list[str | None]:
    """
    Broadcast all ``messages``; return what went wrong with each, if anything.

    ``commit``: do so on the commit of a transaction, which is rolled back if this is false.
    """
    commit = order.get("commit")
    with nullcontext() if commit is None else transaction.atomic():
        errors = [
            _broadcast(group, data, on_commit=commit is not None)
            for group, data in order["messages"]
        ]
        if commit is False:
            transaction.set_rollback(True)
    return errors


def _broadcast(group: str, data: Any, *, on_commit: bool) -> str | None:
    try:
        broadcast(group, data, on_commit=on_commit)
    except BackendError as error:
        return str(error)
    return None


def publish(request: HttpRequest) -> JsonResponse:
    """Do the order in the body."""
    return JsonResponse({"done": obey(json.loads(request.body))})


def main() -> None:
    """Do the orders that come in."""
    django.setup()
    for line in sys.stdin:
        sys.stdout.write(json.dumps({"done": obey(json.loads(line))}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
