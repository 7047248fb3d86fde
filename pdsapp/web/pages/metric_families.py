"""What /metrics tells, in the families of Prometheus' client: imported when somebody asks for it."""

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from sqlalchemy.orm import Session

from ...config import Settings
from ...models import ProcessKind, utc_now
from ...services import disk, figures_now, reports_now
from ...services.figures_now import Sums
from ...services.reports_now import Now


class _Figures:
    """Hands to the client's library what was collected; it asks nothing itself."""

    def __init__(self, figures: Iterable[Metric]):
        self._figures = list(figures)

    def collect(self) -> Iterator[Metric]:
        return iter(self._figures)


def page(session: Session, settings: Settings) -> tuple[bytes, str]:
    """The figures as text, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(_figures(session, settings)))
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _figures(session: Session, settings: Settings) -> Iterator[Metric]:
    now = utc_now()
    free = disk.look(settings).free
    if free is not None:
        yield GaugeMetricFamily("dt_disk_free_bytes", "Free bytes at the data folder.", value=free)
    yield from _of_sums(figures_now.sums(session, now))
    yield from _of_now(reports_now.now_of(session, now))
    late = figures_now.lateness(session, now)
    yield GaugeMetricFamily("dt_slots_last_hour", "Slots of the last hour that fired.", value=late.count)
    text = "after their instant the slots of the last hour were claimed."
    yield GaugeMetricFamily("dt_slot_lateness_seconds_mean", f"Seconds on average {text}", value=late.mean)
    yield GaugeMetricFamily("dt_slot_lateness_seconds_max", f"Seconds at most {text}", value=late.longest)


def _of_sums(found: Sums) -> Iterator[Metric]:
    attempts = GaugeMetricFamily("dt_attempts", "Attempts by state.", labels=["state"])
    for state, number in figures_now.by_state(found):
        attempts.add_metric([state], number)
    yield attempts
    names = ["state", "reason_class", "reason"]
    outcomes = CounterMetricFamily("dt_attempts_ended", "Ended attempts by state and reason.", labels=names)
    for (state, of_class, reason), number in sorted(found.attempts.items()):
        if reason or of_class:
            outcomes.add_metric([state, of_class, reason], number)
    yield outcomes
    tokens = CounterMetricFamily("dt_tokens", "Tokens of ended attempts by kind.", labels=["kind"])
    tokens.add_metric(["prompt"], found.prompt_tokens)
    tokens.add_metric(["completion"], found.completion_tokens)
    yield tokens
    calls = CounterMetricFamily(
        "dt_model_calls", "Model calls by what came back.", labels=["endpoint", "model", "outcome"]
    )
    per_model: Counter[tuple[str, str]] = Counter()
    for (host, model, outcome), number in sorted(found.calls.items()):
        calls.add_metric([host, model, outcome], number)
        per_model[host, model] += number
    yield calls
    seconds = SummaryMetricFamily(
        "dt_model_seconds", "Seconds model calls took.", labels=["endpoint", "model"]
    )
    for key, number in sorted(per_model.items()):
        seconds.add_metric(list(key), count_value=number, sum_value=found.model_ms[key] / 1000)
    yield seconds


def _of_now(seen: Now) -> Iterator[Metric]:
    due = GaugeMetricFamily("dt_lane_due", "Attempts due now, by lane.", labels=["lane"])
    oldest = GaugeMetricFamily(
        "dt_lane_oldest_seconds", "Age of the oldest due attempt, by lane.", labels=["lane"]
    )
    for lane in seen.lanes:
        due.add_metric([lane.name], lane.due)
        oldest.add_metric([lane.name], lane.oldest_seconds)
    alive = GaugeMetricFamily(
        "dt_processes_alive", "Processes with a fresh heartbeat, by kind.", labels=["kind"]
    )
    age = GaugeMetricFamily(
        "dt_heartbeat_age_seconds", "Seconds since the freshest heartbeat of the last hour.", labels=["kind"]
    )
    for kind, sign in ((ProcessKind.worker, seen.worker), (ProcessKind.scheduler, seen.scheduler)):
        alive.add_metric([kind.value], sign.alive_count)
        if sign.seconds is not None:
            age.add_metric([kind.value], sign.seconds)
    yield from (due, oldest, alive, age)
