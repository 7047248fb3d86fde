"""The form of an API token, and what stands beside it while one types."""

from dataclasses import dataclass
from typing import Any

from flask import current_app
from wtforms import BooleanField, PasswordField, StringField

from ..domain.call_limits import AT_ONCE, PER_MINUTE, TOKENS_PER_MINUTE
from ..errors import AddressRefused, BadInput
from ..llm.endpoint import normalize_base_url
from ..llm.guard import EndpointGuard
from ..llm.presets import Preset, preset_of
from ..services.fields import clean_bound, clean_line, clean_parameters
from .forms import Clean, Form, Needed, ReasonForm
from .twin_forms import PARAMETERS_HELP

FORM_SECTIONS = (
    ("Endpoint", ("name", "base_url", "secret", "removes_secret")),
    ("What is asked", ("default_model", "parameters")),
    (
        "How often, at most",
        ("max_at_once", "max_per_minute", "max_tokens_per_minute"),
        "All workers together keep to it. What would be more waits, and none is lost. "
        "Your provider says what your account allows; a local model is served best with few calls at once.",
    ),
    (
        "Studies that have begun use it",
        ("reason",),
        "Another address, model or parameters is then a protocol change of each of them: it is listed with "
        "who, when and why, and marked in the chart.",
    ),
)
PRESET_URLS, OFFERED_MODELS = "preset-urls", "offered-models"


class TokenForm(Form):
    """What people type about an API token."""

    name = StringField(
        "Name",
        validators=[Needed(), Clean(lambda text: clean_line(text, "name", 80))],
        description="How you find it. For example: Lab vLLM",
    )
    base_url = StringField(
        "Base URL",
        validators=[Needed(), Clean(normalize_base_url)],
        render_kw={"inputmode": "url", "spellcheck": "false", "list": PRESET_URLS, "autocomplete": "off"},
        description="Where the OpenAI-compatible endpoint is. For example: https://api.openai.com/v1, or "
        "for an Ollama on this computer http://127.0.0.1:11434/v1",
    )
    secret = PasswordField(
        "Key",
        description="As the provider gave it to you, for example sk-…; stored encrypted and never shown "
        "again. Leave it empty if the endpoint needs none.",
    )
    default_model = StringField(
        "Default model",
        validators=[Clean(lambda text: clean_line(text, "default_model", 200))],
        render_kw={"spellcheck": "false", "list": OFFERED_MODELS, "autocomplete": "off"},
        description="For twins that name none. For example: gpt-4o-mini. Leave it empty if you do not know "
        "yet: a test lists what the endpoint offers, and then this field does too.",
    )
    parameters = StringField(
        "Parameters",
        validators=[Clean(clean_parameters)],
        render_kw={"spellcheck": "false"},
        description=f"Sent with every call; a twin's own go first. {PARAMETERS_HELP}",
    )
    max_at_once = StringField(
        AT_ONCE.label,
        validators=[Clean(lambda text: clean_bound(text, AT_ONCE))],
        render_kw={"placeholder": "no limit", "inputmode": "numeric", "autocomplete": "off"},
        description="How many calls may be under way at one time. For example: 8",
    )
    max_per_minute = StringField(
        PER_MINUTE.label,
        validators=[Clean(lambda text: clean_bound(text, PER_MINUTE))],
        render_kw={"placeholder": "no limit", "inputmode": "numeric", "autocomplete": "off"},
        description="Counted over any sixty seconds; providers call it RPM. For example: 60",
    )
    max_tokens_per_minute = StringField(
        TOKENS_PER_MINUTE.label,
        validators=[Clean(lambda text: clean_bound(text, TOKENS_PER_MINUTE))],
        render_kw={"placeholder": "no limit", "inputmode": "numeric", "autocomplete": "off"},
        description="Of prompts and answers together; providers call it TPM. An estimate is reserved before "
        "each call and corrected by what it took. For example: 90000",
    )


class TokenEditForm(TokenForm, ReasonForm):
    """As for a new token, with what becomes of the stored key, and why a study under way is changed."""

    secret = PasswordField(
        "Key",
        description="Leave it empty to keep the stored key. A new address asks for its key again, for "
        "example sk-….",
    )
    removes_secret = BooleanField(
        "Remove the stored key",
        description="The endpoint is then asked without one, for example a local Ollama.",
    )


@dataclass(frozen=True)
class Address:
    """What would be asked: `url` in its one spelling, "" while there is none; `problem` says why not."""

    url: str = ""
    problem: str = ""
    preset: Preset | None = None


def address_of(text: str | None) -> Address:
    """What a typed base URL leads to. No name is looked up: that is for saving and for the test."""
    if not (text or "").strip():
        return Address()
    try:
        url = normalize_base_url(text)
    except BadInput as error:
        return Address(problem=str(error))
    try:
        EndpointGuard(current_app.extensions["settings"].allowed_hosts).check_text(url)
    except AddressRefused as error:
        return Address(url, str(error), preset_of(url))
    return Address(url, preset=preset_of(url))


def key_is_missing(form: Any, address: Address, has_stored: bool) -> bool:
    """Whether a well-known endpoint asks for a key and none is typed or stored."""
    needs = address.preset is not None and address.preset.key == "needed"
    return needs and not has_stored and not (form.secret.data or "").strip()
