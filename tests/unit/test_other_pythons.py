"""Other versions of Python on this machine enumerate the very same slots."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from bench import clock_cases

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.12", "3.13", "3.14")
ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def interpreter(version: str) -> str | None:
    """One of this version that really runs: on the path, or one that pyenv has."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    for path in filter(None, found):
        answer = subprocess.run([path, "-c", ASK], capture_output=True, text=True, timeout=30, check=False)
        if answer.stdout.strip() == version:
            return str(path)
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_another_python_gives_the_same_occurrences(version):
    path = interpreter(version)
    if path is None:
        pytest.skip(f"There is no Python {version} on this machine.")
    answer = subprocess.run(
        [path, "-m", "bench.clock_cases"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        # Pure Python from this environment; nothing is written into it.
        env={
            "PYTHONPATH": f"{ROOT}{os.pathsep}{sysconfig.get_path('purelib')}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    theirs = json.loads(answer.stdout)
    assert ".".join(map(str, theirs["python"])).startswith(version)
    assert theirs["python"][:2] != list(sys.version_info[:2])
    assert theirs["rows"] == clock_cases.rows()
    assert len(theirs["rows"]) > 10_000


def test_neither_the_machine_s_zone_files_nor_its_zone_have_a_say(tmp_path):
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Rome").write_bytes(b"TZif, and then nonsense")
    answer = subprocess.run(
        [sys.executable, "-m", "bench.clock_cases"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={"PYTHONTZPATH": str(tmp_path), "TZ": "Pacific/Kiritimati", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert json.loads(answer.stdout)["rows"] == clock_cases.rows()
