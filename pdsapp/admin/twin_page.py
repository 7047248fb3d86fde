"""What a twin's page shows: where its endpoint comes from, what the rule says now, its rhythm, its posts."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import current_app, url_for
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ..attempts.endpoints import OPENAI_BASE_URL, NoEndpoint, endpoint_for
from ..attempts.feed import latest_posts, twin_state
from ..attempts.limits import limit_on
from ..attempts.obstacles import obstacles_to, paused_words
from ..attempts.words import factors_words
from ..config import Settings
from ..domain.policy import PolicyError, PostingPolicy
from ..dt_service import DTService, load_service
from ..errors import NotConfigured
from ..llm.secrets import SecretBox
from ..models import Attempt, DigitalTwin, Post, Schedule
from ..services.rhythm import Rhythm, rhythm_of
from ..web.drawbar import DrawBar, rule_bar
from ..web.rhythm import Cell, hours_of

POSTS_SHOWN = 5
SCHEDULES_SHOWN = 10
TWIN, PLATFORM = "the twin", "the platform"


@dataclass(frozen=True)
class Origin:
    """A value that counts, and where it comes from."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class RuleNow:
    """What the rule would say if the twin were asked now: nothing is drawn."""

    bar: DrawBar
    words: str
    probability: str


@dataclass(frozen=True)
class PostLine:
    """One of its latest posts."""

    at: datetime
    text: str
    url: str
    why_url: str
    is_stand_in: bool


@dataclass(frozen=True)
class TwinPage:
    """Everything the page shows beside facts and attempts. `problem`: why nothing would write for it;
    `obstacles`: what holds it back now, whatever the draw."""

    zone: ZoneInfo
    origins: tuple[Origin, ...]
    problem: str
    rule: RuleNow | None
    rule_problem: str
    obstacles: tuple[str, ...]
    rhythm: Rhythm
    hours: tuple[tuple[str, tuple[Cell, ...]], ...]
    posts: tuple[PostLine, ...]


def twin_page(session: Session, twin: DigitalTwin, zone: ZoneInfo, now: datetime) -> TwinPage:
    """The page at `now`. A fixed number of queries."""
    settings: Settings = current_app.extensions["settings"]
    endpoint = endpoint_for(twin, settings, SecretBox(settings.require("fernet_keys")))
    obstacles = [obstacle.words for obstacle in obstacles_to(session, twin)]
    rule, rule_problem = None, ""
    try:
        policy = PostingPolicy.from_dict(twin.experiment.policy.body)
        rule = rule_now(session, twin, load_service(settings), policy, now)
        if (limit := limit_on(session, twin, policy, now)) is not None:
            obstacles.append(limit.words)
    except (NotConfigured, PolicyError) as error:
        rule_problem = str(error)
    rhythm = rhythm_of(session, twin, zone)
    return TwinPage(
        zone,
        origins(twin, settings),
        endpoint.detail if isinstance(endpoint, NoEndpoint) else "",
        rule,
        rule_problem,
        tuple(obstacles),
        rhythm,
        hours_of(rhythm.counts),
        _posts(session, twin),
    )


def origins(twin: DigitalTwin, settings: Settings) -> tuple[Origin, ...]:
    """Endpoint, key, model and parameters that count for a twin, each with where it comes from."""
    token = twin.api_token
    of_token = f"token “{token.name}”" if token else ""
    is_offline = token is None and not twin.llm_url and twin.experiment.is_demo
    if twin.llm_url:
        endpoint = Origin("Endpoint", twin.llm_url, TWIN)
    elif token:
        endpoint = Origin("Endpoint", token.base_url, of_token)
    elif is_offline:
        endpoint = Origin("Endpoint", "the offline writer", "the experiment is a demo")
    elif settings.openai_base_url or settings.openai_api_key:
        name = "OPENAI_BASE_URL" if settings.openai_base_url else "OPENAI_API_KEY"
        endpoint = Origin("Endpoint", settings.openai_base_url or OPENAI_BASE_URL, f"{PLATFORM} ({name})")
    else:
        endpoint = Origin("Endpoint", "none", "neither token, twin nor platform has one")
    if is_offline:
        model = Origin("Model", "offline-writer", "the experiment is a demo")
    elif twin.llm_model:
        model = Origin("Model", twin.llm_model, TWIN)
    elif token and token.default_model:
        model = Origin("Model", token.default_model, f"{of_token}, its default")
    elif token is None and not twin.llm_url and settings.llm_model:
        model = Origin("Model", settings.llm_model, f"{PLATFORM} (LLM_MODEL)")
    else:
        model = Origin("Model", "none", "nothing names one")
    parameters = dict(token.parameters if token else {}) | dict(twin.parameters or {})
    return (
        endpoint,
        model,
        *(
            Origin(name, str(value), TWIN if name in (twin.parameters or {}) else of_token)
            for name, value in parameters.items()
        ),
    )


def schedules_asking(session: Session, twin: DigitalTwin) -> list[tuple[str, str, str]]:
    """(name, address, what holds it back) of the enabled schedules that may draw this twin. One query."""
    query = (
        select(Schedule)
        .where(
            Schedule.is_enabled,
            Schedule.is_archived.is_(False),
            or_(Schedule.experiment_id == twin.experiment_id, Schedule.experiment_id.is_(None)),
        )
        .order_by(Schedule.name)
        .limit(SCHEDULES_SHOWN)
    )
    return [
        (
            each.name,
            url_for("schedule.details_view", id=each.id),
            paused_words("paused", each, each.zone) if each.paused_at else "",
        )
        for each in session.scalars(query)
    ]


def rule_now(
    session: Session, twin: DigitalTwin, service: DTService, policy: PostingPolicy, now: datetime
) -> RuleNow:
    """The rule's verdict at `now`, with nothing drawn."""
    state = twin_state(session, twin, policy, now)
    # The draw changes nothing about the probability; none is shown.
    made = service.should_twin_post(policy, state, 0.0)
    bar = rule_bar(made.recency_probability, made.share_probability, made.skip_probability)
    words = factors_words(made, state.own_count, state.window_count)
    return RuleNow(bar, f"{words[:1].upper()}{words[1:]}.", f"{made.skip_probability:.2f}")


def _posts(session: Session, twin: DigitalTwin) -> tuple[PostLine, ...]:
    query = (
        latest_posts(twin.experiment_id)
        .where(Post.user_profile_id == twin.user_profile_id)
        .outerjoin(Attempt, Attempt.id == Post.attempt_id)
        .add_columns(Attempt.uuid)
        .limit(POSTS_SHOWN)
    )
    return tuple(
        PostLine(
            post.created_at,
            post.text,
            url_for("feed.show", text=twin.experiment.identifier, start=post.uuid),
            url_for("attempt_page.show", uuid=uuid) if uuid else "",
            post.is_stand_in,
        )
        for post, uuid in session.execute(query)
    )
