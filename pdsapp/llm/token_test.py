"""Testing a token, rung by rung: address, connection, TLS, the list of models, the key, a tiny completion."""

import re
from dataclasses import dataclass, replace

from ..domain.limit_words import span_words
from ..domain.near import near_names
from ..domain.reasons import Reason
from ..domain.reply import BadReply, classify_error
from .client import CallOutcome, ModelClient, ModelList
from .endpoint import Endpoint
from .probe import Step, ground_steps

LADDER = ("address", "connect", "tls", "models", "key", "completion")
TEST_MESSAGES = ({"role": "user", "content": "Answer with the one word: ready"},)
TEST_MAX_TOKENS = 16
STEP_SECONDS = 20.0
NAMES_SHOWN = 5
_V1_HINT = re.compile(r"did you mean …/v1\?")
# What an endpoint says about these it says to a key it knows.
_BEHIND_THE_KEY = (Reason.quota, Reason.model_not_found, Reason.rate_limited, Reason.refused)


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
    """What an endpoint does with this token: the rungs of LADDER up to the first that fails, no retries.

    Connects once to look, then asks for the models and for one completion; for a second one only if the
    first was refused over the name of the token limit. Without a model it ends at the list of them.
    """
    steps, reason = await ground_steps(client, endpoint.base_url)
    if reason is not None:
        return TokenTest(False, tuple(steps), (), reason)
    listed = await client.list_models(endpoint, step_seconds)
    steps.append(_models_step(listed, endpoint))
    if listed.bad is not None and listed.http_status is None:
        return TokenTest(False, tuple(steps), (), listed.bad.reason, listed.bad.pauses_token)
    if not endpoint.model and listed.bad is not None and listed.bad.reason == Reason.wrong_key:
        again = listed.bad.detail.replace("resume the token", "test again")  # it is not paused for a list
        steps[-1] = Step("models", None, "The endpoint does not list its models.", listed.latency_ms)
        steps.append(Step("key", False, again, None))
        return TokenTest(False, tuple(steps), (), Reason.wrong_key)
    if not endpoint.model:
        steps.append(Step("completion", False, f"No model is chosen. {_choose_one(listed)}", None))
        return TokenTest(False, tuple(steps), listed.models, Reason.no_endpoint)
    outcomes = await _complete(client, endpoint, step_seconds)
    steps += _last_steps(outcomes[-1], endpoint, listed)
    bad = outcomes[-1].bad
    ok = steps[-1].ok is True
    return TokenTest(
        ok=ok,
        steps=tuple(steps),
        models=listed.models,
        reason=bad.reason if bad and not ok else None,
        pauses_token=bool(bad and bad.pauses_token),
        outcomes=outcomes,
    )


test_endpoint.__test__ = False  # a name pytest would collect


def _models_step(listed: ModelList, endpoint: Endpoint) -> Step:
    ok: bool | None = None
    if listed.bad is not None and listed.http_status is None:
        ok, detail = False, _with_advice(listed.bad, endpoint)
    elif listed.bad is not None:
        detail = f"The endpoint does not list its models. {_with_advice(listed.bad, endpoint)}"
    elif not listed.models:
        detail = "The endpoint lists no models."
    elif not endpoint.model:
        ok, detail = True, f"{_count(listed)}."
    elif endpoint.model in listed.models:
        ok, detail = True, f"{endpoint.model} is one of {_count(listed)}."
    else:
        detail = f"{endpoint.model} is not among {_count(listed)}. {_meant(endpoint.model, listed)}"
    return Step("models", ok, detail, listed.latency_ms)


def _last_steps(outcome: CallOutcome, endpoint: Endpoint, listed: ModelList) -> list[Step]:
    """The steps "key" and "completion", which one request tells; a refused key ends it."""
    ms = outcome.latency_ms
    bad = outcome.bad
    if bad is not None and bad.reason == Reason.wrong_key:
        detail = bad.detail
        if endpoint.api_key is None:
            detail = (
                f"The endpoint asks for a key ({outcome.http_status}), and none is stored. Enter it, then "
                "resume the token."
            )
        return [Step("key", False, detail, ms)]
    if bad is None:
        model = outcome.reply.model_returned or endpoint.model
        done = Step("completion", True, f"{model} answered.", ms)
    elif bad.reason == Reason.empty_reply and bad.finish_reason == "length":
        words = f"{endpoint.model} answered, by thinking beyond the small limit."
        done = Step("completion", True, words, ms)
    else:
        detail = _with_advice(bad, endpoint)
        if bad.reason == Reason.model_not_found:
            detail = f"{detail} {_meant(endpoint.model, listed)}".rstrip()
        done = Step("completion", False, detail, ms)
    return [_key_step(done, bad, endpoint), done]


def _key_step(done: Step, bad: BadReply | None, endpoint: Endpoint) -> Step:
    if not done.ok and (bad is None or bad.reason not in _BEHIND_THE_KEY):
        return Step("key", None, "Cannot be told, because the completion failed for another reason.", None)
    if endpoint.api_key is None:
        return Step("key", True, "It answers without a key.", None)
    return Step("key", True, "It answers with the stored key.", None)


def _with_advice(bad: BadReply, endpoint: Endpoint) -> str:
    """What went wrong and what to do about it here."""
    has_v1 = endpoint.base_url.lower().rstrip("/").endswith("/v1")
    hint = "is its path right?" if has_v1 else f"did you mean {endpoint.base_url}/v1?"
    detail = _V1_HINT.sub(lambda _: hint, bad.detail, count=1)
    if bad.retry_after_seconds is not None:
        return f"{detail} Wait {span_words(max(1, round(bad.retry_after_seconds)), 2)}, then test again."
    if bad.reason == Reason.rate_limited:
        return f"{detail} It names no time: wait a minute, then test again."
    if bad.reason == Reason.deadline:
        return f"{detail} Is the model still loading, or too large for its machine? Test again in a minute."
    if bad.reason == Reason.endpoint_down and "loading" in detail:
        return f"{detail} Wait until it has, then test again."
    return detail


def _meant(model: str, listed: ModelList) -> str:
    near = near_names(model, listed.models)
    return f"Did you mean {' or '.join(near)}?" if near else _offered(listed)


def _choose_one(listed: ModelList) -> str:
    if not listed.models:
        return "Enter the default model's name on the token, then test again."
    return f"{_offered(listed)} Choose the default model on the token, then test again."


def _offered(listed: ModelList) -> str:
    if not listed.models:
        return ""
    some = ", ".join(listed.models[:NAMES_SHOWN])
    return f"It offers {some}{' …' if len(listed.models) > NAMES_SHOWN else ''}."


def _count(listed: ModelList) -> str:
    return "1 model" if len(listed.models) == 1 else f"{len(listed.models):,} models"


async def _complete(client: ModelClient, endpoint: Endpoint, step_seconds: float) -> tuple[CallOutcome, ...]:
    limits = ("max_tokens", "max_completion_tokens")
    bare = replace(endpoint, parameters={k: v for k, v in endpoint.parameters.items() if k not in limits})
    outcomes: tuple[CallOutcome, ...] = ()
    for _ in range(2):
        outcome = await client.complete(
            bare, TEST_MESSAGES, max_tokens=TEST_MAX_TOKENS, deadline_seconds=step_seconds
        )
        if outcome.reply is None and outcome.bad is None:
            outcome = replace(outcome, bad=classify_error("protocol"))
        outcomes = (*outcomes, outcome)
        if outcome.bad is None or outcome.bad.swap_parameter is None:
            break
    return outcomes
