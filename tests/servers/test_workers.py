"""Groups on the memory backend, served by several workers, and by one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import pytest

from tests.servers.harness import COMMANDS, HOST, Server, new_key, remaining, running

WARNING = "and the memory backend of groups reaches this process only"

UVICORN = COMMANDS["uvicorn-sansio"]
GUNICORN = ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", f"{HOST}:{{port}}"]

Way = tuple[list[str], str, dict[str, str]]
"""A command, a file that it needs, and its environment."""

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

SEVERAL: dict[str, Way] = {
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

ONE: dict[str, Way] = {
    "uvicorn --reload": ([*UVICORN, "--reload"], "", {"WEB_CONCURRENCY": "2"}),
    "gunicorn": (GUNICORN, "", {}),
}


async def join(server: Server, members: int) -> None:
    """Let members join a group, and leave."""
    async with AsyncExitStack() as stack:
        for _ in range(members):
            path = f"/ws/member/lobby/{new_key()}/"
            await stack.enter_async_context(server.connect(path))


@pytest.fixture(scope="session")
def warnings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each way of starting workers leaves in the log; two run at the same time."""
    ways = {**SEVERAL, **ONE}
    folders = {way: tmp_path_factory.mktemp("workers") for way in ways}

    def run(way: str) -> list[str]:
        command, file, environment = ways[way]
        if file:
            (folders[way] / file).write_text(FILES[file])
        with running(way, folders[way], command=command, **environment) as server:
            asyncio.run(join(server, 6))
            if way in SEVERAL:
                asyncio.run(server.journal.wait_for_log(WARNING))
                server.process.kill()  # an orderly end of granian's workers takes ten seconds
        return [event["text"] for event in server.journal.logged(WARNING)]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(ways, pool.map(run, ways), strict=True))


@pytest.mark.parametrize("way", SEVERAL)
def test_several_workers(way: str, warnings: dict[str, list[str]]) -> None:
    """Each worker says once, at its first member, what its groups lack, and what to do."""
    assert 1 <= len(warnings[way]) <= 2
    assert all("Name a backend that carries to them" in text for text in warnings[way])


@pytest.mark.parametrize("way", ONE)
def test_one_worker_with_a_parent(way: str, warnings: dict[str, list[str]]) -> None:
    """A worker without siblings has nothing to say."""
    assert warnings[way] == []


async def test_one_worker(server: Server) -> None:
    """Nor has any server as it comes."""
    await join(server, 2)
    key = new_key()
    async with server.connect(f"/ws/fails-in-receive/{key}/") as websocket:
        await websocket.send("go")
        await remaining(websocket)
    await server.journal.wait_for_log(key)  # and what was logged before it
    assert server.journal.logged(WARNING) == []
