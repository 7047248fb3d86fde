"""The screen of experiments."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import request
from markupsafe import Markup
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from wtforms import BooleanField, DateField, SelectField, StringField, TextAreaField
from wtforms.validators import Optional

from ..domain.disclosure import RULE_LABELS, DisclosureRule
from ..domain.policy import HOUR, PostingPolicy
from ..domain.prompt import PromptTemplates
from ..domain.reasons import UNDER_WAY, ExperimentState
from ..extensions import db
from ..models import Account, Experiment, Post, UserProfile, utc_now
from ..services import edits, pauses, protocol, reports_attempts
from ..services import experiments as service
from ..services.ends import end_words, last_day_of
from ..services.fields import clean_line, clean_zone
from ..web import access, frame, holds, zones
from ..web.pages.next_slots import SlotRow, slot_rows
from ..web.pages.rows import AttemptRow, attempt_row
from . import cells, experiment_limits, filters
from .cloning import Cloning
from .forms import Clean, Form, Needed, ReasonForm, leave_out_reason
from .granting import Granting
from .lifecycle import lifecycle_actions
from .pausing import PausingScreen, pause_actions, state_with_pause
from .protocol_editing import ProtocolEditing
from .starting import Starting

SLOTS_SHOWN, ATTEMPTS_SHOWN = 4, 6
PROMPT_PARTS = (
    ("system", "System message"),
    ("user", "User message"),
    ("rewrite", "When the post is too long or too short"),
    ("feed_line", "A post of the feed"),
    ("own_feed_line", "One of the twin's own posts"),
    ("empty_feed", "When nobody has posted yet"),
)


FORM_SECTIONS = (
    ("Experiment", ("name", "zone", "last_day", "pauses_at_model_change", "description")),
    (
        "This study has begun",
        ("reason",),
        "Another time zone, last day or pause at another model changes its protocol: say why. The rest needs "
        "no reason.",
    ),
)


class ExperimentForm(ReasonForm, Form):
    """What people type about an experiment."""

    name = StringField(
        "Name",
        validators=[Needed(), Clean(lambda text: clean_line(text, "name", 120))],
        description="How you and others find it. For example: Campus climate, autumn",
    )
    zone = SelectField(
        "Time zone",
        default="UTC",
        choices={"UTC": "UTC"},
        validate_choice=False,
        validators=[Needed(), Clean(clean_zone)],
        description="All times of its screens are shown in this zone, and new schedules start with it. "
        "For example: Europe/Rome",
    )
    description = TextAreaField(
        "Description",
        description="For you and your colleagues; twins never see it. For example: Pilot for section 2, "
        "ends in June",
    )
    last_day = DateField(
        "Last day",
        validators=[Optional()],
        description="In the time zone above; itself counts. Once started, it ends by itself at midnight "
        "after it. Empty: it runs until somebody ends it. For example: 14 December",
    )
    pauses_at_model_change = BooleanField(
        "Pause when the provider answers with another model",
        description="Once started, it pauses by itself when an endpoint names another model or fingerprint "
        "than before, for example gpt-4o-2026-11 for gpt-4o-2026-08: what is being written is finished, and "
        "nothing more is asked until somebody resumes.",
    )


def _why_not(row: Experiment) -> str:
    return "" if row.state in UNDER_WAY else f"{row} is {row.state}: there is nothing to pause."


class ExperimentScreen(ProtocolEditing, Cloning, Granting, Starting, PausingScreen):
    """Experiments: what they are called, whether they run, and the numbers their twins live by."""

    noun = "experiment"
    plural = "experiments"
    lead = "One sandbox each: its people, twins, posts, posting policy and prompt."
    create_lead = (
        "It begins as a draft, with the default posting policy and prompt: what happens before its start is "
        "a rehearsal."
    )
    pauses_with = pauses.pause_experiment
    stops = pauses.stop_experiment
    resumes = pauses.resume_experiment
    why_not = _why_not
    paused_words = "{} is paused. Its twins are asked no more until you resume it."
    stopped_words = "{} is stopped. Its twins are asked no more until you resume it."
    resumed_words = "{} is running. It goes on with its next slots; nothing is made up for."
    pause_note = (
        "Its twins are asked no more, by schedules or by hand. Slots that come due are recorded as paused."
    )
    form = ExperimentForm
    form_columns = ("name", "zone", "last_day", "pauses_at_model_change", "description", "reason")
    form_sections = FORM_SECTIONS
    column_list = ("name", "state", "twins", "people", "posts", "zone", "created_at")
    column_details_list = (
        "name", "identifier", "state", "description", "zone", "twins", "people", "posts",
        "pauses_at_model_change", "is_demo", "created_at", "started_at", "ends_at", "ended_at", "uuid",
    )  # fmt: skip
    column_export_list = (
        "identifier", "uuid", "name", "description", "state", "paused_at", "paused_by", "paused_reason",
        "pauses_at_model_change", "is_demo", "zone", "twins", "people", "posts", "rehearsal_posts",
        "created_at", "started_at", "ends_at", "ended_at",
    )  # fmt: skip
    column_sortable_list = ("name", "state", "zone", "created_at")
    column_searchable_list = ("name", "identifier", "description")
    search_words = "name, identifier, description"
    column_labels = {
        "twins": "Active twins",
        "uuid": "UUID",
        "is_demo": "Demo",
        "created_at": "Added",
        "started_at": "Started",
        "ends_at": "Ends",
        "ended_at": "Ended",
        "rehearsal_posts": "Posts of the rehearsal",
        "zone": "Time zone",
        "pauses_at_model_change": "At another model",
        "paused_at": "Paused",
        "paused_by": "Paused by",
        "paused_reason": "Why paused",
    }
    list_filters = (filters.of_enum("state", "State", Experiment.state, ExperimentState),)
    details_template = "admin/experiment/details.html"
    details_sections = (
        ("Experiment", (
            "name", "identifier", "state", "description", "zone", "pauses_at_model_change", "is_demo", "uuid",
        )),
        ("Who and when", ("twins", "people", "posts", "created_at", "started_at", "ends_at", "ended_at")),
    )  # fmt: skip

    column_formatters = {
        "name": lambda view, _c, row, _n: cells.two_lines(
            cells.link(view.get_url(".details_view", id=row.id), row.name), row.identifier
        ),
        "identifier": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.identifier),
        "uuid": lambda _v, _c, row, _n: Markup("<code>{}</code>").format(row.uuid),
        "state": lambda _v, _c, row, _n: cells.parts(
            _brief_state(row), cells.pill("stand_in", "demo") if row.is_demo else ""
        ),
        "is_demo": lambda _v, _c, row, _n: cells.yes_no(
            row.is_demo, "yes, the offline writer may write for it"
        ),
        "pauses_at_model_change": lambda _v, _c, row, _n: cells.yes_no(
            row.pauses_at_model_change, "it pauses", "it goes on, and the attention list tells"
        ),
        "posts": lambda _v, _c, row, _n: cells.two_lines(
            f"{row.posts:,}", f"{row.rehearsal_posts:,} in rehearsal" if row.rehearsal_posts else ""
        ),
        "zone": lambda _v, _c, row, _n: cells.zone(row.zone),
        "created_at": lambda _v, _c, row, _n: cells.time(row.created_at, ZoneInfo(row.zone), "day"),
    }
    column_formatters_detail = column_formatters | {
        "name": lambda _v, _c, row, _n: row.name,
        "state": lambda _v, _c, row, _n: _state(row),
        "description": lambda _v, _c, row, _n: cells.preformatted(row.description) if row.description else "",
        "ends_at": lambda _v, _c, row, _n: end_words(row),
    } | {
        name: lambda _v, _c, row, name: cells.time(getattr(row, name), ZoneInfo(row.zone), "year")
        for name in ("created_at", "started_at", "ended_at")
    }  # fmt: skip
    column_formatters_export = {"ends_at": lambda _v, _c, row, _n: row.ends_at}
    column_extra_row_actions = [
        *lifecycle_actions(),
        *pause_actions(_why_not, has_stop=True),
    ]

    @property
    def empty_words(self) -> str:
        """Why the list is empty: there is none, or none is granted."""
        return access.no_experiment_words()

    def get_query(self):
        """Archived experiments only when the filter asks for them, those being deleted never."""
        query = super().get_query().filter(Experiment.delete_asked_at.is_(None))
        if not request.args.get("state"):
            query = query.filter(Experiment.state != ExperimentState.archived)
        return query

    def values(self, row: Experiment) -> dict[str, Any]:
        """What was typed, the end as a day."""
        return super().values(row) | {"last_day": last_day_of(row)}

    def enrich(self, session: Session, rows: list[Experiment]) -> None:
        """Counts of people and posts, for all rows in two queries."""
        keys = [row.id for row in rows]
        people = _counts(session, UserProfile.experiment_id, UserProfile.is_bot, keys)
        posts = _counts(session, Post.experiment_id, Post.is_rehearsal, keys)
        for row in rows:
            row.twins, row.people = row.active_twin_count, people.get((row.id, False), 0)
            row.posts, row.rehearsal_posts = (posts.get((row.id, part), 0) for part in (False, True))

    def prepare_form(self, form: Any, row: Experiment | None) -> None:
        """Offers the zones; asks why of a study that has begun."""
        form.zone.choices = zones.choices(row.zone if row else None)
        if row is None or not protocol.needs_reason(row):
            leave_out_reason(form)

    def add(self, session: Session, form: Any, now: datetime, account: Account) -> Experiment:
        """A draft."""
        return service.add_experiment(
            session, form.name.data, form.zone.data, now, form.description.data, account=account,
            state=ExperimentState.draft, last_day=form.last_day.data,
            pauses_at_model_change=form.pauses_at_model_change.data,
        )  # fmt: skip

    def change(self, session: Session, row: Experiment, form: Any, now: datetime, account: Account) -> None:
        """Another name, zone, description, last day or pause at another model."""
        edits.change_experiment(
            session, row, form.seen, now,
            name=form.name.data, description=form.description.data, zone=form.zone.data,
            last_day=form.last_day.data, pauses_at_model_change=form.pauses_at_model_change.data,
            reason=form.reason.data if "reason" in form else "", account=account,
        )  # fmt: skip

    def speak_of(self, row: Experiment) -> None:
        """The top bar is this experiment's."""
        frame.speak_of(row)

    def slots_of(self, row: Experiment) -> list[SlotRow]:
        """Its schedules by their next slot, those of all experiments too."""
        return slot_rows(db.session(), row, utc_now(), SLOTS_SHOWN)

    def attempts_of(self, row: Experiment) -> list[AttemptRow]:
        """Its latest attempts."""
        lines = reports_attempts.latest(db.session(), row, ATTEMPTS_SHOWN)
        return [attempt_row(line, ZoneInfo(row.zone)) for line in lines]

    def limit_facts(self, row: Experiment) -> list[tuple[str, str]]:
        """The limits in words: what, how much."""
        return experiment_limits.facts_of(row)

    def policy_tables(self, row: Experiment) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """The numbers of the posting rule as tables: title, heads, rows."""
        policy = PostingPolicy.from_dict(row.policy.body)
        total = sum(band.weight for band in policy.bands)
        last = policy.recency_steps[-1].under_seconds if policy.recency_steps else 0
        return [
            (
                "Skips because it posted recently",
                ("Last post less than", "Skips with probability"),
                [(_span(step.under_seconds), f"{step.probability:.2f}") for step in policy.recency_steps]
                + [(f"{_span(last)} or more, or never posted", "0.00")],
            ),
            (
                "Skips because much of the feed is its own",
                ("What", "Number"),
                [
                    ("Latest posts looked at", str(policy.share_window)),
                    ("Skips with probability", "own posts ÷ posts looked at"),
                    ("At most", f"{policy.share_cap:.2f}"),
                ],
            ),
            (
                "Length of a post",
                ("Band", "Characters", "Drawn"),
                [
                    (b.name, f"{b.minimum}–{b.maximum}", f"{100 * b.weight / total:.0f} %")
                    for b in policy.bands
                ],
            ),
            (
                "What the model sees and may cost",
                ("What", "Number"),
                [
                    ("Latest posts in the prompt", str(policy.context_size)),
                    ("Model calls per attempt, at most", str(policy.max_model_calls)),
                ],
            ),
        ]

    def disclosure(self, row: Experiment) -> tuple[str, str]:
        """The rule of disclosure in words, and the sentence that goes with it."""
        templates = PromptTemplates.from_dict(row.prompt_version.body)
        if not templates.disclosure_rule:
            return "as the system message says", ""
        return RULE_LABELS[DisclosureRule(templates.disclosure_rule)], templates.disclosure_sentence

    def prompt_parts(self, row: Experiment) -> list[tuple[str, str]]:
        """The words around persona and feed: title, template text."""
        templates = PromptTemplates.from_dict(row.prompt_version.body)
        return [(title, getattr(templates, name)) for name, title in PROMPT_PARTS]


def state_pill(row: Experiment) -> Markup:
    """The state of an experiment; a stop is a pause with a word of its own."""
    return cells.experiment_pill(*holds.state_of(db.session(), row))


def _brief_state(row: Experiment) -> Markup:
    """The state where there is little room: that it is everything's stands below."""
    state, words = holds.state_of(db.session(), row)
    what, _, word = words.rpartition(" ")
    return cells.two_lines(cells.experiment_pill(state, word), what and f"with {what}")


def _state(row: Experiment) -> Markup:
    """The state, and under it who paused the experiment or everything, since when and why."""
    hold = holds.of_everything(db.session(), row.zone) if row.state == ExperimentState.running else None
    if hold is not None:
        return cells.with_reason(state_pill(row), f"{hold.words} By itself it is running.")
    return state_with_pause(state_pill(row), row, row.zone)


def _counts(session: Session, experiment_id: Any, flag: Any, keys: list[int]) -> dict[tuple[int, bool], int]:
    """How many rows each of these experiments has, by a flag of theirs."""
    query = select(experiment_id, flag, func.count()).where(experiment_id.in_(keys))
    return {
        (key, is_set): count for key, is_set, count in session.execute(query.group_by(experiment_id, flag))
    }


def _span(seconds: float) -> str:
    if seconds >= HOUR:
        return f"{seconds / HOUR:g} h"
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
