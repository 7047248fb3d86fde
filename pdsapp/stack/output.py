"""The log of the local stack: every child's lines behind its name, aligned, coloured on a terminal."""

import os
import re
import sys
from typing import TextIO

COLOURS = (36, 32, 35, 33, 34, 96, 92, 95)
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROL = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if code != 9}


class Output:
    """Where lines are written. A reader that has gone away never stops the stack."""

    def __init__(self, stream: TextIO | None = None, width: int = 11):
        self._stream = stream or sys.stdout
        self._width = width
        self._names: dict[str, int] = {}
        self._is_coloured = self._stream.isatty() and not os.environ.get("NO_COLOR")

    def line(self, name: str, text: str) -> None:
        """Write one line of a child. What would move the cursor or change the terminal is taken out."""
        text = _ESCAPE.sub("", text).translate(_CONTROL)
        prefix = f"{name:<{self._width}} |"
        if self._is_coloured:
            number = self._names.setdefault(name, len(self._names))
            prefix = f"\x1b[{COLOURS[number % len(COLOURS)]}m{prefix}\x1b[0m"
        self._write(f"{prefix} {text}\n")

    def say(self, text: str) -> None:
        """Write what the supervisor itself has to say, one prefixed line per line of text."""
        for line in text.split("\n"):
            self.line("stack", line)

    def plain(self, text: str) -> None:
        """Write a text as it is, without a name before it."""
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal was closed or the reading end of the pipe has gone.
            return
