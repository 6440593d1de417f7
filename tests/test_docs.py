"""README.md and docs/: every block of code is run, in a project that Django itself has made."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from django.core.handlers import asgi as django_asgi
from websockets.asyncio.client import connect

import wsconsumer
from tests.documents import ROOT, Block, blocks
from tests.engines import free_port
from tests.programs import require

PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "README.md"}),
]

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").exists(), reason="the tests are run without the documents"
)


def named(page: str, file: str) -> Block:
    """Return the block of a page that is this file."""
    return next(block for block in ALL if (block.page, block.file) == (page, file))


ALL = [block for page in PAGES for block in blocks(page)]

ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
ENVIRONMENT.pop("DJANGO_SETTINGS_MODULE", None)


def python(directory: Path, *arguments: str, **more: str) -> str:
    """Run Python in a directory; fail with what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**ENVIRONMENT, **more},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of ``startproject``, with what the README says to add to the settings."""
    python(tmp_path, "-m", "django", "startproject", "mysite", ".")
    settings = tmp_path / "mysite" / "settings.py"
    settings.write_text(settings.read_text() + named("README.md", "mysite/settings.py").code)
    (tmp_path / "mysite" / "asgi.py").write_text(named("README.md", "mysite/asgi.py").code)
    return tmp_path


def write(project: Path, page: str) -> list[Block]:
    """Write the files that a page shows; return its Python, without what ``project`` has."""
    python = [block for block in ALL if block.page == page and block.language == "python"]
    found = [block for block in python if block.file != "mysite/settings.py"]
    for block in found:
        (project / block.file).write_text(block.code)
    return found


def settings_of(page: str, files: list[Block]) -> str:
    """Return the settings of a page's project: ``mysite.PAGE_settings`` if it shows such a file."""
    own = f"{page.removesuffix('.md')}_settings"
    is_shown = any(block.file == f"mysite/{own}.py" for block in files)
    return f"mysite.{own if is_shown else 'settings'}"


@pytest.mark.parametrize("block", ALL, ids=lambda block: f"{block.page}:{block.file}")
def test_each_block_is_of_a_kind_that_is_run(block: Block) -> None:
    """Files have names, shell is of the commands below; there is nothing else."""
    if block.language in {"python", *CHECKS, *RUN_ELSEWHERE}:
        assert block.file
    elif block.language not in PRINTED:
        assert block.language == "sh"
        for command in block.code.replace("\\\n", "").splitlines():
            assert command.split()[0] == "curl" or command in COMMANDS, f"no test runs {command!r}"


RUN_ELSEWHERE = {"apache", "haproxy", "html", "js", "ts", "vcl"}
"""
What ``tests/proxies/``, ``tests/browsers/``, ``tests/authentication/`` and the test of the types
run.
"""

PRINTED = {"text"}
"""What the commands of the page before it print, and drawings."""

COMMANDS = {
    'pip install "wsconsumer[daphne]"': ["pip"],
    "python manage.py websockets": ["python"],
    "python manage.py websockets --close --user 7": ["python"],
    "python manage.py websockets --live": ["python"],
    "daphne app:application": ["daphne"],
    "daphne mysite.asgi:application": ["daphne"],
    "uvicorn mysite.asgi:application": ["uvicorn"],
    "make run": ["make"],
    "make run-redis": ["make"],
    "make run-postgres": ["make"],
    "make test": ["make"],
    "make bench": ["make"],
}
"""
The commands of the pages. The servers are run below, curl in ``tests/proxies/``, ``--live`` and
``--close`` in ``tests/management/``; ``make`` is how this test came to run.
"""


@pytest.mark.timeout(240)  # a long page runs many tests of its own, in a new Python
@pytest.mark.parametrize(
    "page", [page.name for page in PAGES if any(b.page == page.name for b in ALL)]
)
def test_a_page(page: str, project: Path) -> None:
    """The files of a page make a project that passes Django's checks and its own tests."""
    files = write(project, page)
    settings = {"DJANGO_SETTINGS_MODULE": settings_of(page, files)}
    python(project, "manage.py", "check", "--fail-level", "WARNING", **settings)
    modules = [block.file.removesuffix(".py").replace("/", ".") for block in files]
    if "app" in modules:  # configures its own settings
        python(project, "-c", "import app")
        modules.remove("app")
    program = "".join(f"import {module}\n" for module in ["django\ndjango.setup()", *modules])
    python(project, "-c", program, **settings)
    if any(block.file == "mysite/tests.py" for block in files):
        python(project, "manage.py", "test", "mysite", **settings)
    if any(block.file == "mysite/test_with_pytest.py" for block in files):
        options = ("asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function")
        flags = [word for option in options for word in ("-o", option)]
        python(project, "-m", "pytest", "--ds=mysite.settings", *flags, "mysite")


# What the page for troubles says


def test_what_the_command_prints(project: Path) -> None:
    """The page shows it as it is, but for versions, times and the servers that are installed."""
    write(project, "troubleshooting.md")
    printed = python(project, "manage.py", "websockets")
    (shown,) = (b.code for b in ALL if b.page == "troubleshooting.md" and b.language in PRINTED)
    assert without_versions(printed) == without_versions(shown)


def without_versions(printed: str) -> str:
    """Return what does not depend on what is installed, or on the time."""
    printed = re.sub(r"^servers .*", "servers", printed, flags=re.MULTILINE)
    return re.sub(r"\d[\w.]*(?=,|$| ms)", "N", printed, flags=re.MULTILINE)


def test_what_the_log_says() -> None:
    """What the tables quote of the log is what the code writes there, or Django's."""
    tables = (ROOT / "docs" / "troubleshooting.md").read_text()
    cells = [row.split("|")[2] for row in tables.splitlines() if row.startswith("| ")]
    quoted = [text for cell in cells for text in re.findall(r'"([^"]+)"', cell)]
    files = [*Path(wsconsumer.__file__).parent.rglob("*.py"), Path(django_asgi.__file__)]
    written = [
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(quoted) > 10
    assert [text for text in quoted if not any(text in each for each in written)] == []


def test_the_types_of_a_page(project: Path) -> None:
    """The TypeScript of the page on messages is what the command makes of its Python."""
    write(project, "messages.md")
    made = python(project, "manage.py", "websocket_types", DJANGO_SETTINGS_MODULE="mysite.settings")
    (shown,) = (block for block in ALL if block.language == "ts")
    code = shown.code.partition("\n")[2]
    assert code_alone(code) in code_alone(made)


def code_alone(typescript: str) -> str:
    """Return the code without its comments and white space."""
    return re.sub(r"/\*.*?\*/|//.*|\s+", "", typescript)


# Configuration of other programs, which is read by the programs themselves.


def check_nginx(file: Path, directory: Path) -> None:
    """Let nginx read a file of its conf.d."""
    program = require("nginx", "nginx-light")
    main = directory / "nginx.conf"
    main.write_text(f"pid {directory}/pid; events {{}} http {{ include {file}; }}")
    check([program, "-t", "-p", str(directory), "-e", "stderr", "-c", str(main)])


def check_caddy(file: Path, directory: Path) -> None:
    """Let Caddy read a Caddyfile."""
    program = require("caddy", "caddy")
    check(
        [program, "validate", "--adapter", "caddyfile", "--config", str(file)], HOME=str(directory)
    )


def check_systemd(file: Path, directory: Path) -> None:
    """Let systemd read a unit, with a program in the place of the one that it names."""
    program = require("systemd-analyze", "systemd")
    executable = directory / ".venv" / "bin" / "daphne"
    executable.parent.mkdir(parents=True)
    executable.symlink_to(sys.executable)
    unit = directory / "mysite@.service"
    unit.write_text(file.read_text().replace("/srv/mysite", str(directory)))
    check([program, "verify", "--man=no", str(directory / "mysite@8001.service")])


def check_yaml(file: Path, directory: Path) -> None:
    """A Deployment whose command is the one of this page, and whose labels fit."""
    deployment = yaml.safe_load(file.read_text())
    assert (deployment["kind"], deployment["apiVersion"]) == ("Deployment", "apps/v1")
    spec = deployment["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"][-1] == "mysite.asgi:application"


def check(command: list[str], **more: str) -> None:
    """Run a program that finds mistakes; it must find none."""
    done = subprocess.run(
        command,
        env={**ENVIRONMENT, **more},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


CHECKS = {
    "nginx": check_nginx,
    "caddy": check_caddy,
    "ini": check_systemd,
    "yaml": check_yaml,
}


@pytest.mark.parametrize(
    "block",
    [block for block in ALL if block.language in CHECKS],
    ids=lambda block: block.language,
)
def test_configuration_of_other_programs(block: Block, tmp_path: Path) -> None:
    """The program that a file is for has nothing to say against it."""
    file = tmp_path / Path(block.file).name
    file.write_text(block.code)
    CHECKS[block.language](file, tmp_path)


def test_every_make_target_is_there() -> None:
    """The Makefile has the targets that the pages name."""
    makefile = (ROOT / "Makefile").read_text()
    texts = [page.read_text() for page in PAGES]
    commands = [f"`{line}" for block in ALL for line in block.code.splitlines()]
    for target in re.findall(r"`make ([a-z-]+)", "\n".join([*texts, *commands])):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readme_is_short() -> None:
    """A README is read when it is short."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 190


# The README on real servers


class Connect(connect):
    """A client that stays where it is sent, like a browser's WebSocket."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Served:
    """A server that runs an application of a directory."""

    def __init__(self, directory: Path, *command: str) -> None:
        self.port = free_port()
        self._directory = directory
        self._command = [word.format(port=self.port) for word in command]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self._command, cwd=self._directory, env=ENVIRONMENT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert self._process.stdout is not None
        lines = []
        async with asyncio.timeout(30):
            async for line in self._process.stdout:
                lines.append(line.decode())
                if b"Listening on" in line or b"Uvicorn running on" in line:
                    return self
        pytest.fail("".join(lines))

    async def __aexit__(self, *exc_info: object) -> None:
        self._process.terminate()
        await self._process.communicate()

    def connect(self, path: str, **more: Any) -> Any:
        return Connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None, **more)


DAPHNE = ("daphne", "-b", "127.0.0.1", "-p", "{port}", "-v", "2")
UVICORN = ("uvicorn", "--port", "{port}")


async def test_the_complete_program(tmp_path: Path) -> None:
    """The first program of the README is complete: daphne serves it, and two clients talk."""
    (tmp_path / "app.py").write_text(named("README.md", "app.py").code)
    served = Served(tmp_path, *DAPHNE, "app:application")
    chat = "/ws/chat/"
    async with served as server, server.connect(chat) as ada, server.connect(chat) as bob:
        await ada.send("Hello")
        assert [await ada.recv(), await bob.recv()] == ["Hello", "Hello"]


@pytest.fixture
async def cookie(project: Path) -> str:
    """Write the README's project, and log a user in; return her cookie."""
    write(project, "README.md")
    program = """
from django.contrib.auth.models import User
from django.test import Client
ada = User.objects.create_user("ada")
client = Client()
client.force_login(ada)
print(client.cookies["sessionid"].OutputString().partition(";")[0])
"""
    python(project, "manage.py", "migrate", "--verbosity", "0")
    output = python(project, "manage.py", "shell", "-c", program)
    return output.splitlines()[-1]


@pytest.mark.parametrize("command", [DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
async def test_your_project(command: tuple[str, ...], project: Path, cookie: str) -> None:
    """A fresh project with the README's lines has sockets that know request.user."""
    async with Served(project, *command, "mysite.asgi:application") as server:
        ada = {"Cookie": cookie}
        async with server.connect("/ws/members/attic/", additional_headers=ada) as client:
            assert await client.recv() == "Hello ada, this is attic."
            await client.send("hi")
            assert await client.recv() == "HI"
        async with server.connect("/ws/hello/attic/") as client:
            assert await client.recv() == "Hello stranger, this is attic."
        with pytest.raises(Exception, match="HTTP 302"):
            await server.connect("/ws/members/attic/")
        with pytest.raises(Exception, match="HTTP 403"):
            await server.connect("/ws/hello/attic/", origin="http://evil.com")
