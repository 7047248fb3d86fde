"""Details a persona names itself: things liked, feared or disliked, an occupation, a place."""

import functools
import re
from dataclasses import dataclass

from .words import vocabulary

MAX_THINGS = 12
_BE = r"(?:is |am |are |'m )?"
_LIKE = (
    rf"loves?|likes?|enjoys?|adores?|{_BE}(?:very )?(?:passionate|enthusiastic|excited) about|{_BE}fond of"
    rf"|{_BE}(?:really )?into|{_BE}obsessed with|collects?|restores?|hobbies|passions"
)
_TOPIC = (
    rf"cares? (?:deeply |a lot )?about|{_BE}(?:deeply |mainly |mostly )?interested in|interests|topics"
    r"|(?:often |mostly |mainly )?(?:talks?|posts?|writes?) (?:mostly |mainly |often )?about"
)
_WORRY = (
    rf"worr(?:ies|ied|y) (?:a lot )?about|{_BE}(?:afraid|scared) of|fears?"
    rf"|{_BE}concerned (?:about|with)|worries"
)
_DISLIKE = (
    rf"hates?|dislikes?|can(?:'t|not) stand|{_BE}(?:annoyed|irritated|bored) by|{_BE}(?:tired|sick) of"
    rf"|{_BE}fed up with|has no patience (?:for|with)|{_BE}s[ck]eptical (?:of|about)|distrusts?"
    r"|complains about|pet peeves?"
)
_CUE = re.compile(
    rf"\b(?:(?P<dislike>{_DISLIKE})|(?P<worry>{_WORRY})|(?P<like>{_LIKE})|(?P<topic>{_TOPIC}))\s*:?\s+"
    r"(?P<list>[^.;:!?\n()]{3,160})",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"\b(?:never|not|doesn't|does not|don't|rarely|hardly|no longer)\s+(?:\w+\s+)?$", re.IGNORECASE
)
_STOP = re.compile(
    r"\s+(?:but|because|when|while|who|which|that|whenever|although|though|since|if|so|than|as|after"
    r"|before|until|where"
    r"|and (?:is|has|was|often|always|never|can't|rarely|sometimes|\w+s (?:to|in|her|his|their)))\b.*",
    re.IGNORECASE | re.DOTALL,
)
_OPENING = re.compile(
    r"^(?:(?:and|or|especially|particularly|mainly|mostly|above all|also|of|about|in|on|with|for)\s+)+",
    re.IGNORECASE,
)
_OWNER = re.compile(r"\b(?:his|her|their|your)\b", re.IGNORECASE)
_PHRASE = re.compile(r"[A-Za-zÀ-ÿ][\w'’À-ÿ-]*(?: [\w'’À-ÿ-]+){0,4}")
_BAD_WORD = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|would|can|could|should|do|does|did|be|been|to|it|him|them|he|she"
    r"|they|you|i|me|this|these|those|such|etc|also|very|too|just|not|anything|everything|something|people"
    r"|posts?|posting|replies|hashtags?|emojis?|sentences|style|tone|persona|twin|prompt|instructions?"
    r"|system|ignore|assistant|model|bot|loves?|likes?|hates?|writes?|thinks?|believes?|uses?)\b",
    re.IGNORECASE,
)
_BAD_END = re.compile(
    r"\b(?:of|in|on|at|with|for|the|a|an|and|or|from|by|about|own|my|more|no|when|how|what)$", re.IGNORECASE
)
_RELATIVE = re.compile(
    r"\b(?:married to|son of|daughter of|mother|father|wife|husband|partner|sister|brother"
    r"|friend|parents|hates|against)\b[^.;\n]{0,25}$",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"\b(?:[Ii]n|[Ff]rom|[Nn]ear|[Oo]utside|[Ll]ocation:|[Cc]ity:)\s+"
    r"([A-ZÀ-Þ][a-zà-ÿ'’-]+(?:[ -](?:upon |am |de |la |sur )?[A-ZÀ-Þ][a-zà-ÿ'’-]+){0,2})"
)


@dataclass(frozen=True)
class Thing:
    """A phrase of the persona's own, fit to stand after "about", with like, topic, worry or dislike."""

    phrase: str
    feeling: str


def things_in(persona: str) -> tuple[Thing, ...]:
    """What the persona says it likes, worries about or dislikes; only what reads well."""
    found: dict[str, Thing] = {}
    for match in _CUE.finditer(persona):
        if _NEGATED.search(persona[: match.start()][-60:]):
            continue
        feeling = next(name for name in ("dislike", "worry", "like", "topic") if match[name])
        for part in re.split(r",|\s+and\s+|\s+or\s+|/|&", _STOP.sub("", match["list"])):
            phrase = _phrase(part)
            if phrase:
                found.setdefault(phrase.lower(), Thing(phrase, feeling))
    return tuple(found.values())[:MAX_THINGS]


def _phrase(part: str) -> str | None:
    phrase = " ".join(part.split()).strip(" '\"“”’*_-–—")
    phrase = _OWNER.sub("my", _OPENING.sub("", phrase))
    if not 4 <= len(phrase) <= 36 or not _PHRASE.fullmatch(phrase):
        return None
    if _BAD_WORD.search(phrase) or _BAD_END.search(phrase):
        return None
    first, _, rest = phrase.partition(" ")
    is_plain_capital = first[:1].isupper() and first[1:].islower()
    if is_plain_capital and (first in ("My", "The", "A", "An") or not rest):
        return phrase[0].lower() + phrase[1:]
    return phrase


def role_in(persona: str) -> str | None:
    """The occupation with its article ("a retired nurse"), if it is one this writer knows."""
    for match in _role_pattern().finditer(persona):
        if _RELATIVE.search(persona[: match.start("role")]):
            continue
        role = " ".join(match["role"].lower().split())
        role = f"retired {role}" if "retired" in match[0].lower() else role
        return f"{'an' if role[0] in 'aeiou' else 'a'} {role}"
    return None


@functools.lru_cache(maxsize=1)
def _role_pattern() -> re.Pattern[str]:
    either = "|".join(re.escape(role) for role in sorted(vocabulary().roles, key=len, reverse=True))
    return re.compile(
        rf"(?:\ban?\s|[,:]\s*|^)(?:[a-z-]+\s+){{0,3}}?(?P<role>{either})(?![\w-])",
        re.IGNORECASE | re.MULTILINE,
    )


def place_in(persona: str) -> str | None:
    """A place named near the beginning, where personas say where somebody lives."""
    for match in _PLACE.finditer(persona[:300]):
        if not any(word in vocabulary().not_places for word in match[1].split()):
            return match[1]
    return None
