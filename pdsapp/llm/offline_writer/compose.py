"""Writing one post: many small drafts from one character and one feed, the best of them kept.

A draft begins with a core (an observation, a view, a word about something, an answer to somebody), and
is extended by further lines of the same subject and voice until it has the length asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .brief import Brief, FeedPost
from .character import Character, Interest, character_of
from .dice import Dice
from .repertoire import Line, Repertoire
from .style import continued, is_clause, is_half, joined, sentences_of, spoken
from .words import vocabulary

DRAFTS = 24
MORE_DRAFTS = 150
ECHO_PROBABILITY = 0.26
EMOJI_PROBABILITY = 0.3
HASHTAG_PROBABILITY = 0.4
LEAD_PROBABILITY = 0.3
DETAIL_PROBABILITIES = {"thing": 0.12, "role": 0.04, "place": 0.025}
_ANSWERABLE_POSTS = 5
_SHORT_BAND = 80
_ORDER = {
    "echo": 0,
    "detail": 1,
    "seen": 2,
    "about": 3,
    "for": 4,
    "against": 4,
    "short": 5,
    "ask": 6,
    "close": 7,
}
_NO_LETTERS = re.compile(r"[\W_]+")
_ENDS = frozenset({"ask", "close"})


@dataclass
class Draft:
    """Lines in the making and what they are about. `is_loose`: about nothing there is a subject for."""

    interest: Interest
    values: dict[str, str]
    lines: list[Line] = field(default_factory=list)
    lead: str = ""
    is_loose: bool = False
    more: str = ""

    @property
    def text(self) -> str:
        """The draft as plain text, before the voice has its say."""
        parts = [line.text for line in sorted(self.lines, key=lambda line: _ORDER[line.kind])]
        if self.lead and parts:
            parts[0] = f"{self.lead} {continued(parts[0]) if is_half(self.lead) else parts[0]}"
        return joined(parts)

    def uses(self, line: Line) -> bool:
        """Whether the line, or another one from the same template, is in it already."""
        return any(line.template == other.template for other in self.lines)


class Writer:
    """Writes for one brief as one character. Everything random comes from `key`."""

    def __init__(self, brief: Brief, key: str):
        self.brief = brief
        self.dice = Dice(key)
        self.character: Character = character_of(brief.persona)
        self.repertoire = Repertoire(self.character, self.dice)
        self.own_texts = [post.text for post in brief.feed if post.is_own]
        self.just_said = [self._subjects_in(text) for text in self.own_texts[-2:]]
        self.heard = frozenset(_norm(s) for post in brief.feed for s in sentences_of(post.text))
        self.own_words = frozenset().union(*(_trigrams(text) for text in self.own_texts))

    def write(self) -> str:
        """A post inside the band; as near to it as words allow if the band is an odd one."""
        best = self._best(DRAFTS) or self._best(MORE_DRAFTS)
        return best or self._forced(self._finished(self._draft()))

    def rewrite(self, draft: str) -> str:
        """The draft with the length asked for: its own sentences first, then more in the same voice."""
        brief = self.brief
        if brief.minimum <= len(draft) <= brief.maximum:
            return draft
        if len(draft) > brief.maximum:
            return _fitting_sentences(sentences_of(draft), brief) or self._forced(draft)
        interest = self._interest_of(draft) or self._pick_interest()
        for _ in range(DRAFTS):
            extended = Draft(interest, {"topic": self.dice.pick(interest.phrases)})
            extended.lines.append(Line("echo", draft, draft))
            self._extend(extended)
            text = spoken(extended.text[len(draft) :], self.character.voice.name, self.dice)
            if brief.minimum <= len(draft + text) <= brief.maximum:
                return draft + text
        return self._forced(draft)

    # ---- choosing ----

    def _best(self, count: int) -> str | None:
        scored = []
        for number in range(count):
            draft = self._draft()
            text = self._finished(draft)
            if self.brief.minimum <= len(text) <= self.brief.maximum:
                scored.append((self._faults(draft, text), number, text))
        return min(scored)[2] if scored else None

    def _faults(self, draft: Draft, text: str) -> float:
        """How much is wrong with a draft: repetition above all, then distance from the target."""
        faults = abs(len(text) - self.brief.target) / 12
        faults += 8 * sum(_norm(s) in self.heard for s in sentences_of(text))
        grams = _trigrams(text)
        if grams:
            faults += 14 * len(grams & self.own_words) / len(grams)
        if self.just_said and draft.interest.subject.name in self.just_said[-1]:
            faults += 2
        return faults + self.dice.pick((0.0, 0.5, 1.0, 1.5, 2.0, 2.5))

    def _draft(self) -> Draft:
        other = self._post_to_answer()
        draft = self._answer(other) if other else self._detail() or self._own_core()
        self._extend(draft)
        return draft

    def _finished(self, draft: Draft) -> str:
        dice, character = self.dice, self.character
        text = spoken(draft.text, character.voice.name, dice)
        room = self.brief.maximum - len(text)
        if character.uses_hashtags and dice.chance(HASHTAG_PROBABILITY):
            tag = dice.pick(draft.interest.subject.tags)
            tag = f" #{tag.lower() if character.voice.name == 'casual' else tag}"
            text += tag if len(tag) <= room else ""
        elif character.emoji and dice.chance(EMOJI_PROBABILITY) and room >= 4:
            text += f" {dice.pick(character.emoji)}"
        return text

    # ---- cores ----

    def _own_core(self) -> Draft:
        interest = self._pick_interest()
        draft = Draft(interest, {"topic": self.dice.pick(interest.phrases)})
        weights = dict(self.character.voice.weights)
        if not interest.is_named:
            weights["about"] = 0
        if self.character.is_terse:
            weights["short"] += 3
        if self.brief.maximum < _SHORT_BAND:
            weights["short"] *= 3
        kinds = [kind for kind, weight in weights.items() if weight]
        kind = self.dice.pick_weighted(kinds, [weights[kind] for kind in kinds])
        if kind in ("for", "against") and self.dice.chance(0.85):
            kind = interest.stance
        draft.lines.append(self._line(draft, kind))
        return draft

    def _subjects_in(self, text: str) -> frozenset[str]:
        return frozenset(i.subject.name for i in self.character.interests if i.subject.find(text))

    def _pick_interest(self) -> Interest:
        """What to talk about: seldom again what the last two own posts were about."""
        interests = self.character.interests
        weights = [
            i.weight * (0.25 if any(i.subject.name in said for said in self.just_said) else 1.0)
            for i in interests
        ]
        return self.dice.pick_weighted(interests, weights)

    def _detail(self) -> Draft | None:
        """Sometimes the core is something the persona named itself, its work or its place."""
        character, dice = self.character, self.dice
        if character.things and dice.chance(DETAIL_PROBABILITIES["thing"]):
            thing = dice.pick(character.things)
            section = "topic" if thing.feeling == "like" and dice.chance(0.4) else thing.feeling
            section = "short" if self.brief.maximum < _SHORT_BAND else section
            interest = self._interest_of(thing.phrase)
            values = {"thing": thing.phrase, "topic": thing.phrase}
            draft = Draft(interest or character.interests[0], values, is_loose=interest is None)
            draft.lines.append(self.repertoire.detail(section, values))
            return draft
        for section, name in (("role", character.role), ("place", character.place)):
            if name and dice.chance(DETAIL_PROBABILITIES[section]):
                values = {section: name, "topic": dice.pick(character.interests[0].phrases)}
                draft = Draft(character.interests[0], values, is_loose=True, more=section)
                draft.lines.append(self.repertoire.detail(section, values))
                return draft
        return None

    def _interest_of(self, text: str) -> Interest | None:
        """The interest a text belongs to, if it belongs to one."""
        scored = [(len(i.subject.find(text)), i.weight, n) for n, i in enumerate(self.character.interests)]
        count, _, number = max(scored)
        return self.character.interests[number] if count else None

    # ---- answering ----

    def _post_to_answer(self) -> FeedPost | None:
        """One of the newest posts of others, if there is a mind to and it was not answered before."""
        if not self.dice.chance(ECHO_PROBABILITY):
            return None
        said = " ".join(self.own_texts)
        newest = self.brief.feed[-_ANSWERABLE_POSTS:]
        others = [post for post in newest if not post.is_own and f"@{post.username}" not in said]
        return self.dice.pick(others) if others else None

    def _answer(self, post: FeedPost) -> Draft:
        """A core that takes up a post: only its writer's name and its subject, never its words."""
        who = {"who": f"@{post.username}"}
        found = self._subject_of(post.text)
        if found is None:
            interest = self._pick_interest()
            draft = Draft(interest, {**who, "topic": self.dice.pick(interest.phrases)}, is_loose=True)
            draft.lines.append(self.repertoire.greeting(draft.values))
            return draft
        interest, phrase = found
        draft = Draft(interest, {**who, "topic": phrase})
        draft.lines.append(self._line(draft, "echo"))
        return draft

    def _subject_of(self, text: str) -> tuple[Interest, str] | None:
        """The subject of somebody's post, one's own subjects first, and how it was named there."""
        words = vocabulary()
        known = {interest.subject.name: interest for interest in self.character.interests}
        hits = []
        for subject in words.subjects.values():
            keywords = [w for w in subject.find(text) if w not in words.vague]
            if len(keywords) == 1 and keywords[0] in words.in_passing:
                continue
            if keywords:
                hits.append((subject.name not in known, -len(keywords), subject.name, keywords))
        if not hits:
            return None
        _, _, name, keywords = min(hits)
        subject = words.subjects[name]
        interest = known.get(name) or self.character.interests[0].about(subject)
        return interest, subject.phrases[self.dice.pick(keywords)]

    # ---- more lines ----

    def _line(self, draft: Draft, kind: str) -> Line:
        return self.repertoire.line(kind, draft.interest, draft.values, is_loose=draft.is_loose)

    def _extend(self, draft: Draft) -> None:
        """Adds lines until the draft is long enough, and a little more if the target is further."""
        if draft.lines[0].kind in ("seen", "about") and self.dice.chance(LEAD_PROBABILITY):
            self._put_lead(draft)
        kinds = self._extensions(draft)
        for _ in range(5):
            missing = self.brief.target - len(draft.text)
            has_end = any(line.kind in _ENDS for line in draft.lines[1:])
            is_long_enough = len(draft.text) >= self.brief.minimum
            if is_long_enough and (missing < 16 or has_end or self.dice.chance(0.1)):
                return
            if not self._add_best(draft, kinds, missing):
                return

    def _put_lead(self, draft: Draft) -> None:
        lead = self._line(draft, "open").text
        first = draft.lines[0].text
        doubles = ":" in first[:24] or first.split()[0].lower() == lead.split()[0].lower()
        fits = not is_half(lead) or is_clause(first) or self.character.voice.name == "casual"
        if fits and not doubles and len(lead) + 1 + len(first) <= self.brief.maximum:
            draft.lead = lead

    def _extensions(self, draft: Draft) -> list[str]:
        """The kinds of line that may follow the core, each once."""
        if draft.more:
            return ["detail", "close"]
        if draft.is_loose:
            return ["close"] if draft.lines[0].kind == "echo" else ["about", "ask", "close"]
        kinds = [draft.interest.stance, "seen", "short", "ask", "close"]
        if draft.interest.is_named:
            kinds.append("about")
        return [kind for kind in kinds if kind != draft.lines[0].kind]

    def _add_best(self, draft: Draft, kinds: list[str], missing: int) -> bool:
        """Of several lines that would fit, adds the one that brings the draft nearest to its target."""
        room = self.brief.maximum - len(draft.text) - 2
        has_end = any(line.kind in _ENDS for line in draft.lines[1:])
        offers = []
        for kind in kinds:
            if kind in _ENDS and has_end:
                continue
            for _ in range(2):
                line = (
                    self.repertoire.detail(draft.more, draft.values)
                    if kind == "detail"
                    else self._line(draft, kind)
                )
                if len(line.text) <= room and not draft.uses(line):
                    distance = abs(missing - len(line.text)) + self.dice.pick((0, 8, 16, 24))
                    offers.append((distance, len(offers), line))
        if not offers:
            return False
        line = min(offers)[2]
        draft.lines.append(line)
        kinds.remove(line.kind)
        return True

    def _forced(self, text: str) -> str:
        """The text cut or filled up to the band, for bands no sentence fits into."""
        brief = self.brief
        fillers = ("Really.", "More soon.", "And so on.", "Day by day.", "One thing after the other.")
        for number in range(brief.maximum):
            if len(text) >= brief.minimum:
                break
            text = joined([text, fillers[number % len(fillers)]])
        if len(text) <= brief.maximum:
            return text
        head, _, _ = text[: brief.maximum + 1].rpartition(" ")
        cut = (head if len(head) >= brief.minimum else text[: brief.maximum]).rstrip(" ,;:–—-.")
        return cut + "…" * max(brief.minimum - len(cut), len(cut) < brief.maximum)


def compose(brief: Brief, key: str) -> str:
    """The post, or the rewritten draft, this brief asks for. The same brief and key give the same text."""
    writer = Writer(brief, key)
    return writer.rewrite(brief.draft) if brief.draft else writer.write()


def _fitting_sentences(sentences: Sequence[str], brief: Brief) -> str | None:
    """The choice of sentences, in their order, that lies in the band nearest to the target."""
    sentences = sentences[:10]
    found = []
    for mask in range(1, 1 << len(sentences)):
        text = " ".join(s for i, s in enumerate(sentences) if mask >> i & 1)
        if brief.minimum <= len(text) <= brief.maximum:
            found.append((abs(len(text) - brief.target), mask, text))
    return min(found)[2] if found else None


def _norm(sentence: str) -> str:
    return _NO_LETTERS.sub("", sentence.lower())


def _trigrams(text: str) -> frozenset[tuple[str, ...]]:
    words = [word for word in (_norm(w) for w in text.split()) if word]
    return frozenset(zip(words, words[1:], words[2:], strict=False))
