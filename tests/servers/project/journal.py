"""What happened inside the server process, told to the test that started it.

Every event is one line of JSON in a named pipe, written before `note()` returns: the order of the
lines is the order of the events, and a process that is killed loses none of them.
"""

import json
import logging
import os
import threading

_pipe = os.open(os.environ["JOURNAL"], os.O_WRONLY)
_lock = threading.RLock()


def note(key: str, event: str, **facts: object) -> None:
    """Write one event of the connection `key`."""
    line = json.dumps({"key": key, "event": event, **facts}).encode() + b"\n"
    with _lock:
        while line:
            line = line[os.write(_pipe, line) :]


class JournalHandler(logging.Handler):
    """Write log records among the events, so that a test knows which came first."""

    def emit(self, record: logging.LogRecord) -> None:
        note("", "log", logger=record.name, level=record.levelname, text=self.format(record))
