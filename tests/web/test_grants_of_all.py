"""What somebody who is granted single experiments learns of a schedule that asks all experiments."""

import pytest

from pdsapp.models import utc_now
from pdsapp.services import schedules
from tests.web.looking import words_of
from tests.web.test_grants import granted, two  # noqa: F401

PART = "of the experiments you see"


@pytest.fixture
def of_all(two, write):  # noqa: F811
    """A schedule of all experiments, of which both run."""
    with write() as session:
        for each in (two.own, two.foreign):
            row = session.get(type(each.experiment), each.experiment.id)
            row.state = "running"
        schedule = schedules.add_schedule(
            session, schedules.Wish("Everywhere", None, cron="0 9 * * *", is_enabled=True), utc_now()
        )
        session.flush()
        return schedule.id


def test_a_slot_that_asks_all_experiments_is_not_simulated_with_a_part_of_them(granted, of_all):  # noqa: F811
    answer = granted("viewer").get(f"/admin/schedule/simulate/?id={of_all}")
    assert "This schedule asks all experiments, and you see some of them only" in words_of(answer)


def test_whom_it_asks_is_said_of_the_experiments_one_sees(granted, of_all):  # noqa: F811
    words = words_of(granted("viewer").get(f"/admin/schedule/details/?id={of_all}"))
    assert PART in words and "turn per twin" not in words


def test_whoever_sees_all_reads_and_simulates_the_whole(administrator, of_all):
    assert PART not in words_of(administrator.get(f"/admin/schedule/details/?id={of_all}"))
    simulated = words_of(administrator.get(f"/admin/schedule/simulate/?id={of_all}"))
    assert "you see some of them only" not in simulated
