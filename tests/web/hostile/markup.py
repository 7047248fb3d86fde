"""Reading a page, and saying where it is not written plainly enough to be read in one way only."""

import html
import re

VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
# A name, and perhaps a value that holds no < and not the mark that closes it.
ATTRIBUTE = r"""([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"<]*)"|'([^'<]*)'|([^\s"'<>=`]+)))?"""
WITHIN = re.compile(r"\s+" + ATTRIBUTE)
PIECE = re.compile(
    rf"(?P<words>[^<]+)|</(?P<end>[a-zA-Z][\w-]*)\s*>|<!doctype html>"
    rf"|<(?P<tag>[a-zA-Z][\w:-]*)(?P<given>(?:\s+{ATTRIBUTE})*)\s*(?P<closed>/?)>",
    re.IGNORECASE,
)


class Markup:
    """A page, piece by piece: words, and elements with their attributes.

    Every reader of HTML reads what is written so plainly in the same way: no < but of an element, none in a
    value, no comment. All else is told to `handle_other`.
    """

    def read(self, text: str) -> None:
        """Reads the page from its beginning to its end."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.text, self.place = text, 0
        while self.place < len(text):
            piece = PIECE.match(text, self.place)
            if piece is None:
                self.handle_other(text[self.place : self.place + 80])
                self.place = text.find("<", self.place + 1) % (len(text) + 1)
                continue
            if piece["words"]:
                words = piece["words"]
                self.handle_data(html.unescape(words) if "&" in words else words)
            elif piece["tag"]:
                self._start(piece["tag"].lower(), piece["given"], piece["closed"])
            elif piece["end"]:
                self.handle_endtag(piece["end"].lower())
            self.place = piece.end()

    def _start(self, tag: str, given: str, closed: str) -> None:
        attributes = []
        for name, double, single, bare in WITHIN.findall(given):
            value = double or single or bare
            attributes.append((name.lower(), html.unescape(value) if "&" in value else value))
        self.handle_starttag(tag, attributes)
        if closed and tag not in VOID:
            self.handle_endtag(tag)

    def getpos(self) -> tuple[int, int]:
        """Line and column of the piece that is being read."""
        before = self.text[: self.place]
        return before.count("\n") + 1, self.place - before.rfind("\n") - 1

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str]]) -> None:
        """An element opens; lower-case names, values as they are meant."""

    def handle_endtag(self, tag: str) -> None:
        """An element closes."""

    def handle_data(self, data: str) -> None:
        """Words between elements."""

    def handle_other(self, words: str) -> None:
        """Anything else that begins so."""
