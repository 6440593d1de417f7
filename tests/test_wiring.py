"""``manage.py websockets``: the wiring, whatever is wrong with it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application as get_django_application
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

import wsconsumer
from wsconsumer import Group, WebsocketConsumer
from wsconsumer.asgi import get_asgi_application
from wsconsumer.groups import declared
from wsconsumer.groups.base import Backend
from wsconsumer.groups.memory import MemoryBackend


class Chat(WebsocketConsumer):
    """Nothing but a name."""


urlpatterns = [path("", lambda request: HttpResponse()), path("ws/", Chat.as_view())]
application = get_asgi_application()
static = ASGIStaticFilesHandler(get_django_application())


def mounted(scope: Any, receive: Any, send: Any) -> None:
    """Stand for an application that mounts ours."""


class Failing(MemoryBackend):
    """A backend of the project's that can't even be made."""

    def __init__(self, *args: Any) -> None:
        raise ZeroDivisionError("by mistake")


class Own(MemoryBackend):
    """A backend of the project's that does not describe its engine."""

    describe = Backend.describe


class Silent(MemoryBackend):
    """A backend that takes everything and brings nothing."""

    async def publish(self, group: str, body: bytes) -> None:
        raise ConnectionResetError("by peer, nats://me:hunter2@host:4222")


def run(*arguments: str, **settings: Any) -> tuple[str, bool]:
    """Run the command with these settings; return what it printed, and whether all is well."""
    out = io.StringIO()
    mine = {
        "ROOT_URLCONF": __name__,
        "ASGI_APPLICATION": f"{__name__}.application",
        # Here daphne is installed, but for `manage.py runserver` it is not.
        "SILENCED_SYSTEM_CHECKS": ["wsconsumer.W008"],
    }
    with override_settings(**mine | settings):
        try:
            call_command("websockets", *arguments, stdout=out, stderr=out)
        except CommandError:
            return out.getvalue(), False
    return out.getvalue(), True


def lines(text: str) -> dict[str, str]:
    """Return the facts by their label."""
    facts = text.partition("\n\n")[0].splitlines()
    return {line[:10].strip() or "more": line[10:].strip() for line in facts}


def test_a_good_project() -> None:
    """Each fact has a line, a broadcast came back, and the routes follow."""
    text, is_well = run(ALLOWED_HOSTS=["example.com"], CSRF_TRUSTED_ORIGINS=["https://a.com"])
    facts = lines(text)
    assert is_well
    assert list(facts) == [
        "settings", "versions", "asgi.py", "servers", "hosts", "origins", "threads", "engine",
        "more", "broadcast",
    ]  # fmt: skip
    assert facts["settings"] == "tests.settings, DEBUG = False"
    assert facts["versions"].startswith(f"python {sys.version.split()[0]}, django ")
    assert facts["asgi.py"] == f"{__name__}.application serves websockets"
    assert "daphne 4." in facts["servers"]
    assert "(with websockets " in facts["servers"]
    assert facts["hosts"] == "example.com"
    assert facts["origins"] == "the Host's own; https://a.com (CSRF_TRUSTED_ORIGINS)"
    assert facts["threads"] == "4 for handshakes, 8 for hooks"
    assert facts["engine"] == "the memory of each process, which reaches no other"
    assert facts["more"] == "wsconsumer.groups.memory.MemoryBackend, PREFIX 'wsconsumer'"
    assert facts["broadcast"].startswith("came back in ")
    assert text.endswith(f"/ws/  {__name__}.Chat\n")


def test_json() -> None:
    """--json has the same for programs, with the problems by their ids."""
    text, is_well = run("--json", WSCONSUMER={"ALLOWED_ORIGINS": ["*"], "THREADS": 2})
    report = json.loads(text)
    assert is_well
    assert list(report) == ["wiring", "problems", "routes"]
    facts = report["wiring"]
    assert (facts["settings"], facts["debug"]) == ("tests.settings", False)
    assert facts["asgi"] == {
        "name": f"{__name__}.application",
        "serves": "websockets",
        "error": None,
    }
    assert facts["origins"] == {"CSRF_TRUSTED_ORIGINS": [], "ALLOWED_ORIGINS": ["*"]}
    assert facts["groups"] == []
    assert facts["threads"] == {"HANDSHAKE_THREADS": 4, "THREADS": 2}
    assert facts["engine"].pop("seconds") < 5
    assert facts["engine"] == {
        "backend": "wsconsumer.groups.memory.MemoryBackend",
        "location": "",
        "prefix": "wsconsumer",
        "description": "the memory of each process, which reaches no other",
        "error": None,
    }
    (problem,) = report["problems"]
    assert (problem["id"], problem["level"]) == ("wsconsumer.W002", "warning")
    assert problem["message"].startswith("WSCONSUMER['ALLOWED_ORIGINS'] has '*': any site can open")
    assert problem["hint"].startswith("Name the origins")
    (route,) = report["routes"]
    assert route["path"] == "/ws/"


FILES = {
    "broken_imports.py": "import no_such_package",
    "broken_syntax.py": "def (",
    "broken_name.py": "\nurlpatterns = application = get_application()",
    "broken_exit.py": "raise SystemExit('SECRET_KEY is missing')",
    "broken_url.py": "raise ValueError('can not read redis://:hunter2@host')",
    "broken_backend.py": "class Backend(\n",
}

REDIS = "wsconsumer.groups.redis.RedisBackend"

MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "asgi-not-there": (
        {"ASGI_APPLICATION": "nowhere.application"},
        ("nowhere.application can't be imported: No module named 'nowhere'", "wsconsumer.E004"),
    ),
    "asgi-attribute": (
        {"ASGI_APPLICATION": f"{__name__}.no_such"},
        ('does not define a "no_such" attribute', "wsconsumer.E004"),
    ),
    "asgi-imports": (
        {"ASGI_APPLICATION": "broken_imports.application"},
        ("No module named 'no_such_package' (", "broken_imports.py, line 1)", "wsconsumer.E004"),
    ),
    "asgi-syntax": (
        {"ASGI_APPLICATION": "broken_syntax.application"},
        ("can't be imported: SyntaxError: ", "(broken_syntax.py, line 1)", "wsconsumer.E004"),
    ),
    "asgi-name": (
        {"ASGI_APPLICATION": "broken_name.application"},
        ("NameError: name 'get_application' is not defined (", "broken_name.py, line 2)"),
    ),
    "asgi-exit": (
        {"ASGI_APPLICATION": "broken_exit.application"},
        ("SystemExit: SECRET_KEY is missing (", "wsconsumer.E004"),
    ),
    "asgi-url": (
        {"ASGI_APPLICATION": "broken_url.application"},
        ("ValueError: can not read redis://:***@host (", "wsconsumer.E004"),
    ),
    "asgi-no-path": ({"ASGI_APPLICATION": 5}, ("5 can't be imported: ", "wsconsumer.E004")),
    "asgi-of-django": (
        {"ASGI_APPLICATION": f"{__name__}.static"},
        ("static is Django's own, which serves no websockets", "wsconsumer.E004"),
    ),
    "urlconf-syntax": (
        {"ROOT_URLCONF": "broken_syntax"},
        ("wsconsumer.E008: The URLconf 'broken_syntax' can't be loaded: SyntaxError",),
    ),
    "urlconf-name": (
        {"ROOT_URLCONF": "broken_name"},
        ("wsconsumer.E008: The URLconf 'broken_name' can't be loaded: NameError", ", line 2)."),
    ),
    "urlconf-not-there": (
        {"WSCONSUMER": {"URLCONF": "nowhere.urls"}},
        ("wsconsumer.E008: The URLconf 'nowhere.urls' can't be loaded: No module named 'nowhere'",),
    ),
    "urlconf-exit": ({"ROOT_URLCONF": "broken_exit"}, ("wsconsumer.E008", "SystemExit")),
    "settings-no-dict": (
        {"WSCONSUMER": "redis://:hunter2@host"},
        ("wsconsumer.E001", "not tried: WSCONSUMER must be a dict"),
    ),
    "settings-wrong": (
        {"WSCONSUMER": {"THREADS": 0, "ALLOWED_ORIGINS": 5, "URLCONF": __name__}},
        ("wsconsumer.E003", "0 for hooks", "5 (ALLOWED_ORIGINS)", f"{__name__}.Chat"),
    ),
    "groups-no-dict": ({"WSCONSUMER": {"GROUPS": "redis://:hunter2@host"}}, ("wsconsumer.E003",)),
    "location-of-another": (
        {"WSCONSUMER": {"GROUPS": {"LOCATION": "redis://:hunter2@host"}}},
        ("LOCATION 'redis://:***@host'", "wsconsumer.E006", "not tried: "),
    ),
    "location-no-url": (
        {"WSCONSUMER": {"GROUPS": {"BACKEND": REDIS, "LOCATION": "redis://:hunter2/x@host"}}},
        ("LOCATION 'redis://***'", "has a URL that can't be read", "wsconsumer.E006"),
    ),
    "location-type": (
        {"WSCONSUMER": {"GROUPS": {"BACKEND": REDIS, "LOCATION": {"password": "hunter2"}}}},
        ("LOCATION '<dict>'", "wsconsumer.E003"),
    ),
    "backend-not-there": (
        {"WSCONSUMER": {"GROUPS": {"BACKEND": "nowhere.Backend"}}},
        ("engine     nowhere.Backend", "not tried: ", "wsconsumer.E006"),
    ),
    "backend-syntax": (
        {"WSCONSUMER": {"GROUPS": {"BACKEND": "broken_backend.Backend"}}},
        ("can't be imported: SyntaxError: ", "wsconsumer.E006"),
    ),
    "backend-fails": (
        {"WSCONSUMER": {"GROUPS": {"BACKEND": f"{__name__}.Failing"}}},
        (
            "not tried: ZeroDivisionError: by mistake (",
            "check_groups() can't be run: ZeroDivisionError: by mistake (",
        ),
    ),
    "engine-away": (
        {"WSCONSUMER": {"GROUPS": {"BACKEND": REDIS, "LOCATION": "redis://:hunter2@127.0.0.1:1"}}},
        ("Redis at 127.0.0.1:1", "LOCATION 'redis://:***@127.0.0.1:1'", "ConnectionError: "),
    ),
    "engine-fails": (
        {"WSCONSUMER": {"GROUPS": {"BACKEND": f"{__name__}.Silent"}}},
        ("broadcast  ConnectionResetError: by peer, nats://me:***@host:4222",),
    ),
    "function-fails": (
        {"WSCONSUMER": {"THREAD_CONTEXT": "broken_name.context"}},
        ("wsconsumer.E007", "can't be imported: NameError"),
    ),
}


@pytest.mark.parametrize(("settings", "told"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_broken_hides_nothing_else(
    settings: dict[str, Any], told: tuple[str, ...], project: Path
) -> None:
    """The rest is printed all the same, the mistake is told, and the exit status is 1."""
    text, is_well = run(**settings)
    assert not is_well
    for part in told:
        assert part in text
    facts = lines(text)
    for label in ("settings", "servers", "hosts", "threads", "engine", "broadcast"):
        assert facts[label]
    if "URLCONF" not in str(settings):
        assert f"/ws/  {__name__}.Chat" in text
        assert facts["asgi.py"]
    assert "hunter2" not in text
    report = json.loads(run("--json", **settings)[0])
    assert report["problems"] or report["wiring"]["engine"]["error"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Modules with mistakes in them."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def test_other_wirings() -> None:
    """What is not set, and what can't be looked into, is said and no mistake."""
    text, is_well = run(ASGI_APPLICATION=None, DEBUG=True, ALLOWED_HOSTS=[])
    assert is_well
    assert lines(text)["asgi.py"] == (
        "ASGI_APPLICATION is not set, so only the server's command line says what it serves"
    )
    assert lines(text)["hosts"] == "localhost, since DEBUG is on"
    text, is_well = run(ASGI_APPLICATION=f"{__name__}.mounted", ALLOWED_HOSTS=[])
    assert is_well
    assert "mounted is a builtins.function, which is not looked into" in lines(text)["asgi.py"]
    assert lines(text)["hosts"] == "none: ALLOWED_HOSTS is empty"


def test_a_backend_of_the_project() -> None:
    """It is called by its class and its LOCATION, if it has one."""
    text, is_well = run(WSCONSUMER={"GROUPS": {"BACKEND": f"{__name__}.Own"}})
    assert is_well
    assert lines(text)["engine"] == "Own at no LOCATION"


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ({}, "none is installed"),
        ({"daphne": "4.2.3"}, "daphne 4.2.3"),
        ({"uvicorn": "0.54.0"}, "uvicorn 0.54.0 (with no library for websockets)"),
        ({"uvicorn": "0.54.0", "wsproto": "1.3"}, "uvicorn 0.54.0 (with wsproto 1.3)"),
    ],
    ids=["none", "daphne", "uvicorn", "uvicorn-with-wsproto"],
)
def test_servers(installed: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers that are installed, and what uvicorn needs beside itself."""

    def version(name: str) -> str:
        if name in installed:
            return installed[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert lines(run()[0])["servers"] == told


def test_a_silenced_error() -> None:
    """What SILENCED_SYSTEM_CHECKS names is told no more, and no error."""
    text, is_well = run(
        ASGI_APPLICATION=f"{__name__}.static",
        SILENCED_SYSTEM_CHECKS=["wsconsumer.E004", "wsconsumer.W008"],
    )
    assert is_well
    assert "E004" not in text


def test_no_routes() -> None:
    """Who has no consumer is told how to map one."""
    text, is_well = run(ROOT_URLCONF="tests.urls")
    assert is_well
    assert text.endswith("No websocket routes. Map a consumer: path(..., X.as_view()).\n")


@pytest.mark.usefixtures("project")
def test_the_routes_alone_of_a_broken_urlconf() -> None:
    """--routes has nothing to print then, and says why."""
    with (
        override_settings(ROOT_URLCONF="broken_syntax"),
        pytest.raises(CommandError, match="The URLconf 'broken_syntax' can't be loaded: Syntax"),
    ):
        call_command("websockets", "--routes")


def test_colours() -> None:
    """Errors are red and warnings yellow where there is colour, and plain text elsewhere."""
    wrong = {"ASGI_APPLICATION": "nowhere.application", "WSCONSUMER": {"ALLOWED_ORIGINS": ["*"]}}
    plain, _ = run("--no-color", **wrong)
    coloured, _ = run("--force-color", **wrong)
    assert "\x1b" not in plain
    assert "\x1b[31;1merror wsconsumer.E004\x1b[0m: ASGI_APPLICATION" in coloured
    assert "\x1b[33;1mwarning wsconsumer.W002\x1b[0m: WSCONSUMER" in coloured
    assert "\x1b[32;1mcame back in" in coloured


SITE = {
    "settings.py": """
import os
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["daphne", "wsconsumer"]
ROOT_URLCONF = "urls"
ASGI_APPLICATION = "asgi.application"
WSCONSUMER = {"GROUPS": {"LOCATION": os.environ.get("WHERE", "")}}
""",
    "urls.py": """
from django.urls import path
from wsconsumer import Group, WebsocketConsumer
urlpatterns = [path("ws/", WebsocketConsumer.as_view())]
""",
    "asgi.py": """
from wsconsumer.asgi import get_asgi_application
application = get_asgi_application()
""",
    "manage.py": """
import os, sys
from django.conf import settings
from django.core.management import execute_from_command_line
from wsconsumer import serving
if "by-hand" in sys.argv:
    sys.argv.remove("by-hand")
    settings.configure(INSTALLED_APPS=["wsconsumer"], ROOT_URLCONF="urls", DEBUG=True)
else:
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
try:
    execute_from_command_line(sys.argv)
finally:
    print("serving" if serving.is_serving() else "serves nobody")
""",
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A project of its own."""
    for name, code in SITE.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def manage(site: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project."""
    environment = {**os.environ, "PYTHONPATH": str(Path(wsconsumer.__file__).parent.parent), **more}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip


in_a_process = pytest.mark.timeout(240)  # which may have to compile all of Django again


@in_a_process
@pytest.mark.parametrize("flags", [(), ("-O",)], ids=["python", "-O"])
def test_a_process_of_its_own(flags: tuple[str, ...], site: Path) -> None:
    """It runs without assertions too, and to import ``asgi.py`` does not count as serving."""
    done = manage(site, *flags, "manage.py", "websockets")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines(done.stdout)["asgi.py"] == "asgi.application serves websockets"
    assert "came back in" in done.stdout
    assert done.stdout.endswith("serves nobody\n")
    assert done.stderr == ""


@in_a_process
def test_the_exit_status(site: Path) -> None:
    """It is 1 if something is wrong, and standard output is JSON all the same."""
    done = manage(site, "manage.py", "websockets", "--json", WHERE="redis://:hunter2@host")
    assert done.returncode == 1
    report = json.loads(done.stdout.removesuffix("serves nobody\n"))
    assert [problem["id"] for problem in report["problems"]] == ["wsconsumer.E006"]
    assert done.stderr == "CommandError: Websockets are not wired right, as told above.\n"
    assert "hunter2" not in done.stdout


@in_a_process
def test_settings_that_are_configured_by_hand(site: Path) -> None:
    """A program without a settings module is told so."""
    done = manage(site, "manage.py", "websockets", "by-hand")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines(done.stdout)["settings"] == "configured by hand, DEBUG = True"


def test_declared_groups() -> None:
    """Each kind of group that was declared is listed, with what it keeps."""
    with declared.only():
        Group("room.{slug}", keep=100)
        Group("news")
        Group("feed", keep=5, seconds=60, resume=False)
        text, _ = run()
        found = json.loads(run("--json")[0])["wiring"]["groups"]
    assert "groups     room.{slug} keeps 100 for 300 s\n           news keeps nothing\n" in text
    assert "\n           feed keeps 5 for 60 s, and nobody resumes\n\n" in text
    assert found == [
        {"template": "room.{slug}", "keep": 100, "seconds": 300, "resume": True},
        {"template": "news", "keep": 0, "seconds": 300, "resume": True},
        {"template": "feed", "keep": 5, "seconds": 60, "resume": False},
    ]
