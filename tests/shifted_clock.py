"""A wall clock for other processes that a test sets, as if the machine's had been set."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shifted_clock.c")


def build(folder: Path) -> Path:
    """The library that shifts the clock of a process it is loaded into; skips where none can be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("setting the clock of real processes needs Linux and a C compiler")
    library = folder / "shifted_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


class ShiftedClock:
    """The clock of all processes started with `environment`; it begins as the machine's own."""

    def __init__(self, library: Path, file: Path):
        self.file = file
        self.environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK_FILE": str(file)}
        self.set_ahead(0)

    def set_ahead(self, seconds: int) -> None:
        """From now on it shows this many seconds more than the machine's; fewer, below 0."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self.file)
