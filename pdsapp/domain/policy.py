"""The posting policy: the numbers behind decision and length, as one frozen, hashable value.

Source of every default: digital twin auto-posting, "Natural Posting Behavior" and
"Variable Post Length".
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .limits import Limits, LimitsError

HOUR = 3600.0
MAX_POST_LENGTH = 280


class PolicyError(ValueError):
    """Numbers that make no policy; the text says which and what to do."""


@dataclass(frozen=True)
class RecencyStep:
    """Since the last post less than `under_seconds`: skip with `probability` (0–1)."""

    under_seconds: float
    probability: float


@dataclass(frozen=True)
class LengthBand:
    """Code points `minimum` … `maximum`, both included, drawn with `weight` (relative, > 0)."""

    name: str
    minimum: int
    maximum: int
    weight: float


@dataclass(frozen=True)
class PostingPolicy:
    """All numbers of the default rule. Seconds, probabilities 0–1, code points.

    `share_window` and `context_size` count posts; `max_model_calls` counts calls per attempt, the
    rewrite included. `limits` are none by default.
    """

    label: str = "natural posting"
    recency_steps: tuple[RecencyStep, ...] = (
        RecencyStep(1 * HOUR, 0.80),
        RecencyStep(4 * HOUR, 0.50),
        RecencyStep(8 * HOUR, 0.30),
    )
    share_cap: float = 0.70
    share_window: int = 20
    context_size: int = 10
    bands: tuple[LengthBand, ...] = field(
        default=(
            LengthBand("very short", 20, 79, 35),
            LengthBand("short", 80, 139, 35),
            LengthBand("medium", 140, 199, 20),
            LengthBand("long", 200, 280, 10),
        )
    )
    max_model_calls: int = 3
    limits: Limits = field(default=Limits())

    def __post_init__(self) -> None:
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` gives the same policy back.

        Limits that are not set are left out, so that policies have the hashes they had before there were any.
        """
        data = asdict(self)
        del data["limits"]
        return data if self.limits.is_empty else data | {"limits": self.limits.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PostingPolicy":
        """The policy stored as JSON. Raises PolicyError on numbers that make none."""
        try:
            return cls(
                label=data["label"],
                recency_steps=tuple(RecencyStep(**step) for step in data["recency_steps"]),
                share_cap=data["share_cap"],
                share_window=data["share_window"],
                context_size=data["context_size"],
                bands=tuple(LengthBand(**band) for band in data["bands"]),
                max_model_calls=data["max_model_calls"],
                limits=Limits(**data.get("limits", {})),
            )
        except (KeyError, TypeError, LimitsError) as error:
            raise PolicyError(f"This is not a posting policy: {error}.") from error

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over the canonical JSON; equal policies have equal hashes."""
        return content_hash(self.to_dict())


def content_hash(data: object) -> str:
    """SHA-256 (hex) of JSON with sorted keys and no spaces: the version id of stored content."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def demo_pace(policy: PostingPolicy) -> PostingPolicy:
    """The same policy with minutes for hours, so that a demo stays lively. Labelled "demo pace"."""
    return replace(
        policy,
        label="demo pace (minutes for hours)",
        recency_steps=tuple(RecencyStep(s.under_seconds / 60, s.probability) for s in policy.recency_steps),
    )


def _check(policy: PostingPolicy) -> None:
    previous = 0.0
    for step in policy.recency_steps:
        if not previous < step.under_seconds < math.inf:
            raise PolicyError("Recency steps must rise, each later than the one before.")
        _check_probability(step.probability, "A recency step's probability")
        previous = step.under_seconds
    _check_probability(policy.share_cap, "The share cap")
    if not 1 <= policy.share_window <= 1000:
        raise PolicyError("The share window must be between 1 and 1000 posts.")
    if not 0 <= policy.context_size <= 100:
        raise PolicyError("The context must be between 0 and 100 posts.")
    if not 1 <= policy.max_model_calls <= 3:
        raise PolicyError("Model calls per attempt must be between 1 and 3.")
    if not policy.bands:
        raise PolicyError("At least one length band is needed.")
    for band in policy.bands:
        if not 1 <= band.minimum <= band.maximum <= MAX_POST_LENGTH:
            raise PolicyError(f"Band “{band.name}” must lie within 1 and {MAX_POST_LENGTH} characters.")
        if not 0 < band.weight < math.inf:
            raise PolicyError(f"Band “{band.name}” needs a weight above 0.")


def _check_probability(value: float, what: str) -> None:
    if not 0 <= value <= 1:
        raise PolicyError(f"{what} must be between 0 and 1.")
