"""What a person sees before asking a twin: the rule's verdict of now, what holds it back, who works."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flask import current_app, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..attempts.create import LANE_NOW
from ..attempts.endpoints import NoEndpoint, endpoint_for
from ..attempts.limits import limit_on
from ..attempts.obstacles import obstacles_to
from ..config import Settings
from ..domain.policy import LengthBand, PolicyError, PostingPolicy
from ..domain.reasons import AttemptState, ExperimentState, Reason
from ..dt_service import load_service
from ..errors import NotConfigured
from ..llm.secrets import SecretBox
from ..models import Attempt, DigitalTwin
from ..services import heartbeats, withdrawals
from .twin_page import RuleNow, rule_now


@dataclass(frozen=True)
class Hold:
    """One thing that would keep the twin silent whatever the draw, and where to mend it if known."""

    words: str
    url: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class AskPage:
    """Everything the page shows. `bands`: those of the policy, to choose from.
    `writer`: endpoint and model in words, "" if nothing would write;
    `at_work`: the attempt that is waiting or running already."""

    rule: RuleNow | None
    rule_problem: str
    bands: tuple[LengthBand, ...]
    holds: tuple[Hold, ...]
    writer: str
    is_rehearsal: bool
    is_served: bool
    at_work: UUID | None


def ask_page(session: Session, twin: DigitalTwin, now: datetime) -> AskPage:
    """The page at `now`. A fixed number of queries; stores nothing."""
    settings: Settings = current_app.extensions["settings"]
    holds = [_hold(twin, each.reason, each.words) for each in obstacles_to(session, twin)]
    if (withdrawal := withdrawals.open_one(session, twin.experiment_id)) is not None:
        url = url_for("userprofile.withdraw", id=withdrawal.user_profile_id)
        holds.append(Hold("It waits until a participant’s texts are erased.", url, "See how far that is"))
    rule, problem, bands = None, "", ()
    try:
        policy = PostingPolicy.from_dict(twin.experiment.policy.body)
        bands = policy.bands
        rule = rule_now(session, twin, load_service(settings), policy, now)
        if (limit := limit_on(session, twin, policy, now)) is not None:
            holds.append(_hold(twin, limit.reason, limit.words))
    except (NotConfigured, PolicyError) as error:
        problem = str(error)
    endpoint = endpoint_for(twin, settings, SecretBox(settings.require("fernet_keys")))
    writer = ""
    if isinstance(endpoint, NoEndpoint):
        url = url_for("digitaltwin.edit_view", id=twin.id)
        holds.append(Hold(endpoint.detail, url, "Choose what writes for it"))
    else:
        writer = f"{endpoint.model} at {endpoint.base_url}"
    return AskPage(
        rule,
        problem,
        bands,
        tuple(holds),
        writer,
        twin.experiment.state == ExperimentState.draft,
        heartbeats.is_lane_served(session, LANE_NOW, now),
        _at_work(session, twin),
    )


def _hold(twin: DigitalTwin, reason: Reason, words: str) -> Hold:
    if reason == Reason.banned:
        return Hold(
            words, url_for("userprofile.details_view", id=twin.user_profile_id), "Look at its profile"
        )
    if reason == Reason.inactive:
        return Hold(words, url_for("digitaltwin.edit_view", id=twin.id), "Activate it")
    if reason == Reason.paused:
        return Hold(words)  # of the installation, the experiment or the token: the words say which
    return Hold(words, url_for("experiment.details_view", id=twin.experiment_id), "Look at the experiment")


def _at_work(session: Session, twin: DigitalTwin) -> UUID | None:
    """The attempt a worker holds, else the latest if it is waiting: two seeks, however many there were."""
    own = select(Attempt.uuid, Attempt.state).where(Attempt.digital_twin_id == twin.id)
    running = session.execute(own.where(Attempt.state == AttemptState.running)).first()
    if running is not None:
        return running.uuid
    latest = session.execute(own.order_by(Attempt.id.desc()).limit(1)).first()
    return latest.uuid if latest is not None and latest.state == AttemptState.due else None
