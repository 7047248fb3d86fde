"""A study with one twin that a model server writes."""

import pytest

from tests import builders


@pytest.fixture
def study(app):
    """A running experiment."""
    return builders.make_experiment()


@pytest.fixture
def twin(study, settings, model_server):
    """A twin with a token for the model server."""
    token = builders.make_token(settings, model_server.base_url)
    return builders.make_twin(study, "maya", token)
