"""The wall clock's steps: told once each, and not what time itself does."""

import time

import pytest

from pdsapp.wall_clock import WallClock


@pytest.mark.parametrize(("by", "told"), [(3600, 3600), (-3600, -3600), (6, 6), (4, 0), (-4, 0), (0, 0)])
def test_a_step_is_told_once_with_its_sign(by, told):
    offset = [0.0]
    clock = WallClock(lambda: time.time() + offset[0])
    assert clock.step() == 0.0
    offset[0] = by
    assert clock.step() == pytest.approx(told, abs=0.1)
    assert clock.step() == 0.0


def test_time_that_only_passes_is_no_step():
    now = [time.monotonic()]
    clock = WallClock(lambda: now[0])
    now[0] = time.monotonic() + 0.01
    assert clock.step() == 0.0
