"""The system page, for administrators: what runs here, whether it is in order, and its backups."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, send_file, url_for
from sqlalchemy.orm import Session

from ...config import Settings
from ...database import set_read_only
from ...errors import BadInput, CopyFailed, PdsError, QueueDown
from ...extensions import db
from ...models import ProcessKind, utc_now
from ...scheduling import failed_jobs, queue
from ...scheduling.failed_jobs import QueueState
from ...services import checkup, disk, exports, hand_backups, reports_now, system
from ...services.checkup import CheckResult
from ...services.disk import bytes_words
from ...services.system import SettingLine
from .. import access
from .processes import ProcessLine, process_line

RENEW_SECONDS = 2
SLOW_CHECKS = frozenset({"ledger"})

routes = Blueprint("system", __name__)


@dataclass(frozen=True)
class Backup:
    """A copy of the database: its name, when it was made, its size in words, where to get it."""

    name: str
    made_at: datetime
    size: str
    url: str


@dataclass(frozen=True)
class BackupsPart:
    """What templates/web/system_backups.html draws; its top comment says what each part is."""

    zone: ZoneInfo
    words: str
    can_back_up: bool
    lines: list[Backup]
    last: hand_backups.Progress | None
    last_words: str
    renew: int
    renew_url: str


@dataclass(frozen=True)
class SystemPage:
    """What templates/web/system.html draws; its top comment says what each part is."""

    zone: ZoneInfo
    checks: list[CheckResult]
    all_checks_url: str
    versions: list[tuple[str, str]]
    database: list[tuple[str, str]]
    is_at_head: bool
    queue: QueueState | None
    queue_facts: list[tuple[str, str]]
    queue_problem: str
    workers: list[ProcessLine]
    schedulers: list[ProcessLine]
    room: str
    is_low: bool
    backups: BackupsPart
    settings: list[SettingLine]


@routes.before_request
def _only_administrators() -> None:
    if not access.may_administer():
        abort(403)


@routes.route("/system")
def show():
    """The page. `checks=all` also looks at every slot and attempt, which takes its time."""
    page = _page(db.session(), request.args.get("checks") == "all", utc_now())
    return render_template("web/system.html", page=page)


@routes.route("/system/backup", methods=("POST",))
def back_up():
    """Begins a copy of the database; how far it is stands on the page."""
    account, now = access.account(), utc_now()
    db.session.rollback()
    try:
        hand_backups.begin(current_app._get_current_object(), account, now)
    except (BadInput, CopyFailed) as error:
        flash(str(error), "error")
    return redirect(url_for(".show", _anchor="backups"))


@routes.route("/system/backups")
def show_backups():
    """The part of the page that renews itself while a copy is made."""
    return render_template("web/system_backups.html", backups=_backups(_settings()))


@routes.route("/system/backup/<name>")
def download(name: str):
    """A copy as a file. That somebody took it is recorded."""
    path = system.backup_file(_settings(), name)
    if access.takes_file():
        set_read_only(False)
        own = db.session()
        own.rollback()
        system.note_backup(own, exports.DOWNLOAD, name, utc_now(), access.account())
        own.commit()
    return send_file(path, as_attachment=True, download_name=name, mimetype="application/vnd.sqlite3")


@routes.route("/system/job", methods=("POST",))
def job():
    """Retries or discards a failed job."""
    lane, job_id = request.form.get("lane", ""), request.form.get("id", "")
    what = request.form.get("do", "")
    if what not in ("retry", "discard"):
        raise BadInput("Say what to do with the job: retry or discard.", "do")
    try:
        connection = queue.connection(_settings())
        getattr(failed_jobs, what)(connection, lane, job_id)
    except QueueDown as error:
        flash(f"{error} Nothing was changed.", "error")
    else:
        flash("The job is back in its lane." if what == "retry" else "The job is forgotten.", "success")
    return redirect(url_for(".show", _anchor="jobs"))


def _page(session: Session, with_all_checks: bool, now: datetime) -> SystemPage:
    settings = _settings()
    seen, facts = reports_now.now_of(session, now), system.database_facts(session)
    state, problem = _queue_state(settings)
    room = disk.look(settings)
    without = frozenset() if with_all_checks else SLOW_CHECKS
    return SystemPage(
        zone=ZoneInfo(access.account().zone or "UTC"),
        checks=checkup.examine(settings, now, without),
        all_checks_url="" if with_all_checks else url_for(".show", checks="all"),
        versions=system.versions(),
        database=[
            ("Database", facts.kind),
            ("Size", bytes_words(facts.size)),
            ("Tables at revision", f"{facts.revision}, this version wants {facts.head}"),
            *((f"Rows of {name}", f"about {count:,}") for name, count in facts.rows),
        ],
        is_at_head=facts.revision == facts.head,
        queue=state,
        queue_facts=_queue_facts(state),
        queue_problem=problem,
        workers=[process_line(process, now) for process in seen.of_kind(ProcessKind.worker)],
        schedulers=[process_line(process, now) for process in seen.of_kind(ProcessKind.scheduler)],
        room=room.sentence if room.is_low else room.words,
        is_low=room.is_low or room.is_tight,
        backups=_backups(settings),
        settings=system.setting_lines(settings),
    )


def _queue_state(settings: Settings) -> tuple[QueueState | None, str]:
    try:
        return failed_jobs.state_of(queue.connection(settings)), ""
    except PdsError as error:
        return None, str(error)


def _queue_facts(state: QueueState | None) -> list[tuple[str, str]]:
    if state is None:
        return []
    queued = ", ".join(f"{lane}: {count:,}" for lane, count in state.queued.items()) or "nothing"
    return [
        ("Server", f"version {state.version}"),
        ("Memory in use", bytes_words(state.used_bytes)),
        ("Keys", f"{state.keys:,}"),
        ("Queued jobs", queued),
    ]


def _backups(settings: Settings) -> BackupsPart:
    last = hand_backups.progress(settings)
    words = "The local stack makes one a day and keeps seven; those made here are kept ten at a time."
    if not settings.is_embedded:
        words = "The database is a server's: it is backed up there. flask backup FILE prints the command."
    return BackupsPart(
        zone=ZoneInfo(access.account().zone or "UTC"),
        words=words,
        can_back_up=settings.is_embedded,
        lines=[
            Backup(line.name, line.made_at, bytes_words(line.size), url_for(".download", name=line.name))
            for line in system.backup_lines(settings)
        ],
        last=last,
        last_words=_last_words(last) if last else "",
        renew=RENEW_SECONDS if last and last.is_running else 0,
        renew_url=url_for(".show_backups"),
    )


def _last_words(last: hand_backups.Progress) -> str:
    if last.problem:
        return last.problem
    if not last.is_running:
        return f"Backup {last.name}: {last.words}."
    if not last.total:
        return "Its rows are being counted."
    if last.copied < last.total:
        return f"{last.copied:,} of {last.total:,} pages copied."
    return f"All {last.total:,} pages copied; they are being checked."


def _settings() -> Settings:
    return current_app.extensions["settings"]
