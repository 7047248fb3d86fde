"""Drawing many of many in a walk: uniform, without replacement, and the same wherever it goes on."""

from collections import Counter
from itertools import combinations

import pytest

from pdsapp.domain.sampling import Walk, place_of, walk_key, wanted_of
from tests.statistics import chi_square, p_value


def places(key, of, wanted):
    return [place for place, _ in Walk(walk_key(key, wanted), of, wanted).passed(of)]


@pytest.mark.parametrize(("of", "wanted"), [(1, 1), (10, 10), (10, 3), (500, 499), (2_000, 1_200), (7, 0)])
def test_it_chooses_exactly_so_many_each_once(of, wanted):
    found = places("k", of, wanted)
    assert len(found) == len(set(found)) == wanted
    assert found == sorted(found) and all(0 <= place < of for place in found)


def test_each_place_is_as_likely():
    counts = Counter()
    for number in range(3_000):
        counts.update(places(f"uniform|{number}", 50, 12))
    assert p_value(chi_square([counts[n] for n in range(50)], [3_000 * 12 / 50] * 50), 49) > 0.001


def test_each_pair_is_as_likely():
    counts = Counter(tuple(places(f"pairs|{number}", 7, 2)) for number in range(10_000))
    pairs = list(combinations(range(7), 2))
    assert set(counts) == set(pairs)
    assert p_value(chi_square([counts[pair] for pair in pairs], [10_000 / 21] * 21), 20) > 0.001


@pytest.mark.parametrize("wanted", [400, 137], ids=["all", "some"])
def test_cut_anywhere_it_goes_on_as_if_it_had_not_been(wanted):
    key = walk_key("k", wanted)
    whole = Walk(key, 400, wanted).passed(400)
    found, seen, made = [], 0, 0
    for step, most in ((1, None), (33, 5), (33, 400), (100, 7), (300, 90), (400, 3), (400, None)):
        walk = Walk(key, 400, wanted, seen, made)
        found += walk.passed(step, most)
        seen, made = walk.seen, walk.made
    assert found == whole
    assert [number for _, number in whole] == list(range(wanted))
    assert [place_of(key, 400, number) for number in (0, 57, 136)] == [whole[n][0] for n in (0, 57, 136)]
    assert place_of(key, 400, wanted) is None


def test_how_many_were_wanted_is_read_from_the_key_and_from_no_other():
    assert wanted_of(walk_key("seed|uuid|2026-11-29T12:00:00+00:00", 10_000)) == 10_000
    for key in ("", "a", "seed|uuid|2026", "walk", "walk|x", "a|walk|"):
        assert wanted_of(key) is None
