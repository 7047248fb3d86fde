"""What a bulk set-up would do with each row: the one plan behind the command, the screen and the job."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy.orm import Session

from ..domain.policy import content_hash
from ..domain.quoting import quote
from ..domain.reasons import OVER_STATES
from ..errors import BadInput
from ..models import Experiment
from . import twins
from .bulk_facts import Facts, PersonaNow, TokenNow, persona_name, read_facts
from .bulk_files import CellError, Row, Sheet
from .fields import (
    MOST_TAGS,
    PERSONA_LIMIT,
    clean_line,
    clean_parameters,
    clean_tags,
    clean_text,
    clean_username,
    username_key,
)
from .protocol import GUARDED
from .twin_rows import TwinNow

PROTOCOL_FIELDS = frozenset({"persona", "token", "llm_url", "llm_model", "parameters"})


class Verb(StrEnum):
    """Closed set: what becomes of a row."""

    create = "create"
    update = "update"
    skip = "skip"
    wrong = "wrong"


@dataclass(frozen=True)
class Options:
    """What goes for all rows: the token of new twins whose row names none, and whether they are active."""

    token_id: int | None = None
    is_active: bool = True


@dataclass(frozen=True)
class PersonaChoice:
    """The persona a row asks for: a version that is there, or a text that is to become one."""

    key: str
    name: str
    number: int
    version_id: int | None = None
    persona_id: int | None = None
    text: str = ""

    @property
    def words(self) -> str:
        return f"{self.name}, version {self.number}"


@dataclass(frozen=True)
class Wanted:
    """A row, checked. None leaves a twin that is there as it is."""

    display_name: str | None = None
    bio: str | None = None
    persona: PersonaChoice | None = None
    token: TokenNow | None = None
    llm_url: str | None = None
    llm_model: str | None = None
    parameters: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Change:
    """One value of a twin that would be another."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Step:
    """What would be done with one row, and why. `twin` is the one that is there."""

    row: Row
    verb: Verb
    username: str = ""
    cause: str = ""
    wanted: Wanted = field(default_factory=Wanted)
    twin: TwinNow | None = None
    changes: tuple[Change, ...] = ()

    @property
    def changes_protocol(self) -> bool:
        """Whether it changes what the study is run by."""
        return any(change.field in PROTOCOL_FIELDS for change in self.changes)


@dataclass(frozen=True)
class Plan:
    """All steps, in the order of the rows. `fingerprint` changes with anything that would be done."""

    steps: tuple[Step, ...]
    errors: tuple[CellError, ...]
    facts: Facts
    options: Options
    fingerprint: str

    def count(self, verb: Verb) -> int:
        """How many rows that is done with."""
        return sum(step.verb == verb for step in self.steps)

    @property
    def needs_reason(self) -> bool:
        return self.facts.state in GUARDED and any(step.changes_protocol for step in self.steps)

    @property
    def changes_nothing(self) -> bool:
        return not self.count(Verb.create) and not self.count(Verb.update)


def make_plan(
    session: Session,
    experiment: Experiment,
    sheet: Sheet,
    options: Options,
    tell: Callable[[int], None] = lambda done: None,
) -> Plan:
    """What setting up these rows would do now. Reads only. `tell` hears how many rows were looked at.

    Raises BadInput for an experiment that is over.
    """
    return decide(sheet, read_facts(session, experiment, sheet.rows), options, tell)


def decide(
    sheet: Sheet, facts: Facts, options: Options, tell: Callable[[int], None] = lambda done: None
) -> Plan:
    """The plan, from facts alone."""
    if facts.state in OVER_STATES:
        raise BadInput(f"The experiment is {facts.state}: it takes no more twins.", "experiment")
    desk = _Desk(sheet.rows, facts, options)
    steps = []
    for done, row in enumerate(sheet.rows):
        if done % 500 == 0:
            tell(done)
        steps.append(desk.step(row))
    print_of = sha256(repr((options, facts.state in GUARDED)).encode())
    for step in steps:
        now = step.twin and (step.twin.id, step.twin.edit_version, step.twin.profile_version)
        print_of.update(repr((step.row.place, step.verb, step.username, step.wanted, now)).encode())
    errors = (*sheet.errors, *desk.errors)
    return Plan(tuple(steps), errors, facts, options, print_of.hexdigest()[:32])


class _Desk:
    """Looks at one row after the other and remembers what the earlier ones have taken."""

    def __init__(self, rows: tuple[Row, ...], facts: Facts, options: Options):
        self.errors: list[CellError] = []
        self._facts, self._options = facts, options
        self._default = next((each for each in facts.tokens if each.id == options.token_id), None)
        typed = {username_key(row.username.strip().removeprefix("@")) for row in rows}
        self._reserved = facts.taken.keys() | typed
        self._numbers: dict[str, int] = {}
        self._seen: dict[str, str] = {}
        self._personas: dict[str, tuple[PersonaChoice, str]] = {}

    def step(self, row: Row) -> Step:
        before = len(self.errors)
        username = self._cell(row, "username", lambda: self._username(row)) or ""
        twin = self._facts.twins.get(username_key(username))
        persona = self._cell(row, "persona", lambda: self._persona(row, twin))
        token = self._cell(row, "token", lambda: self._token(row, twin))
        tags = self._cell(row, "tags", lambda: clean_tags(row.tags, most=MOST_TAGS))
        wanted = Wanted(
            display_name=self._cell(row, "display_name", lambda: _line(row.display_name, 80)),
            bio=self._cell(row, "bio", lambda: clean_text(row.bio, "bio", 1000, required=False)) or None,
            persona=persona,
            token=token,
            llm_url=self._cell(row, "llm_url", lambda: _url(row, twin, token)),
            llm_model=self._cell(row, "llm_model", lambda: _line(row.llm_model, 200)),
            parameters=self._cell(row, "parameters", lambda: clean_parameters(row.parameters)) or None,
            tags=tags or None,
        )  # fmt: skip
        if len(self.errors) > before:
            return Step(row, Verb.wrong, username, self.errors[before].message)
        if twin is None:
            return Step(row, Verb.create, username, wanted=wanted)
        changes = tuple(_changes(twin, wanted))
        if changes:
            names = ", ".join(change.field.removeprefix("llm_").replace("_", " ") for change in changes)
            return Step(row, Verb.update, username, f"is there; other {names}", wanted, twin, changes)
        return Step(row, Verb.skip, username, "is there and nothing differs", wanted, twin)

    def _cell(self, row: Row, column: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except BadInput as error:
            column = error.field if error.field in ("persona_name",) else column
            self.errors.append(CellError(row.place, column, str(error), getattr(row, column)[:200]))
            return None

    def _username(self, row: Row) -> str:
        if not row.username.strip():
            name = clean_username(self._made_up(row))
            self._seen[username_key(name)] = row.place
            return name
        name = clean_username(row.username)
        key = username_key(name)
        if key in self._seen:
            raise BadInput(f"@{name} stands in {self._seen[key]} already. A username is there once.")
        self._seen[key] = row.place
        if key in self._facts.taken and not self._facts.taken[key]:
            raise BadInput(f"@{name} is a person of this experiment. Choose another username.")
        return name

    def _made_up(self, row: Row) -> str:
        """The first username of the row's pattern that nobody has and no row asks for."""
        pattern = row.pattern or slug(persona_name(row))
        numbered = "{n}" in pattern
        form = pattern if numbered else pattern.removeprefix("@")[:24] + "_{n}"
        number = self._numbers.get(form, 0)
        while True:
            number += 1
            name = form.replace("{n}", str(number))
            if not numbered and number == 1:
                name = form.removesuffix("_{n}")
            if username_key(name) not in self._reserved and username_key(name) not in self._seen:
                self._numbers[form] = number
                return name

    def _persona(self, row: Row, twin: TwinNow | None) -> PersonaChoice | None:
        if not row.persona.strip() and not row.persona_name.strip():
            if twin is not None:
                return None
            raise BadInput("There is no persona. Fill persona or persona_name.")
        name = clean_line(persona_name(row), "persona_name", 120)
        key = name.casefold()
        known = self._facts.personas.get(key)
        if known is not None and known.is_archived:
            raise BadInput(
                f"Persona {quote(known.name[:80])} is archived. Bring it back, or use another name.",
                "persona_name",
            )
        if not row.persona.strip():
            if key in self._personas:  # a text of this file has made it, or it was looked up
                return self._personas[key][0]
            if known is None:
                raise BadInput(f"There is no persona {quote(name[:80])} in the library.", "persona_name")
            choice = PersonaChoice(key, known.name, known.number, known.version_id, known.id)
            self._personas[key] = choice, row.place
            return choice
        text = clean_text(row.persona, "persona", PERSONA_LIMIT)
        choice = _choice(key, name, text, known)
        first, place = self._personas.setdefault(key, (choice, row.place))
        if first != choice:
            raise BadInput(
                f"Persona {quote(name[:80])} has another text in {place}. Give one of them another "
                "persona_name."
            )
        return first

    def _token(self, row: Row, twin: TwinNow | None) -> TokenNow | None:
        text = row.token.strip()
        if not text and twin is not None:
            return None
        found = self._facts.token(text) if text else self._default
        if found is None and text:
            raise BadInput(f"There is no API token {quote(text[:80])}.")
        if found is not None and found.is_archived:
            raise BadInput(f"API token “{found.name}” is archived. Choose another.")
        return found


def slug(name: str) -> str:
    """What a username can begin with, from a name: "Retired bus driver" is `retired_bus_driver`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:20].strip("_") or "twin"


def _choice(key: str, name: str, text: str, known: PersonaNow | None) -> PersonaChoice:
    if known is None:
        return PersonaChoice(key, name, 1, text=text)
    if known.hash == content_hash(text):
        return PersonaChoice(key, known.name, known.number, known.version_id, known.id)
    return PersonaChoice(key, known.name, known.number + 1, None, known.id, text)


def _url(row: Row, twin: TwinNow | None, token: TokenNow | None) -> str | None:
    if row.llm_url.strip():
        if token is None and twin is not None and twin.token is not None:
            token = TokenNow(0, None, twin.token, twin.token_url, False)
        return twins.clean_twin_url(row.llm_url, token) or None
    if token is not None and twin is not None and twin.llm_url:
        twins.clean_twin_url(twin.llm_url, token)  # its own URL stays, and must belong to the new token
    return None


def _line(text: str, limit: int) -> str | None:
    return clean_line(text, "", limit, required=False) or None


def _changes(twin: TwinNow, wanted: Wanted) -> Iterator[Change]:
    """What differs; an empty cell leaves what is there."""
    if wanted.persona is not None and wanted.persona.version_id != twin.persona_version_id:
        yield Change("persona", twin.persona_words, wanted.persona.words)
    if wanted.token is not None and wanted.token.id != twin.token_id:
        yield Change("token", twin.token, wanted.token.name)
    for name in ("display_name", "bio", "llm_url", "llm_model", "parameters", "tags"):
        value, present = getattr(wanted, name), getattr(twin, name)
        if value is not None and value != present:
            yield Change(name, present, value)
