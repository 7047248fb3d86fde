"""The forms of personas: the text, whose messages to show beside it, and which twins a new one reaches."""

from typing import Any

from sqlalchemy import case, select
from sqlalchemy.orm import Session, joinedload
from wtforms import StringField, TextAreaField

from ..models import DigitalTwin, Experiment, Persona, PersonaVersion
from ..services.fields import PERSONA_LIMIT, clean_line, clean_text
from ..services.persona_moves import Group
from .forms import Clean, Form, Needed, ReasonForm, RowField, TicksField, leave_out_reason

MOST_TWINS_OFFERED = 200


class PersonaForm(Form):
    """What people type about a persona."""

    name = StringField(
        "Name",
        validators=[Needed(), Clean(lambda text: clean_line(text, "name", 120))],
        description="How you and others find it; twins never see it. For example: Retired bus driver, dry "
        "humour",
    )
    text = TextAreaField(
        "Text",
        validators=[Needed(), Clean(lambda text: clean_text(text, "text", PERSONA_LIMIT))],
        render_kw={"rows": 12, "maxlength": PERSONA_LIMIT, "data-count": True, "data-tokens": True},
        description="Who this is and how they write, as the model reads it. For example: You drove buses for "
        f"thirty years. You write short, dry sentences and never use emoji. At most {PERSONA_LIMIT:,} "
        f"characters.",
    )
    notes = TextAreaField(
        "Notes",
        validators=[Clean(lambda text: clean_text(text, "notes", 4000))],
        render_kw={"rows": 3},
        description="For you and your colleagues; twins never see them. For example: From the pilot "
        "interviews",
    )
    twin = RowField(
        "Show what would be sent for",
        empty="no twin",
        validate_choice=False,
        description="Its messages are shown with the text as typed; it is not changed. For example, one "
        "whose experiment has a lively feed.",
    )


class MovesForm(ReasonForm):
    """The part of a form that asks in which experiments twins go to a new version."""

    moves = TicksField(
        "Move these twins to the new version",
        description="Unticked, they stay on the version they have; for example, to let a study that runs end "
        "as it began.",
    )

    def offer_moves(self, groups: list[Group], is_first: bool) -> None:
        """Offers these groups, those of studies under way unticked at `is_first`; no field without any."""
        offered = [group for group in groups if not group.is_over]
        if not any(group.needs_reason for group in offered):
            leave_out_reason(self)
        if not offered:
            del self.moves
            return
        self.moves.offer([(group.experiment.id, group_words(group)) for group in offered])
        if is_first:
            self.moves.data = [str(g.experiment.id) for g in offered if g.is_moved_by_default]

    @property
    def chosen_moves(self) -> list[int]:
        """The ids of the ticked experiments. Raises BadInput on one that is not offered."""
        return self.moves.chosen() if "moves" in self else []

    @property
    def reason_given(self) -> str:
        """The reason, "" where none is asked for."""
        return (self.reason.data or "") if "reason" in self else ""


class PersonaEditForm(PersonaForm, MovesForm):
    """As for a new persona, with what becomes of the twins that have it."""


class PersonaMoveForm(Form, MovesForm):
    """Only what becomes of the twins on older versions."""


def group_words(group: Group) -> str:
    """ "Campus climate (7k2qx), running: 3 twins, 2 on version 1, 1 on version 2"."""
    noun = "twin" if group.twins == 1 else "twins"
    versions = (
        f"on version {group.counts[0][0]}"
        if len(group.counts) == 1
        else ", ".join(f"{count:,} on version {number}" for number, count in group.counts)
    )
    experiment = group.experiment
    name = f"{experiment.name} ({experiment.identifier})"
    return f"{name}, {experiment.state.value}: {group.twins:,} {noun}, {versions}"


def offer_twins(
    session: Session, form: Any, persona: Persona | None, experiment: Experiment | None, is_first: bool
) -> None:
    """Offers twins to show messages for: those with the persona first, then those of the experiment."""
    ranks = []
    query = select(DigitalTwin).join(DigitalTwin.persona_version)
    if persona is not None:
        ranks.append(case((PersonaVersion.persona_id == persona.id, 0), else_=1))
    if experiment is not None:
        ranks.append(case((DigitalTwin.experiment_id == experiment.id, 0), else_=1))
    query = query.options(joinedload(DigitalTwin.experiment)).limit(MOST_TWINS_OFFERED)
    twins = session.scalars(query.order_by(*ranks, DigitalTwin.id)).all()
    form.twin.offer([(twin.id, f"{twin}, {twin.experiment.name}") for twin in twins])
    if is_first and twins:
        form.twin.data = str(twins[0].id)
