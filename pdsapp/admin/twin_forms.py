"""The one form of a twin: profile, persona, endpoint, activity."""

from wtforms import BooleanField, StringField, TextAreaField

from ..llm.endpoint import normalize_base_url
from ..services.fields import clean_line, clean_parameters, clean_text, clean_username
from .forms import Clean, Form, Needed, ReasonForm, RowField

USERNAME_HELP = "1 to 30 letters a–z, digits, _ . or -, once per experiment. For example: maya_reads"
DISPLAY_NAME_HELP = "The name beside the posts; empty: the username. For example: Maya Lindqvist"
BIO_HELP = "What others read about them. For example: Library person. Tea, trams, long novels."
PARAMETERS_HELP = (
    "Known: temperature, top_p, frequency_penalty, presence_penalty, max_tokens, seed. "
    "For example: temperature=0.8, max_tokens=300"
)
FORM_SECTIONS = (
    ("Profile", ("experiment", "username", "display_name", "bio")),
    ("Persona", ("persona_version",)),
    (
        "Endpoint",
        ("api_token", "llm_url", "llm_model", "parameters"),
        "All optional. Without a token and a URL a demo's twin is written by the offline writer, "
        "any other by the platform's endpoint.",
    ),
    ("Activity", ("is_active", "tags")),
    (
        "This study has begun",
        ("reason",),
        "Another persona, token, URL, model or parameters change its protocol: say why. The rest needs no "
        "reason.",
    ),
)


class MemberForm(Form):
    """What people type about a member of an experiment."""

    experiment = RowField(
        "Experiment",
        added_by="experiment.create_view",
        validators=[Needed()],
        description="Where they post. For example: Pilot (a41f9)",
    )
    username = StringField(
        "Username",
        validators=[Needed(), Clean(clean_username)],
        render_kw={"spellcheck": "false", "autocapitalize": "none"},
        description=USERNAME_HELP,
    )
    display_name = StringField(
        "Display name",
        validators=[Clean(lambda text: clean_line(text, "display_name", 80))],
        description=DISPLAY_NAME_HELP,
    )
    bio = TextAreaField(
        "Bio",
        validators=[Clean(lambda text: clean_text(text, "bio", 1000))],
        render_kw={"rows": 3},
        description=BIO_HELP,
    )


class TwinForm(MemberForm):
    """Everything people type about a twin."""

    persona_version = RowField(
        "Persona",
        added_by="persona.create_view",
        validators=[Needed()],
        description="Whose voice it writes in, at the latest version. For example: Retired bus driver, "
        "version 2",
    )
    api_token = RowField(
        "API token",
        empty="none",
        description="The endpoint it is written by, with its key. For example: Lab vLLM",
    )
    llm_url = StringField(
        "URL",
        validators=[Clean(normalize_base_url)],
        render_kw={"inputmode": "url", "spellcheck": "false"},
        description="An endpoint of its own, asked without a key; or another path at its token's address. "
        "For example: http://127.0.0.1:11434/v1",
    )
    llm_model = StringField(
        "Model",
        validators=[Clean(lambda text: clean_line(text, "llm_model", 200))],
        render_kw={"spellcheck": "false"},
        description="Empty: the token's or the platform's default. For example: llama3.1:8b",
    )
    parameters = StringField(
        "Parameters",
        validators=[Clean(clean_parameters)],
        render_kw={"spellcheck": "false"},
        description=f"They go before the token's. {PARAMETERS_HELP}",
    )
    tags = StringField(
        "Tags",
        description="Words to find it again, with commas between. For example: pilot, section 2",
    )
    is_active = BooleanField(
        "Active",
        default=True,
        description="Only active twins are asked. For example, leave it off until the experiment begins.",
    )


class TwinEditForm(TwinForm, ReasonForm):
    """As for a new twin, but in the experiment it is in."""

    experiment = None
