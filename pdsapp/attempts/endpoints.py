"""Which endpoint a twin is written by: its token, its own URL, the platform's, or the offline writer."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from ..config import Settings
from ..domain.reasons import Reason, TokenState
from ..errors import BadInput, SecretUnreadable
from ..llm.endpoint import Endpoint, normalize_base_url
from ..llm.secrets import SecretBox
from ..models import ApiToken, DigitalTwin

OPENAI_BASE_URL = "https://api.openai.com/v1"
OFFLINE_MODEL = "offline-writer"
SOURCE_WORDS = {
    "twin": "the twin's own URL",
    "platform": "the platform's endpoint",
    "offline": "the offline writer",
    "token": "API token",
}


@dataclass(frozen=True)
class NoEndpoint:
    """Why a twin cannot be written by anything, with what to do about it."""

    reason: Reason
    detail: str


def endpoint_for(twin: DigitalTwin, settings: Settings, box: SecretBox) -> Endpoint | NoEndpoint:
    """The endpoint for this twin, the first that applies:

    its API token; its own URL (without a key: the platform's key never goes there); the offline
    writer, if the experiment is a demo; the platform's endpoint.
    """
    if twin.api_token is not None:
        return _of_token(twin, twin.api_token, box)
    if twin.llm_url:
        if not twin.llm_model:
            return NoEndpoint(
                Reason.no_endpoint, "The twin has a URL but no model. Name the model on the twin."
            )
        return Endpoint(twin.llm_url, twin.llm_model, None, dict(twin.parameters), "twin", None, None)
    if twin.experiment.is_demo:
        return _of_offline_writer(twin, settings)
    return _of_platform(twin, settings)


def endpoint_of_token(
    token: ApiToken, box: SecretBox, model: str = "", needs_model: bool = True
) -> Endpoint | NoEndpoint:
    """The endpoint of a token by itself, for testing it: then even before a model is chosen."""
    model = model or token.default_model
    if not model and needs_model:
        return NoEndpoint(Reason.no_endpoint, f"Token “{token.name}” names no default model. Give it one.")
    try:
        key = None if token.secret_encrypted is None else box.open(token.secret_encrypted, token.base_url)
    except SecretUnreadable as error:
        return NoEndpoint(Reason.token_broken, f"Token “{token.name}”: {error}")
    return Endpoint(
        token.base_url,
        model,
        key,
        dict(token.parameters),
        "token",
        token.id,
        token.name,
        token.uuid,
        token.call_limits,
    )


def is_same_origin(one: str, other: str) -> bool:
    """Whether two URLs share scheme, host and port: only then may a key go to both."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _of_token(twin: DigitalTwin, token: ApiToken, box: SecretBox) -> Endpoint | NoEndpoint:
    if token.state != TokenState.active:
        why = token.paused_reason or "no reason given"
        return NoEndpoint(Reason.token_paused, f"Token “{token.name}” is {token.state}: {why}")
    found = endpoint_of_token(token, box, twin.llm_model)
    if isinstance(found, NoEndpoint):
        return found
    url = twin.llm_url or found.base_url
    if not is_same_origin(url, found.base_url):
        return NoEndpoint(
            Reason.token_broken,
            f"Token “{token.name}” belongs to {token.base_url}; its key is not sent to {url}. "
            "Make a token for that address or clear the twin's URL.",
        )
    return replace(found, base_url=url, parameters=_merged(token.parameters, twin.parameters))


def _of_offline_writer(twin: DigitalTwin, settings: Settings) -> Endpoint | NoEndpoint:
    if not settings.offline_writer_url:
        return NoEndpoint(
            Reason.no_endpoint,
            "The offline writer is not running. It comes up with the local stack (make run); "
            "elsewhere set PDS_OFFLINE_WRITER_URL.",
        )
    return Endpoint(
        settings.offline_writer_url, OFFLINE_MODEL, None, dict(twin.parameters), "offline", None, None
    )


def _of_platform(twin: DigitalTwin, settings: Settings) -> Endpoint | NoEndpoint:
    if settings.openai_api_key is None and settings.openai_base_url is None:
        return NoEndpoint(
            Reason.no_endpoint,
            "Nothing to ask: give the twin an API token or a URL, or set OPENAI_API_KEY or OPENAI_BASE_URL "
            "and LLM_MODEL for the platform.",
        )
    model = twin.llm_model or settings.llm_model
    if not model:
        return NoEndpoint(Reason.no_endpoint, "The platform's endpoint has no model. Set LLM_MODEL.")
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    try:
        url = normalize_base_url(settings.openai_base_url or OPENAI_BASE_URL)
    except BadInput as error:
        return NoEndpoint(Reason.no_endpoint, f"OPENAI_BASE_URL cannot be used. {error}")
    return Endpoint(url, model, key, dict(twin.parameters), "platform", None, None)


def _merged(token: dict[str, Any], twin: dict[str, Any]) -> dict[str, Any]:
    return {**token, **twin}
