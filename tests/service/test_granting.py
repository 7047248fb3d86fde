"""Grants that nobody has taken back stay, however many there are and whoever adds one meanwhile."""

import pytest
from sqlalchemy import select

from pdsapp.errors import BadInput
from pdsapp.models import Account, Experiment, Membership, utc_now
from pdsapp.services import accounts, experiments, granting
from tests import builders


@pytest.fixture
def account(write):
    """A researcher who sees nothing that is not granted."""
    with write() as session:
        return accounts.add_account(session, "ada@example.org", "researcher", utc_now())


def granted(session, account):
    session.rollback()
    session.expire_all()
    query = select(Membership.experiment_id).where(Membership.account_id == account.id)
    return sorted(session.scalars(query))


def grant(write, account, *studies):
    with write() as session:
        found = session.get_one(Account, account.id)
        granting.grant_experiments(session, found, [study.id for study in studies], utc_now())


def test_a_form_that_does_not_offer_an_experiment_does_not_take_it_back(session, write, account, monkeypatch):
    old, new = builders.make_experiment("Old"), builders.make_experiment("New")
    grant(write, account, old)
    monkeypatch.setattr(granting, "MOST_OFFERED", 1)  # the newest
    grant(write, account, new)
    assert granted(session, account) == [old.id, new.id]
    grant(write, account)
    assert granted(session, account) == [old.id]


def test_a_form_that_does_not_offer_an_account_does_not_shut_it_out(session, write, account, monkeypatch):
    study = builders.make_experiment()
    with write() as writing:
        zoe = accounts.add_account(writing, "zoe@example.org", "viewer", utc_now())
    grant(write, zoe, study)
    monkeypatch.setattr(granting, "MOST_OFFERED", 1)  # the first by address
    with write() as writing:
        found = writing.get_one(Experiment, study.id)
        seen = granting.mark_of(granting.accounts_of(writing, found))
        granting.grant_accounts(writing, found, [account.id], seen, utc_now())
    assert (granted(session, zoe), granted(session, account)) == ([study.id], [study.id])


def test_an_experiment_that_is_being_deleted_is_not_offered(session, write, account):
    study = builders.make_experiment()
    grant(write, account, study)
    with write() as writing:
        writing.get_one(Experiment, study.id).delete_asked_at = utc_now()
    assert granting.offered_experiments(session) == []


def test_a_form_opened_before_its_account_added_an_experiment_does_not_take_that_away(
    session, write, account
):
    seen = account.edit_version
    with write() as writing:
        owner = writing.get_one(Account, account.id)
        study = experiments.add_experiment(writing, "Own", "UTC", utc_now(), account=owner)
    with pytest.raises(BadInput, match="Somebody else has saved this"), write() as writing:
        accounts.change_account(
            writing, writing.get_one(Account, account.id), seen, utc_now(),
            role="viewer", is_active=True, sees_all=False,
        )  # fmt: skip
    assert granted(session, account) == [study.id]
