"""A study with one twin that a model server writes; installations to move."""

import ssl
import uuid

import pytest

from pdsapp.domain.reasons import ExperimentState
from pdsapp.services.database import prepare
from tests import builders
from tests.conftest import _create_database, _drop_database
from tests.model_server import ModelServer
from tests.service.big_slot_helpers import COUNT
from tests.service.moving import installation
from tests.service.tls import make_certificate
from tests.twins import add_many


@pytest.fixture
def study(app):
    """A running experiment."""
    return builders.make_experiment()


@pytest.fixture
def token(app, settings, model_server):
    """A token for the model server."""
    return builders.make_token(settings, model_server.base_url)


@pytest.fixture
def twin(study, token):
    """A twin with a token for the model server."""
    return builders.make_twin(study, "maya", token)


@pytest.fixture
def draft(app):
    """An experiment that is being rehearsed."""
    return builders.make_experiment("Pilot", state=ExperimentState.draft)


@pytest.fixture
def draft_twin(draft, token):
    """A twin that rehearses."""
    return builders.make_twin(draft, "maya", token)


@pytest.fixture
def home(tmp_path, clean_environment):
    """A local installation on SQLite."""
    with installation(tmp_path / "home") as app:
        prepare(app)
        yield app


@pytest.fixture
def empty():
    """The URL of an empty PostgreSQL database."""
    name = f"dt_move_{uuid.uuid4().hex[:12]}"
    yield _create_database(name)
    _drop_database(name)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """The folder of a certificate for models.example.test: cert.pem and key.pem."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_server(certificate):
    """A model server that speaks https as models.example.test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with ModelServer(tls=context) as server:
        yield server


@pytest.fixture
def crowd(study):
    """An experiment with as many twins as no slot asks in one piece."""
    add_many(study, COUNT)
    return study
