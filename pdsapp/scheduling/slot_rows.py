"""The row of a slot as its claim writes it, with its attempts or before them."""

from datetime import datetime
from typing import Any

from ..attempts.big_draws import BigDraw, Cursor, listed
from ..attempts.selection import Pick
from ..domain.reasons import SlotStage
from ..dt_service import LARGEST_DRAW
from ..models import ScheduleRevision
from .expansion import SUMMED_FROM
from .outcomes import Outcome


def slot_row(
    row: Outcome, revision: ScheduleRevision, wanted_count: int, now: datetime, claimed_by: str
) -> dict[str, Any]:
    """The columns of a slot whose attempts, if it has any, are made in the same transaction."""
    return {
        "schedule_id": revision.schedule_id,
        "revision_id": revision.id,
        "experiment_id": revision.experiment_id,
        "slot_at": row.at,
        "kind": row.kind,
        "covers_from": row.at if row.is_run else None,
        "covers_until": row.until if row.is_run else None,
        "slot_count": row.count,
        "wanted_count": wanted_count,
        "expanded_count": wanted_count,
        "stage": SlotStage.working if wanted_count >= SUMMED_FROM else None,
        "draw": None,
        "cursor": None,
        "detail": row.detail[:500],
        "claimed_at": now,
        "claimed_by": claimed_by[:120],
    }


def for_later(drawn: list[Pick] | BigDraw, is_enough: bool) -> dict[str, Any] | None:
    """The columns that differ where attempts are made after the claim; None if they are made with it.

    `is_enough`: the claim has made as many as it may.
    """
    if isinstance(drawn, BigDraw):
        wanted, stored = drawn.wanted, drawn.to_dict()
    elif is_enough or len(drawn) > LARGEST_DRAW:
        wanted, stored = len(drawn), listed(drawn)
    else:
        return None
    if wanted == 0:
        return None
    return {
        "wanted_count": wanted,
        "expanded_count": 0,
        "stage": SlotStage.expanding,
        "draw": stored,
        "cursor": Cursor().to_dict(),
    }
