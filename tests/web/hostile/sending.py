"""Sending one form with one hostile text in one field, and judging what came of it."""

import json
import sqlite3
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from .forms import EXAMPLE, Form, Page
from .inert import JudgedPage
from .texts import Hostile

# What a form that is empty at first is filled with; else the example of the field's own help.
PLAIN = {
    "name": "Plain name",
    "names": "Plain copy",
    "text": "Plain words.",
    "email": "plain@example.org",
    "username": "plain_name",
    "base_url": "https://llm.example.org/v1",
    "secret": "sk-plain-secret-1234",
    "default_model": "small",
    "reason": "as planned",
    "cron": "0 9 * * *",
}
# What makes a form change something, so that a reason or a sentence beside it is kept.
PLAIN_OF = {
    "POST /admin/persona/edit/": {"text": "You drove trams.", "moves": "1"},
    "POST /admin/apitoken/edit/": {"default_model": "another"},
    "POST /admin/digitaltwin/edit/": {"llm_model": "another"},
    "POST /admin/digitaltwin/bulk/": {"source": "pattern", "chosen": "1", "count": "1"},
    "POST /admin/experiment/edit/": {"zone": "America/New_York"},
    "POST /admin/experiment/start/": {"accepts_warnings": "y"},
    "POST /admin/experiment/prompt/": {
        "system": "You are {display_name}, as described: {persona}",
        "disclosure_rule": "sentence",
        "disclosure_sentence": "I am a machine.",
    },
    "POST /admin/experiment/policy/": {"context_size": "9"},
    "POST /admin/schedule/enable/": {"id": "2"},
}
NOT_TAKEN = ("neither kept nor refused", "saved, but without the text")
# Fields whose text is kept in parts, and what stands between these; None: ends of lines.
PARTED = {"tags": ",", "tags_added": ",", "tags_removed": ",", "names": None}
# Fields whose text is nowhere kept: where to go back to, which row, what was seen of it.
KEPT_NOWHERE = frozenset({"url", "next", "edit_version", "csrf_token", "id", "fingerprint"})
COOKIE = "discourse_twins"
NEVER_SHOWN = frozenset({"secret", "password", "password_confirm"})


def database_of(settings) -> Path:
    """The file of a test's database."""
    return settings.data_dir / "discourse_twins.sqlite3"


@dataclass
class Lab:
    """The application's database, which is put back after every change, and a browser."""

    browser: object
    path: Path
    failures: list[str] = field(default_factory=list)

    def __post_init__(self):
        self._pristine = sqlite3.connect(":memory:")
        self._live = sqlite3.connect(self.path, timeout=30)
        self._live.backup(self._pristine)
        self._seen = self._version()
        self._cookie = self.browser.get_cookie(COOKIE).value

    def _version(self) -> int:
        return self._live.execute("PRAGMA data_version").fetchone()[0]

    def close(self) -> None:
        """Lets go of the database."""
        self._live.close()
        self._pristine.close()

    def has_changed(self) -> bool:
        """Whether anything was committed since it was last put back."""
        return self._version() != self._seen

    def put_back(self) -> None:
        """Makes the database and the browser's session what they were at first."""
        self.browser.set_cookie(COOKIE, self._cookie)
        if self.has_changed():
            self._pristine.backup(self._live)
            self._seen = self._version()

    def texts_with(self, mark: str) -> set[str]:
        """Every text of every row that holds the mark, those within JSON by themselves."""
        found: set[str] = set()
        tables = self._live.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in self._live.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, str) and mark in value:
                        found |= {leaf for leaf in _leaves(value) if mark in leaf}
        return found


def _leaves(value) -> set[str]:
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            return _leaves_of(json.loads(value)) | {value}
        except (ValueError, RecursionError):
            return {value}
    return {value}


def _leaves_of(value) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_leaves_of(each) for each in value.values()), map(str, value))
    if isinstance(value, list):
        return set().union(*map(_leaves_of, value))
    return {value} if isinstance(value, str) else set()


def as_block(text: str) -> str:
    """A text of several lines as it is kept: NFC, LF, nothing around it."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def as_line(text: str) -> str:
    """A text of one line as it is kept: as a block, and white space as single spaces."""
    return " ".join(as_block(text).split())


def kept_forms(text: str) -> set[str]:
    """What a field may have made of a text: nothing, a block, a line, one without @ or in lower case."""
    line = as_line(text)
    return {text, as_block(text), line, line.removeprefix("@"), line.lower()}


def plain_values(form: Form, with_examples: bool = False) -> dict[str, list[str]]:
    """What somebody sends who fills the form as its help says."""
    values = form.values()
    for each in form.fields:
        if each.kind == "select" and values.get(each.name) in ([""], None):
            known = [option for option in each.options if option]
            values[each.name] = known[:1]
        elif each.is_typed and each.kind != "hidden" and not any(values.get(each.name, [""])):
            example = EXAMPLE.search(each.help)
            if each.name in PLAIN or (with_examples and example and each.kind in ("text", "textarea")):
                values[each.name] = [PLAIN.get(each.name) or example[1].strip()]
    return values | {name: [value] for name, value in PLAIN_OF.get(form.label, {}).items()}


def send(lab: Lab, form: Form, values: dict[str, list]):
    """The answer to a form as a browser sends it."""
    body = urlencode([(name, value) for name, given in values.items() for value in given])
    if form.method == "GET":
        return lab.browser.get(f"{urlsplit(form.action).path}?{body}")
    return lab.browser.post(
        form.action, data=body.encode("ascii"), content_type="application/x-www-form-urlencoded"
    )


def followed(lab: Lab, answer):
    """The page a redirect leads to, with what it flashes."""
    while answer.status_code in (301, 302, 303, 307):
        answer = lab.browser.get(answer.location)
    return answer


def judge(lab: Lab, form: Form, name: str, hostile: Hostile) -> list[str]:
    """What is wrong with what comes of this text in this field of the form; empty if nothing is.

    A field may count only where a choice says so: then it is sent with each of the choices.
    """
    values = plain_values(form)
    others = [
        values | {each.name: [each.options[0]]}
        for each in form.fields
        if each.kind == "radio" and each.name != name
    ]
    for given in (values, *others):
        wrong = _judged(lab, form, name, hostile, given)
        lab.put_back()
        if not wrong or wrong[0] not in NOT_TAKEN:
            break
    return wrong


def _judged(lab: Lab, form: Form, name: str, hostile: Hostile, values: dict[str, list]) -> list[str]:
    first = send(lab, form, values | {name: [hostile.sent]})
    last = followed(lab, first)
    wrong = []
    if last.status_code >= 500:
        return [f"{last.status_code}"]
    marks = [hostile.mark] if hostile.mark else []
    page = None
    for answer in {id(first): first, id(last): last}.values():
        if answer.mimetype == "text/html":
            page = JudgedPage(form.page, answer.text, marks)
            wrong += page.problems
    if form.method == "GET":
        return wrong
    if page is None or last.mimetype != "text/html":
        page = Page(form.page, "")
    control = next(each for each in form.fields if each.name == name)
    if lab.has_changed():
        if first.status_code >= 400:
            wrong.append(f"{first.status_code}, but something was changed")
        wrong += _not_kept(lab, control, hostile)
    elif first.status_code == 302 and not page.complaints and _is_asked(control):
        wrong.append(NOT_TAKEN[0])
    elif first.status_code >= 400 or page.complaints:
        if not any(words.strip() for words in page.complaints):
            wrong.append(f"{first.status_code} without a sentence")
        if first.status_code == 400 and _was_shown(page, control) and not _is_back(page, name, hostile):
            wrong.append("what was typed is lost")
    return wrong


def _not_kept(lab: Lab, control, hostile: Hostile) -> list[str]:
    is_kept = control.is_typed and control.name not in KEPT_NOWHERE | NEVER_SHOWN
    if not hostile.mark or not is_kept:
        return []
    kept = lab.texts_with(hostile.mark)
    if not kept:
        return [NOT_TAKEN[1]]
    parts = _parts(hostile.text, control.name)
    if not kept & set().union(kept_forms(hostile.text), *map(kept_forms, parts)):
        return [f"kept as something else: {sorted(kept, key=len)[0][:100]!r}"]
    return []


def _parts(text: str, name: str) -> list[str]:
    if name not in PARTED:
        return []
    return text.splitlines() if PARTED[name] is None else text.split(PARTED[name])


def _is_asked(control) -> bool:
    return control.is_typed and control.kind != "hidden"


def _was_shown(page: Page, control) -> bool:
    is_shown = control.name in page.values and control.name not in NEVER_SHOWN
    return is_shown and _is_asked(control) and control.kind != "password"


def _is_back(page: Page, name: str, hostile: Hostile) -> bool:
    sent = hostile.text.replace("\r\n", "\n").replace("\r", "\n")
    return any(sent == value.replace("\r\n", "\n").replace("\r", "\n") for value in page.values[name])
