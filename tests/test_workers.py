"""``workers.py``: what tells that there are several workers. ``tests/servers`` asks the servers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from wsconsumer.workers import count_alike, evidence_of_workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VARIABLES = ("WEB_CONCURRENCY", "GRANIAN_WORKERS", "GUNICORN_CMD_ARGS")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Return what is concluded from a command line and an environment."""

    def told(command: str, **environment: str) -> str | None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", command.split())
        return evidence_of_workers()

    return told


@pytest.mark.parametrize(
    ("command", "environment", "expected"),
    [
        ("/bin/uvicorn --workers 2 a:b", {}, "The command line asks for 2 workers"),
        ("/lib/uvicorn/__main__.py --workers=3 a:b", {}, "The command line asks for 3 workers"),
        ("uvicorn a:b", {"WEB_CONCURRENCY": "4"}, "The environment has WEB_CONCURRENCY=4"),
        ("uvicorn --workers 1 a:b", {"WEB_CONCURRENCY": "4"}, None),
        ("uvicorn --reload a:b", {"WEB_CONCURRENCY": "4"}, None),
        ("uvicorn a:b", {"WEB_CONCURRENCY": "1"}, None),
        ("uvicorn a:b", {"WEB_CONCURRENCY": "auto"}, None),
        ("uvicorn a:b", {}, None),
        ("gunicorn -w 2 a:b", {}, "The command line asks for 2 workers"),
        ("gunicorn -w2 a:b", {}, "The command line asks for 2 workers"),
        ("gunicorn a:b", {"GUNICORN_CMD_ARGS": "-w 2"}, "GUNICORN_CMD_ARGS asks for 2 workers"),
        ("gunicorn a:b", {"GUNICORN_CMD_ARGS": "-w 1", "WEB_CONCURRENCY": "2"}, None),
        ("gunicorn a:b", {"WEB_CONCURRENCY": "2"}, "The environment has WEB_CONCURRENCY=2"),
        ("hypercorn --workers 2 a:b", {}, "The command line asks for 2 workers"),
        ("hypercorn a:b", {"WEB_CONCURRENCY": "2"}, None),
        ("granian a:b", {"GRANIAN_WORKERS": "2"}, "The environment has GRANIAN_WORKERS=2"),
        ("granian a:b", {"WEB_CONCURRENCY": "2"}, None),
        ("daphne a:b", {"WEB_CONCURRENCY": "2"}, None),
        ("celery -A a worker -w 2", {"WEB_CONCURRENCY": "2"}, None),
        ("manage.py runserver", {"WEB_CONCURRENCY": "2"}, None),
    ],
)
def test_what_the_server_was_told(
    command: str, environment: dict[str, str], expected: str | None, told: Callable[..., Any]
) -> None:
    """The command line counts, then the variable of the server that it starts, and no other."""
    assert told(command, **environment) == expected


class Proc:
    """A folder like ``/proc``, in which this process has siblings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        children = folder / str(os.getppid()) / "task" / "1"
        children.mkdir(parents=True)
        (children / "children").write_text(f"{os.getpid()} 1000001 1000002 ")
        self.add(os.getpid())

    def add(self, pid: int, command: str = "serve 1", cwd: str = "/srv", start: int = 500) -> None:
        """Add a process; ``start`` is in seconds."""
        folder = self.folder / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "cmdline").write_bytes(command.replace(" ", "\0").encode())
        (folder / "cwd").symlink_to(cwd)
        ticks = start * os.sysconf("SC_CLK_TCK")
        (folder / "stat").write_text(f"{pid} (a (b) c) S {'0 ' * 18}{ticks} 0 0\n")


@pytest.mark.parametrize(
    ("sibling", "count"),
    [
        ({}, 1),
        ({"command": "serve 23"}, 1),
        ({"command": "track 1"}, 0),
        ({"cwd": "/srv/other"}, 0),
        ({"start": 505}, 1),
        ({"start": 520}, 0),
        ({"start": 480}, 0),
        (None, 0),
    ],
    ids=["same", "number", "command", "folder", "soon", "later", "before", "gone"],
)
def test_siblings(sibling: dict[str, Any] | None, count: int, tmp_path: Path) -> None:
    """They have the same command but for numbers, in the same folder, from the same start."""
    proc = Proc(tmp_path)
    if sibling is not None:
        proc.add(1000001, **sibling)
    assert count_alike(tmp_path) == count


def test_another_system(tmp_path: Path) -> None:
    """Without a ``/proc`` nothing is known of siblings."""
    with pytest.raises(OSError, match="cmdline"):
        count_alike(tmp_path)
