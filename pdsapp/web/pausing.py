"""Pausing at hand on every page: the buttons of the frame, what they do, and which pauses are in force."""

from dataclasses import dataclass

from flask import Blueprint, abort, flash, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..attempts.obstacles import hold_of
from ..domain.reasons import ExperimentState
from ..errors import BadInput
from ..extensions import db
from ..models import Experiment, Installation, utc_now
from ..services import lookup, pauses
from ..services.pause_scopes import claim_of
from ..services.pauses import Effect
from . import access, holds
from .returning import back

ASKED_NO_MORE = "Its twins are asked no more until you resume it."
PAUSE_NOTE = "Nothing new begins: slots are recorded as paused, waiting attempts are cancelled."
FINISHES = "What is being written is finished and published; stopping now refuses that too."
MOST_NAMED = 5
CLAIM, EFFECT = "pause of ", "effect on "  # categories of flashes

actions = Blueprint("pausing", __name__)


@dataclass(frozen=True)
class Control:
    """One scope that may be paused: what that does, and two buttons."""

    title: str
    words: str
    pause_label: str
    pause_url: str
    stop_label: str
    stop_url: str
    stop_question: str


@dataclass(frozen=True)
class Standing:
    """One pause that is in force, with its remedy: `words` go on where `title` ends.

    `key` says what is paused. Addresses are empty for who may not press.
    """

    key: str
    title: str
    words: str
    resume_label: str = ""
    resume_url: str = ""
    stop_label: str = ""
    stop_url: str = ""
    stop_question: str = ""
    url: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Pausing:
    """What the frame shows: `label` opens the controls; `standing` are lines on every page."""

    label: str
    controls: tuple[Control, ...]
    standing: tuple[Standing, ...]


@dataclass(frozen=True)
class Told:
    """Flashes beside standing lines: `messages` by themselves, `effects` by the key of the line they end."""

    messages: list[tuple[str, str]]
    effects: dict[str, str]


@actions.route("/experiments/<text>/pause", methods=["POST"])
def pause(text: str):
    """Pauses one experiment: its twins are asked no more until it is resumed."""
    return _experiment(text, pauses.pause_experiment, f"is paused. {ASKED_NO_MORE}")


@actions.route("/experiments/<text>/stop", methods=["POST"])
def stop(text: str):
    """Pauses one experiment and refuses what its twins are writing at this moment."""
    return _experiment(text, pauses.stop_experiment, f"is stopped. {ASKED_NO_MORE}")


@actions.route("/experiments/<text>/resume", methods=["POST"])
def resume(text: str):
    """Lets a paused experiment run again."""
    session = db.session()
    experiment = lookup.find_experiment(session, text)
    label = str(experiment)
    return _do(
        lambda: pauses.resume_experiment(session, experiment, utc_now(), access.account()),
        lambda _: f"{label} is running. It goes on with its next slots; nothing is made up for.",
    )


@actions.route("/everything/pause", methods=["POST"])
def pause_everything():
    """Pauses all experiments at once, whatever state each is in."""
    return _everything(pauses.pause_everything, "Everything is paused. No twin is asked until you resume it.")


@actions.route("/everything/stop", methods=["POST"])
def stop_everything():
    """Pauses all experiments at once and refuses what is being written."""
    return _everything(pauses.stop_everything, "Everything is stopped. No twin is asked until you resume it.")


@actions.route("/everything/resume", methods=["POST"])
def resume_everything():
    """Ends the pause of everything."""
    _only_administrators()
    return _do(
        lambda: pauses.resume_everything(db.session(), utc_now(), access.account()),
        lambda _: (
            "Everything is resumed. Experiments go on with their next slots, those paused by themselves stay "
            "so."
        ),
    )


def shown(
    session: Session, experiment: Experiment | None, count: int, paused_count: int, zone: str
) -> Pausing:
    """The controls and the pauses in force for somebody who looks at `experiment`, or at all of them.

    `count` experiments are not archived, `paused_count` of them are paused by themselves. At most 2 queries.
    """
    installation = holds.installation(session)
    # An experiment's own page has its own buttons; beside another one's name these would be mistaken.
    is_own_page = request.blueprint == "experiment"
    controls, standing = [], []
    if installation.is_paused:
        standing.append(_standing_everything(installation, zone))
    if experiment is None:
        standing.extend(_standing_several(session, count, paused_count))
    elif experiment.state == ExperimentState.paused:
        standing.append(_standing(experiment, is_own_page))
    elif _is_at_work(experiment, installation) and access.may_write() and not is_own_page:
        controls.append(_control(experiment))
    label = controls[0].pause_label if controls else ""
    if count and not installation.is_paused and access.may_administer():
        controls.append(_control_everything(count))
        label = label or (controls[0].pause_label if experiment is None else "Pause everything")
    return Pausing(label, tuple(controls), tuple(standing))


def _is_at_work(experiment: Experiment, installation: Installation) -> bool:
    """While everything is paused, to pause one of it is no matter of urgency: its own page can."""
    return experiment.state == ExperimentState.running and not installation.is_paused


def _control(experiment: Experiment) -> Control:
    return Control(
        title=f"This experiment: {experiment}",
        words=f"{PAUSE_NOTE} {FINISHES}",
        pause_label="Pause this experiment",
        pause_url=url_for("pausing.pause", text=experiment.identifier),
        stop_label="Stop now",
        stop_url=url_for("pausing.stop", text=experiment.identifier),
        stop_question=stop_question(str(experiment)),
    )


def _control_everything(count: int) -> Control:
    noun = "experiment" if count == 1 else "experiments"
    return Control(
        title=f"Everything ({count:,} {noun})",
        words="All experiments at once, until everything is resumed. Those paused by themselves stay so.",
        pause_label=f"Pause everything ({count:,} {noun})",
        pause_url=url_for("pausing.pause_everything"),
        stop_label="Stop everything now",
        stop_url=url_for("pausing.stop_everything"),
        stop_question=stop_question(f"everything ({count:,} {noun})"),
    )


def stop_question(name: str) -> str:
    """What is asked before a stop."""
    return (
        f"Stop {name} now? It is paused, and what its twins are writing at this moment is not published, "
        "not even after resuming; the text is kept as a draft."
    )


def _standing(experiment: Experiment, is_own_page: bool) -> Standing:
    name = str(experiment) if is_own_page else "This experiment"
    may = access.may_write()
    may_stop = may and not experiment.is_stopped
    rest = "" if may else " A researcher can resume it."
    title = f"{name} is {hold_of(experiment)}"
    words = pauses.words_of(experiment, experiment.zone, title).removeprefix(title)
    return Standing(
        key=_key_of(experiment),
        title=title,
        words=f"{words} No twin of it is asked.{rest}",
        resume_label="Resume this experiment",
        resume_url=url_for("pausing.resume", text=experiment.identifier) if may else "",
        stop_label="Stop now",
        stop_url=url_for("pausing.stop", text=experiment.identifier) if may_stop else "",
        stop_question=stop_question(str(experiment)),
    )


def _standing_everything(installation: Installation, zone: str) -> Standing:
    may = access.may_administer()
    may_stop = may and not installation.is_stopped
    rest = "" if may else " An administrator can resume it."
    title = claim_of(installation)
    words = pauses.words_of(installation, zone, title).removeprefix(title)
    return Standing(
        key=_key_of(installation),
        title=title,
        words=f"{words} No twin of any experiment is asked.{rest}",
        resume_label="Resume everything",
        resume_url=url_for("pausing.resume_everything") if may else "",
        stop_label="Stop everything now",
        stop_url=url_for("pausing.stop_everything") if may_stop else "",
        stop_question=stop_question("everything"),
    )


def _standing_several(session: Session, count: int, paused_count: int) -> list[Standing]:
    """One line for all experiments that are paused by themselves, the newest by name."""
    if not paused_count:
        return []
    query = select(Experiment).where(Experiment.state == ExperimentState.paused)
    named = [str(each) for each in session.scalars(query.order_by(Experiment.id.desc()).limit(MOST_NAMED))]
    rest = f" and {paused_count - len(named):,} more" if paused_count > len(named) else ""
    verb = "is" if paused_count == 1 else "are"
    return [
        Standing(
            key="",
            title=f"{paused_count:,} of {count:,} experiments {verb} paused:",
            words=f" {', '.join(named)}{rest}.",
            url=url_for("experiment.index_view", state="paused"),
            remedy="See them",
        )
    ]


def flash_effect(scope: object, claim: str, effect: Effect) -> None:
    """Flashes that this scope is paused or stopped, and what became of attempts; see `told`."""
    key = _key_of(scope)
    if not key:
        flash(f"{claim} {effect.sentence}", "success")
        return
    flash(claim, f"{CLAIM}{key}")
    flash(effect.sentence, f"{EFFECT}{key}")


def told(pairs: list[tuple[str, str]], standing: tuple[Standing, ...]) -> Told:
    """Flashes as they are shown beside these lines: a line that stands is not said a second time."""
    keys = {line.key for line in standing}
    messages: list[tuple[str, str]] = []
    effects: dict[str, str] = {}
    for category, text in pairs:
        claimed, done = category.removeprefix(CLAIM), category.removeprefix(EFFECT)
        if claimed in keys and claimed != category:
            continue
        if done in keys and done != category:
            effects[done] = text
        elif done != category:
            messages[-1] = ("success", f"{messages[-1][1]} {text}")
        else:
            messages.append(("success" if claimed != category else category, text))
    return Told(messages, effects)


def _key_of(scope: object) -> str:
    if isinstance(scope, Installation):
        return "everything"
    return scope.identifier if isinstance(scope, Experiment) else ""


def _experiment(text: str, act, words: str):
    session = db.session()
    experiment = lookup.find_experiment(session, text)
    label = str(experiment)
    return _do(
        lambda: act(session, experiment, utc_now(), request.form.get("reason", ""), access.account()),
        lambda _: f"{label} {words}",
        experiment,
    )


def _everything(act, words: str):
    _only_administrators()
    return _do(
        lambda: act(db.session(), utc_now(), request.form.get("reason", ""), access.account()),
        lambda _: words,
        db.session.get_one(Installation, 1),
    )


def _do(act, words, scope=None):
    """Commits what `act` does and says so; what cannot be done changes nothing and says why."""
    try:
        done = act()
        db.session.commit()
        if not isinstance(done, Effect):
            flash(words(done), "success")
        else:
            flash_effect(scope, words(done), done)
            pauses.cancel_rest(scope, done, utc_now())
    except BadInput as error:
        db.session.rollback()
        flash(str(error), "error")
    return back()


def _only_administrators() -> None:
    if not access.may_administer():
        abort(403)
