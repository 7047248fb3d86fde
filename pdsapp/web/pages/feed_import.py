"""Importing people's posts into a feed: a file or pasted rows, a dry run, then all of it or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session

from ...attempts.obstacles import moment_words
from ...attempts.words import several
from ...database import set_read_only
from ...domain.reasons import ExperimentState
from ...errors import BadInput, ReadOnly
from ...extensions import db
from ...models import Experiment, utc_now
from ...services import post_files, post_import, post_plan
from ...services.bulk_files import CellError, Column
from ...services.editing import require_open
from ...services.fields import POST_LIMIT
from ...services.persona_files import NamedFile
from ...services.post_plan import Plan, PlannedPost
from ...services.protocol import needs_reason
from .. import access, frame

ROWS_SHOWN = 10
ERRORS_SHOWN = 1000
NOT_FOLDED = 20
CONTENT, PASTED, ADD_PEOPLE, REASON = "content", "pasted", "add_people", "reason"
LABELS = {post_files.FIELD: "A file", PASTED: "Rows", ADD_PEOPLE: "Add people", REASON: "Reason"}
DRAFT_WORDS = (
    "This experiment is a draft, so these posts are part of its rehearsal: starting it hides them, unless "
    "“Archive the rehearsal” is unticked then."
)
TICK_WORDS = "Tick that those who are not here yet are added, or correct their names in the file."
AGAIN_WORDS = (
    "These posts are there already: this content was imported before, and nothing is imported twice. To have "
    "them once more, change a cell."
)

routes = Blueprint("feed_import", __name__)


@dataclass(frozen=True)
class DryRun:
    """What an import would do, as the page shows it; `there_url` leads to posts that are there already."""

    name: str
    facts: list[tuple[str, str]]
    notes: list[str]
    people: str
    people_words: str
    errors: Sequence[CellError]
    folded: Sequence[CellError]
    error_count: int
    rows: Sequence[PlannedPost]
    rows_words: str
    fingerprint: str
    content: str
    there_url: str
    may_import: bool


@dataclass(frozen=True)
class ImportPage:
    """What templates/web/feed_import.html draws; its top comment says what each part is."""

    crumbs: list[tuple[str, str | None]]
    zone: ZoneInfo
    url: str
    feed_url: str
    columns: Sequence[Column]
    limits_words: str
    asks_reason: bool
    problem: tuple[str, str, str] | None = None
    dry: DryRun | None = None
    asks: bool = True
    pasted: str = ""
    reason: str = ""
    adds_people: bool = False


@routes.route("/experiments/<text>/feed/import", methods=("GET", "POST"))
def show(text: str):
    """Asks for the rows; shows what they would become; makes them posts, if what was shown is confirmed."""
    if not access.may_write():
        abort(403)
    session = db.session()
    experiment = frame.addressed_experiment(session, text)
    frame.speak_of(experiment)
    require_open(experiment)
    if request.method == "GET":
        return _page(experiment)
    _only_read(session)
    try:
        file = _sent()
        plan = post_plan.make_plan(session, experiment, post_files.read_file(file), utc_now())
    except BadInput as error:
        return _page(experiment, error), 400
    if CONTENT not in request.form:
        return _page(experiment, plan=plan, file=file), 400 if _is_wrong(plan) else 200
    try:
        if plan.fingerprint != request.form.get("fingerprint") and not plan.is_there:
            raise BadInput(post_import.CHANGED_MEANWHILE)
        done = _import(session, experiment, plan)
    except ReadOnly:  # no page offers it: it was ended since, and that is an answer of its own
        session.rollback()
        raise
    except BadInput as error:
        _only_read(session)
        return _page(experiment, error, plan, file), 400
    flash(_done_words(done, plan), "success" if done.is_new else "info")
    return redirect(_feed_url(experiment, done))


def _only_read(session: Session) -> None:
    """Ends what is open: reading a file and planning takes no lock."""
    session.rollback()
    set_read_only(True)


def _import(session: Session, experiment: Experiment, plan: Plan) -> post_import.Done:
    session.rollback()
    set_read_only(False)
    done = post_import.import_posts(
        session, experiment, plan, utc_now(), access.account(),
        add_people=ADD_PEOPLE in request.form, reason=request.form.get(REASON, ""),
    )  # fmt: skip
    session.commit()
    return done


def _sent() -> NamedFile:
    """The file that was chosen or pasted, or that a dry run brings back. Raises BadInput."""
    if CONTENT in request.form:
        return post_files.unpack(request.form.get("name", ""), request.form[CONTENT])
    chosen = request.files.get(post_files.FIELD)
    has_file, text = bool(chosen and chosen.filename), request.form.get(PASTED, "")
    if has_file and text.strip():
        raise BadInput("Choose a file or paste rows, not both.", PASTED)
    if has_file:
        with chosen.stream:
            return NamedFile(chosen.filename, chosen.read())
    if not text.strip():
        raise BadInput("Choose a file, or paste rows.", post_files.FIELD)
    return post_files.pasted(text)


def _page(
    experiment: Experiment,
    problem: BadInput | None = None,
    plan: Plan | None = None,
    file: NamedFile | None = None,
) -> str:
    feed_url = url_for("feed.show", text=experiment.identifier)
    page = ImportPage(
        crumbs=[("Feed", feed_url), ("Import posts", None)],
        zone=ZoneInfo(experiment.zone),
        url=url_for(".show", text=experiment.identifier),
        feed_url=feed_url,
        columns=post_files.COLUMNS_EXPLAINED,
        limits_words=(
            f"At most {post_files.ROW_LIMIT:,} rows and {post_files.FILE_LIMIT // 1_000_000} MB in one go, "
            f"{POST_LIMIT} characters a post; in UTF-8, with commas between the cells of a CSV."
        ),
        asks_reason=needs_reason(experiment),
        problem=_problem(problem, plan) if problem is not None else None,
        dry=_dry_run(experiment, plan, file) if plan is not None and file is not None else None,
        asks=plan is None or bool(_is_wrong(plan) and request.form.get(PASTED)),
        pasted=request.form.get(PASTED, ""),
        reason=request.form.get(REASON, ""),
        adds_people=ADD_PEOPLE in request.form,
    )
    return render_template("web/feed_import.html", page=page)


def _is_wrong(plan: Plan) -> bool:
    """Whether there is something to be mended: not in what has been imported already."""
    return bool(plan.errors) and not plan.is_there


def _problem(error: BadInput, plan: Plan | None) -> tuple[str, str, str]:
    """(field to lead to, its label, sentence); no field where the page has none for it."""
    if isinstance(error, post_import.ImportErrors):
        return "errors", "To be mended", "Nothing is imported as long as anything is wrong."
    name = error.field or ""
    if name == ADD_PEOPLE:  # they are named on the page anyway
        return name, LABELS[name], TICK_WORDS
    is_here = name in ((REASON,) if plan is not None else (post_files.FIELD, PASTED))
    return (name, LABELS[name], str(error)) if is_here else ("", "", str(error))


def _dry_run(experiment: Experiment, plan: Plan, file: NamedFile) -> DryRun:
    errors = plan.errors if _is_wrong(plan) else ()
    shown = plan.posts[:ROWS_SHOWN]
    is_ready = not errors and bool(plan.posts) and not plan.is_there
    return DryRun(
        name=plan.name,
        facts=_facts(experiment, plan),
        notes=_notes(experiment, plan),
        people=post_import.people_words(plan),
        people_words=_people(len(plan.new_people)),
        errors=errors[:NOT_FOLDED],
        folded=errors[NOT_FOLDED:ERRORS_SHOWN],
        error_count=len(errors),
        rows=shown,
        rows_words=f"{len(shown)} of {len(plan.posts):,}" if len(plan.posts) > len(shown) else "",
        fingerprint=plan.fingerprint,
        content=post_files.pack(file) if is_ready else "",
        there_url=_there_url(experiment, plan) if plan.is_there else "",
        may_import=is_ready,
    )


def _there_url(experiment: Experiment, plan: Plan) -> str:
    return _feed_url(experiment, post_import.Done(False, post_import.first_seen(db.session(), plan)))


def _facts(experiment: Experiment, plan: Plan) -> list[tuple[str, str]]:
    """What it comes to, by name."""
    new = len(plan.new_people)
    authors = f"{plan.author_count:,}{f', {new:,} of them not here yet' if new else ''}"
    return [
        ("Posts", f"{len(plan.posts) - plan.reply_count:,}"),
        ("Replies", f"{plan.reply_count:,}"),
        ("Authors", authors),
        ("Period", _period_words(plan, experiment.zone)),
    ]


def _period_words(plan: Plan, zone: str) -> str:
    if plan.period is None:
        return "now, as no row has a time" if plan.posts else ""
    first, last = (moment_words(at, zone) for at in plan.period)
    words = first if first == last else f"{first} to {last}"
    timeless = plan.timeless_count
    return f"{words} ({zone})" + (f"; {several(timeless, 'row')} without a time: now" if timeless else "")


def _notes(experiment: Experiment, plan: Plan) -> list[str]:
    if plan.is_there:
        return [AGAIN_WORDS]
    if _is_wrong(plan):
        return ["Mend the file, and choose it again: nothing is imported as long as anything is wrong."]
    return [DRAFT_WORDS] if experiment.state == ExperimentState.draft else []


def _done_words(done: post_import.Done, plan: Plan) -> str:
    if not done.is_new:
        return "These posts are there already. Nothing was imported twice."
    words = f"Imported {plan.counts_words} from {plan.name}"
    return f"{words}, and added {_people(len(plan.new_people))}." if plan.new_people else f"{words}."


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count:,} people"


def _feed_url(experiment: Experiment, done: post_import.Done) -> str:
    """The feed from the newest of these posts on."""
    return url_for("feed.show", text=experiment.identifier, start=done.first_seen)
