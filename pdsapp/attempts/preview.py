"""What an attempt would decide and ask if it were made now. Reads only."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from ..config import Settings
from ..domain.decision import Decision, TwinState, draw_for
from ..domain.length import LengthTarget
from ..domain.policy import PostingPolicy
from ..domain.prompt import Messages, PromptTemplates, Speaker
from ..domain.reasons import Reason
from ..dt_service import DTService
from ..llm.endpoint import Endpoint
from ..llm.secrets import SecretBox
from ..models import DigitalTwin, Schedule
from .endpoints import SOURCE_WORDS, NoEndpoint, endpoint_for
from .feed import twin_state
from .limits import limit_on
from .obstacles import Obstacle, obstacle_to
from .words import decision_sentence


@dataclass(frozen=True)
class Preview:
    """A decision that was not stored, with the messages that would be sent."""

    twin: str
    experiment: str
    state: TwinState
    decision: Decision
    length: LengthTarget
    messages: Messages
    endpoint_words: str
    obstacle: Obstacle | None = None

    @property
    def posts(self) -> bool:
        return self.decision.posts and self.obstacle is None

    @property
    def sentence(self) -> str:
        return decision_sentence(self.decision, self.state.own_count, self.state.window_count)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "dry_run": True,
            "twin": self.twin,
            "experiment": self.experiment,
            "would_post": self.decision.would_post,
            "obstacle": self.obstacle.reason.value if self.obstacle else None,
            "forced": self.decision.forced,
            "detail": self.sentence,
            "recency_probability": self.decision.recency_probability,
            "share_probability": self.decision.share_probability,
            "skip_probability": self.decision.skip_probability,
            "draw": self.decision.draw,
            "length_band": self.length.band,
            "target_length": self.length.target,
            "endpoint": self.endpoint_words,
            "messages": list(self.messages),
        }


def preview(
    session: Session,
    twin: DigitalTwin,
    service: DTService,
    settings: Settings,
    key: str,
    now: datetime,
    is_forced: bool = False,
    schedule: Schedule | None = None,
    templates: PromptTemplates | None = None,
    persona: str | None = None,
) -> Preview:
    """The verdict and the prompt for this twin with this key, at `now`. Stores nothing.

    `schedule`: as if a slot of it asked. `templates`: other words than the experiment's present ones;
    `persona`: another text than that of the twin's persona version.
    """
    experiment, profile = twin.experiment, twin.user_profile
    policy = PostingPolicy.from_dict(experiment.policy.body)
    templates = templates or PromptTemplates.from_dict(experiment.prompt_version.body)
    state = twin_state(session, twin, policy, now)
    target = service.determine_post_length(policy, key)
    context = service.get_recent_post_context(session, twin, policy)
    text = twin.persona_version.text if persona is None else persona
    speaker = Speaker(profile.username, profile.display_name, text)
    endpoint = endpoint_for(twin, settings, SecretBox(settings.require("fernet_keys")))
    source = "" if isinstance(endpoint, NoEndpoint) else SOURCE_WORDS.get(endpoint.source, endpoint.source)
    return Preview(
        obstacle=obstacle_to(session, twin, schedule)
        or limit_on(session, twin, policy, now)
        or _paused_token(endpoint),
        twin=profile.username,
        experiment=experiment.identifier,
        state=state,
        decision=service.should_twin_post(policy, state, draw_for(key), is_forced),
        length=target,
        messages=service.build_messages(templates, speaker, context, target, now),
        endpoint_words=endpoint.detail
        if isinstance(endpoint, NoEndpoint)
        else f"{endpoint.base_url}, model {endpoint.model} ({source})",
    )


def _paused_token(endpoint: Endpoint | NoEndpoint) -> Obstacle | None:
    """A token that was paused, archived or never activated: the attempt would fail before it asks."""
    if isinstance(endpoint, NoEndpoint) and endpoint.reason == Reason.token_paused:
        return Obstacle(endpoint.reason, endpoint.detail)
    return None
