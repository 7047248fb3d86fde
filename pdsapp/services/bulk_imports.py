"""Bulk set-ups from the dry run to their end: kept in SQL, done at once or by a worker, all or nothing.

A worker looks at the rows in transactions of its own and only writes in one: killed in the middle it leaves
nothing, and another takes the import when its lease is over.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session, joinedload

from ..database import reading, transaction
from ..domain.protocol import MOST_REASON
from ..errors import BadInput, LeaseLost, NotFound
from ..models import Account, BulkImport, Experiment, ImportState
from . import bulk, granting
from .bulk_facts import read_facts
from .bulk_files import Sheet
from .bulk_plan import Options, Plan, decide, make_plan
from .fields import clean_line
from .lookup import parse_uuid
from .protocol import NEEDS_REASON

# Above so many rows a worker does it: the request would hold SQLite's write lock and the browser too long.
AT_ONCE_LIMIT = 500
# Written in one transaction: 10,000 hold SQLite's write lock for 2 to 5 s.
MOST_ROWS = 20_000
LEASE = timedelta(seconds=60)
KEPT = timedelta(days=1)
MOST_TRIES = 3
MOST_LISTED = 20
LOST = (
    f"{MOST_TRIES} workers have begun it and were lost. Nothing was set up. Run it again; if it ends like "
    "this once more, look at what the workers print."
)
CONFIRMED_BEFORE = "This was confirmed before. Nothing was done twice."
NOT_KEPT = "This set-up is not kept any more. Choose the files again."
MAY_NOT = (
    "{account} may not set up twins in this experiment any more: the account is shut, a viewer, or not "
    "granted the experiment. Nothing was set up. An administrator can run it again."
)
log = structlog.get_logger()


def keep(
    session: Session,
    experiment: Experiment,
    source: str,
    sheet: Sheet,
    options: Options,
    now: datetime,
    account: Account | None,
) -> BulkImport:
    """The row that keeps these rows of twins until they are set up. The caller commits. Raises BadInput."""
    if len(sheet.rows) > MOST_ROWS:
        raise BadInput(
            f"There are {len(sheet.rows):,} rows; at most {MOST_ROWS:,} are set up at once. Use several "
            "files, or flask setup-digital-twins."
        )
    forget(session, now)
    row = BulkImport(
        account_id=account.id if account else None,
        experiment_id=experiment.id,
        token_id=options.token_id,
        is_active=options.is_active,
        source="".join(c for c in source if c.isprintable())[:200],
        content=sheet.pack(),
        row_count=len(sheet.rows),
        created_at=now,
        changed_at=now,
    )
    session.add(row)
    session.flush()
    return row


def find(session: Session, text: str) -> BulkImport:
    """The import with this UUID. Raises NotFound."""
    uuid = parse_uuid(text)
    found = uuid and session.scalars(select(BulkImport).where(BulkImport.uuid == uuid)).one_or_none()
    if not found:
        raise NotFound(NOT_KEPT)
    return found


def kept(session: Session, account: Account | None = None) -> list[BulkImport]:
    """The set-ups that are kept, newest first, at most twenty: those of one account, or of all for None."""
    query = select(BulkImport).options(joinedload(BulkImport.experiment), joinedload(BulkImport.account))
    if account is not None:
        query = query.where(BulkImport.account_id == account.id)
    return list(session.scalars(query.order_by(BulkImport.id.desc()).limit(MOST_LISTED)))


def plan_of(session: Session, row: BulkImport) -> Plan:
    """What it would do now. Reads only. Raises BadInput for one carried out meanwhile, or of an experiment
    that is over."""
    if not row.content:
        raise BadInput(CONFIRMED_BEFORE)
    return make_plan(session, row.experiment, Sheet.unpack(row.content), _options(row))


def confirm(
    session: Session,
    row: BulkImport,
    plan: Plan,
    fingerprint: str,
    reason: str,
    now: datetime,
    account: Account | None,
) -> None:
    """Carries out the plan that somebody saw, or leaves it to a worker if it is large. The caller commits.

    `plan` is that of this moment, made before this transaction; `fingerprint` that of what was seen. Raises
    BulkErrors; PlanChanged when it is another plan by now; BadInput at `reason` when one is needed. The
    caller rolls back then.
    """
    _lock(session, row)
    if row.state != ImportState.planned:
        raise BadInput(CONFIRMED_BEFORE)
    reason = clean_line(reason, "reason", MOST_REASON, required=False)
    if plan.fingerprint != fingerprint:
        raise bulk.PlanChanged
    if plan.errors:
        raise bulk.BulkErrors(plan.errors)
    if plan.needs_reason and not reason:
        raise BadInput(NEEDS_REASON, "reason")
    row.message, row.reason, row.fingerprint, row.changed_at = "", reason, fingerprint, now
    if row.row_count > AT_ONCE_LIMIT:
        row.state, row.progress, row.tries = ImportState.waiting, 0, 0
        _take_over(row, account)
        return
    _end(row, bulk.carry_out(session, row.experiment, plan, now, reason, account), now)


def run_again(session: Session, row: BulkImport, now: datetime, account: Account | None = None) -> None:
    """Leaves a failed one to the workers once more, in the name of `account`. The caller commits."""
    _lock(session, row)
    if row.state != ImportState.failed:
        raise BadInput("This has not failed, so it is not run again.")
    row.state, row.tries, row.progress, row.message, row.changed_at = ImportState.waiting, 0, 0, "", now
    _take_over(row, account)


def drop(session: Session, row: BulkImport) -> None:
    """Forgets one before it is set up. The caller commits. Raises BadInput for one under way or done."""
    _lock(session, row)
    if row.state == ImportState.running:
        raise BadInput("A worker is setting it up. Wait until it is done.")
    if row.state == ImportState.done:
        raise BadInput("It was set up meanwhile, so there is nothing to forget. Its twins are there.")
    session.delete(row)


def tend(now: datetime) -> list[int]:
    """The imports a worker should take: confirmed ones, and those whose worker was lost. Forgets old ones.

    In transactions of its own; it writes only if there is something to forget.
    """
    with reading() as session:
        query = select(BulkImport.id).order_by(BulkImport.id)
        ids = list(session.scalars(query.where(_is_free(now)).limit(20)))
        is_any_old = session.scalars(query.where(_is_old(now)).limit(1)).first() is not None
    if is_any_old:
        with transaction() as session:
            forget(session, now)
    return ids


def forget(session: Session, now: datetime) -> None:
    """Takes away what is older than a day and not on its way. The caller commits."""
    session.execute(delete(BulkImport).where(_is_old(now)).execution_options(synchronize_session=False))


def run(import_id: int, clock: Callable[[], datetime]) -> ImportState | None:
    """Sets up one import in transactions of its own; the state it ended in, None if it was not to be taken.

    A plan that is another one by now is shown again instead of being carried out. It fails if whoever
    confirmed it may not change the experiment any more.
    """
    token = uuid4().hex
    with transaction() as session:
        row = _take(session, import_id, token, clock())
        if row is None or row.state != ImportState.running:
            return row and row.state
        sheet, options, experiment_id = Sheet.unpack(row.content), _options(row), row.experiment_id
        fingerprint = row.fingerprint
    try:
        with reading() as session:
            facts = read_facts(session, session.get_one(Experiment, experiment_id), sheet.rows)
        plan = decide(sheet, facts, options, lambda done: _tell(import_id, token, done, clock()))
        if plan.fingerprint != fingerprint:
            raise bulk.PlanChanged
        _tell(import_id, token, len(sheet.rows), clock())
        with transaction() as session:
            row = _held(session, import_id, token)
            if row.account is not None and not granting.may_change(session, row.account, row.experiment):
                _fail(row, MAY_NOT.format(account=row.account), clock())
                return row.state
            done = bulk.carry_out(session, row.experiment, plan, clock(), row.reason, row.account)
            _end(row, done, clock())
            return row.state
    except (LeaseLost, NoResultFound):  # another has it, or it went with its experiment
        return _dropped(import_id)
    except BadInput as error:
        return _shown_again(import_id, token, str(error), clock())


def _dropped(import_id: int) -> None:
    log.warning("import lost to another worker or gone, result dropped", number=import_id)


def _shown_again(import_id: int, token: str, message: str, now: datetime) -> ImportState | None:
    try:
        with transaction() as session:
            row = _held(session, import_id, token)
            row.state, row.message, row.lease_until = ImportState.planned, message, None
            row.changed_at = now
            return row.state
    except LeaseLost:
        return _dropped(import_id)


def _take(session: Session, import_id: int, token: str, now: datetime) -> BulkImport | None:
    """The import, held by this worker; failed if too many have been lost with it; None if it is not free."""
    row = session.scalars(
        select(BulkImport).where(BulkImport.id == import_id, _is_free(now)).with_for_update(of=BulkImport)
    ).one_or_none()
    if row is None:
        return None
    row.changed_at = now
    if row.tries >= MOST_TRIES:
        _fail(row, LOST, now)
        return row
    row.state, row.tries, row.progress = ImportState.running, row.tries + 1, 0
    row.lease_token, row.lease_until = token, now + LEASE
    return row


def _tell(import_id: int, token: str, done: int, now: datetime) -> None:
    """Writes down how far it is and renews the lease, in a transaction of its own. Raises LeaseLost."""
    with transaction() as session:
        row = _held(session, import_id, token)
        row.progress, row.lease_until = done, now + LEASE


def _held(session: Session, import_id: int, token: str) -> BulkImport:
    row = session.scalars(
        select(BulkImport)
        .where(
            BulkImport.id == import_id,
            BulkImport.state == ImportState.running,
            BulkImport.lease_token == token,
        )
        .with_for_update(of=BulkImport)
    ).one_or_none()
    if row is None:
        raise LeaseLost(f"Bulk import {import_id} is no longer held by this worker.")
    return row


def _lock(session: Session, row: BulkImport) -> None:
    """Locks the row and reads it as it is now. Raises NotFound if it was forgotten meanwhile."""
    query = select(BulkImport).where(BulkImport.id == row.id).with_for_update(of=BulkImport)
    if session.scalars(query.execution_options(populate_existing=True)).one_or_none() is None:
        raise NotFound(NOT_KEPT)


def _end(row: BulkImport, done: bulk.Done, now: datetime) -> None:
    row.state, row.content, row.progress = ImportState.done, "", row.row_count
    row.created_count, row.updated_count, row.skipped_count = len(done.created), done.updated, done.skipped
    row.changed_at, row.lease_until = now, None


def _fail(row: BulkImport, message: str, now: datetime) -> None:
    row.state, row.message, row.changed_at, row.lease_until = ImportState.failed, message, now, None


def _take_over(row: BulkImport, account: Account | None) -> None:
    """A worker acts in the name of the account that has confirmed it, not of the one that uploaded it."""
    if account is not None:
        row.account_id = account.id


def _options(row: BulkImport) -> Options:
    return Options(row.token_id, row.is_active)


def _is_free(now: datetime) -> ColumnElement[bool]:
    is_lost = and_(BulkImport.state == ImportState.running, BulkImport.lease_until < now)
    return or_(BulkImport.state == ImportState.waiting, is_lost)


def _is_old(now: datetime) -> ColumnElement[bool]:
    on_its_way = (ImportState.waiting, ImportState.running)
    return and_(BulkImport.changed_at < now - KEPT, BulkImport.state.notin_(on_its_way))
