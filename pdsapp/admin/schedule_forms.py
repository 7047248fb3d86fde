"""The form of a schedule, and what it means."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session
from wtforms import (
    BooleanField,
    DateField,
    DateTimeLocalField,
    RadioField,
    SelectField,
    StringField,
    TimeField,
)
from wtforms.validators import NumberRange, Optional

from ..domain.cadence_words import DAY_NAMES, CadenceError
from ..domain.day_times import EVERY_DAY, MOST_TIMES, DayTimes, cron_of, day_times, day_times_of
from ..errors import BadInput
from ..models import Cadence, Experiment, MissedPolicy, OverlapPolicy, Schedule
from ..services.fields import clean_line, clean_zone
from ..services.schedules import MOST_TWINS, Wish, zone_of
from .forms import EVERY_ROW, Clean, Form, Needed, ReasonForm, RowField, WholeField
from .schedule_targets import TargetForm

MINUTE, HOUR = 60, 3600
UNITS = {"hours": HOUR, "minutes": MINUTE, "seconds": 1}
TO_THE_MINUTE, TO_THE_SECOND = "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"
FIELD_OF = {"interval_seconds": "every"}  # the service's field names where the form has others
MISSED_WORDS = {MissedPolicy.skip: "let them go", MissedPolicy.fire_once: "fire once afterwards"}
OVERLAP_WORDS = {OverlapPolicy.skip: "skip this slot", OverlapPolicy.allow: "fire it too"}
TIME_NAMES = tuple(f"time_{number}" for number in range(1, MOST_TIMES + 1))
DAY_FIELDS = {f"day_{number}": number for number in EVERY_DAY}
TIMES_SHOWN = 4  # in a row; one row more than is filled is shown
WAYS = {
    "every": ("every", "unit", "anchor_at"),
    "times": (*TIME_NAMES, *DAY_FIELDS),
    "cron": ("cron",),
}


class SecondsField(DateTimeLocalField):
    """A local time that shows its seconds where it has any, so that a browser sends them back."""

    def __init__(self, label: str, **kwargs):
        super().__init__(label, format=[TO_THE_MINUTE, TO_THE_SECOND], **kwargs)

    def __call__(self, **kwargs):
        return super().__call__(**({"step": 1} | kwargs if self._has_seconds else kwargs))

    def _value(self) -> str:
        is_own = not self.raw_data and self._has_seconds
        return self.data.strftime(TO_THE_SECOND) if is_own else super()._value()

    @property
    def _has_seconds(self) -> bool:
        return self.data is not None and self.data.second != 0


class DayTimesForm:
    """The part of a form in which times of day and days of the week are picked."""


for _number, _name in enumerate(TIME_NAMES, 1):
    setattr(
        DayTimesForm,
        _name,
        TimeField(
            f"Time {_number}",
            validators=[Optional()],
            invalid_value_message="Write a time of day. Example: 09:00",
            description="A time of day, in the time zone below. For example: 09:00",
        ),
    )
for _name, _day in DAY_FIELDS.items():
    setattr(
        DayTimesForm,
        _name,
        BooleanField(DAY_NAMES[_day - 1], description="None ticked is every day. For example: Monday"),
    )


class ScheduleForm(Form, DayTimesForm, TargetForm, ReasonForm):
    """Everything people type about a schedule."""

    name = StringField(
        "Name",
        validators=[Needed(), Clean(lambda text: clean_line(text, "name", 120))],
        description="How you find it. For example: Daytime chatter",
    )
    experiment = RowField(
        "Experiment",
        added_by="experiment.create_view",
        validators=[Needed()],
        description="Whose twins are asked. Administrators may choose all running experiments: each is asked "
        "as often as it has active twins. For example: Pilot (a41f9)",
    )
    kind = RadioField(
        "When it is due",
        choices={
            "every": "again and again, after so many minutes or hours",
            "times": "at times of day",
            "cron": "by a cron expression, for experts",
        },
        default="every",
        description="What is chosen counts, the other two are not looked at. For example: at times of day",
    )
    every = WholeField(
        "Every",
        default=15,
        validators=[Optional()],
        render_kw={"min": 1},
        description="In the unit beside it; at least 60 seconds. For example: 15",
    )
    unit = SelectField(
        "Unit",
        choices={unit: unit for unit in ("minutes", "hours", "seconds")},
        default="minutes",
        description="For example: minutes",
    )
    anchor_at = SecondsField(
        "Counted from",
        validators=[Optional()],
        description="In the schedule's zone; itself a slot. Empty: from now on, or from the first day. For "
        "example 09:00 with every 2 hours: 09:00, 11:00, 13:00 …",
    )
    cron = StringField(
        "Cron expression",
        render_kw={"spellcheck": "false", "placeholder": "*/15 9-17 * * 1-5"},
        description="Minute, hour, day, month, weekday; or @hourly, @daily, @weekly, @monthly. For example: "
        "*/15 9-17 * * 1-5 is every 15 minutes from 9 to 17 on weekdays",
    )
    zone = SelectField(
        "Time zone",
        choices={},
        validate_choice=False,
        validators=[Clean(clean_zone)],
        description="The zone the times are meant in. For example: Europe/Rome",
    )
    first_day = DateField(
        "First day",
        validators=[Optional()],
        description="No slot before it, in the time zone above; itself counts. Empty: from now on. For "
        "example: 1 December, the day the course begins",
    )
    last_day = DateField(
        "Last day",
        validators=[Optional()],
        description="No slot after it; itself counts. Empty: for ever. For example: 14 December, for a study "
        "of two weeks",
    )
    jitter_seconds = WholeField(
        "Jitter, in seconds",
        default=0,
        validators=[Optional()],
        render_kw={"min": 0},
        description="Each attempt begins a random time after its slot, up to this; at most the time from "
        "slot to slot. 0 is none. For example: 300 for up to 5 minutes, or 3600 to spread an hourly slot of "
        "very many twins over its hour",
    )
    twins_per_slot = WholeField(
        "Twins per slot",
        default=1,
        validators=[Needed(), NumberRange(1, MOST_TWINS, f"Ask 1 to {MOST_TWINS:,} twins per slot.")],
        render_kw={"min": 1, "max": MOST_TWINS},
        description="How many of them are drawn and asked each time; all of them, if there are fewer. For "
        "example: 3",
    )
    asks_all = BooleanField(
        "Ask each of them",
        description="Each slot asks every one of these twins, however many there are; the number above is "
        "not looked at then. For example, so that each twin has its turn once an hour.",
    )
    is_forced = BooleanField(
        "Post whatever the draw",
        description="Bypasses the posting rule's draw, not limits, pauses or bans. For example, for a fixed "
        "stimulus.",
    )
    lane = StringField(
        "Lane",
        default="default",
        validators=[Needed()],
        render_kw={"spellcheck": "false"},
        description="A lane is a named stream of work: attempts wait in it, one after the other, for a "
        "worker that serves it. Leave it at default unless your workers are told otherwise. For example: "
        "default",
    )
    missed_policy = SelectField(
        "If slots passed while nothing ran",
        validators=[Needed()],
        choices={policy.value: words for policy, words in MISSED_WORDS.items()},
        default=MissedPolicy.skip.value,
        description="Counted as missed either way. For example, let them go after a night without power.",
    )
    overlap_policy = SelectField(
        "If the slot before is still at work",
        validators=[Needed()],
        choices={policy.value: words for policy, words in OVERLAP_WORDS.items()},
        default=OverlapPolicy.skip.value,
        description="For example, skip when a slow model needs longer than the interval.",
    )
    is_enabled = BooleanField(
        "Enabled",
        description="Switching it on never fires at once: the next slot is the first. For example, switch "
        "it on "
        "when the experiment begins.",
    )

    def wish(self, session: Session, present: Schedule | None = None) -> Wish:
        """What the form asks for; `present` is the schedule it was filled from. Raises BadInput."""
        experiment = self.experiment.chosen(session, Experiment)
        zone = self.zone.data or (experiment.zone if experiment else "UTC")
        is_interval = self.kind.data == "every"
        if is_interval and self.every.data is None:
            raise BadInput("Say after how many minutes, hours or seconds. Example: 15", "every")
        return Wish(
            name=self.name.data,
            experiment=experiment,
            cron="" if is_interval else self._expression(present),
            interval_seconds=min(self.every.data, 10**9) * UNITS[self.unit.data] if is_interval else None,
            anchor_at=self._anchor(zone, present) if is_interval else None,
            zone=zone,
            first_day=self.first_day.data,
            last_day=self.last_day.data,
            jitter_seconds=self.jitter_seconds.data or 0,
            twins_per_slot=self.twins_per_slot.data,
            asks_all=self.asks_all.data,
            target=self.wished_target(session, experiment),
            is_forced=self.is_forced.data,
            lane=(self.lane.data or "").strip(),
            missed_policy=MissedPolicy(self.missed_policy.data),
            overlap_policy=OverlapPolicy(self.overlap_policy.data),
            is_enabled=self.is_enabled.data,
        )

    def validate(self, *args: Any, **kwargs: Any) -> bool:
        """Whether all can be used; what stands in a way that is not chosen is not looked at."""
        super().validate(*args, **kwargs)
        for way, names in WAYS.items():
            if way != self.kind.data:
                for name in names:
                    self[name].errors = ()
        return not self.errors

    time_names = TIME_NAMES

    def times_shown(self) -> tuple[str, ...]:
        """The time fields that are in sight at once: a row more than is filled."""
        filled = [n for n, name in enumerate(TIME_NAMES, 1) if any(self[name].raw_data or [self[name].data])]
        return TIME_NAMES[: (max(filled, default=0) // TIMES_SHOWN + 1) * TIMES_SHOWN]

    def _expression(self, present: Schedule | None) -> str:
        """The cron expression; the present one's own spelling where the same is picked."""
        if self.kind.data == "cron":
            if not (self.cron.data or "").strip():
                raise BadInput("Write a cron expression, or choose another way. Example: 0 9 * * 1-5", "cron")
            return self.cron.data
        try:
            picked = day_times(
                (self[name].data for name in TIME_NAMES if self[name].data is not None),
                (day for name, day in DAY_FIELDS.items() if self[name].data),
            )
            expression = cron_of(picked)
        except CadenceError as error:
            raise BadInput(str(error), TIME_NAMES[0]) from None
        is_present = present is not None and present.cron and day_times_of(present.cron) == picked
        return present.cron if is_present else expression

    def _anchor(self, zone: str, present: Schedule | None) -> datetime | None:
        if self.anchor_at.data is None:
            return None
        if present is not None and zone == present.zone and self.anchor_at.data == anchor_shown(present):
            return present.anchor_at  # an hour that a clock change repeats does not tell which one is meant
        try:
            return self.anchor_at.data.replace(tzinfo=ZoneInfo(clean_zone(zone))).astimezone(UTC)
        except OverflowError:
            raise BadInput("Choose a day between 1970 and 2999.", "anchor_at") from None

    def put_error(self, error: BadInput) -> None:
        """Shows the error at the form's own field for it."""
        name = FIELD_OF.get(error.field or "", error.field)
        if name == "cron" and self.kind.data == "times":
            name = TIME_NAMES[0]
        super().put_error(BadInput(str(error), name))


def anchor_shown(row: Schedule) -> datetime | None:
    """The schedule's anchor as the form shows it: in its zone, to the second."""
    if row.anchor_at is None:
        return None
    return row.anchor_at.astimezone(zone_of(row)).replace(tzinfo=None, fold=0, microsecond=0)


def values_of(row: Schedule) -> dict[str, Any]:
    """What the form shows of a schedule that is there."""
    seconds = row.interval_seconds or 15 * MINUTE
    unit = next(unit for unit, size in UNITS.items() if seconds % size == 0)
    picked = day_times_of(row.cron) if row.cadence == Cadence.cron else None
    kind = "every" if row.cadence == Cadence.interval else "times" if picked else "cron"
    return picked_values(picked) | {
        "name": row.name,
        "experiment": row.experiment_id or EVERY_ROW,
        "kind": kind,
        "every": seconds // UNITS[unit],
        "unit": unit,
        "anchor_at": anchor_shown(row),
        "cron": row.cron,
        "zone": row.zone,
        "first_day": row.first_day,
        "last_day": row.last_day,
        "jitter_seconds": row.jitter_seconds,
        "twins_per_slot": row.twins_per_slot,
        "asks_all": row.asks_all,
        "is_forced": row.is_forced,
        "lane": row.lane,
        "missed_policy": row.missed_policy.value,
        "overlap_policy": row.overlap_policy.value,
        "is_enabled": row.is_enabled,
    }


def picked_values(picked: DayTimes | None) -> dict[str, Any]:
    """The picker fields of these times and days; every day is no day ticked."""
    if picked is None:
        return {}
    days = () if picked.weekdays == EVERY_DAY else picked.weekdays
    times = dict(zip(TIME_NAMES, picked.times, strict=False))
    return times | {name: True for name, day in DAY_FIELDS.items() if day in days}
