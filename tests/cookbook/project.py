"""A recipe of the cookbook as a project: what ``startproject`` makes, and the page's files."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.contrib.auth import signals as auth_signals
from django.contrib.staticfiles.finders import get_finder
from django.core.checks.registry import registry
from django.core.management import call_command
from django.db import connection
from django.db.models import signals as model_signals
from django.dispatch import Signal
from django.test import override_settings

from tests.documents import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

COOKBOOK: Final = ROOT / "docs" / "cookbook"

ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
    "PYTHONWARNINGS": "error",
    "PYTHONDONTWRITEBYTECODE": "1",
}

SETTINGS: Final = "mysite/settings.py"
"""Here a page has only what is to be added to the file."""

KEPT: Final = {"ALLOWED_HOSTS", "DATABASES", "DEBUG", "PASSWORD_HASHERS"}
"""The settings that stay the suite's where a project is loaded."""


def files_of(page: str) -> dict[str, str]:
    """Return the files of a page, and ``asgi.py`` of the README."""
    readme = [b for b in blocks(ROOT / "README.md") if b.file == "mysite/asgi.py"]
    files: dict[str, str] = {}
    for block in (*readme, *blocks(COOKBOOK / page)):
        if block.file == SETTINGS:
            files[SETTINGS] = files.get(SETTINGS, "") + block.code
        elif block.file:
            files[block.file] = block.code
    return files


class Project:
    """What ``startproject`` makes, in a directory, with more files and installed apps."""

    def __init__(
        self, directory: Path, files: Mapping[str, str], installed: str = "wsconsumer"
    ) -> None:
        self.directory = directory
        self.files = files
        directory.mkdir()
        call_command("startproject", "mysite", str(directory))
        for file, code in files.items():
            if file != SETTINGS:
                self._write(file, code)
        self.apps = self._write_apps()
        self._write_settings(installed)

    # The project on disk, which runs in processes of its own.

    def python(self, *arguments: str, **environment: str) -> str:
        """Run Python there; return what it printed, and fail with it."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env={**ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a command of ``manage.py``."""
        return self.python("manage.py", *arguments, **environment)

    def shell(self, program: str, **environment: str) -> str:
        """Run a program in the set up project."""
        setup = "import django; django.setup()\n"
        environment = {"DJANGO_SETTINGS_MODULE": "mysite.settings", **environment}
        return self.python("-c", setup + program, **environment)

    @contextmanager
    def running(self, module: str, *arguments: str, **environment: str) -> Iterator[Program]:
        """Run a program of Python's (``python -m module``) while the block runs."""
        with subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.directory,
            env={**ENVIRONMENT, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            program = Program(process)
            try:
                yield program
            finally:
                program.stop()

    @contextmanager
    def serve(self, **environment: str) -> Iterator[str]:
        """Serve the project with daphne, on a free port; yield ``127.0.0.1:port``."""
        options = ("-b", "127.0.0.1", "-p", "0", "mysite.asgi:application")
        with self.running("daphne", *options, **environment) as daphne:
            yield daphne.wait_for(r"Listening on TCP address (\S+:\d+)")[1]
        assert "Traceback" not in daphne.output, daphne.output

    # The project in the process of the test.

    @contextmanager
    def load(self) -> Iterator[None]:
        """Be the project of this process, with its settings, its apps and their tables."""
        sys.path.insert(0, str(self.directory))
        importlib.invalidate_caches()
        try:
            settings = vars(self.module("mysite.settings"))
            names = {name for name in settings if name.isupper()} - KEPT
            with (
                _receivers(),
                _checks(),
                override_settings(**{name: settings[name] for name in names}),
                _tables(),
            ):
                self.module("mysite.urls")  # what it imports may take longer than a client waits
                yield
        finally:
            sys.path.remove(str(self.directory))
            self._forget()

    def module(self, name: str) -> ModuleType:
        """Return a module of the project, such as ``chat.consumers``."""
        return importlib.import_module(name)

    def _forget(self) -> None:
        packages = {"mysite", *self.apps}
        for name in tuple(sys.modules):
            if name.partition(".")[0] in packages:
                del sys.modules[name]
        for app in self.apps:
            apps.all_models.pop(app, None)
        apps.clear_cache()
        # It knows the static files of apps by their folders.
        get_finder.cache_clear()  # type: ignore[attr-defined]  # an lru_cache

    # Writing it

    def _write(self, file: str, text: str) -> None:
        path = self.directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _write_apps(self) -> list[str]:
        """Make packages of the folders with Python in them; return those that are apps."""
        for file in self.directory.rglob("*.py"):
            for folder in file.relative_to(self.directory).parents[:-1]:
                (self.directory / folder / "__init__.py").touch()
        folders = {file.parent.name for file in self.directory.glob("*/__init__.py")}
        return sorted(folders - {"mysite"})

    def _write_settings(self, installed: str) -> None:
        settings = self.directory / SETTINGS
        names = "".join(f'    "{name}",\n' for name in ("daphne", installed, *self.apps))
        text = settings.read_text().replace("INSTALLED_APPS = [\n", f"INSTALLED_APPS = [\n{names}")
        more = self.files.get(SETTINGS, "")
        settings.write_text(f'{text}\nASGI_APPLICATION = "mysite.asgi.application"\n{more}')
        if "mysite/urls.py" not in self.files:
            urls = [app for app in self.apps if (self.directory / app / "urls.py").exists()]
            includes = "".join(f'    path("", include("{app}.urls")),\n' for app in urls)
            self._write("mysite/urls.py", URLS.format(includes=includes))


URLS: Final = """from django.urls import include, path

urlpatterns = [
    path("accounts/", include("django.contrib.auth.urls")),
{includes}]
"""


@contextmanager
def _tables() -> Iterator[None]:
    """Make the tables that the installed apps miss, and drop them in the end."""
    there = set(connection.introspection.table_names())
    missing = [model for model in apps.get_models() if model._meta.db_table not in there]  # noqa: SLF001  # what is inside is what is tested
    with connection.schema_editor() as editor:
        for model in missing:
            editor.create_model(model)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            for model in missing[::-1]:
                editor.delete_model(model)


@contextmanager
def _checks() -> Iterator[None]:
    """Let the system checks of the project's apps end with it."""
    before = {*registry.registered_checks}
    try:
        yield
    finally:
        registry.registered_checks = before


@contextmanager
def _receivers() -> Iterator[None]:
    """Disconnect in the end what the block connects to the signals of models and logins."""
    names = (*vars(model_signals).values(), *vars(auth_signals).values())
    signals = [each for each in names if isinstance(each, Signal)]
    before = [signal.receivers[:] for signal in signals]
    try:
        yield
    finally:
        for signal, receivers in zip(signals, before, strict=True):
            signal.receivers = receivers
            signal.sender_receivers_cache.clear()


class Program:
    """A program that runs, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._changed = threading.Condition()
        self._is_over = False
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until it has printed something, and return the match."""

        def is_told() -> bool:
            return self._is_over or re.search(pattern, self.output) is not None

        with self._changed:
            self._changed.wait_for(is_told, seconds)
            found = re.search(pattern, self.output)
        assert found, f"waited for {pattern!r}; it printed:\n{self.output}"
        return found

    def kill_child(self) -> None:
        """Let the one process that it has started crash."""
        pid = self._process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and read what it prints until it has."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._reader.join(10)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._add(line)
        self._add("", is_over=True)

    def _add(self, line: str, *, is_over: bool = False) -> None:
        with self._changed:
            self.output += line
            self._is_over = is_over
            self._changed.notify_all()
