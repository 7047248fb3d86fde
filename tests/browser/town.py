"""A week in a town, put into the running stack's database: what the control room is looked at with."""

from dataclasses import dataclass
from pathlib import Path

from pdsapp import create_app
from pdsapp.config import read_settings
from pdsapp.database import transaction
from pdsapp.extensions import db
from pdsapp.models import utc_now
from pdsapp.services import rollups
from tests import history


@dataclass(frozen=True)
class Town:
    """What tests ask for by name: the experiment, and the sums of its week and its last day."""

    identifier: str
    name: str
    people: tuple[str, ...]
    twins: tuple[str, ...]
    week: dict[str, int]
    day: dict[str, int]


def make_town(data_dir: Path) -> Town:
    """The town, written as a second process beside the running stack would."""
    app = create_app(read_settings(PDS_DATA_DIR=str(data_dir), PDS_DEMO="0"), with_web=False)
    with app.app_context():
        made = history.make_town(utc_now())
        with (
            transaction() as session
        ):  # what lies before the marks of the running scheduler is not counted else
            rollups.forget(session)
        found = Town(
            made.experiment.identifier,
            made.experiment.name,
            history.PEOPLE,
            history.TWINS,
            dict(made.week),
            dict(made.day),
        )
        db.session.remove()
        db.engine.dispose()
    return found
