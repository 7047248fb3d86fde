"""The workshop a process runs attempts with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module

from ..config import Settings
from ..dt_service import DTService
from ..llm.client import ModelClient
from ..llm.guard import EndpointGuard
from ..llm.secrets import SecretBox
from ..models import utc_now
from .turns import Turns

# Which endpoints want `max_completion_tokens`: learned once a process.
_SWAPS: dict = {}


@dataclass(frozen=True)
class Workshop:
    """What running attempts needs: the seams, the client, the keys and the clock.

    `passes` are exceptions that must never be taken for an error of the service (a job's time-out).
    """

    service: DTService
    client: ModelClient
    settings: Settings
    box: SecretBox
    clock: Callable[[], datetime]
    turns: Turns
    passes: tuple[type[BaseException], ...] = ()


def make_client(settings: Settings) -> ModelClient:
    """A model client with this installation's guard. Made after a fork, used in one event loop."""
    return ModelClient(
        EndpointGuard(settings.allowed_hosts),
        proxy=settings.llm_proxy.get_secret_value() if settings.llm_proxy else None,
        ca_file=str(settings.llm_ca_file) if settings.llm_ca_file else None,
        swaps=_SWAPS,
    )


def warm_up(settings: Settings) -> None:
    """Loads what every call needs and no fork has to load again: the openai package, the certificates.

    Nothing of it connects. Raises NotConfigured for certificates that cannot be used.
    """
    import_module("openai.resources.chat.completions")
    make_client(settings).ssl_context()


def make_workshop(
    settings: Settings, service: DTService, passes: tuple[type[BaseException], ...] = ()
) -> Workshop:
    """Everything running attempts needs, with the real clock."""
    return Workshop(
        service=service,
        client=make_client(settings),
        settings=settings,
        box=SecretBox(settings.require("fernet_keys")),
        clock=utc_now,
        turns=Turns(settings, utc_now),
        passes=passes,
    )
