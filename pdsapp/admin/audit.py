"""The audit log: every change somebody made, read only and for administrators."""

import json
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import or_, select
from sqlalchemy.orm import Query, Session

from ..extensions import db
from ..models import AuditEvent, Experiment, utc_now
from ..web import access, frame
from ..web.protocol_view import Difference, differences
from . import cells, filters
from .base import Screen
from .forms import Form

PERIODS = {"1": "last 24 hours", "7": "last 7 days", "30": "last 30 days"}
SHOWN_VALUES = 3
LONGEST_WORDS = 80
# What a row of each table is called, and the screen on which one is shown; "" where there is none.
KINDS = {
    "account": ("account", "account"),
    "api_token": ("API token", "apitoken"),
    "digital_twin": ("twin", "digitaltwin"),
    "experiment": ("experiment", "experiment"),
    "installation": ("everything", ""),
    "notice": ("notice", ""),
    "persona": ("persona", "persona"),
    "post": ("post", "post"),
    "schedule": ("schedule", "schedule"),
    "user_profile": ("profile", "userprofile"),
}
DELETED = "delete"


def _actions() -> list[tuple[str, str]]:
    """The actions there have been, in their order."""
    return [
        (name, name) for name in db.session.scalars(select(AuditEvent.action).distinct().order_by("action"))
    ]


class AuditScreen(Screen):
    """Who changed what, when: newest first. Secrets never get there."""

    noun = "event"
    plural = "events"
    lead = "Every change that somebody made, here or on the command line, with what was before and after."
    empty_words = "Nobody has changed anything yet."
    offers_create = False
    offers_edit = False
    form = Form
    form_columns = ()
    column_list = ("created_at", "actor", "action", "object_name", "changed")
    column_details_list = ("created_at", "actor", "action", "object_type", "object_name", "experiment")
    column_export_list = (
        "created_at", "actor", "action", "object_type", "object_name", "experiment", "before", "after",
    )  # fmt: skip
    column_searchable_list = ("actor", "object_name")
    search_words = "who or what"
    column_labels = {
        "created_at": "When",
        "actor": "Who",
        "object_type": "Kind",
        "object_name": "What",
        "changed": "Before and after",
    }
    list_filters = (
        filters.ListFilter(
            "period",
            "Period",
            lambda query, value: query.filter(AuditEvent.created_at > utc_now() - timedelta(days=int(value))),
            lambda: list(PERIODS.items()),
        ),
        filters.ListFilter(
            "action", "Action", lambda query, value: query.filter(AuditEvent.action == value), _actions
        ),
        filters.ListFilter(
            "kind",
            "Kind",
            lambda query, value: query.filter(AuditEvent.object_type == value),
            lambda: [(table, words) for table, (words, _) in KINDS.items()],
        ),
    )
    is_of_experiments = True
    outlives_experiment = True
    details_template = "admin/audit/details.html"
    column_formatters = {
        "created_at": lambda view, _c, row, _n: cells.link(
            view.get_url(".details_view", id=row.id), cells.time(row.created_at, frame.current_zone(), "year")
        ),
        "action": lambda _v, _c, row, _n: row.action,
        "object_type": lambda _v, _c, row, _n: KINDS.get(row.object_type, (row.object_type, ""))[0],
        "object_name": lambda view, _c, row, _n: cells.two_lines(
            view.object_link(row), KINDS.get(row.object_type, (row.object_type, ""))[0]
        ),
        "changed": lambda view, _c, row, _n: view.brief(row),
        "experiment": lambda _v, _c, row, _n: row.experiment_name,
    }
    column_formatters_export = {
        "created_at": lambda _v, _c, row, _n: row.created_at.isoformat(),
        "experiment": lambda _v, _c, row, _n: row.experiment_name,
        "before": lambda _v, _c, row, _n: _json(row.before),
        "after": lambda _v, _c, row, _n: _json(row.after),
    }

    def is_accessible(self) -> bool:
        """Administrators only: it tells what everybody did."""
        return access.may_administer()

    def of_experiment(self, query: Query, experiment_id: int) -> Query:
        """Of an experiment and of what belongs to none: personas, tokens, accounts."""
        own = or_(AuditEvent.experiment_id == experiment_id, AuditEvent.experiment_id.is_(None))
        return query.filter(own)

    def enrich(self, session: Session, rows: list[AuditEvent]) -> None:
        """The experiments' names, in one query."""
        keys = {row.experiment_id for row in rows} - {None}
        found = session.scalars(select(Experiment).where(Experiment.id.in_(keys))) if keys else ()
        names = {each.id: str(each) for each in found}
        for row in rows:
            row.experiment_name = names.get(row.experiment_id, "")

    def record_title(self, row: AuditEvent) -> str:
        """ "change Course (a41f9)": what was done to what."""
        return f"{row.action} {row.object_name}".strip()

    def zone_of(self, row: AuditEvent) -> ZoneInfo:
        """The chosen experiment's zone, or the viewer's."""
        return frame.current_zone()

    def speak_of(self, row: AuditEvent) -> None:
        """The top bar stays as it was chosen: an event is no experiment's page."""

    def object_link(self, row: AuditEvent) -> str | Markup:
        """The name, leading to its page where it has one and is there."""
        _, screen = KINDS.get(row.object_type, ("", ""))
        if not screen or row.object_id is None or row.action == DELETED:
            return row.object_name
        return cells.link(self.get_url(f"{screen}.details_view", id=row.object_id), row.object_name)

    def brief(self, row: AuditEvent) -> str | Markup:
        """The first values that differ, on one line each."""
        found = self.differences(row)
        words = [f"{each.name}: {_short(each)}" for each in found[:SHOWN_VALUES]]
        if len(found) > SHOWN_VALUES:
            words.append(f"and {len(found) - SHOWN_VALUES} more")
        return cells.lines(words) if words else ""

    def differences(self, row: AuditEvent) -> tuple[Difference, ...]:
        """What differs, value by value."""
        return differences(None, row.before or {}, row.after or {})


def _short(each: Difference) -> str:
    if each.pieces:
        return "another text"
    words = f"{each.before} → {each.after}" if each.before != "–" else each.after
    return words if len(words) <= LONGEST_WORDS else f"{words[:LONGEST_WORDS]} …"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
