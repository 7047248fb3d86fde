"""What importing posts would do: the facts it depends on, and a plan that is made from them alone."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from ..attempts.words import several
from ..domain.quoting import one_line
from ..domain.reasons import ExperimentState, Visibility
from ..domain.written_times import WrittenTimeError, read_time
from ..domain.zones import zone_shown
from ..errors import BadInput
from ..models import Experiment, Post, UserProfile
from .bulk_files import CellError
from .chunks import portions
from .fields import POST_LIMIT, clean_line, clean_text, clean_username, username_key
from .lookup import parse_uuid
from .post_files import PostRow, PostSheet

# One content has the same ids in an experiment whenever it is imported, so that its posts are made once.
BY_CONTENT = UUID("0c1b8c55-5a0e-4a3f-9f0b-6d4f8a7f1e92")
MOST_ID = 200  # characters
MOST_USERNAME = 30
MOST_SHOWN = 200  # characters of a cell to be mended


@dataclass(frozen=True)
class Author:
    """A profile of the experiment that a row names as its author."""

    id: int
    username: str
    is_bot: bool
    is_banned: bool


@dataclass(frozen=True)
class FeedPost:
    """A post of a feed that a row names as its parent; `top_id`: the one it stands below, or its own."""

    experiment_id: int
    top_id: int
    is_visible: bool
    created_at: datetime
    author: str


@dataclass(frozen=True)
class Facts:
    """What a plan depends on beside the file, at one moment."""

    experiment_id: int
    state: ExperimentState
    zone: str
    authors: dict[str, Author]
    posts: dict[UUID, FeedPost]

    @property
    def words(self) -> str:
        """The same text for the same facts."""
        authors, posts = sorted(self.authors.items()), sorted(self.posts.items())
        return repr((self.experiment_id, self.state.value, self.zone, authors, posts))


@dataclass(frozen=True)
class PlannedPost:
    """One row that can be imported. `created_at` None is when it is imported.

    A reply stands below row `top_row` of the file, counted from 0, or below the post `top_id`; `reply_to` has
    what it replies to in words, and is "" for a top-level post.
    """

    number: int
    place: str
    uuid: UUID
    author_key: str
    username: str
    text: str
    created_at: datetime | None
    top_row: int | None = None
    top_id: int | None = None
    reply_to: str = ""

    @property
    def is_reply(self) -> bool:
        return bool(self.reply_to)


@dataclass(frozen=True)
class Plan:
    """What an import would do, in the order of the rows, or what has to be mended before.

    `new_people` are the usernames that nobody in the experiment has yet. `is_there`: this content has been
    imported. `fingerprint` changes with the content and with anything else it depends on.
    """

    name: str
    content_hash: str
    posts: tuple[PlannedPost, ...]
    errors: tuple[CellError, ...]
    new_people: tuple[str, ...]
    facts: Facts
    is_there: bool

    @cached_property
    def fingerprint(self) -> str:
        return sha256(f"{self.content_hash}|{self.facts.words}".encode()).hexdigest()[:32]

    @cached_property
    def reply_count(self) -> int:
        return sum(post.is_reply for post in self.posts)

    @cached_property
    def author_count(self) -> int:
        return len({post.author_key for post in self.posts})

    @cached_property
    def timeless_count(self) -> int:
        """How many get the time of the import."""
        return sum(post.created_at is None for post in self.posts)

    @cached_property
    def period(self) -> tuple[datetime, datetime] | None:
        """The first and the last time that the file gives; None where it gives none."""
        times = [post.created_at for post in self.posts if post.created_at is not None]
        return (min(times), max(times)) if times else None

    @property
    def counts_words(self) -> str:
        """ "120 posts and 30 replies"."""
        replies = self.reply_count
        tops = several(len(self.posts) - replies, "post")
        return f"{tops} and {replies:,} {'reply' if replies == 1 else 'replies'}"


def make_plan(session: Session, experiment: Experiment, sheet: PostSheet, now: datetime) -> Plan:
    """What importing these rows would do now. Reads only, in a few queries."""
    facts = read_facts(session, experiment, sheet.rows)
    return decide(sheet, facts, is_there(session, experiment, sheet.content_hash), now)


def read_facts(session: Session, experiment: Experiment, rows: Sequence[PostRow]) -> Facts:
    """The authors and parents that rows name, as they are at this moment."""
    authors = {username_key(row.author.strip().removeprefix("@")) for row in rows}
    parents = {uuid for row in rows if (uuid := _uuid_of(row.parent)) is not None}
    return _read(session, experiment, authors, parents)


def read_facts_again(session: Session, experiment: Experiment, plan: Plan) -> Facts:
    """What a plan without errors depends on, as it is by now."""
    keys = {*plan.facts.authors, *map(username_key, plan.new_people)}
    return _read(session, experiment, keys, set(plan.facts.posts))


def is_there(session: Session, experiment: Experiment, content_hash: str) -> bool:
    """Whether this content was imported into the experiment: all of it, as ever."""
    first = post_uuid(experiment.id, content_hash, 0)
    return session.scalar(select(Post.id).where(Post.uuid == first)) is not None


def post_uuid(experiment_id: int, content_hash: str, number: int) -> UUID:
    """The id of the post of a row, counted from 0."""
    return uuid5(BY_CONTENT, f"{experiment_id}|{content_hash}|{number}")


def decide(sheet: PostSheet, facts: Facts, is_there: bool, now: datetime) -> Plan:
    """The plan for these facts. Pure."""
    work = _Deciding(sheet, facts, now)
    for number, row in enumerate(sheet.rows):
        work.look_at(number, row)
    errors = sorted((*sheet.errors, *work.errors), key=_line_of)
    return Plan(
        sheet.name, sheet.content_hash, tuple(work.posts.values()), tuple(errors),
        tuple(work.new_people.values()), facts, is_there,
    )  # fmt: skip


@dataclass
class _Deciding:
    """One walk over the rows: what was found of those above the one that is looked at."""

    sheet: PostSheet
    facts: Facts
    now: datetime
    posts: dict[int, PlannedPost] = field(default_factory=dict)
    errors: list[CellError] = field(default_factory=list)
    new_people: dict[str, str] = field(default_factory=dict)
    above: dict[str, int] = field(default_factory=dict)
    usernames: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.zone = zone_shown(self.facts.zone)
        # To say that a parent stands further down: the last row with its id is enough.
        self.places = {_id_of(row.id): row.place for row in self.sheet.rows}

    def look_at(self, number: int, row: PostRow) -> None:
        """Adds the row to the posts, or everything that is wrong with it to the errors."""
        found = len(self.errors)
        key = self._try(row, "author", row.author, self._author)
        text = self._try(row, "text", row.text, lambda text: clean_text(text, "text", POST_LIMIT))
        at = self._try(row, "time", row.time, self._time)
        parent = self._try(row, "parent", row.parent, lambda parent: self._parent(row, parent))
        self._try(row, "id", row.id, lambda own: self._note_id(number, own))
        if len(self.errors) == found and parent is not None:
            self._try(row, "time", row.time, lambda _: self._check_order(at, parent))
        if len(self.errors) > found or (_id_of(row.parent) and parent is None):
            return
        top_row, top_id, words = self._below(parent)
        self.posts[number] = PlannedPost(
            number, row.place, post_uuid(self.facts.experiment_id, self.sheet.content_hash, number), key,
            self._username(key), text, at, top_row, top_id, words,
        )  # fmt: skip

    def _try(self, row: PostRow, column: str, value: str, check: Callable[[str], Any]) -> Any:
        try:
            return check(value)
        except (BadInput, WrittenTimeError) as error:
            self.errors.append(CellError(row.place, column, str(error), one_line(value, MOST_SHOWN)))
            return None

    def _author(self, text: str) -> str:
        """The key of the row's author."""
        if text not in self.usernames:
            self.usernames[text] = clean_username(text, "author")
        username = self.usernames[text]
        key = username_key(username)
        author = self.facts.authors.get(key)
        if author is None:
            self.new_people.setdefault(key, username)
        elif author.is_bot:
            raise BadInput(
                f"@{author.username} is a twin, and a twin posts through attempts only. Leave the row out, "
                "or give it another author."
            )
        elif author.is_banned:
            raise BadInput(f"@{author.username} is banned. Choose another author, or lift the ban first.")
        return key

    def _username(self, key: str) -> str:
        author = self.facts.authors.get(key)
        return author.username if author is not None else self.new_people[key]

    def _time(self, text: str) -> datetime | None:
        if not text.strip():
            return None
        at = read_time(text, self.zone)
        if at > self.now:
            raise BadInput("This lies in the future. Correct it, or leave it empty for now.")
        return at

    def _note_id(self, number: int, text: str) -> None:
        if not clean_line(text, "id", MOST_ID, required=False):
            return
        own = _id_of(text)
        if own in self.above:
            first = self.sheet.rows[self.above[own]].place
            raise BadInput(f"This is the id of {first} already. Give each row its own.")
        self.above[own] = number

    def _parent(self, row: PostRow, text: str) -> int | FeedPost | None:
        """The number of a row above, or a post of the feed; None for none, and for a row with errors."""
        name = _id_of(text)
        if not name:
            return None
        if name in self.above:
            number = self.above[name]
            return number if number in self.posts else None
        if name == _id_of(row.id):
            raise BadInput("A post is no reply to itself. Name another row, or leave it empty.")
        if name in self.places:
            raise BadInput(f"This is {self.places[name]}, further down. Put a post above its replies.")
        post = self.facts.posts.get(uuid) if (uuid := _uuid_of(name)) is not None else None
        if post is None:
            raise BadInput(
                "There is no row above with this id, and no post in this feed with this UUID. Correct it, "
                "or leave it empty."
            )
        if post.experiment_id != self.facts.experiment_id:
            raise BadInput("That post is of another experiment. Reply to a post of this feed.")
        if not post.is_visible:
            raise BadInput("That post is hidden, so nobody can reply to it. Show it first.")
        return post

    def _check_order(self, at: datetime | None, parent: int | FeedPost) -> None:
        before = self.posts[parent].created_at if isinstance(parent, int) else parent.created_at
        if (at or self.now) < (before or self.now):
            what = self.posts[parent].place if isinstance(parent, int) else f"the post of @{parent.author}"
            raise BadInput(f"This is earlier than {what}, which it replies to. Correct one of the times.")

    def _below(self, parent: int | FeedPost | None) -> tuple[int | None, int | None, str]:
        """Where a reply to this stands: (row of the file, post), and what it replies to in words."""
        if parent is None:
            return None, None, ""
        if isinstance(parent, FeedPost):
            return None, parent.top_id, f"@{parent.author}, in the feed"
        above = self.posts[parent]
        words = f"@{above.username}, {above.place}"
        if above.is_reply:
            return above.top_row, above.top_id, words
        return parent, None, words


def _read(session: Session, experiment: Experiment, keys: set[str], uuids: set[UUID]) -> Facts:
    # What is no username is nobody's, and PostgreSQL does not even take every text.
    names = sorted(key for key in keys if key.isascii() and key.isprintable() and len(key) <= MOST_USERNAME)
    authors: dict[str, Author] = {}
    for part in portions(names):
        query = select(
            UserProfile.username_key, UserProfile.id, UserProfile.username, UserProfile.is_bot,
            UserProfile.is_banned,
        ).where(UserProfile.experiment_id == experiment.id, UserProfile.username_key.in_(part))  # fmt: skip
        authors |= {key: Author(*rest) for key, *rest in session.execute(query)}
    posts = _read_posts(session, sorted(uuids))
    return Facts(experiment.id, experiment.state, experiment.zone, authors, posts)


def _read_posts(session: Session, uuids: Sequence[UUID]) -> dict[UUID, FeedPost]:
    top = aliased(Post)
    found: dict[UUID, FeedPost] = {}
    for part in portions(uuids):
        query = (
            select(
                Post.uuid, Post.id, Post.experiment_id, Post.parent_id, Post.visibility, top.visibility,
                Post.created_at, UserProfile.username,
            )
            .join(UserProfile, UserProfile.id == Post.user_profile_id)
            .outerjoin(top, top.id == Post.parent_id)
            .where(Post.uuid.in_(part))
        )  # fmt: skip
        for uuid, key, experiment_id, parent_id, own, of_top, created_at, username in session.execute(query):
            is_visible = own == Visibility.visible and of_top in (None, Visibility.visible)
            found[uuid] = FeedPost(experiment_id, parent_id or key, is_visible, created_at, username)
    return found


def _id_of(text: str) -> str:
    """What makes two ids the same, of a row or of a parent."""
    return unicodedata.normalize("NFC", " ".join(text[: 2 * MOST_ID].split()))


def _uuid_of(text: str) -> UUID | None:
    return parse_uuid(text.strip()) if text else None


def _line_of(error: CellError) -> int:
    return int(error.place.rpartition(" ")[2])
