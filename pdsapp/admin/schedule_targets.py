"""The part of a schedule's form that says whom it asks: all twins, those with a tag, or chosen ones."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session
from wtforms import RadioField, SelectMultipleField, StringField, TextAreaField

from ..domain.targets import Target
from ..errors import BadInput
from ..models import Experiment, Schedule
from ..services import schedule_targets as service
from ..services.schedule_targets import OfferedTag, OfferedTwin

TARGET_NAMES = ("target", "tags", "twins", "more_twins", "find_twins")


class TargetForm:
    """Whom a schedule asks. Ticked boxes come as they stand; names may be typed beside them."""

    target = RadioField(
        "Which twins",
        choices={
            "everybody": "all active twins of the experiment",
            "tags": "twins with a tag",
            "twins": "chosen twins",
        },
        default="everybody",
        description="Twins that are not active, or banned, are never asked. For example: twins with a tag",
    )
    tags = SelectMultipleField(
        "Tags",
        choices=(),
        validate_choice=False,
        description="A twin with any of the ticked tags may be asked; its tags at the instant of the slot "
        "count. For example: morning",
    )
    twins = SelectMultipleField(
        "Chosen twins",
        choices=(),
        validate_choice=False,
        description="Each slot draws among the ticked ones. For example: @maya_reads",
    )
    more_twins = TextAreaField(
        "Add by username",
        render_kw={"rows": 2, "spellcheck": "false", "autocomplete": "off"},
        description="Instead of ticking, or beside it: usernames with spaces, commas or lines between them. "
        "For example: @maya_reads, @jon",
    )
    find_twins = StringField(
        "Find a twin",
        render_kw={"type": "search", "autocomplete": "off", "spellcheck": "false", "maxlength": "80"},
        description="A part of its username or display name. For example: maya",
    )

    def wished_target(self, session: Session, experiment: Experiment | None) -> Target:
        """The target that was ticked and typed. Raises BadInput at the field that is to blame."""
        if self.target.data != "everybody" and experiment is None:
            raise BadInput(service.ONE_EXPERIMENT, "target")
        if self.target.data == "tags":
            if not self.tags.data:
                raise BadInput("Tick at least one tag, or ask all active twins.", "tags")
            return service.target_of(session, experiment, tags=self.tags.data)
        if self.target.data == "twins":
            typed = service.usernames_in(self.more_twins.data)
            if not self.twins.data and not typed:
                raise BadInput("Tick or write at least one twin, or ask all active twins.", "twins")
            try:
                return service.target_of(session, experiment, usernames=[*self.twins.data, *typed])
            except BadInput as error:
                is_typed = error.field == "twins" and not self.twins.data
                raise BadInput(str(error), "more_twins" if is_typed else error.field) from None
        return Target()


@dataclass(frozen=True)
class Choices:
    """What there is to tick in the experiment that is chosen; `experiment` is None before one is."""

    experiment: Experiment | None
    tags: list[OfferedTag]
    twins: list[OfferedTwin]
    more_twins: int


def choices_for(session: Session, form: Any) -> Choices:
    """The tags and twins to offer beside what is ticked; nothing of an experiment that is not offered."""
    key = form.experiment.data
    experiment = form.experiment.chosen(session, Experiment) if key in form.experiment.choices else None
    if experiment is None:
        return Choices(None, [], [], 0)
    tags = service.offered_tags(session, experiment, form.tags.data or ())
    text = (form.find_twins.data or "")[:80]
    return Choices(experiment, tags, *service.offered_twins(session, experiment, form.twins.data or (), text))


def target_values(session: Session, row: Schedule) -> dict[str, Any]:
    """What the form shows of a schedule's target."""
    target = service.readable(row)
    names = service.names_of(session, [target])
    return {
        "target": "tags" if target.tags else "twins" if target.twins else "everybody",
        "tags": list(target.tags),
        "twins": sorted(names.values(), key=str.casefold),
    }
