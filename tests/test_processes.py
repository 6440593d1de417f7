"""``processes.py``: what a process is called."""

from __future__ import annotations

import multiprocessing
import os
import socket

from wsconsumer.processes import Process, this_process


def test_a_process_has_one_name() -> None:
    """It says host and pid, and is the same each time."""
    process = this_process()
    assert (process.host, process.pid) == (socket.gethostname(), os.getpid())
    assert process == this_process()
    assert str(Process("web-1", 4711, "5fe2a1b3")) == "web-1:4711:5fe2a1b3"


def _tell(told: multiprocessing.SimpleQueue[Process]) -> None:
    told.put(this_process())


def test_a_fork_has_another() -> None:
    """A child that was forked when its parent had a name has one of its own."""
    parent = this_process()
    context = multiprocessing.get_context("fork")
    told: multiprocessing.SimpleQueue[Process] = context.SimpleQueue()
    child = context.Process(target=_tell, args=(told,))
    child.start()
    name = told.get()
    child.join()
    assert name.pid != parent.pid
    assert name.token != parent.token
