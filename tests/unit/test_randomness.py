"""Keyed randomness and ids."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from pdsapp.attempts.selection import ranks_for
from pdsapp.domain.ids import experiment_identifier, uuid7
from pdsapp.domain.randomness import Stream
from tests.statistics import chi_square, p_value


def test_the_same_key_gives_the_same_numbers_for_ever():
    stream = Stream("a key", "decision")
    assert [round(stream.uniform(), 12) for _ in range(3)] == [0.327572361956, 0.783498507948, 0.624239536766]


def test_purposes_of_one_key_are_independent():
    assert Stream("a key", "decision").uniform() != Stream("a key", "length").uniform()


def test_ten_thousand_draws_among_fifty_are_uniform():
    counts = Counter(ranks_for(f"uniform|{i}", 50, 1)[0] for i in range(10_000))
    assert p_value(chi_square([counts[rank] for rank in range(50)], [200.0] * 50), 49) > 0.001


def test_several_draws_of_one_key_are_distinct_and_uniform():
    counts = Counter()
    for i in range(5_000):
        ranks = ranks_for(f"several|{i}", 20, 4)
        assert len(set(ranks)) == 4
        counts.update(ranks)
    assert p_value(chi_square([counts[rank] for rank in range(20)], [1000.0] * 20), 19) > 0.001


def test_asking_for_more_than_there_are_gives_everybody_once():
    assert sorted(ranks_for("everybody", 7, 100)) == list(range(7))


def test_below_refuses_an_empty_range():
    with pytest.raises(ValueError, match="n >= 1"):
        Stream("key", "any").below(0)


def test_a_uuid7_sorts_by_time_and_names_its_version():
    early = uuid7(datetime(2026, 1, 1, tzinfo=UTC), b"\xff" * 10)
    late = uuid7(datetime(2026, 1, 2, tzinfo=UTC), b"\x00" * 10)
    assert early < late
    assert early.version == late.version == 7
    assert early.variant == late.variant


def test_an_experiment_identifier_has_five_characters_without_look_alikes():
    identifier = experiment_identifier(bytes(range(5)))
    assert len(identifier) == 5
    assert not set(identifier) & set("0o1li")
