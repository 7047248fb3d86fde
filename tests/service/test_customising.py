"""The examples of docs/customising.md, run as they stand there."""

import re
import sys
from pathlib import Path

import pytest

from pdsapp.attempts.replay import replay
from pdsapp.config import Settings
from pdsapp.database import reading, transaction
from pdsapp.dt_service import DTService, load_service
from pdsapp.errors import NotConfigured
from pdsapp.models import DigitalTwin, Experiment, TwinTag, utc_now
from tests import builders
from tests import model_server as fake

pytestmark = pytest.mark.database
PAGE = Path(__file__).resolve().parents[2] / "docs" / "customising.md"
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", PAGE.read_text(), re.S))
TEXT = "The early train was on time for once and nobody knew what to do."


@pytest.fixture
def service(settings, tmp_path, monkeypatch):
    """Loads an example through PDS_DT_SERVICE, as a user would."""

    def load(example: str, class_name: str) -> DTService:
        (tmp_path / f"example_{example}.py").write_text(EXAMPLES[example])
        monkeypatch.syspath_prepend(str(tmp_path))
        changed: Settings = settings.model_copy(update={"dt_service": f"example_{example}:{class_name}"})
        found = load_service(changed)
        monkeypatch.delitem(sys.modules, f"example_{example}")
        return found

    return load


@pytest.fixture
def twin(app, settings, model_server):
    model_server.default = lambda request: fake.text(TEXT)
    token = builders.make_token(settings, model_server.base_url)
    return builders.make_twin(builders.make_experiment(), "maya", token)


def test_the_page_has_all_three_examples():
    assert set(EXAMPLES) == {"prompt", "threshold", "selection"}


def test_the_prompt_example_changes_what_is_sent(service, settings, twin, session, model_server):
    attempt_id = builders.add_attempt(twin)
    builders.run_due(settings, own := service("prompt", "HopefulService"))
    assert "hopeful mood" in model_server.calls[0].messages[0]["content"]
    attempt = builders.load_attempt(session, attempt_id)
    assert attempt.service == "example_prompt:HopefulService"
    assert replay(session, attempt, own).verdict == "same"


def test_the_threshold_example_changes_the_verdict(service, settings, twin, session):
    with transaction() as writing:
        writing.get_one(DigitalTwin, twin.id).last_post = utc_now()
    attempt_id = builders.add_attempt(twin, forced=False)
    builders.run_due(settings, service("threshold", "TalkativeService"))
    attempt = builders.load_attempt(session, attempt_id)
    assert attempt.recency_probability == 0.8
    assert attempt.skip_probability == 0.6
    assert (attempt.state == "posted") == (attempt.draw >= 0.6)


def test_the_selection_example_asks_only_tagged_twins(service, twin):
    with reading() as session:
        study = session.get_one(Experiment, twin.experiment_id)
    early = builders.make_twin(study, "early")
    with transaction() as session:
        session.add(TwinTag(digital_twin_id=early.id, tag="morning"))
    with reading() as session:
        experiment = session.get_one(Experiment, twin.experiment_id)
        own = service("selection", "MorningService")
        picks = [own.get_random_digital_twins(session, experiment, 3, f"key|{i}") for i in range(20)]
    assert {pick.twin_id for found in picks for pick in found} == {early.id}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("nowhere:Nothing", id="no such module"),
        pytest.param("pathlib:Path", id="not a DTService"),
        pytest.param("pdsapp.dt_service", id="no class"),
    ],
)
def test_a_service_that_cannot_be_used_is_refused_with_a_sentence(settings, name):
    with pytest.raises(NotConfigured, match="PDS_DT_SERVICE"):
        load_service(settings.model_copy(update={"dt_service": name}))
