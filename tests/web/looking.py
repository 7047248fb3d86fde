"""Looking at pages: their words as a reader sees them, and the statements they cost."""

import re
from contextlib import contextmanager
from html import unescape

import sqlalchemy as sa

from pdsapp.extensions import db


def words_of(answer):
    """The page as a reader sees it: no tags, single spaces."""
    body = re.sub(r"<(script|style|title)\b.*?</\1>", " ", answer.text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def titles_of(answer):
    """The events of an attempt's timeline, in order."""
    timeline = re.search(r'<ol class="timeline">.*?</ol>', answer.text, re.S)[0]
    return [title.strip() for title in re.findall(r"<div>([^<]+)", timeline)]


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
