"""Groups on the memory backend, served by several workers, and by one."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.servers.harness import COMMANDS, HOST, Server, new_key, remaining, running

WARNING = "and the memory backend of groups reaches this process only"

UVICORN = COMMANDS["uvicorn-sansio"]
GUNICORN = ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", f"{HOST}:{{port}}"]

FILES = {
    "gunicorn.conf.py": "workers = 2\n",
    "hypercorn.toml": "workers = 2\n",
    "serve.py": (
        "import sys, uvicorn\n"
        "if __name__ == '__main__':\n"
        f"    uvicorn.run(sys.argv[2], host={HOST!r}, port=int(sys.argv[1]), workers=2)\n"
    ),
}
"""Ways to ask for workers that no command line and no variable tells of."""

SEVERAL = {
    "uvicorn WEB_CONCURRENCY": (UVICORN, "", {"WEB_CONCURRENCY": "2"}),
    "uvicorn.run()": (["serve", "{port}"], "serve.py", {}),
    "gunicorn.conf.py": (GUNICORN, "gunicorn.conf.py", {}),
    "hypercorn.toml": (
        [*COMMANDS["hypercorn"], "-c", "hypercorn.toml"],
        "hypercorn.toml",
        {},
    ),
    "granian --workers": ([*COMMANDS["granian"], "--workers", "2"], "", {}),
}

ONE = {
    "uvicorn --reload": [*UVICORN, "--reload"],
    "gunicorn": GUNICORN,
}


async def join(server: Server, members: int) -> None:
    """Let members join a group, and leave."""
    async with AsyncExitStack() as stack:
        for _ in range(members):
            path = f"/ws/member/lobby/{new_key()}/"
            await stack.enter_async_context(server.connect(path))


@pytest.mark.parametrize(("command", "file", "environment"), SEVERAL.values(), ids=SEVERAL)
async def test_several_workers(
    command: Sequence[str], file: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Each worker says once, at its first member, what its groups lack, and what to do."""
    if file:
        (tmp_path / file).write_text(FILES[file])
    with running("several", tmp_path, command=command, **environment) as server:
        await join(server, 6)
        await server.journal.wait_for_log(WARNING)
        server.process.kill()  # an orderly end of granian's workers takes ten seconds
    warnings = server.journal.logged(WARNING)
    assert 1 <= len(warnings) <= 2
    assert all("Name a backend that carries to them" in e["text"] for e in warnings)


@pytest.mark.parametrize("command", ONE.values(), ids=ONE)
async def test_one_worker_with_a_parent(command: Sequence[str], tmp_path: Path) -> None:
    """A worker without siblings has nothing to say."""
    with running("one", tmp_path, command=command) as server:
        await join(server, 2)
    assert server.journal.logged(WARNING) == []


async def test_one_worker(server: Server) -> None:
    """Nor has any server as it comes."""
    await join(server, 2)
    key = new_key()
    async with server.connect(f"/ws/fails-in-receive/{key}/") as websocket:
        await websocket.send("go")
        await remaining(websocket)
    await server.journal.wait_for_log(key)  # and what was logged before it
    assert server.journal.logged(WARNING) == []
