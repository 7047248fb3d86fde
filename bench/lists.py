"""How long lists and pages take with 100,000 twins and 1,000,000 attempts, beside the same pages with 100.

Server time of whole requests through the WSGI application, signed in, on SQLite. The floor is the same page
with 100 rows in the same run; statements are counted too, since their number must not grow with the rows.
"""

from collections.abc import Iterator

from .filled import fill, installation, page, signed_in

SMALL = {"twins": 100, "attempts": 100}
LARGE = {"twins": 100_000, "attempts": 1_000_000}
ROUNDS = 20
DAYS = 60
# name, address
PAGES = (
    ("twins", "/admin/digitaltwin/"),
    ("twins, page 500", "/admin/digitaltwin/?page=500"),
    ("twins, inactive", "/admin/digitaltwin/?active=0"),
    ("twins, with a tag", "/admin/digitaltwin/?tag=rare"),
    ("twins, search", "/admin/digitaltwin/?search=twin_77"),
    ("a twin", "/admin/digitaltwin/details/?id=7"),
    ("profiles", "/admin/userprofile/"),
    ("posts", "/admin/post/"),
    ("schedules", "/admin/schedule/"),
    ("experiments", "/admin/experiment/"),
    ("an experiment", "/admin/experiment/details/?id=1"),
    ("personas", "/admin/persona/"),
    ("API tokens", "/admin/apitoken/"),
    ("audit log", "/admin/audit/"),
)


def lines() -> Iterator[str]:
    """The table in Markdown."""
    small, large = _measured(**SMALL), _measured(**LARGE)
    yield f"{LARGE['twins']:,} twins and {LARGE['attempts']:,} attempts against {SMALL['twins']} of each; "
    yield f"{ROUNDS} requests a page, milliseconds of server time, SQLite."
    yield ""
    yield "| page | 100 rows, p50 | large, p50 | large, p95 | ratio of p50 | statements |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, _ in PAGES:
        (few, _, few_sent), (many, late, sent) = small[name], large[name]
        same = f"{sent}" if sent == few_sent else f"{few_sent} → {sent}"
        yield f"| {name} | {few:.0f} | {many:.0f} | {late:.0f} | {many / few:.1f} | {same} |"


def _measured(twins: int, attempts: int) -> dict[str, tuple[float, float, int]]:
    """For each page p50 and p95 in milliseconds, and how many statements it sends."""
    with installation() as app:
        fill(twins, attempts, DAYS)
        client = signed_in(app)
        return {name: page(client, address, ROUNDS) for name, address in PAGES}
