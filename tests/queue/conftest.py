"""Fixtures of the queue tests: the application knows the queue server."""

import pytest
import redis

from tests import builders


@pytest.fixture
def overrides(redis_url):
    """The queue server of this test, emptied."""
    return {"REDIS_URL": redis_url}


@pytest.fixture
def connection(redis_url):
    """A client of the test's own."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def study(app, settings, model_server):
    """A running experiment in UTC with three twins whose model is the test's own."""
    experiment = builders.make_experiment(zone="UTC")
    token = builders.make_token(settings, model_server.base_url)
    for _ in range(3):
        builders.make_twin(experiment, token=token)
    return experiment
