"""What the browser tests share: two small experiments, put in through the forms."""

from dataclasses import dataclass

from playwright.sync_api import Page

from . import steps


@dataclass(frozen=True)
class Clockwork:
    """An experiment with a schedule that fires every minute, and the only twin it can ask."""

    experiment: str = "Clockwork"
    schedule: str = "On the minute"
    twin: str = "cuckoo"


@dataclass(frozen=True)
class Studio:
    """An experiment with one twin, its persona and its token; and a draft without any."""

    experiment: str = "Reading room"
    persona: str = "Night owl"
    token: str = "Lab"
    twin: str = "night_owl"
    draft: str = "Dress rehearsal"
    clockwork: Clockwork = Clockwork()


def set_up_studio(page: Page, endpoint: steps.Endpoint) -> Studio:
    """Puts everything in. The schedule comes early: it goes on while the tests run."""
    studio = Studio()
    steps.add_token(page, studio.token, endpoint)
    steps.add(page, "persona", Name=studio.persona, Text="You study at night and write in plain sentences.")
    steps.add(page, "experiment", Name=studio.draft)
    _add_experiment(page, studio, studio.clockwork.experiment, studio.clockwork.twin)
    steps.add_schedule(page, studio.clockwork.schedule, studio.clockwork.experiment, cron="* * * * *")
    _add_experiment(page, studio, studio.experiment, studio.twin)
    return studio


def _add_experiment(page: Page, studio: Studio, name: str, twin: str) -> None:
    """Adds an experiment with one twin that has the studio's persona and token, and starts it."""
    steps.add(page, "experiment", Name=name)
    steps.add(
        page, "digitaltwin",
        Experiment=name, Username=twin, Persona=studio.persona, API_token=studio.token,
    )  # fmt: skip
    steps.start(page, name)
