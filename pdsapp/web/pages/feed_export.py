"""The posts of a feed as a file, written while it is sent."""

import csv
import io
import json
from collections.abc import Iterator

from ...database import reading
from ...models import Experiment, Post
from ...services.tables import guarded
from . import feed_query
from .feed_query import FeedFilters

KINDS = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
HEAD = ("id", "parent", "author", "text", "time", "revision", "visibility")
MARKS = ("kind", "is_stand_in", "is_rehearsal")


def lines(experiment_id: int, filters: FeedFilters, kind: str) -> Iterator[str]:
    """The file line by line: posts newest first, each followed by its replies; times are UTC.

    Without marks nothing in it tells a twin from a person. No cell of a CSV is a formula.
    """
    names = (*HEAD, *(MARKS if filters.has_marks else ()))
    if kind == "csv":
        yield _csv(names)
    with reading() as session:
        experiment = session.get_one(Experiment, experiment_id)
        for post, parent in feed_query.all_of(session, experiment, filters):
            row = dict(zip(names, _values(post, parent), strict=False))
            yield _csv(row.values()) if kind == "csv" else json.dumps(row, ensure_ascii=False) + "\n"


def _values(post: Post, parent: Post | None) -> tuple:
    return (
        str(post.uuid),
        str(parent.uuid) if parent else "",
        post.user_profile.username,
        post.text,
        post.created_at.isoformat(timespec="seconds"),
        post.revision,
        post.visibility.value,
        "twin" if post.user_profile.is_bot else "person",
        post.is_stand_in,
        post.is_rehearsal,
    )


def _csv(cells) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(
        guarded(cell) if isinstance(cell, str) else cell for cell in cells
    )
    return out.getvalue()
