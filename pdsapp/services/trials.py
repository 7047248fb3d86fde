"""Trying a persona's text: sample drafts through a twin's endpoint, recorded as calls, published nowhere."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from ..attempts.calls import pause_token, store_outcome
from ..attempts.endpoints import OFFLINE_MODEL, NoEndpoint, endpoint_for
from ..attempts.workshop import make_client
from ..config import Settings
from ..database import is_outage, reading, transaction
from ..domain.draft import Brief, CallFailed
from ..domain.length import LengthTarget, whole_sentences
from ..domain.policy import LengthBand, PostingPolicy
from ..domain.prompt import Messages, PromptTemplates, Speaker, messages_hash
from ..domain.reasons import CallPurpose, CallState
from ..dt_service import DTService
from ..errors import BadInput
from ..llm.client import CallOutcome, ModelClient
from ..llm.endpoint import Endpoint
from ..llm.secrets import SecretBox
from ..models import DigitalTwin, Experiment, ModelCall
from . import disk

MOST_DRAFTS = 5
DEADLINE_SECONDS = 45.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Trial:
    """One sample draft: `text`, or why there is none (`problem`). `flags` as of a Draft."""

    target: LengthTarget
    text: str = ""
    problem: str = ""
    flags: tuple[str, ...] = ()
    is_stand_in: bool = False


def bands_of(experiment: Experiment) -> tuple[LengthBand, ...]:
    """The length bands of an experiment's policy, the first MOST_DRAFTS."""
    return PostingPolicy.from_dict(experiment.policy.body).bands[:MOST_DRAFTS]


async def try_text(
    twin_id: int,
    text: str,
    bands: Sequence[str],
    service: DTService,
    settings: Settings,
    clock: Callable[[], datetime],
    account_id: int | None = None,
) -> list[Trial]:
    """A draft for each of these bands of the twin's experiment, in the bands' order, all asked at once.

    Each aims at the middle of its band. In short transactions of its own; none is open while the model is
    asked. Raises BadInput without a band or an endpoint, DiskLow where calls could not be recorded.
    """
    disk.require_room(settings)
    with reading() as session:
        twin = session.get_one(DigitalTwin, twin_id)
        endpoint = endpoint_for(twin, settings, SecretBox(settings.require("fernet_keys")))
        if isinstance(endpoint, NoEndpoint):
            raise BadInput(endpoint.detail)
        chosen = [band for band in bands_of(twin.experiment) if band.name in bands]
        if not chosen:
            raise BadInput("Choose at least one length to try.")
        experiment_id, now = twin.experiment_id, clock()
        policy = PostingPolicy.from_dict(twin.experiment.policy.body)
        templates = PromptTemplates.from_dict(twin.experiment.prompt_version.body)
        speaker = Speaker(twin.user_profile.username, twin.user_profile.display_name, text)
        context = service.get_recent_post_context(session, twin, policy)
        briefs = []
        for band in chosen:
            target = LengthTarget(band.name, band.minimum, band.maximum, (band.minimum + band.maximum) // 2)
            messages = service.build_messages(templates, speaker, context, target, now)
            briefs.append(Brief(speaker, templates, policy, tuple(context), target, now, messages))
    async with make_client(settings) as client:
        ask = _TrialCalls(endpoint, experiment_id, client, clock, account_id)
        return await asyncio.gather(*(_try(brief, service, ask) for brief in briefs))


@dataclass
class _TrialCalls:
    """Asks the endpoint and writes down every call; no retries, since a person is waiting."""

    endpoint: Endpoint
    experiment_id: int
    client: ModelClient
    clock: Callable[[], datetime]
    account_id: int | None

    async def __call__(self, messages: Messages, is_rewrite: bool = False) -> str:
        """The reply's text. Raises CallFailed."""
        outcome = await self._call(messages, is_rewrite)
        if outcome.bad is not None and outcome.bad.swap_parameter is not None:
            outcome = await self._call(messages, is_rewrite)
        if outcome.reply is None:
            raise CallFailed(outcome.bad.reason, outcome.bad.detail)
        text = outcome.reply.text
        return whole_sentences(text) if outcome.reply.is_cut_off else text

    async def _call(self, messages: Messages, is_rewrite: bool) -> CallOutcome:
        with transaction() as session:
            call = ModelCall(
                experiment_id=self.experiment_id,
                api_token_id=self.endpoint.token_id,
                account_id=self.account_id,
                purpose=CallPurpose.trial,
                is_rewrite=is_rewrite,
                endpoint=self.endpoint.base_url,
                endpoint_source=self.endpoint.source,
                model_asked=self.endpoint.model,
                messages_sha256=messages_hash(messages),
                parameters=dict(self.endpoint.parameters),
                started_at=self.clock(),
            )
            session.add(call)
            session.flush()
            call_id = call.id
        try:
            outcome = await self.client.complete(
                self.endpoint, [dict(m) for m in messages], max_tokens=None,
                deadline_seconds=DEADLINE_SECONDS,
            )  # fmt: skip
        except asyncio.CancelledError:
            self._lose(call_id)
            raise
        self._store(call_id, outcome)
        return outcome

    def _store(self, call_id: int, outcome: CallOutcome) -> None:
        now = self.clock()
        with transaction() as session:
            store_outcome(session.get_one(ModelCall, call_id), outcome, now)
            bad = outcome.bad
            if bad is not None and bad.pauses_token and self.endpoint.token_id is not None:
                pause_token(session, self.endpoint.token_id, bad.detail, now)

    def _lose(self, call_id: int) -> None:
        with transaction() as session:
            session.get_one(ModelCall, call_id).state = CallState.lost


async def _try(brief: Brief, service: DTService, ask: _TrialCalls) -> Trial:
    is_stand_in = ask.endpoint.source == "offline" or ask.endpoint.model == OFFLINE_MODEL
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            draft = await service.generate_original_post_content(brief, ask)
    except CallFailed as failure:
        return Trial(brief.length, problem=failure.detail)
    except TimeoutError:
        return Trial(brief.length, problem=f"Writing it took longer than {DEADLINE_SECONDS:.0f} s.")
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("posting code failed in a trial")
        return Trial(brief.length, problem=f"{type(error).__name__} in {service.name}.")
    return Trial(brief.length, draft.text, "", draft.flags, is_stand_in)
