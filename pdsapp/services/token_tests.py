"""Testing a token against its endpoint, with the outcome kept."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from ..attempts.breaker import Health, health_of, note_answer
from ..attempts.calls import pause_token, store_outcome
from ..attempts.endpoints import NoEndpoint, endpoint_of_token
from ..attempts.workshop import make_client
from ..config import Settings
from ..database import reading, transaction
from ..domain.reasons import CallPurpose
from ..llm.endpoint import Endpoint
from ..llm.probe import Step
from ..llm.secrets import SecretBox
from ..llm.token_test import TokenTest, test_endpoint
from ..models import ApiToken, ModelCall
from . import disk

MOST_MODELS = 200


async def test_token(
    token_id: int, settings: Settings, clock: Callable[[], datetime], account_id: int | None = None
) -> TokenTest:
    """The steps of a test of this token. Keeps the outcome on the token and records the call.

    In short transactions of its own; none is open while the endpoint is asked. A token without a default
    model is tested up to the list of them. While disk is low nobody is asked, and the one step says so.
    """
    if (room := disk.look(settings)).is_low:
        return TokenTest(False, (Step("disk", False, room.sentence, None),), ())
    with reading() as session:
        token = session.get_one(ApiToken, token_id)
        asked = _what_is_asked(token)
        endpoint = endpoint_of_token(token, SecretBox(settings.require("fernet_keys")), needs_model=False)
    if isinstance(endpoint, NoEndpoint):
        result = TokenTest(False, (Step("token", False, endpoint.detail, None),), ())
        _keep(token_id, asked, result, clock())
        return result
    async with make_client(settings) as client:
        result = await test_endpoint(client, endpoint)
    _keep(token_id, asked, result, clock(), endpoint, account_id)
    return result


def stored_steps(result: TokenTest) -> list[list[Any]]:
    """The steps of a test as they are kept on its token: `[name, ok, detail, ms]` each."""
    return [[step.name, step.ok, step.detail[:1000], step.ms] for step in result.steps]


def _what_is_asked(token: ApiToken) -> tuple[str, str, str]:
    return token.base_url, token.fingerprint, token.default_model


def _keep(
    token_id: int,
    asked: tuple[str, str, str],
    result: TokenTest,
    now: datetime,
    endpoint: Endpoint | None = None,
    account_id: int | None = None,
) -> None:
    with transaction() as session:
        token = session.get(ApiToken, token_id)
        if token is None:  # deleted while the endpoint was asked
            return
        if any(health_of(outcome) == Health.works for outcome in result.outcomes):
            note_answer(session, endpoint.place)
        if _what_is_asked(token) == asked:  # else this says nothing about what it is now
            _put_result(session, token, result, now)
        for outcome in result.outcomes:
            call = ModelCall(
                api_token_id=token_id,
                account_id=account_id,
                purpose=CallPurpose.token_test,
                endpoint=endpoint.base_url,
                endpoint_source=endpoint.source,
                model_asked=endpoint.model,
                started_at=now,
            )
            session.add(call)
            store_outcome(call, outcome, now)


def _put_result(session: Session, token: ApiToken, result: TokenTest, now: datetime) -> None:
    last = result.steps[-1]
    token.last_test_at = now
    token.last_test_ok = result.ok
    token.last_test_detail = last.detail[:1000]
    token.last_test_steps = stored_steps(result)
    if result.models:  # a test that got no list leaves the names of the one before
        token.last_test_models = list(result.models[:MOST_MODELS])
    if result.pauses_token:
        pause_token(session, token.id, last.detail, now)
