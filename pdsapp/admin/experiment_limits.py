"""The part of a policy's form that is about limits, and how limits are shown."""

from typing import Any

from wtforms import StringField

from ..domain.limits import Limits
from ..domain.policy import PolicyError, PostingPolicy
from ..models import Experiment
from ..services import limits as service
from .forms import Form


class LimitsForm(Form):
    """What people type about limits."""

    quiet_from = StringField(
        "Quiet from",
        render_kw={"placeholder": "22:00", "inputmode": "numeric", "spellcheck": "false"},
        description="No twin posts from this time of day on, by the clock of the experiment’s zone. "
        "For example: 22:00",
    )
    quiet_until = StringField(
        "Quiet until",
        render_kw={"placeholder": "07:00", "inputmode": "numeric", "spellcheck": "false"},
        description="From this time on they may post again. It may be on the next day. For example: 07:00",
    )
    posts_per_day = StringField(
        "Posts of a twin a day, at most",
        render_kw={"placeholder": "3", "inputmode": "numeric"},
        description="All its posts of a day count, whoever asked for them; days begin at midnight in the "
        "experiment’s zone. For example: 3",
    )
    min_gap_seconds = StringField(
        "Between two posts of a twin, at least",
        render_kw={"placeholder": "15 min", "spellcheck": "false"},
        description="With its unit: s, min, h or d; a number alone is seconds. For example: 15 min",
    )
    max_draft_age_seconds = StringField(
        "Age of a draft, at most",
        render_kw={"placeholder": "10 min", "spellcheck": "false"},
        description="A draft that is published later after the decision than this is called off, because the "
        "feed has moved on. For example: 10 min",
    )


def facts_of(row: Experiment) -> list[tuple[str, Any]]:
    """The limits in words."""
    return service.limit_facts(_limits(row), row.zone)


def _limits(row: Experiment) -> Limits:
    try:
        return PostingPolicy.from_dict(row.policy.body).limits
    except PolicyError:
        return Limits()
