"""Sentences about decisions and times, for attempts, screens and the command line."""

from datetime import timedelta

from ..domain.decision import Decision

MOST_DECIMALS = 17  # of a float


def several(count: int, noun: str) -> str:
    """ "1 twin", "1,200 twins": a count with its noun, which takes an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def span_words(seconds: float) -> str:
    """ "4 min", "2 h 10 min", "3 days": a span rounded to what a reader needs."""
    seconds = max(0, int(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{timedelta(hours=hours).days} days"


def told_apart(draw: float, probability: float) -> tuple[str, str]:
    """Both numbers as text, with two decimals, or as many as it takes to tell them apart.

    A draw is below 1 and is never shown as 1; a probability above 0 is never shown as 0.
    """
    for decimals in range(2, MOST_DECIMALS + 1):
        left, right = f"{draw:.{decimals}f}", f"{probability:.{decimals}f}"
        is_tied = left == right and draw != probability
        rounds_to_one = draw < 1.0 and float(left) >= 1.0
        rounds_to_zero = probability > 0.0 and float(right) == 0.0
        if not (is_tied or rounds_to_one or rounds_to_zero):
            return left, right
    return repr(draw), repr(probability)


def comparison(draw: float, skip_probability: float) -> str:
    """ "drew 0.41 < 0.65: skips" or "drew 0.62 ≥ 0.45: posts"."""
    left, right = told_apart(draw, skip_probability)
    return f"drew {left} < {right}: skips" if draw < skip_probability else f"drew {left} ≥ {right}: posts"


def factors_words(decision: Decision, own_count: int, window_count: int) -> str:
    """What speaks against posting: "last post 2 h ago: 0.50; 3 of the last 20 posts are its own: 0.15"."""
    if decision.age_seconds is None:
        recency = "never posted: 0.00"
    else:
        recency = f"last post {span_words(decision.age_seconds)} ago: {decision.recency_probability:.2f}"
    if window_count:
        noun, verb = "post" if window_count == 1 else "posts", "is" if own_count == 1 else "are"
        own = f"{own_count} of the last {window_count} {noun} {verb} its own"
        share = f"{own}: {decision.share_probability:.2f}"
    else:
        share = "no posts yet: 0.00"
    return f"{recency}; {share}"


def decision_sentence(decision: Decision, own_count: int, window_count: int) -> str:
    """The whole verdict in one sentence: the factors, their sum and the draw."""
    verdict = comparison(decision.draw, decision.skip_probability)
    sentence = f"{factors_words(decision, own_count, window_count)}; {verdict}"
    if decision.forced and not decision.would_post:
        return f"{sentence}, but it was asked to post whatever the draw"
    return sentence
