"""The attempt as the outside sees it: one flat object, the same in the CLI and in exports."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload

from ..models import Attempt, DigitalTwin

FIELDS = (
    "id", "state", "reason", "reason_class", "detail", "trigger", "experiment", "twin", "schedule", "slot_at",
    "recency_probability", "share_probability", "skip_probability", "draw", "forced", "length_band",
    "target_length", "length", "content", "is_stand_in", "is_rehearsal", "model", "prompt_tokens",
    "completion_tokens", "latency_ms", "created_at", "finished_at",
)  # fmt: skip


def with_everything() -> Select[tuple[Attempt]]:
    """A query for attempts with all that `attempt_object` needs, in one statement."""
    return select(Attempt).options(
        joinedload(Attempt.experiment),
        joinedload(Attempt.digital_twin).joinedload(DigitalTwin.user_profile),
        joinedload(Attempt.schedule),
        joinedload(Attempt.slot),
        joinedload(Attempt.post),
    )


def attempt_object(attempt: Attempt) -> dict[str, Any]:
    """The attempt with the contract's keys, in the contract's order. Times are aware UTC."""
    values = {
        "id": str(attempt.uuid),
        "state": attempt.state.value,
        "reason": attempt.reason.value if attempt.reason else None,
        "reason_class": attempt.reason_class.value if attempt.reason_class else None,
        "trigger": attempt.trigger.value,
        "experiment": attempt.experiment.identifier,
        "twin": attempt.digital_twin.user_profile.username,
        "schedule": attempt.schedule.name if attempt.schedule else None,
        "slot_at": attempt.slot.slot_at if attempt.slot else None,
        "forced": attempt.is_forced,
        "content": attempt.post.text if attempt.post else None,
        "model": attempt.model or None,
    }
    return {name: values[name] if name in values else getattr(attempt, name) for name in FIELDS}
