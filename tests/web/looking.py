"""Looking at pages: their words as a reader sees them, what their forms send, the statements they cost."""

import re
from contextlib import contextmanager
from html import unescape
from html.parser import HTMLParser

import sqlalchemy as sa

from pdsapp.extensions import db


def words_of(answer):
    """The page as a reader sees it: no tags, single spaces."""
    body = re.sub(r"<(script|style|title)\b.*?</\1>|<wbr>", _between_words, answer.text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def _between_words(found):
    """A place where a long word may break is none between words."""
    return "" if found[0] == "<wbr>" else " "


def titles_of(answer):
    """The events of an attempt's timeline, in order."""
    timeline = re.search(r'<ol class="timeline">.*?</ol>', answer.text, re.S)[0]
    return [title.strip() for title in re.findall(r"<div>([^<]+)", timeline)]


def fields_of(answer, name):
    """What a browser sends of the form that has a field of this name, if nobody touches it."""
    forms = _Forms()
    forms.feed(answer.text)
    return next(fields for fields in forms.found if name in fields)


class _Forms(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self._select, self._text = [], None, None

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append({})
        elif tag == "input" and "name" in given:
            is_box = given.get("type") in ("checkbox", "radio")
            if not is_box or "checked" in given:
                self._add(given["name"], given.get("value", "on" if is_box else ""), given.get("type"))
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and self._select is not None:
            if "selected" in given or self._select not in self.found[-1]:
                self.found[-1][self._select] = given.get("value", "")
        elif tag == "textarea":
            self._text = given["name"]
            self.found[-1][self._text] = ""

    def _add(self, name, value, kind):
        """Several ticked boxes of one name are a list."""
        before = self.found[-1].get(name)
        if kind == "checkbox" and before is not None:
            value = [*(before if isinstance(before, list) else [before]), value]
        self.found[-1][name] = value

    def handle_data(self, data):
        if self._text is not None:
            self.found[-1][self._text] += data

    def handle_endtag(self, tag):
        if tag == "select":
            self._select = None
        elif tag == "textarea":
            self.found[-1][self._text] = self.found[-1][self._text].removeprefix("\n")
            self._text = None


def assert_nothing_inline(answer):
    """No script or style stands in the page itself: the policy allows none."""
    assert " style=" not in answer.text and "<style" not in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"<[^>]+\son\w+=", answer.text)


@contextmanager
def counted_queries():
    """A list that grows by every statement sent to the database meanwhile."""
    found = []

    def note(_connection, _cursor, statement, *_):
        if not statement.startswith(("PRAGMA", "BEGIN", "SET")):
            found.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
