"""The frame around every page: areas, experiment switcher, life signs, theme."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, g, get_flashed_messages, request, session, url_for
from sqlalchemy import func, or_, select
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.orm import Session
from werkzeug.local import LocalProxy

from ..domain.quoting import quote
from ..domain.reasons import ExperimentState, TokenState
from ..errors import BadInput, NotFound
from ..extensions import db
from ..models import ApiToken, DigitalTwin, Experiment, Persona, ProcessKind, Schedule, utc_now
from ..services import heartbeats, lookup
from . import access, holds, pausing
from .returning import back

REMEMBERED = "experiment"
MOST_OFFERED = 500
ALL_LABEL = "All experiments"
ROLE_WORDS = {"administrator": "administrator", "researcher": "researcher", "viewer": "viewer, looks only"}

actions = Blueprint("frame", __name__)


@dataclass(frozen=True)
class Shown:
    """The experiment the screens show."""

    label: str
    zone: ZoneInfo


@dataclass(frozen=True)
class SignedIn:
    """Who is signed in, in words."""

    email: str
    role: str
    url: str
    zone: str


@dataclass(frozen=True)
class Frame:
    """What templates/base.html draws around a page of somebody who is signed in."""

    nav: list[tuple[str, list[tuple[str, str, int | None, bool]]]]
    experiments: list[tuple[str, str]]
    experiment: Shown | None
    pill: tuple[str, str] | None
    worker: heartbeats.LifeSign
    scheduler: heartbeats.LifeSign
    account: SignedIn
    theme: str
    pausing: pausing.Pausing
    paused: frozenset[str]
    switch_url: str
    switch_next: str
    theme_url: str
    logout_url: str
    home_url: str
    may_administer: bool


def init_app(app: Flask) -> None:
    """Registers the frame's own actions and gives every template its `frame`."""
    app.register_blueprint(actions)
    app.register_blueprint(pausing.actions)
    app.before_request(_remember_choice)
    lazy = LocalProxy(current_frame)  # a part of a page has none around it, and pays for none
    app.context_processor(lambda: {"frame": lazy})
    app.add_template_global(access.page_address)
    app.add_template_global(access.page_path)
    app.add_template_global(is_frame_lost)
    app.add_template_global(flashes)
    app.add_template_global(is_of_another_year)


def current_experiment() -> Experiment | None:
    """The experiment that was chosen in the switcher; None shows all. Read once per request.

    Who never chose sees the only experiment there is.
    """
    if "experiment" not in g:
        identifier = session.get(REMEMBERED)
        query = select(Experiment).where(Experiment.state != ExperimentState.archived)
        if identifier:
            found = db.session.scalars(query.where(Experiment.identifier == identifier)).all()
        else:
            found = db.session.scalars(query.limit(2)).all() if identifier is None else []
        g.experiment = found[0] if len(found) == 1 else None
    return g.experiment


def addressed_experiment(own_session: Session, text: str) -> Experiment:
    """The experiment that an address names. Raises NotFound, with where to choose one."""
    try:
        return lookup.find_experiment(own_session, text)
    except (NotFound, BadInput):
        raise NotFound(
            f"There is no experiment {quote(text[:40])}. Choose one in the switcher above."
        ) from None


def speak_of(experiment: Experiment | None) -> None:
    """Makes the top bar of this page about one experiment, or about all of them, whichever is chosen.

    A page that shows a row of one experiment must not offer to pause another. Lists stay as chosen.
    """
    g.experiment_of_page = experiment
    g.pop("frame", None)


def current_zone() -> ZoneInfo:
    """The zone times are shown in where no row says another: the experiment's, the account's, or UTC."""
    experiment = current_experiment()
    account = access.account()
    return ZoneInfo(experiment.zone if experiment else (account and account.zone) or "UTC")


def current_frame() -> Frame | None:
    """The frame, None for strangers and while the database does not answer. Made once per request.

    `is_frame_lost` tells the two apart: a page that has all it shows is shown without it.
    """
    if "frame" not in g:
        try:
            g.frame = _make(db.session()) if request and access.account() and access.role() else None
        except (OperationalError, InterfaceError, PendingRollbackError):
            g.frame, g.is_frame_lost = None, True
            db.session.rollback()
    return g.frame


def is_frame_lost() -> bool:
    """Whether this page has no frame because the database has gone while it was made."""
    return "is_frame_lost" in g


def flashes() -> pausing.Told:
    """This page's flashes, without those that a standing line says anyway."""
    shown = current_frame()
    return pausing.told(get_flashed_messages(with_categories=True), shown.pausing.standing if shown else ())


def is_of_another_year(local: datetime) -> bool:
    """Whether a local time lies in another year than now, so that its day alone would mislead."""
    return local.year != utc_now().astimezone(local.tzinfo).year


def choose(experiment: Experiment | None) -> None:
    """Remembers which experiment the screens show from now on."""
    session[REMEMBERED] = experiment.identifier if experiment else ""
    g.experiment = experiment


@actions.route("/switch", methods=["POST"])
def switch():
    """Shows another experiment on every screen."""
    _choose_by_text(request.form.get("experiment", ""))
    return back()


@actions.route("/theme", methods=["POST"])
def theme():
    """Remembers light, dark, or neither (as the system has it): with the account, and in a cookie that the
    page's script also writes, for the sign-in page."""
    answer = back()
    value = request.form.get("theme", "")
    access.account().theme = value if value in ("light", "dark") else "system"
    db.session.commit()
    place = {"path": request.script_root or "/", "samesite": "Lax", "secure": request.is_secure}
    if value in ("light", "dark"):
        answer.set_cookie("theme", value, max_age=31_536_000, **place)
    else:
        answer.delete_cookie("theme", **place)
    return answer


def _remember_choice() -> None:
    if request.method == "GET" and "experiment" in request.args and access.account():
        _choose_by_text(request.args["experiment"])


def _choose_by_text(text: str) -> None:
    """Unknown ones are left alone: the address may come from an old bookmark."""
    try:
        choose(lookup.find_experiment(db.session(), text) if text else None)
    except (NotFound, BadInput):
        return


def _make(own_session: Session) -> Frame:
    experiments = own_session.execute(
        select(Experiment.identifier, Experiment.name, Experiment.state)
        .where(Experiment.state != ExperimentState.archived)
        .order_by(Experiment.id.desc())
        .limit(MOST_OFFERED)
    ).all()
    chosen = current_experiment()
    experiment = g.get("experiment_of_page", chosen)
    counts, signs = _counts(own_session, chosen), heartbeats.life_signs(own_session, utc_now())
    nav = _nav(counts, chosen, experiments[0].identifier if experiments else "")
    return Frame(
        nav=nav,
        experiments=_offered(experiments, experiment),
        experiment=Shown(str(experiment), ZoneInfo(experiment.zone)) if experiment else None,
        pill=_pill(own_session, experiment),
        worker=signs[ProcessKind.worker],
        scheduler=signs[ProcessKind.scheduler],
        account=_signed_in(),
        theme=_theme(),
        pausing=pausing.shown(
            own_session,
            experiment,
            counts.experiments,
            counts.paused_experiments,
            experiment.zone if experiment else current_zone().key,
        ),
        paused=frozenset(e.identifier for e in experiments if e.state == ExperimentState.paused),
        switch_url=url_for("frame.switch"),
        switch_next=_switch_next(nav),
        theme_url=url_for("frame.theme"),
        logout_url=url_for("sign_in.logout"),
        home_url=url_for("admin.index"),
        may_administer=access.may_administer(),
    )


def _signed_in() -> SignedIn:
    account = access.account()
    return SignedIn(account.email, ROLE_WORDS[access.role()], url_for("own_account.show"), account.zone or "")


def _theme() -> str:
    """The account's theme; the cookie's for an account that never chose one."""
    chosen = access.account().theme or request.cookies.get("theme", "")
    return chosen if chosen in ("light", "dark") else ""


def _offered(experiments, experiment: Experiment | None) -> list[tuple[str, str]]:
    """What the switcher offers; the shown one too where it is archived, or older than the others."""
    found = [(each.identifier, f"{each.name} ({each.identifier})") for each in experiments]
    if experiment is not None and experiment.identifier not in {value for value, _ in found}:
        found.append((experiment.identifier, str(experiment)))
    return [("", ALL_LABEL), *found] if found else []


def _switch_next(nav) -> str:
    """Where the switcher leads: this page, or its list from the page of a row, which stays the same."""
    if "experiment_of_page" not in g:
        return access.page_address()
    if request.blueprint in ("feed", "feed_import"):
        return url_for("feed.current")
    lists = (url for _, items in nav for _, url, _, is_current in items if is_current)
    return next(lists, url_for("admin.index"))


def _pill(own_session: Session, experiment: Experiment | None) -> tuple[str, str] | None:
    if experiment is not None:
        return holds.state_of(own_session, experiment)
    hold = holds.of_everything(own_session, "UTC")
    return ("paused", hold.pill) if hold else None


def _nav(counts, experiment: Experiment | None, newest: str):
    shown = experiment.identifier if experiment else newest
    watch = [
        ("Dashboard", url_for("admin.index"), None),
        ("Activity", url_for("activity.stream"), None),
        ("Attempts", url_for("attempt.index_view"), None),
    ]
    if shown:
        watch.append(("Feed", url_for("feed.show", text=shown), None))
    manage = [
        ("Experiments", url_for("experiment.index_view"), counts.experiments),
        ("Twins", url_for("digitaltwin.index_view"), counts.twins),
        ("Personas", url_for("persona.index_view"), counts.personas),
        ("Schedules", url_for("schedule.index_view"), counts.schedules),
        ("API tokens", url_for("apitoken.index_view"), counts.tokens),
        ("Posts", url_for("post.index_view"), None),
        ("Profiles", url_for("userprofile.index_view"), None),
    ]
    if access.may_administer():
        manage.append(("Accounts", url_for("account.index_view"), None))
        manage.append(("Audit log", url_for("audit.index_view"), None))
        manage.append(("Notices", url_for("notices.show"), None))
        manage.append(("System", url_for("system.show"), None))
    return [
        (title, [(label, url, count, _is_current(label, url)) for label, url, count in items])
        for title, items in (("Watch", watch), ("Manage", manage))
    ]


def _is_current(label: str, url: str) -> bool:
    path = access.page_path()
    if label == "Dashboard":
        return path == url
    if label == "Feed":
        return request.path.startswith("/experiments/") and path.endswith(("/feed", "/feed/import"))
    if label == "Attempts" and request.path.startswith("/attempts/"):
        return True
    return path.startswith(url)


def _counts(own_session: Session, experiment: Experiment | None):
    of_one = [DigitalTwin.experiment_id == experiment.id] if experiment else []
    scheduled = (
        [or_(Schedule.experiment_id == experiment.id, Schedule.experiment_id.is_(None))] if experiment else []
    )

    def count(column, *conditions):
        return select(func.count(column)).where(*conditions).scalar_subquery()

    return own_session.execute(
        select(
            count(Experiment.id, Experiment.state != ExperimentState.archived).label("experiments"),
            count(Experiment.id, Experiment.state == ExperimentState.paused).label("paused_experiments"),
            count(DigitalTwin.id, *of_one).label("twins"),
            count(Persona.id, Persona.is_archived.is_(False)).label("personas"),
            count(Schedule.id, Schedule.is_archived.is_(False), *scheduled).label("schedules"),
            count(ApiToken.id, ApiToken.state != TokenState.archived).label("tokens"),
        )
    ).one()
