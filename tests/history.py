"""A week in a town: one history that feeds pictures and pages, and the sums it must show."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pdsapp.database import transaction
from pdsapp.domain.decision import TwinState, decide
from pdsapp.domain.length import draw_length
from pdsapp.domain.policy import PostingPolicy
from pdsapp.domain.reasons import CallState, Reason, Visibility
from pdsapp.models import Experiment, ModelCall, Post, PostRevision
from pdsapp.services import protocol
from tests.attempt_rows import put_row
from tests.builders import make_experiment, make_person, make_twin

ZONE = "America/Indiana/Indianapolis"
TWINS = (
    "dr_okafor", "mayor_bell", "night_bus_nell", "coach_ruiz", "allotment_al", "librarian_june", "grumpy_gus",
    "rev_tillie", "chip_shop_chan", "councillor_vee",
)  # fmt: skip
PEOPLE = ("ada_reads", "walt", "maria_k")
ENDPOINTS = (
    ("https://llm.example.edu/v1", "llama-3.3-70b", 900),
    ("https://api.example.org/v1", "gpt-4o-mini", 2_600),
)
SAID = (
    "Third bus in a row that skipped our stop.", "The library is open until nine tonight, bring a scarf.",
    "Whoever fixed the fountain: it sings now.", "Market moved to the north side, parking is a mess again.",
    "I still think the bypass is a mistake, but nobody asked me.",
    "Lost: one grey glove. Found: three brown ones.",
)  # fmt: skip
DAYS, HOURLY = 7, 3
TOKENS = 640, 38


@dataclass
class Town:
    """The experiment and what was put into it, counted while it was put there; by the day before `now`."""

    experiment: Experiment
    twins: list
    people: list
    week: Counter = field(default_factory=Counter)
    day: Counter = field(default_factory=Counter)

    def note(self, is_of_day: bool, *what: str) -> None:
        for each in what:
            self.week[each] += 1
            self.day[each] += is_of_day


def make_town(now: datetime, seed: int = 7) -> Town:
    """The town with a week of attempts, calls and posts up to `now`, committed."""
    chance = random.Random(seed)
    town = Town(make_experiment("Riverton town square", ZONE), [], [])
    town.twins = [make_twin(town.experiment, name) for name in TWINS]
    town.people = [make_person(town.experiment, name) for name in PEOPLE]
    start = now - timedelta(days=DAYS) + timedelta(minutes=20)
    with transaction() as session:
        for number in range(DAYS * 24 * HOURLY):
            at = start + number * timedelta(hours=1) / HOURLY + timedelta(seconds=chance.randrange(600))
            if at < now - timedelta(minutes=2):
                _turn(session, town, chance, at, at >= now - timedelta(hours=23))
            if at < now and chance.random() < 0.12:
                _say(session, town, chance, at, at >= now - timedelta(hours=23))
        found = session.get_one(Experiment, town.experiment.id)
        protocol.save_policy(
            session, found, found.edit_version, PostingPolicy(share_cap=0.6), now - timedelta(days=2),
            "Two twins spoke too much.",
        )  # fmt: skip
    return town


def _turn(session, town: Town, chance: random.Random, at: datetime, is_of_day: bool) -> None:
    twin = chance.choice(town.twins[: 1 + chance.randrange(len(town.twins))])
    age, own, draw = chance.choice((0.5, 2, 6, 12, 30)), chance.randrange(0, 9), chance.random()
    kind = chance.choices(("ruled", "forced", "limit", "operational", "failed"), (84, 3, 6, 3, 4))[0]
    if kind == "failed":
        age, own, draw = 30, 0, 0.9  # it was to post
    verdict = decide(PostingPolicy(), TwinState(at, at - timedelta(hours=age), own, 20), draw, False)
    values = {"draw": draw, "age_hours": age, "own_count": own, "is_forced": kind == "forced"}
    if kind == "failed" or kind == "forced" or (kind == "ruled" and verdict.would_post):
        is_failed = kind == "failed"
        reason = "deadline" if is_failed else "forced" if kind == "forced" else "drawn"
        state = "failed" if is_failed else "posted"
        _call(session, town, chance, at, is_failed)
        band = draw_length(PostingPolicy(), f"{at.isoformat()}|{twin.id}")
        text = _text(chance, band)
        attempt = put_row(
            session, twin, state, reason, at, text, **values, model="llama-3.3-70b",
            prompt_tokens=TOKENS[0], completion_tokens=TOKENS[1], latency_ms=1_200,
        )  # fmt: skip
        attempt.length_band, attempt.length_minimum = band.band, band.minimum
        attempt.length_maximum, attempt.target_length = band.maximum, band.target
        town.note(is_of_day, state, *(["post"] if state == "posted" else []))
    elif kind == "ruled":
        reason = _why(verdict)
        put_row(session, twin, "skipped", reason, at, **values)
        town.note(is_of_day, "skipped by rule", reason)
    else:
        reason = "quiet_hours" if kind == "limit" else "inactive"
        put_row(session, twin, "skipped", reason, at)
        town.note(is_of_day, "held back", reason)


def _text(chance: random.Random, band) -> str:
    """A post of about the length that was drawn; one in twenty is too short for it."""
    text = chance.choice(SAID)
    while len(text) < band.target and chance.random() < 0.99:
        text += f" {chance.choice(SAID)}"
    return text[: 15 if chance.random() < 0.05 else band.target].strip()


def _why(verdict) -> str:
    if verdict.recency_probability and verdict.share_probability:
        return Reason.recency_and_share
    return Reason.recency if verdict.recency_probability else Reason.share


def _call(session, town: Town, chance: random.Random, at: datetime, is_failed: bool) -> None:
    endpoint, model, usual_ms = ENDPOINTS[chance.random() < 0.3]
    took = 90_000 if is_failed else round(usual_ms * chance.lognormvariate(0, 0.5))
    session.add(
        ModelCall(
            experiment_id=town.experiment.id, endpoint=endpoint, model_asked=model, model_returned=model,
            state=CallState.failed if is_failed else CallState.answered, latency_ms=took,
            error=Reason.deadline if is_failed else None, started_at=at,
            finished_at=at + timedelta(milliseconds=took),
        )
    )  # fmt: skip


def _say(session, town: Town, chance: random.Random, at: datetime, is_of_day: bool) -> None:
    """A person posts, or replies to the latest post of a twin; now and then it is hidden later."""
    person, is_hidden = chance.choice(town.people), chance.random() < 0.1
    post = Post(
        experiment_id=town.experiment.id, user_profile_id=person.id, text=f"{chance.choice(SAID)} Agreed?",
        created_at=at, changed_at=at, visibility=Visibility.hidden if is_hidden else Visibility.visible,
    )  # fmt: skip
    if chance.random() < 0.5:
        post.parent_id = session.query(Post.id).filter(Post.attempt_id.is_not(None)).order_by(
            Post.id.desc()
        ).limit(1).scalar()  # fmt: skip
    session.add(post)
    session.flush()
    session.add(PostRevision(post_id=post.id, number=1, text=post.text, created_at=at))
    if not is_hidden:
        town.note(is_of_day, "post", "post of a person")
