"""The form of a posting policy: a row for each step and band, limits, and why it is changed."""

from wtforms import StringField

from ..services.policy_texts import BAND_FIELDS, STEP_FIELDS
from .experiment_limits import LimitsForm
from .forms import Needed, ReasonForm

NUMBER = {"inputmode": "decimal", "autocomplete": "off"}


class _Numbers(LimitsForm, ReasonForm):
    share_window = StringField(
        "Latest posts looked at",
        validators=[Needed()],
        render_kw={"inputmode": "numeric"},
        description="Of these, people's included, the twin's own are counted. For example: 20",
    )
    share_cap = StringField(
        "Skips because of its share, at most",
        validators=[Needed()],
        render_kw=NUMBER,
        description="In percent: own ÷ looked at, but never more than this. For example: 70",
    )
    context_size = StringField(
        "Latest posts in the prompt",
        validators=[Needed()],
        render_kw={"inputmode": "numeric"},
        description="What the model is shown of the feed, newest last. For example: 10",
    )
    max_model_calls = StringField(
        "Model calls per attempt, at most",
        validators=[Needed()],
        render_kw={"inputmode": "numeric"},
        description="1 to 3, the rewrite of a post that is too long or too short included. For example: 3",
    )


def _rows() -> dict[str, StringField]:
    """One field for each cell of the two tables; labels are for screen readers."""
    fields = {}
    for number, (under, skip) in enumerate(STEP_FIELDS, 1):
        fields[under] = StringField(f"Step {number}: last post less than", render_kw={"autocomplete": "off"})
        fields[skip] = StringField(f"Step {number}: skips with percent", render_kw=NUMBER)
    for number, (name, low, high, percent) in enumerate(BAND_FIELDS, 1):
        fields[name] = StringField(f"Band {number}: name", render_kw={"autocomplete": "off"})
        fields[low] = StringField(f"Band {number}: from characters", render_kw=NUMBER)
        fields[high] = StringField(f"Band {number}: to characters", render_kw=NUMBER)
        fields[percent] = StringField(f"Band {number}: percent of posts", render_kw=NUMBER)
    return fields


PolicyForm = type("PolicyForm", (_Numbers,), _rows() | {"__doc__": "Everything people type about a policy."})
