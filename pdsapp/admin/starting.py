"""Starting several drafts on one page: the checklist of each in short, then each in its own transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import abort, current_app, flash, redirect, request
from flask_admin import expose
from flask_admin.actions import action
from markupsafe import Markup
from sqlalchemy.exc import IntegrityError
from wtforms import BooleanField

from ..attempts.words import several
from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..extensions import db
from ..models import Experiment, utc_now
from ..services import lifecycle, starting
from ..services.lifecycle import Effect, Rehearsal
from ..services.start_checks import CheckState
from ..services.starting import MOST_STARTED, Outlook
from ..web import access
from . import asking, cells
from .base import USED_MEANWHILE
from .lifecycle import CheckRow, Lifecycle, StartForm

VERDICTS = {
    CheckState.ready: "ready",
    CheckState.look: "to accept",
    CheckState.missing: "cannot start",
}


class StartSeveralForm(StartForm):
    """What people say when they start several experiments."""

    switches_on = BooleanField("Switch on their schedules", default=True)


@dataclass(frozen=True)
class DraftRow:
    """A draft as the page shows it: the lines to look at or to mend, of the others the titles."""

    label: str
    url: str
    checklist_url: str
    verdict: Markup
    lines: list[CheckRow]
    ready: list[str]
    notes: list[str]
    switched_on: list[str]


class Starting(Lifecycle):
    """Starting experiments, one or several."""

    @action("start", "Start …")
    def action_start(self, ids: Sequence[str]):
        """To the page for the ticked experiments."""
        rows = self.selected(db.session(), ids)
        return redirect(self.get_url(".start_several", id=[row.id for row in rows]))

    @expose("/start-several/", methods=("GET", "POST"))
    def start_several(self):
        """What stands in the way of each draft; then starts those that can be, each by itself."""
        if not access.may_write():
            abort(403)
        rows = self._chosen((request.form if request.method == "POST" else request.args).getlist("id"))
        form, started = StartSeveralForm(self.posted()), 0
        if request.method == "POST" and form.validate():
            started = self._start_each(rows, form)
            rows = self._chosen([str(row.id) for row in rows])
            drafts = {row.id for row in _drafts(rows)}
            rows = [row for row in rows if row.id in drafts]
            if not rows:
                return redirect(self.get_url(".index_view"))
        elif not _drafts(rows):
            flash(_left_out_words(rows) or "Select at least one experiment first.", "error")
            return redirect(self.get_url(".index_view"))
        page = self._several_page(rows, form)
        return (page[0], 200) if started else page

    def _chosen(self, ids: Sequence[str]) -> list[Experiment]:
        """Those of these experiments that are there. Raises BadInput for too many."""
        rows = [row for row in self.selected(db.session(), ids) if row.delete_asked_at is None]
        if len(rows) > MOST_STARTED:
            raise BadInput(
                f"These are {len(rows)} experiments; at most {MOST_STARTED} are started at once. "
                "Select fewer."
            )
        return rows

    def _start_each(self, rows: list[Experiment], form: StartSeveralForm) -> int:
        """Starts each by itself, tells the queue of what was switched on, says what came of it; how many."""
        done: list[tuple[Markup, starting.Start]] = []
        refused: dict[tuple[str | None, str], list[tuple[str, Markup]]] = {}
        labels = {row.id: (str(row), self._link(row)) for row in rows}
        for row, (label, link) in zip(rows, labels.values(), strict=True):
            session = db.session()
            try:
                made = starting.start(
                    session, row, current_app.extensions["settings"], utc_now(), account=access.account(),
                    switches_on=form.switches_on.data, archives_rehearsal=form.archives_rehearsal.data,
                    accepts_warnings=form.accepts_warnings.data,
                )  # fmt: skip
                session.commit()
                done.append((link, made))
            except BadInput as error:
                session.rollback()
                refused.setdefault((error.field, str(error)), []).append((label, link))
            except IntegrityError:  # something it needs has gone since that was looked at
                session.rollback()
                refused.setdefault((None, USED_MEANWHILE), []).append((label, link))
        if done:
            flash(_started_words(done), "success")
        for (field, words), those in refused.items():
            if field == "accepts_warnings":  # said at its field, which then is on the page
                names = cells.first_of([label for label, _ in those], MOST_STARTED)
                form.put_error(BadInput(f"Not started: {names}. {words}", field))
            else:
                names = cells.first_of([link for _, link in those], comma=cells.COMMA)
                flash(Markup("Not started: {}. {}").format(names, words), "error")
        for _, made in done:
            for schedule in made.switched_on:
                asking.project(schedule)
        return len(done)

    def _several_page(self, rows: list[Experiment], form: StartSeveralForm):
        session, drafts, switches_on = db.session(), _drafts(rows), form.switches_on.data
        found = starting.outlooks(
            session, drafts, current_app.extensions["settings"], utc_now(),
            switches_on=switches_on, account=access.account(),
        )  # fmt: skip
        form.switches_on.description = _switch_words(found)
        if not any(outlook.off for outlook in found):
            del form.switches_on
        counts = {verdict: sum(outlook.verdict == verdict for outlook in found) for verdict in VERDICTS}
        if not counts[CheckState.look]:
            del form.accepts_warnings
        rehearsals = [lifecycle.rehearsal_of(session, draft) for draft in drafts]
        return self._form_page(
            "admin/experiment/start_several.html", form, self.get_url(".index_view"),
            ids=[draft.id for draft in drafts],
            drafts=[self._draft_row(outlook, switches_on) for outlook in found],
            startable=len(found) - counts[CheckState.missing],
            summary=", ".join(f"{counts[each]} {words}" for each, words in VERDICTS.items() if counts[each]),
            left_out=_left_out_words(rows, MOST_STARTED), rehearsal=_sum_of(rehearsals),
        )  # fmt: skip

    def _draft_row(self, outlook: Outlook, switches_on: bool) -> DraftRow:
        row, shown = outlook.experiment, (CheckState.missing, CheckState.look)
        return DraftRow(
            str(row),
            self.get_url(".details_view", id=row.id),
            self.get_url(".start", id=row.id),
            cells.pill(f"check_{outlook.verdict}", VERDICTS[outlook.verdict]),
            [self._check_row(row, line) for line in outlook.lines if line.state in shown],
            [line.title for line in outlook.lines if line.state == CheckState.ready],
            [line.title for line in outlook.lines if line.state == CheckState.note],
            [each.name for each in outlook.off]
            if switches_on and outlook.verdict != CheckState.missing
            else [],
        )

    def _link(self, row: Experiment) -> Markup:
        return cells.link(self.get_url(".details_view", id=row.id), str(row))


def _drafts(rows: list[Experiment]) -> list[Experiment]:
    return [row for row in rows if row.state == ExperimentState.draft]


def _left_out_words(rows: list[Experiment], most: int = cells.MOST_NAMED) -> str:
    """Which of these are no drafts, in a sentence; "" if all are."""
    others = [f"{row} is {row.state}" for row in rows if row.state != ExperimentState.draft]
    return f"Only drafts are started: {cells.first_of(others, most)}." if others else ""


def _started_words(done: list[tuple[Markup, starting.Start]]) -> Markup:
    effects, count = [made.effect for _, made in done], sum(len(made.switched_on) for _, made in done)
    effect = Effect(
        sum(each.cancelled for each in effects),
        sum(each.running for each in effects),
        sum(each.hidden for each in effects),
    )
    verb = "is running" if len(done) == 1 else "are running"
    switched = f" {several(count, 'schedule')} switched on." if count else ""
    words = f" {effect.words}" if effect.words else ""
    return Markup("{} {}.{}{}").format(
        cells.first_of([link for link, _ in done], comma=cells.COMMA), verb, switched, words
    )


def _switch_words(found: list[Outlook]) -> str:
    """How many schedules the tick would switch on, and which it would not."""
    count = sum(len(outlook.off) for outlook in found if outlook.verdict != CheckState.missing)
    those = f"{several(count, 'schedule')} that {'is' if count == 1 else 'are'} off, named above"
    others = any(outlook.off for outlook in found if outlook.verdict == CheckState.missing)
    rest = " Those of an experiment that cannot start stay off." if others else ""
    return f"{those}; each fires with its next slot, not at once.{rest}"


def _sum_of(rehearsals: list[Rehearsal]) -> Rehearsal:
    return Rehearsal(
        sum(each.attempts for each in rehearsals),
        sum(each.posts for each in rehearsals),
        sum(each.waiting for each in rehearsals),
        sum(each.running for each in rehearsals),
    )
