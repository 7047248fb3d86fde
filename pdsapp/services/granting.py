"""Which accounts see which experiments, beside those that see all."""

from collections.abc import Collection
from datetime import datetime
from zlib import crc32

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..models import ADMINISTRATOR, Account, Experiment, Membership, Role
from . import audit
from .accounts import WRITERS, hold_accounts, role_of

MOST_OFFERED = 1_000
CHANGED = (
    "Somebody else has changed who sees this since you opened the page. Nothing was changed now. Open it "
    "again and choose anew."
)


def experiments_of(session: Session, account: Account) -> list[Experiment]:
    """The experiments granted to an account, newest first; of one that sees all, none is listed."""
    query = (
        select(Experiment)
        .join(Membership, Membership.experiment_id == Experiment.id)
        .where(Membership.account_id == account.id)
    )
    return list(session.scalars(query.order_by(Experiment.id.desc())))


def may_change(session: Session, account: Account, experiment: Experiment) -> bool:
    """Whether an account may change an experiment at this moment, which may not be that of its request."""
    if not account.active or role_of(account) not in WRITERS:
        return False
    query = select(Membership.id).where(
        Membership.account_id == account.id, Membership.experiment_id == experiment.id
    )
    return account.sees_everything or session.scalars(query.limit(1)).first() is not None


def counts(session: Session, account_ids: Collection[int]) -> dict[int, int]:
    """How many experiments each of these accounts is granted; those with none are missing."""
    query = select(Membership.account_id, func.count(Membership.id)).where(
        Membership.account_id.in_(account_ids)
    )
    return dict(session.execute(query.group_by(Membership.account_id)).all())


def offered_experiments(session: Session) -> list[Experiment]:
    """The experiments that can be granted, newest first; archived ones only where they are granted."""
    is_granted = select(Membership.id).where(Membership.experiment_id == Experiment.id).exists()
    query = select(Experiment).where(
        Experiment.delete_asked_at.is_(None), (Experiment.state != ExperimentState.archived) | is_granted
    )
    return list(session.scalars(query.order_by(Experiment.id.desc()).limit(MOST_OFFERED)))


def accounts_of(session: Session, experiment: Experiment) -> list[Account]:
    """The accounts that are granted an experiment, by address. A grant says nothing of those that see all."""
    query = (
        select(Account)
        .join(Membership, Membership.account_id == Account.id)
        .where(Membership.experiment_id == experiment.id)
    )
    return list(session.scalars(query.order_by(Account.email)))


def mark_of(accounts: Collection[Account]) -> int:
    """A number that is another one for other accounts, to notice a change of grants by."""
    return crc32(",".join(str(key) for key in sorted(account.id for account in accounts)).encode())


def grantable_accounts(session: Session) -> list[Account]:
    """The accounts that see nothing without a grant, by address."""
    is_administrator = Account.roles.any(Role.name == ADMINISTRATOR)
    query = select(Account).where(Account.sees_all_experiments.is_(False), ~is_administrator)
    return list(session.scalars(query.order_by(Account.email).limit(MOST_OFFERED)))


def grant_experiments(
    session: Session, account: Account, wanted: Collection[int], now: datetime, by: Account | None = None
) -> None:
    """Makes these, by id, all that an account is granted of those that are offered. The caller commits.

    Raises BadInput at `granted`.
    """
    offered = {each.id for each in offered_experiments(session)}
    before = {each.id: each for each in experiments_of(session, account) if each.id in offered}
    found = _rows(session, Experiment, wanted, "granted")
    _write(session, [(account.id, key) for key in found.keys() - before.keys()], now)
    _erase(session, Membership.account_id == account.id, Membership.experiment_id, before.keys() - found)
    if before.keys() != found.keys():
        audit.record(
            session, "grant", account, now, by,
            {"experiments": _names(before.values())}, {"experiments": _names(found.values())},
        )  # fmt: skip


def grant_accounts(
    session: Session,
    experiment: Experiment,
    wanted: Collection[int],
    seen: int | None,
    now: datetime,
    by: Account | None = None,
) -> None:
    """Makes these, by id, the accounts an experiment is granted to, of those that are offered; the caller
    commits.

    What others were granted before stays, such as that of accounts that see all. `seen` is the mark of the
    accounts the page was made from, None if that is not known. Raises BadInput at `granted`, also if that was
    changed since, or who does it was shut out.
    """
    hold_accounts(session, by)
    if seen != mark_of(accounts_of(session, experiment)):
        raise BadInput(CHANGED, "granted")
    offered = {each.id for each in grantable_accounts(session)}
    before = {each.id: each for each in accounts_of(session, experiment) if each.id in offered}
    found = _rows(session, Account, wanted, "granted")
    _write(session, [(key, experiment.id) for key in found.keys() - before.keys()], now)
    _erase(session, Membership.experiment_id == experiment.id, Membership.account_id, before.keys() - found)
    changed = Account.id.in_(before.keys() ^ found.keys())
    session.execute(update(Account).where(changed).values(edit_version=Account.edit_version + 1))
    if before.keys() != found.keys():
        audit.record(
            session, "grant", experiment, now, by,
            {"accounts": _names(before.values())}, {"accounts": _names(found.values())},
        )  # fmt: skip


def _rows(session: Session, kind: type, wanted: Collection[int], field: str) -> dict[int, object]:
    found = {row.id: row for row in session.scalars(select(kind).where(kind.id.in_(wanted)))}
    if len(found) != len(set(wanted)):
        raise BadInput("One of these is not there any more. Open the page again and choose anew.", field)
    return found


def _write(session: Session, pairs: list[tuple[int, int]], now: datetime) -> None:
    session.add_all(
        Membership(account_id=account_id, experiment_id=experiment_id, created_at=now)
        for account_id, experiment_id in pairs
    )


def _erase(session: Session, of_one, column, keys: Collection[int]) -> None:
    if keys:
        session.execute(delete(Membership).where(of_one, column.in_(keys)))


def _names(rows) -> list[str]:
    return sorted(str(row) for row in rows)
