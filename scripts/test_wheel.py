"""
Build the sdist, from it the wheel, and run the fast tests of the sdist against the wheel.

The source tree takes no part: the wheel is installed into an environment of its own, and the tests
lie in a folder without the package. A file that the wheel or the sdist forgot is missed here, be it
Python, a template or `py.typed`.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from shutil import rmtree
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent


def main(django: str) -> int:
    """Build, install and test; return the exit status of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "built"
        run([sys.executable, "-m", "build", "--outdir", str(built), str(ROOT)], Path(folder))
        (sdist,) = built.glob("*.tar.gz")
        (wheel,) = built.glob("*.whl")
        if forgotten := files(ROOT / "wsconsumer") - set(ZipFile(wheel).namelist()):
            sys.exit(f"The wheel lacks {', '.join(sorted(forgotten))}.")
        tests = unpack(sdist, Path(folder) / "sdist")
        rmtree(tests / "wsconsumer")
        python = install(wheel, tests, Path(folder) / "venv", django)
        # Another folder than the source tree's, and -P: `wsconsumer` can only be the wheel's.
        where = "import wsconsumer; print('Testing', wsconsumer.__file__)"
        run([python, "-P", "-c", where], tests)
        command = [python, "scripts/run_tests.py", "--suite", "package", "--fast"]
        return subprocess.run(command, cwd=tests, check=False).returncode


def files(package: Path) -> set[str]:
    """Return the files of the package, as a wheel names them."""
    found = (path for path in package.rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def run(command: list[str], where: Path) -> None:
    """Run a program, which must succeed."""
    subprocess.run(command, cwd=where, check=True)


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist; return where its files are."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


def install(wheel: Path, tests: Path, folder: Path, django: str) -> str:
    """Install the wheel and what the tests need; return the environment's Python."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    run([*pip, "--upgrade", "pip>=25.1"], tests)  # the first that reads dependency groups
    run([*pip, str(wheel), "--group", "test", django], tests)
    return python


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
