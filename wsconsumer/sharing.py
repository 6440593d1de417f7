"""
The numbers of several processes together, for those who are asked in the name of all of them.

Workers that share a port share the scrapes of Prometheus as well. Where a directory is named in
``PROMETHEUS_MULTIPROC_DIR``, as for ``prometheus_client``, a thread of each process writes there,
once a second, what it has counted, and whoever is asked adds up what is there. A process that has
ended leaves its counts, and none of its connections.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any, Final

from .log_thread import log
from .metrics import add, snapshot

logger = logging.getLogger("wsconsumer.server")

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of the environment that names the directory."""

PERIOD: Final = 1.0
"""Seconds from one writing to the next."""

_PREFIX: Final = "wsconsumer_"

_threads: list[threading.Thread] = []
_lock = threading.Lock()


def directory() -> Path | None:
    """Return the directory that the processes share, if they share one."""
    name = os.environ.get(DIRECTORY)
    return Path(name) if name else None


def start() -> None:
    """Begin to write what this process counts, if there is somewhere to."""
    with _lock:
        if not _threads and directory() is not None:
            thread = threading.Thread(target=_run, name="wsconsumer-metrics", daemon=True)
            _threads.append(thread)
            atexit.register(write)
            thread.start()


def _run() -> None:
    # A daemon thread: the event waits for nobody who would set it.
    pause = threading.Event()
    while write():
        pause.wait(PERIOD)


def write() -> bool:
    """Write what this process has counted, for the others; return whether that was possible."""
    place = directory()
    if place is None:
        return False
    path = place / f"{_PREFIX}{os.getpid()}.json"
    # A reader finds the old file or the new one, and never half of it.
    new = path.with_suffix(f".{threading.get_ident()}")
    try:
        place.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(snapshot()))
        new.replace(path)
    except OSError as error:
        text = "The metrics of this process can't be written to %s, and are not shared from now on."
        log(logger, logging.ERROR, text, str(place), error=error)
        return False
    return True


def shared_snapshot() -> dict[str, Any]:
    """Return the numbers of all processes, or of this one where they share nothing."""
    own = snapshot()
    place = directory()
    if place is None:
        return own
    for path in place.glob(f"{_PREFIX}*.json"):
        pid = int(path.stem.removeprefix(_PREFIX))
        if pid != os.getpid():
            own = _add(own, path, is_alive=_is_alive(pid))
    return own


def _add(own: dict[str, Any], path: Path, *, is_alive: bool) -> dict[str, Any]:
    """Add what another process has written, unless it is of another version or is gone."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        if not is_alive:
            _end(found)
        sum_of_both: dict[str, Any] = add(own, found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log(logger, logging.WARNING, "Metrics in %s can't be read.", str(path), error=error)
        return own
    return sum_of_both


def _end(found: dict[str, Any]) -> None:
    """Leave what was counted, and nothing of what was there when the process died."""
    found["gauges"] = dict.fromkeys(found["gauges"], 0)
    for tally in found["consumers"].values():
        left = tally["accepted"] - sum(tally["ended"].values())
        tally["ended"]["killed"] = tally["ended"].get("killed", 0) + left


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _forget_thread() -> None:
    """Start over in a forked process, which has no such thread."""
    global _lock  # pragma: no cover  # runs in forked processes
    _lock = threading.Lock()  # pragma: no cover  # as above
    _threads.clear()  # pragma: no cover  # as above


os.register_at_fork(after_in_child=_forget_thread)
