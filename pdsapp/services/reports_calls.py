"""How endpoints answer: model calls of attempts by endpoint and model, with their latency and failures."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy.orm import Session

from ..domain.latency import UNKNOWN_STEP, quantile_ms
from ..models import Experiment
from .facets import CALL_OUTCOMES
from .rollups import Marks
from .tallying import Stretch, count

ANSWERED = "answered"


@dataclass(frozen=True)
class EndpointCalls:
    """What came of the calls to one model at one endpoint. Latencies in ms, of all calls that have one.

    `failures` counts by reason, the commonest first; median and 95th percentile are good to a step
    (domain/latency.py).
    """

    endpoint: str
    model: str
    calls: int
    failed: int
    failures: tuple[tuple[str, int], ...]
    mean_ms: int | None
    median_ms: int | None
    p95_ms: int | None


def endpoint_calls(
    session: Session, experiment: Experiment | None, stretch: Stretch, marks: Marks
) -> tuple[EndpointCalls, ...]:
    """The endpoints and models that were called by attempts, the most called first. Tests and trials not."""
    outcomes: dict[tuple[str, str], Counter[str]] = {}
    steps: dict[tuple[str, str], Counter[int]] = {}
    spent: Counter[tuple[str, str]] = Counter()
    for _, endpoint, model, outcome, step, calls, latency_ms in count(
        session, CALL_OUTCOMES, experiment, [stretch], marks
    ):
        key = endpoint, model
        outcomes.setdefault(key, Counter())[outcome] += calls
        steps.setdefault(key, Counter())[step] += calls
        spent[key] += latency_ms
    return tuple(
        _endpoint_calls(key, outcomes[key], steps[key], spent[key])
        for key in sorted(outcomes, key=lambda key: (-outcomes[key].total(), key))
    )


def _endpoint_calls(
    key: tuple[str, str], outcomes: Counter[str], steps: Counter[int], spent_ms: int
) -> EndpointCalls:
    timed = sum(calls for step, calls in steps.items() if step != UNKNOWN_STEP)
    failures = Counter({outcome: calls for outcome, calls in outcomes.items() if outcome != ANSWERED})
    return EndpointCalls(
        *key,
        calls=outcomes.total(),
        failed=failures.total(),
        failures=tuple(failures.most_common()),
        mean_ms=round(spent_ms / timed) if timed else None,
        median_ms=quantile_ms(steps, 0.5),
        p95_ms=quantile_ms(steps, 0.95),
    )
