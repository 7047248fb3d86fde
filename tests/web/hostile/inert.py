"""Whether a page holds a text as a text: no element, attribute, address or computation of its making."""

import re

from .forms import Page
from .markup import VOID
from .texts import COMPUTED, DIRECTIONS

TAGS = frozenset(
    re.findall(
        r"\w+",
        """
        html head meta title link script body a svg defs pattern rect line path circle g polyline
        polygon text tspan use symbol clippath ellipse desc div header details summary nav h1 h2 h3 h4
        ul ol li span p b i em strong form input button label select option optgroup textarea fieldset
        legend section main wbr br table caption thead tbody tfoot tr th td dl dt dd small code pre
        blockquote ins del article aside footer figure figcaption time abbr noscript mark kbd hr img
        meter progress output datalist template q sub sup bdi
        """,
    )
)
ADDRESSES = frozenset({"href", "src", "action", "formaction", "data", "poster", "xlink:href", "srcset"})
FORBIDDEN = frozenset({"style", "srcdoc", "http-equiv", "ping", "background"})
DIRECTION = re.compile(f"[{DIRECTIONS}]")


def problems_of(text: str, marks: list[str]) -> list[str]:
    """What is wrong with a page; empty if everything foreign in it is inert."""
    return JudgedPage("/", text, marks).problems


class JudgedPage(Page):
    """A page, and in `problems` where it is not inert."""

    def __init__(self, address: str, text: str, marks: list[str]):
        self.problems, self._open = [], []
        self._mark = re.compile("|".join(map(re.escape, marks)) or r"(?!)")
        super().__init__(address, text)

    def _holds(self, text: str) -> bool:
        return self._mark.search(text) is not None

    def _wrong(self, words: str) -> None:
        line, column = self.getpos()
        self.problems.append(f"{words[:150]!r} at {line}:{column}")

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if tag not in TAGS or self._holds(tag):
            self._wrong(f"element {tag}")
        given = dict(attrs)
        if tag == "script" and not (given.get("src") or "").startswith("/static/"):
            self._wrong("script in the page")
        if tag == "img" and not (given.get("src") or "").startswith(("/static/", "data:image/")):
            self._wrong("picture from elsewhere")
        for name, value in attrs:
            if name.startswith("on") or name in FORBIDDEN or self._holds(name) or not name.isascii():
                self._wrong(f"attribute {name}")
            if name in ADDRESSES and not is_ours(value or ""):
                self._wrong(f"address {value}")
            if name not in ("value", "data-copy") and DIRECTION.search(value or ""):
                self._wrong(f"direction control in {name}: {value}")
        if tag not in VOID:
            self._open.append((tag, given))

    def handle_endtag(self, tag):
        super().handle_endtag(tag)
        for place in range(len(self._open) - 1, -1, -1):
            if self._open[place][0] == tag:
                del self._open[place:]
                return
        self._wrong(f"closes {tag}, which is not open")

    def handle_data(self, data):
        super().handle_data(data)
        if COMPUTED in data or "&lt;class &#39;" in data or "<class '" in data:
            self._wrong(f"computed: {data}")
        if DIRECTION.search(data) and not self._is_apart():
            self._wrong(f"direction control beside other words: {data.strip()} in {self._open[-1:]}")

    def _is_apart(self) -> bool:
        """Whether the text around stands alone: a text field, or an element whose directions end with it."""
        return any(
            tag in ("textarea", "bdi", "pre") or given.get("dir") == "auto" for tag, given in self._open
        )

    def handle_other(self, words):
        self._wrong(f"not plainly written: {words}")


def is_ours(address: str) -> bool:
    """Whether an address leads to a page of the application, and nowhere else."""
    if address.startswith(("http://localhost/", "data:image/")):
        return True
    return address == "" or (address[0] in "/?#" and address[1:2] not in ("/", "\\"))
