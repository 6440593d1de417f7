"""Numbers of several processes together, in a directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from wsconsumer import metrics, sharing
from wsconsumer.counters import counters
from wsconsumer.metrics import snapshot
from wsconsumer.sharing import DIRECTORY, shared_snapshot, start, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _from_zero(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sharing, "_threads", [])
    monkeypatch.delenv(DIRECTORY, raising=False)
    metrics.forget()
    yield
    metrics.forget()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that processes share; nobody has made it yet."""
    monkeypatch.setenv(DIRECTORY, str(tmp_path / "metrics"))
    return tmp_path / "metrics"


def leave(place: Path, pid: int, found: object) -> None:
    """Let another process have written something."""
    place.mkdir(exist_ok=True)
    (place / f"wsconsumer_{pid}.json").write_text(json.dumps(found))


def other_snapshot(**gauges: int) -> dict[str, Any]:
    """Return what another process may have counted."""
    tally = metrics.Tally()
    tally.accepted = 5
    tally.end(1000)
    found = snapshot()
    found["consumers"]["chat.Chat"] = tally.snapshot()
    found["counters"]["hook_failed"] = 3
    found["gauges"] |= gauges
    return found


def ended_pid() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_alone() -> None:
    """Without a directory there is nothing but what this process knows, and no thread."""
    before = set(threading.enumerate())
    start()
    assert set(threading.enumerate()) <= before
    assert not write()
    assert shared_snapshot() == snapshot()


def test_together(place: Path) -> None:
    """What another process has written is added to what this one has counted by now."""
    counters["hook_failed"] = 1
    leave(place, os.getppid(), other_snapshot(outbox_bytes=70))
    assert write()
    metrics.tally_of("chat.Chat").accepted = 2
    found = shared_snapshot()
    assert found["counters"]["hook_failed"] == 4
    assert found["consumers"]["chat.Chat"]["accepted"] == 7
    assert found["gauges"]["outbox_bytes"] == 70


def test_a_process_that_was_killed(place: Path) -> None:
    """Its counts stay, and what was open is ended."""
    leave(place, ended_pid(), other_snapshot(outbox_bytes=70))
    found = shared_snapshot()
    assert found["consumers"]["chat.Chat"]["ended"] == {"1000": 1, "killed": 4}
    assert found["counters"]["hook_failed"] == 3
    assert found["gauges"]["outbox_bytes"] == 0


def test_a_process_of_somebody_else(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that may not be signalled is alive."""

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    leave(place, os.getppid(), other_snapshot(outbox_bytes=70))
    assert shared_snapshot()["gauges"]["outbox_bytes"] == 70


@pytest.mark.parametrize("found", [{}, {"lag": {"counts": [1]}}, "nothing"])
def test_what_another_version_has_written(
    found: object, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be added is left out, with a warning."""
    leave(place, ended_pid(), found)
    assert shared_snapshot() == snapshot()
    (record,) = caplog.records
    assert "can't be read" in record.getMessage()


def test_a_thread_writes(place: Path) -> None:
    """Once it has begun, a thread writes, and there is one however often it is asked for."""
    before = set(threading.enumerate())
    start()
    start()
    assert len(set(threading.enumerate()) - before) == 1
    (path,) = _wait_for(place)
    assert json.loads(path.read_text())["broadcasts"] == 0


def _wait_for(place: Path) -> list[Path]:
    pause = threading.Event()
    for _ in range(1000):
        found = list(place.glob("*.json"))
        if found:
            return found
        pause.wait(0.01)
    raise AssertionError("nothing was written")


def test_a_directory_that_can_not_be(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The thread says so once, and ends."""
    place.write_text("a file")
    before = set(threading.enumerate())
    start()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before
    (record,) = caplog.records
    assert "are not shared from now on" in record.getMessage()
