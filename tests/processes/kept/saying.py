"""
Who says something: the row first, then the broadcast, in one transaction where it is possible.

As a program, a process without an event loop: it reads a line of JSON for each order, and writes
one when it is done.
"""

import json
import sys
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, transaction

from wsconsumer import BackendError, abroadcast, broadcast
from wsconsumer.counters import counters

TABLE = """
    CREATE TABLE said (
        speaker varchar(20), room varchar(20), number integer, PRIMARY KEY (speaker, room)
    )
"""

NOTE = """
    INSERT INTO said (speaker, room, number) VALUES (%s, %s, %s)
    ON CONFLICT (speaker, room) DO UPDATE SET number = EXCLUDED.number
"""

GHOST = "ghost"
"""The first word of what is rolled back, and must never be heard."""


def what_is_said() -> list[tuple[str, str, int]]:
    """Return the truth: the last number of each speaker in each room."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT speaker, room, number FROM said")
        rows: list[tuple[str, str, int]] = cursor.fetchall()
    return rows


def note(speaker: str, room: str, number: int) -> None:
    """Write the row."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE, [speaker, room, number])


def say(order: dict[str, Any]) -> str | None:
    """Say it as sync code does; return what went wrong, if anything."""
    speaker, room, number = order["speaker"], order["room"], order["number"]
    text = f"{speaker} {number}"
    failed = counters["broadcast_failed"]
    try:
        with transaction.atomic():
            if order["is_ghost"]:
                broadcast(room, f"{GHOST} {text}")
                transaction.set_rollback(True)
            else:
                note(speaker, room, number)
                broadcast(room, text, key=text)
    except (BackendError, DatabaseError) as error:
        return repr(error)
    # After a commit it is too late for an error.
    return None if counters["broadcast_failed"] == failed else "failed after the commit"


async def asay(order: dict[str, Any]) -> str | None:
    """Say it as async code does."""
    speaker, room, number = order["speaker"], order["room"], order["number"]
    text = f"{speaker} {number}"
    try:
        await sync_to_async(note)(speaker, room, number)
        await abroadcast(room, text, key=text)
    except (BackendError, DatabaseError) as error:
        return repr(error)
    return None


def main() -> None:
    """Do the orders that come in."""
    django.setup()
    from tests.processes.kept import site  # noqa: F401  # the groups, and what is wrong with them

    for line in sys.stdin:
        done = say(json.loads(line))
        connection.close_if_unusable_or_obsolete()
        sys.stdout.write(json.dumps({"done": done}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
