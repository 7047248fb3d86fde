"""Finding every form of the application: walks its addresses as an administrator and reads what is there."""

import re
from collections import deque
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urljoin, urlsplit

from .markup import VOID, Markup

TYPED = frozenset({"text", "textarea", "search", "url", "email", "password", "tel", "date", "time", "hidden"})
# Never changed: without it nothing is sent at all.
GIVEN = frozenset({"csrf_token"})
ALIKE = frozenset({"csrf_token", "id", "sort", "desc"})
IDS = re.compile(r"\?id=\d+$")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
EXAMPLE = re.compile(r"(?:[Ff]or example|Example)[:,]? ([^.;]+)")


@dataclass(frozen=True)
class Field:
    """One control: its name, its kind, what a browser would send of it, what may be chosen, its help."""

    name: str
    kind: str
    value: str | None = ""
    options: tuple[str, ...] = ()
    help: str = ""

    @property
    def is_typed(self) -> bool:
        """Whether people type it, or a page hides it: it may then hold anything."""
        return self.kind in TYPED


@dataclass
class Form:
    """One form as one of its buttons sends it, and the page it was found on."""

    page: str
    action: str
    method: str
    fields: list[Field] = field(default_factory=list)
    buttons: list[dict] = field(default_factory=list)
    button: tuple[str, str] | None = None
    has_file: bool = False

    @property
    def key(self) -> str:
        """What tells it from others: the same form on many pages, of many rows and orders, is one."""
        names = {re.sub(r"\d+", "#", each.name) for each in self.fields} - ALIKE
        return f"{self.label} {' '.join(sorted(names))}"

    @property
    def label(self) -> str:
        """Its address, without what only tells rows apart, and its button."""
        path = re.sub(r"^/experiments/[^/]+/", "/experiments/#/", urlsplit(self.action).path)
        button = f" [{self.button[0]}]" if self.button else ""
        return f"{self.method} {UUID.sub('#', path)}{button}"

    def values(self) -> dict[str, list[str]]:
        """What a browser sends if nobody touches anything."""
        found: dict[str, list[str]] = {}
        for each in self.fields:
            if each.value is not None:
                found.setdefault(each.name, []).append(each.value)
        if self.button:
            found[self.button[0]] = [self.button[1]]
        return found


class Page(Markup):
    """A page's forms, links, values of controls by name, and the sentences that say what is wrong."""

    def __init__(self, address: str, text: str):
        self.address, self.links, self.forms = address, [], []
        self.values: dict[str, list[str]] = {}
        self.complaints: list[str] = []
        self._by_id: dict[str, Form] = {}
        self._apart: list[tuple[str, Field]] = []
        self._form: Form | None = None
        self._select: dict | None = None
        self._area: dict | None = None
        self._said: list[int] = []
        self._is_error_page = False
        self._help: tuple[str, list[str]] | None = None
        self._helps: dict[str, str] = {}
        self._described: list[tuple[Form, int, str]] = []
        self._depth = 0
        self.read(text)
        for owner, control in self._apart:
            if owner in self._by_id:
                self._by_id[owner].fields.append(control)
        for form, place, name in self._described:
            form.fields[place] = replace(form.fields[place], help=self._helps.get(name, ""))
        self.forms = [variant for form in self.forms for variant in _variants(form)]

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        classes = given.get("class", "").split()
        if tag not in VOID:
            self._depth += 1
        self._is_error_page = self._is_error_page or "error-page" in classes
        if self._said or _is_complaint(tag, given, classes) or (self._is_error_page and "lead" in classes):
            if tag not in VOID:
                self._said.append(self._depth)
            if len(self._said) == 1:
                self.complaints.append("")
        if tag == "p" and given.get("id", "").endswith("-help"):
            self._help = (given["id"], [])
        if tag == "a" and "href" in given:
            self.links.append(urljoin(self.address, given["href"]))
        elif tag == "form":
            action = urljoin(self.address, given.get("action") or self.address)
            self._form = Form(self.address, action, given.get("method", "get").upper())
            self.forms.append(self._form)
            self._by_id[given.get("id", "")] = self._form
        elif tag == "input" and "name" in given:
            self._input(given)
        elif tag == "button" and self._form is not None and given.get("type", "submit") == "submit":
            self._form.buttons.append(given)
        elif tag == "select" and "name" in given:
            self._select = given | {"options": [], "chosen": []}
        elif tag == "option" and self._select is not None:
            self._select["options"].append(given.get("value", ""))
            if "selected" in given:
                self._select["chosen"].append(given.get("value", ""))
        elif tag == "textarea" and "name" in given:
            self._area = given | {"text": ""}

    def _input(self, given):
        kind = given.get("type", "text")
        if kind == "file":
            if self._form is not None:
                self._form.has_file = True
            return
        if kind in ("submit", "button", "image", "reset"):
            return
        is_box = kind in ("checkbox", "radio")
        value = given.get("value", "on" if is_box else "")
        sent = None if is_box and "checked" not in given else value
        self._put(given, Field(given["name"], kind, sent, (value,) if is_box else ()))

    def _put(self, given, control: Field):
        if control.value is not None:
            self.values.setdefault(control.name, []).append(control.value)
        if given.get("form"):
            self._apart.append((given["form"], control))
        elif self._form is not None:
            self._form.fields.append(control)
            helps = [name for name in given.get("aria-describedby", "").split() if name.endswith("-help")]
            if helps:
                self._described.append((self._form, len(self._form.fields) - 1, helps[0]))

    def handle_data(self, data):
        if self._area is not None:
            self._area["text"] += data
        if self._said:
            self.complaints[-1] += data
        if self._help is not None:
            self._help[1].append(data)

    def handle_endtag(self, tag):
        if tag == "form":
            self._form = None
        elif tag == "select" and self._select is not None:
            given, self._select = self._select, None
            options = tuple(given["options"])
            is_many = "multiple" in given
            chosen = given["chosen"] or ([] if is_many or not options else [options[0]])
            self._put(given, Field(given["name"], "select", chosen[0] if chosen else None, options))
        elif tag == "textarea" and self._area is not None:
            given, self._area = self._area, None
            self._put(given, Field(given["name"], "textarea", given["text"].removeprefix("\n")))
        elif tag == "p" and self._help is not None:
            name, words = self._help
            self._helps[name] = " ".join("".join(words).split())
            self._help = None
        if tag not in VOID:
            if self._said and self._said[-1] == self._depth:
                self._said.pop()
            self._depth -= 1


def _is_complaint(tag, given, classes) -> bool:
    return given.get("role") == "alert" or (tag == "p" and not {"error", "refusal"}.isdisjoint(classes))


def _variants(form: Form) -> list[Form]:
    """The form once for each button that sends it elsewhere, or under a name."""
    found: dict[tuple, Form] = {}
    for given in form.buttons or [{}]:
        action = urljoin(form.page, given["formaction"]) if given.get("formaction") else form.action
        name = given.get("name")
        variant = replace(form, action=action, button=(name, given.get("value", "")) if name else None)
        found.setdefault((action, name), variant)
    return list(found.values())


def addresses(app, values: dict[str, str]) -> list[str]:
    """Every address that GET may ask for, bare and with the ids of some rows."""
    found = []
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if "GET" not in rule.methods or rule.endpoint == "static":
            continue
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", lambda m: values.get(m[1], "1"), rule.rule)
        found += [path, *(f"{path}?id={key}" for key in values["ids"].split())]
    return found


def shape(address: str) -> str:
    """An address without what only tells rows apart, so that of a thousand links to rows one is followed."""
    parts = urlsplit(address)
    path = re.sub(r"/\d+\b", "/#", UUID.sub("#", parts.path))
    names = sorted(
        name for name, value in parse_qsl(parts.query) if name not in ("url", "page_size") and value
    )
    return f"{path}?{'&'.join(names)}"


def walk(app, browser, values: dict[str, str], read=Page):
    """(address, answer, page) of all there is: all rules, then one link of each shape.

    `read` makes the page of an address and a text; what is no HTML has none.
    """
    waiting = deque(addresses(app, values))
    seen, shown = {shape(address) for address in waiting}, set()
    while waiting:
        address = waiting.popleft()
        if IDS.search(address) and {IDS.sub("", address), shape(address)} & shown:
            continue  # a list or an empty form, which asks for no row; or a form that was seen with one
        answer = browser.get(address)
        page = read(address, answer.text) if answer.mimetype == "text/html" else None
        yield address, answer, page
        if answer.status_code == 200:
            shown.add(shape(address) if IDS.search(address) else address)
        if answer.status_code != 200 or page is None:
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or parts.path.startswith("/static/") or shape(link) in seen:
                continue
            seen.add(shape(link))
            waiting.append(link.split("#")[0])


def every_form(app, browser, values: dict[str, str]) -> dict[str, Form]:
    """Every form that can be met, by what tells it from others."""
    found: dict[str, Form] = {}
    for _, answer, page in walk(app, browser, values):
        if page is not None and answer.status_code < 400:
            for form in page.forms:
                found.setdefault(form.key, form)
    return found
