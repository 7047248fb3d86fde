"""How a voice sounds on the surface: contractions, capitals, marks of excitement."""

import re
from collections.abc import Sequence

from .dice import Dice

_CONTRACTED = {
    "do not": "don't",
    "does not": "doesn't",
    "did not": "didn't",
    "is not": "isn't",
    "are not": "aren't",
    "was not": "wasn't",
    "were not": "weren't",
    "has not": "hasn't",
    "have not": "haven't",
    "had not": "hadn't",
    "would not": "wouldn't",
    "could not": "couldn't",
    "should not": "shouldn't",
    "will not": "won't",
    "cannot": "can't",
    "I am": "I'm",
    "I have": "I've",
    "I will": "I'll",
    "it is": "it's",
    "that is": "that's",
    "there is": "there's",
    "they are": "they're",
    "we are": "we're",
    "you are": "you're",
    "we have": "we've",
    "they have": "they've",
}
# "I have a cold" and "we have dashboards" keep their verb: only before a participle is it shortened.
_PARTICIPLE = (
    r"(?=\s+(?:(?:just|never|not|all|still|already|always|once)\s+)?(?:been|had|got|read|seen|run|put"
    r"|made|done|lived|lost|told|given|\w{3,}ed)\b)"
)
_NEEDS_PARTICIPLE = frozenset({"I have", "we have", "they have"})
# "… as it is.", "the way they are with …" and "in it is …" stay: only at the start of a clause.
_FOLLOWED = r"(?=\s+[\w\"“])"
_CLAUSE_START = (
    r"(?:^|(?<=[.!?:,“\"]\s)|(?<=\band\s)|(?<=\bbut\s)|(?<=\bbecause\s)|(?<=\bthat\s)|(?<=\bif\s)"
    r"|(?<=\bthink\s))"
)
_ONLY_AT_CLAUSE_START = frozenset({"it is", "that is", "there is", "they are", "we are", "you are"})


def _condition(long: str) -> str:
    return _PARTICIPLE if long in _NEEDS_PARTICIPLE else "" if long.endswith("not") else _FOLLOWED


def _where(long: str) -> str:
    return _CLAUSE_START if long in _ONLY_AT_CLAUSE_START else r"\b"


_SHORTEN = [
    (long.lower(), re.compile(rf"{_where(long)}{long}\b{_condition(long)}", re.IGNORECASE), short)
    for long, short in _CONTRACTED.items()
]
_EXPANDED = {
    **{short: long for long, short in _CONTRACTED.items()},
    "I'd": "I would",
    "what's": "what is",
    "who's": "who is",
    "nobody's": "nobody is",
    "they've": "they have",
}
_LENGTHEN = [
    (short.lower(), re.compile(rf"\b{re.escape(short)}\b", re.IGNORECASE), long)
    for short, long in _EXPANDED.items()
]
_IT_HAS = re.compile(r"\b(it|that|there) is (?=been\b|got\b|become\b)", re.IGNORECASE)
_KEEPS_CAPITAL = re.compile(r"I\b|@|[A-Z]{2}|[B-HJ-Z]\b")
_CLAUSE = re.compile(
    r"(?:The|A|An|My|I|I'm|I've|Somebody|Someone|Nobody|Everybody|Everyone|They|We|You|It|There|This|That|People"
    r"|Our|Most|Half|Some|All|Every|Each|Two|Three|Four|Five|Six|Seven|Nine|Ten|Much|One)\b"
)
_SHORTENING_VOICES = frozenset({"blunt", "casual", "anxious", "upbeat"})
_STANDING = (".", "!", "?", "…", ":", ",", "”", '"')
_HANDLE = re.compile(r"@[\w.-]+")


def spoken(text: str, voice_name: str, dice: Dice) -> str:
    """The text the way this voice would type it."""
    if voice_name in _SHORTENING_VOICES:
        text = _replace(text, _SHORTEN)
    elif voice_name == "formal":
        text = _IT_HAS.sub(r"\1 has ", _replace(text, _LENGTHEN))
    if voice_name == "casual":
        return _in_lower_case(text)
    if voice_name == "upbeat":
        return _excited(text, dice)
    if voice_name == "anxious" and dice.chance(0.2):
        return re.sub(r"\.$", "…", text)
    return text


def joined(parts: Sequence[str]) -> str:
    """Sentences in a row; one that ends without a mark gets a full stop before the next begins."""
    closed = [p if p.endswith(_STANDING) or p is parts[-1] else f"{p}." for p in parts]
    return " ".join(closed)


def is_half(lead: str) -> bool:
    """Whether a sentence goes on after this lead ("In fairness,") rather than beginning ("Right.")."""
    return lead.endswith(",") or lead[-1].isalnum()


def is_clause(sentence: str) -> bool:
    """Whether the sentence begins with its subject, so that "In fairness," may stand before it."""
    return _CLAUSE.match(sentence) is not None


def continued(sentence: str) -> str:
    """The sentence to stand after a comma: a small first letter, unless the word keeps its capital."""
    return sentence if _KEEPS_CAPITAL.match(sentence) else sentence[:1].lower() + sentence[1:]


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, in order."""
    return [part.strip() for part in re.split(r"(?<=[.!?…])[\"”]?\s+|\n+", text) if part.strip()]


def _replace(text: str, pairs: Sequence[tuple[str, re.Pattern[str], str]]) -> str:
    lower = text.lower()
    for before, pattern, word in pairs:
        if before in lower:
            text = pattern.sub(lambda match, word=word: _like(match[0], word), text)
    return text


def _like(before: str, after: str) -> str:
    """`after` with a capital if `before` had one."""
    return after[0].upper() + after[1:] if before[0].isupper() else after[0].lower() + after[1:]


def _in_lower_case(text: str) -> str:
    handles = _HANDLE.findall(text)
    text = text.lower()
    for handle in handles:
        text = text.replace(handle.lower(), handle)
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def _excited(text: str, dice: Dice) -> str:
    """Some full stops become exclamation marks, the last one mostly."""
    parts = re.split(r"(?<=[.!?])(?=\s)", text)
    for i, part in enumerate(parts):
        is_last = i == len(parts) - 1
        if part.endswith(".") and not part.endswith("..") and dice.chance(0.75 if is_last else 0.3):
            parts[i] = part[:-1] + "!"
    return "".join(parts)
