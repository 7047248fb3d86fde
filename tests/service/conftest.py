"""A study with one twin that a model server writes; installations to move."""

import ssl
import uuid

import pytest

from pdsapp.services.database import prepare
from tests import builders
from tests.conftest import _create_database, _drop_database
from tests.model_server import ModelServer
from tests.service.moving import installation
from tests.service.tls import make_certificate


@pytest.fixture
def study(app):
    """A running experiment."""
    return builders.make_experiment()


@pytest.fixture
def twin(study, settings, model_server):
    """A twin with a token for the model server."""
    token = builders.make_token(settings, model_server.base_url)
    return builders.make_twin(study, "maya", token)


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
