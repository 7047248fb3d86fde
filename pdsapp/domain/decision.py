"""The verdict: whether a twin that is asked posts or stays silent, with every factor in the result.

Source: digital twin auto-posting, "Natural Posting Behavior".
"""

from dataclasses import dataclass
from datetime import datetime

from .policy import PostingPolicy
from .randomness import Stream
from .reasons import Reason

DECISION_PURPOSE = "decision"


@dataclass(frozen=True)
class TwinState:
    """What the rule looks at. Counts are visible top-level posts of the experiment, people's included.

    `window_count` is min(policy window, existing); `own_count` how many of those are the twin's.
    """

    now: datetime
    last_post: datetime | None
    own_count: int
    window_count: int


@dataclass(frozen=True)
class Decision:
    """A verdict and its factors. Probabilities are of skipping.

    `would_post` is the rule's own answer; `posts` differs from it only when forced.
    `probability_sum` is recency + share before clamping to `skip_probability` (at most 1).
    `age_seconds` is the time since the last post, None when there is none.
    """

    recency_probability: float
    share_probability: float
    probability_sum: float
    skip_probability: float
    draw: float
    forced: bool
    age_seconds: float | None

    @property
    def would_post(self) -> bool:
        return self.draw >= self.skip_probability

    @property
    def posts(self) -> bool:
        return self.forced or self.would_post

    @property
    def reason(self) -> Reason:
        """The rule's reason: `forced`, `drawn`, or the factor(s) that silenced the twin."""
        if self.forced:
            return Reason.forced
        if self.would_post:
            return Reason.drawn
        if self.recency_probability and self.share_probability:
            return Reason.recency_and_share
        return Reason.recency if self.recency_probability else Reason.share


def recency_probability(policy: PostingPolicy, now: datetime, last_post: datetime | None) -> float:
    """Probability of skipping because of the last post's age; 0 if there is none.

    A last post in the future counts as age 0. An age equal to a step's limit is past the step.
    """
    if last_post is None:
        return 0.0
    age = max(0.0, (now - last_post).total_seconds())
    for step in policy.recency_steps:
        if age < step.under_seconds:
            return step.probability
    return 0.0


def share_probability(policy: PostingPolicy, own_count: int, window_count: int) -> float:
    """Probability of skipping because much of the window is the twin's own; 0 for an empty window."""
    if window_count <= 0:
        return 0.0
    return min(own_count / window_count, policy.share_cap)


def draw_for(decision_key: str) -> float:
    """The one draw of an attempt, uniform in [0, 1), from its decision key."""
    return Stream(decision_key, DECISION_PURPOSE).uniform()


def decide(policy: PostingPolicy, state: TwinState, draw: float, forced: bool = False) -> Decision:
    """The decision for this state and draw. Pure; a forced twin keeps what the rule would have said."""
    recency = recency_probability(policy, state.now, state.last_post)
    share = share_probability(policy, state.own_count, state.window_count)
    age = None if state.last_post is None else max(0.0, (state.now - state.last_post).total_seconds())
    return Decision(
        recency_probability=recency,
        share_probability=share,
        probability_sum=recency + share,
        skip_probability=min(1.0, recency + share),
        draw=draw,
        forced=forced,
        age_seconds=age,
    )
