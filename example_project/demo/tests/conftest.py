"""What the live tests share: the project served by daphne, and a browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the project with daphne, on a free port and a database of its own; yield its URL."""
    environment = os.environ | {
        "DJANGO_DATABASE": str(tmp_path_factory.mktemp("site") / "db.sqlite3"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0"],
        cwd=PROJECT,
        env=environment,
        check=True,
    )
    daphne = subprocess.Popen(
        [sys.executable, "-m", "daphne", "--port=0", "config.asgi:application"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{_port(daphne)}/"
    finally:
        daphne.terminate()
        _, errors = daphne.communicate()
    assert "Traceback" not in errors, errors


def _port(daphne: subprocess.Popen[str]) -> str:
    """Wait until the server listens, and return the port that the system gave it."""
    assert daphne.stderr
    output = ""
    for line in daphne.stderr:
        output += line
        if listening := re.search(r"Listening on TCP address \S+:(\d+)", line):
            return listening[1]
    pytest.fail(f"daphne stopped before it listened:\n{output}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """Start headless Chromium, from what is installed: nothing is downloaded."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("The live tests need Chromium: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SE_OFFLINE", "true")
        environment.setenv("NO_PROXY", "127.0.0.1,localhost")
        chrome = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    yield chrome
    chrome.quit()
