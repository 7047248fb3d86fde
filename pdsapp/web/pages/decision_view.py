"""A stored decision as a sum: its factors, the threshold, the draw, and who overruled it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...attempts.words import decision_sentence, span_words
from ...domain.decision import Decision
from ...domain.policy import PolicyError, PostingPolicy, RecencyStep
from ...domain.reasons import AttemptState
from ...models import Attempt
from ..drawbar import DrawBar
from .rows import draw_of, held_back_by


@dataclass(frozen=True)
class Factor:
    """One line of the sum. `cause` names its colour: recency, share or none."""

    cause: str
    words: str
    note: str
    value: str
    is_total: bool = False


@dataclass(frozen=True)
class DecisionView:
    """The card about the decision. `verdict` stands beside the bar, `sentence` says what it means."""

    bar: DrawBar | None
    verdict: str
    sentence: str
    factors: tuple[Factor, ...]


def decision_view(attempt: Attempt, asked_by: str) -> DecisionView | None:
    """The decision of an attempt, None before it has come to that. `asked_by` says who forced it."""
    if attempt.decided_at is None or attempt.skip_probability is None:
        if attempt.finished_at is None:
            return None
        return DecisionView(None, "nothing was drawn", "It ended before the rule was asked.", ())
    bar = draw_of(attempt)
    policy = readable_policy(attempt)
    recency, share = number(attempt.recency_probability), number(attempt.share_probability)
    return DecisionView(
        bar=bar,
        verdict=bar.words if bar else "",
        sentence=_sentence(attempt, asked_by),
        factors=(
            Factor("recency", _recency_words(attempt), _recency_note(attempt, policy), recency),
            Factor("share", _share_words(attempt), _share_note(attempt, policy), share),
            Factor("", "Skip probability", _sum_note(attempt), number(attempt.skip_probability), True),
            Factor("", "Drew", "below it: silent; at or above it: post", number(attempt.draw)),
        ),
    )


def decided_sentence(attempt: Attempt) -> str:
    """The stored decision in one sentence: factors, sum and draw; "" before it has come to that."""
    given = (
        attempt.recency_probability, attempt.share_probability, attempt.probability_sum,
        attempt.skip_probability, attempt.draw,
    )  # fmt: skip
    if attempt.decided_at is None or None in given:
        return ""
    words = decision_sentence(
        Decision(*given, attempt.is_forced, _age_seconds(attempt)),
        attempt.own_count or 0,
        attempt.window_count or 0,
    )
    return f"{words[0].upper()}{words[1:]}."


def readable_policy(attempt: Attempt) -> PostingPolicy | None:
    """The policy it was decided by, None if there is none or it cannot be read."""
    if attempt.policy is None:
        return None
    try:
        return PostingPolicy.from_dict(attempt.policy.body)
    except PolicyError:
        return None


def number(value: float | None) -> str:
    """A probability with two decimals, or four where two would not be exact."""
    if value is None:
        return "–"
    text = f"{value:.2f}"
    return text if abs(float(text) - value) < 1e-9 else f"{value:.4f}"


def step_words(steps: Sequence[RecencyStep], age_seconds: float) -> str:
    """Which step of the policy an age falls into: "under 1 h", "between 4 h and 8 h", "8 h or more"."""
    before = 0.0
    for step in steps:
        if age_seconds < step.under_seconds:
            if before == 0:
                return f"under {span_words(step.under_seconds)}"
            return f"between {span_words(before)} and {span_words(step.under_seconds)}"
        before = step.under_seconds
    return f"{span_words(before)} or more" if before else ""


def _age_seconds(attempt: Attempt) -> float | None:
    if attempt.last_post_seen is None:
        return None
    return max(0.0, (attempt.decided_at - attempt.last_post_seen).total_seconds())


def _recency_words(attempt: Attempt) -> str:
    age = _age_seconds(attempt)
    return "Never posted before" if age is None else f"Last post {span_words(age)} ago"


def _recency_note(attempt: Attempt, policy: PostingPolicy | None) -> str:
    age = _age_seconds(attempt)
    if age is None or policy is None:
        return ""
    note = step_words(policy.recency_steps, age)
    if attempt.last_post_seen > attempt.decided_at:
        return f"{note}; the last post lies in the future and counts as just now"
    return note


def _share_words(attempt: Attempt) -> str:
    own, window = attempt.own_count, attempt.window_count
    if not window:
        return "No posts in the experiment yet"
    if window == 1:
        return "The only post is its own" if own else "The only post is somebody else's"
    return f"{own} of the last {window} posts {'is' if own == 1 else 'are'} its own"


def _share_note(attempt: Attempt, policy: PostingPolicy | None) -> str:
    if not attempt.window_count:
        return ""
    share = attempt.own_count / attempt.window_count
    if policy is None:
        return f"share {number(share)}"
    return f"share {number(share)}, at most {number(policy.share_cap)}"


def _sum_note(attempt: Attempt) -> str:
    if attempt.probability_sum is not None and attempt.probability_sum > 1:
        return f"the sum is {number(attempt.probability_sum)}: more than 1, counts as 1"
    return ""


def _sentence(attempt: Attempt, asked_by: str) -> str:
    rule = "posted" if attempt.would_post else "stayed silent"
    held = held_back_by(attempt)
    if attempt.is_forced:
        by = f" by {asked_by}" if asked_by else ""
        also = " too" if attempt.would_post else ""
        sentence = f"The rule was bypassed{by}: the draw did not count. It would have {rule}{also}."
        return f"{sentence} The twin was held back by {held} all the same." if held else sentence
    if held:
        said = "post" if attempt.would_post else "stay silent"
        return f"The rule said {said}; held back by {held}."
    if attempt.state == AttemptState.failed:
        return "The rule said post. What failed came after it."
    return ""
