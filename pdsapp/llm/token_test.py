"""Testing a token: is the address allowed, what models are there, does the model answer with this key?"""

import asyncio
import time
from dataclasses import dataclass, replace

from ..domain.reasons import Reason
from ..domain.reply import classify_error
from ..errors import AddressRefused
from .client import CallOutcome, ModelClient, ModelList
from .endpoint import Endpoint
from .guard import EndpointGuard, NameUnknown

TEST_MESSAGES = ({"role": "user", "content": "Answer with the one word: ready"},)
TEST_MAX_TOKENS = 16
STEP_SECONDS = 20.0
RESOLVE_SECONDS = 5.0


@dataclass(frozen=True)
class Step:
    """One thing that was tried. `ok` is None if it could not be told; `ms` are milliseconds."""

    name: str
    ok: bool | None
    detail: str
    ms: int


@dataclass(frozen=True)
class TokenTest:
    """The result of a test. Only the completion decides: a list of models proves no key.

    `reason` and `pauses_token` are those of the failed step; `outcomes` are the calls that were made,
    for writing them down.
    """

    ok: bool
    steps: tuple[Step, ...]
    models: tuple[str, ...]
    reason: Reason | None = None
    pauses_token: bool = False
    outcomes: tuple[CallOutcome, ...] = ()


async def test_endpoint(
    client: ModelClient, endpoint: Endpoint, *, step_seconds: float = STEP_SECONDS
) -> TokenTest:
    """What an endpoint does with this token: at most three steps, at most two completions, no retries.

    The second completion is made only if the first one was refused over the name of the token limit.
    """
    address, refused = await _check_address(client.guard, endpoint)
    if refused is not None:
        return TokenTest(False, (address,), (), refused)
    listed = await client.list_models(endpoint, step_seconds)
    models = _models_step(listed, endpoint)
    if listed.bad is not None and listed.http_status is None:
        return TokenTest(False, (address, models), (), listed.bad.reason, listed.bad.pauses_token)
    outcomes = await _complete(client, endpoint, step_seconds)
    completion = _completion_step(outcomes[-1], endpoint, listed)
    bad = outcomes[-1].bad
    return TokenTest(
        ok=bool(completion.ok),
        steps=(address, models, completion),
        models=listed.models,
        reason=bad.reason if bad and not completion.ok else None,
        pauses_token=bool(bad and bad.pauses_token),
        outcomes=outcomes,
    )


test_endpoint.__test__ = False  # a name pytest would collect


async def _check_address(guard: EndpointGuard, endpoint: Endpoint) -> tuple[Step, Reason | None]:
    began = time.monotonic()
    reason = None
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            checked = await guard.check_async(endpoint.base_url)
        ok, detail = True, f"Allowed: {checked.host} at {', '.join(checked.addresses[:3])}."
    except AddressRefused as error:
        ok, detail, reason = False, str(error), Reason.endpoint_refused
    except (NameUnknown, TimeoutError):
        # Behind a proxy names need not resolve here: the next step tells.
        ok, detail = None, "The host name does not resolve here. Behind a proxy that may be right."
    return Step("address", ok, detail, _ms(began)), reason


def _models_step(listed: ModelList, endpoint: Endpoint) -> Step:
    if listed.bad is None and endpoint.model in listed.models:
        return Step("models", True, f"{endpoint.model} is one of {_count(listed)}.", listed.latency_ms)
    if listed.bad is None and listed.models:
        some = ", ".join(listed.models[:5])
        return Step(
            "models", None, f"{endpoint.model} is not among {_count(listed)}: {some}…", listed.latency_ms
        )
    if listed.bad is None:
        return Step("models", None, "The endpoint lists no models.", listed.latency_ms)
    if listed.http_status is None:
        return Step("models", False, listed.bad.detail, listed.latency_ms)
    return Step(
        "models", None, f"The endpoint does not list its models. {listed.bad.detail}", listed.latency_ms
    )


def _count(listed: ModelList) -> str:
    return "1 model" if len(listed.models) == 1 else f"{len(listed.models)} models"


async def _complete(client: ModelClient, endpoint: Endpoint, step_seconds: float) -> tuple[CallOutcome, ...]:
    limits = ("max_tokens", "max_completion_tokens")
    bare = replace(endpoint, parameters={k: v for k, v in endpoint.parameters.items() if k not in limits})
    outcomes: tuple[CallOutcome, ...] = ()
    for _ in range(2):
        outcome = await client.complete(
            bare, TEST_MESSAGES, max_tokens=TEST_MAX_TOKENS, deadline_seconds=step_seconds
        )
        outcomes = (*outcomes, outcome)
        if outcome.bad is None or outcome.bad.swap_parameter is None:
            break
    return outcomes


def _completion_step(outcome: CallOutcome, endpoint: Endpoint, listed: ModelList) -> Step:
    if outcome.reply is not None:
        model = outcome.reply.model_returned or endpoint.model
        return Step("completion", True, f"{model} answered.", outcome.latency_ms)
    bad = outcome.bad or classify_error("protocol")
    if bad.reason == Reason.empty_reply and bad.finish_reason == "length":
        return Step(
            "completion",
            True,
            f"{endpoint.model} answered, by thinking beyond the small limit.",
            outcome.latency_ms,
        )
    detail = bad.detail
    if outcome.http_status == 404 and not endpoint.base_url.endswith("/v1") and listed.bad is not None:
        detail = f"{detail} For example {endpoint.base_url}/v1."
    return Step("completion", False, detail, outcome.latency_ms)


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
