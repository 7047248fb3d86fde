"""Testing a token against its endpoint, with the outcome kept."""

from collections.abc import Callable
from datetime import datetime

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
        endpoint = endpoint_of_token(
            session.get_one(ApiToken, token_id),
            SecretBox(settings.require("fernet_keys")),
            needs_model=False,
        )
    if isinstance(endpoint, NoEndpoint):
        result = TokenTest(False, (Step("token", False, endpoint.detail, None),), ())
        _keep(token_id, result, clock())
        return result
    async with make_client(settings) as client:
        result = await test_endpoint(client, endpoint)
    _keep(token_id, result, clock(), endpoint, account_id)
    return result


def _keep(
    token_id: int,
    result: TokenTest,
    now: datetime,
    endpoint: Endpoint | None = None,
    account_id: int | None = None,
) -> None:
    last = result.steps[-1]
    with transaction() as session:
        token = session.get_one(ApiToken, token_id)
        token.last_test_at = now
        token.last_test_ok = result.ok
        token.last_test_detail = last.detail[:1000]
        token.last_test_steps = [[step.name, step.ok, step.detail[:1000], step.ms] for step in result.steps]
        if result.models:  # a test that got no list leaves the names of the one before
            token.last_test_models = list(result.models[:MOST_MODELS])
        if result.pauses_token:
            pause_token(session, token_id, last.detail, now)
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
