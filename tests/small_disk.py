"""A file system of a few megabytes, for tests that fill it."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, megabytes: int):
    """An empty file system of this size at `path`. Skips the test where none may be mounted."""
    path.mkdir(parents=True, exist_ok=True)
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path, leave: int = 0) -> Path:
    """A file that takes all room but `leave` bytes; remove it to make room."""
    filler = path / "filler"
    chunk = 4096
    with filler.open("ab") as file:
        while True:
            found = os.statvfs(path)
            if found.f_bavail * found.f_frsize < leave + chunk:
                return filler
            try:
                file.write(b"x" * chunk)
                file.flush()
            except OSError:
                return filler
