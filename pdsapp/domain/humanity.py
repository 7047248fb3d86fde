"""Whether a text asks somebody if they are a human being or a machine."""

import re

_MACHINE = r"(?:an? )?(?:bot|chat ?bot|robot|ai|a\.i\.|machine|computer|program|language model|llm|chat ?gpt)"
_HUMAN = r"(?:an? )?(?:real|actual)?\s?(?:human(?: being)?|person|real)"
_ENGLISH = rf"\b(?:are|r) (?:you|u) (?:really |actually |just |even |secretly )?(?:{_MACHINE}|{_HUMAN})\b"
_ENGLISH_TALK = rf"\bam i (?:talking|speaking|writing|chatting) (?:to|with) (?:{_MACHINE}|{_HUMAN})\b"
_ENGLISH_NOT = (
    rf"\byou(?:'re| are) (?:just )?(?:not )?(?:{_MACHINE}|{_HUMAN}),? ?(?:right|aren't you|are you)?\s*\?"
)
_QUESTIONS = re.compile("|".join((_ENGLISH, _ENGLISH_TALK, _ENGLISH_NOT)), re.IGNORECASE)
_MENTION = re.compile(r"(?<![\w@])@(\w{1,30})")
LONGEST_READ = 2_000


def asks_if_human(text: str) -> bool:
    """Whether somebody is asked there, in English, if they are a machine or a human; not complete."""
    plain = " ".join(text[:LONGEST_READ].replace("’", "'").split())
    return _QUESTIONS.search(plain) is not None


def mentions(text: str) -> tuple[str, ...]:
    """The usernames mentioned in a text, case-folded."""
    return tuple(name.casefold() for name in _MENTION.findall(text[:LONGEST_READ]))
