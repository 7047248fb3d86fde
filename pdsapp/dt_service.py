"""DTService: the seams people customise. Every attempt, whichever door it came in by, runs through it.

Put a subclass in its place with `PDS_DT_SERVICE=my_module:MyService`; `docs/customising.md` has examples.
"""

from datetime import datetime
from importlib import import_module

from sqlalchemy.orm import Session

from .attempts import feed
from .attempts.big_draws import BigDraw, settle
from .attempts.selection import Pick, draw_twins
from .config import Settings
from .domain import decision, length, prompt, reply
from .domain.decision import Decision, TwinState
from .domain.draft import Ask, Brief, CallFailed, Draft
from .domain.length import LengthTarget
from .domain.policy import PostingPolicy
from .domain.prompt import ContextPost, Messages
from .domain.reasons import Reason
from .domain.targets import EVERYBODY, Target
from .errors import NotConfigured
from .models import Attempt, DigitalTwin, Experiment, Post, PostRevision, Schedule, ScheduleRevision

# Drawn at once. What asks more twins draws them in a walk, piece by piece (attempts/big_draws.py).
LARGEST_DRAW = 1_000


class DTService:
    """How twins are drawn, decide, see, write and publish. Each method is one seam.

    Methods that take a session read or write rows and never commit; the others are pure or, in
    `generate_original_post_content`, talk to the model through `ask`.
    """

    def get_random_digital_twins(
        self,
        session: Session,
        experiment: Experiment | None,
        count: int,
        key: str,
        target: Target = EVERYBODY,
    ) -> list[Pick]:
        """Up to `count` distinct eligible twins, uniformly at random by `key`; of all when None.

        `target` is given only by schedules that are narrowed to some twins of their experiment.
        """
        return draw_twins(session, experiment, count, key, target)

    def should_twin_post(
        self, policy: PostingPolicy, state: TwinState, draw: float, forced: bool = False
    ) -> Decision:
        """The verdict for a twin in this state, from a draw in [0, 1). Pure: replay calls it again."""
        return decision.decide(policy, state, draw, forced)

    def get_recent_post_context(
        self, session: Session, twin: DigitalTwin, policy: PostingPolicy
    ) -> list[ContextPost]:
        """The posts the twin is shown, newest last."""
        return feed.recent_context(session, twin, policy.context_size)

    def determine_post_length(self, policy: PostingPolicy, decision_key: str) -> LengthTarget:
        """The band and the target length for a post, in code points. Pure: replay calls it again."""
        return length.draw_length(policy, decision_key)

    def build_messages(
        self,
        templates: prompt.PromptTemplates,
        speaker: prompt.Speaker,
        context: list[ContextPost],
        target: LengthTarget,
        now: datetime,
    ) -> Messages:
        """The messages that ask the model for one post."""
        return prompt.render_messages(templates, speaker, context, target, now)

    async def generate_original_post_content(self, brief: Brief, ask: Ask) -> Draft:
        """A text that fits its band: asked for, cleaned, rewritten once if need be, cut at last.

        Raises CallFailed when no reply can be used.
        """
        draft = self.clean(brief, await ask(brief.messages))
        if length.is_within(draft.text, brief.length):
            return draft
        request = prompt.render_rewrite(
            brief.templates, brief.messages, draft.text, len(draft.text), brief.length
        )
        flags: tuple[str, ...] = ()
        try:
            draft = self.clean(brief, await ask(request, is_rewrite=True))
        except CallFailed:
            flags = ("rewrite_failed",)
        fitted = length.fit(draft.text, brief.length)
        if not fitted.text:
            raise CallFailed(Reason.empty_reply, "Nothing readable was left of the reply after cutting it.")
        return Draft(fitted.text, draft.raw, draft.steps, flags + fitted.flags)

    def clean(self, brief: Brief, raw: str) -> Draft:
        """A reply without quotation marks, preambles and labels. Raises CallFailed if nothing is left."""
        cleaned = reply.clean(raw, names=(brief.speaker.username, brief.speaker.display_name))
        text = length.normalise(cleaned.text)
        if reply.is_refusal(raw) or reply.is_refusal(text):
            raise CallFailed(Reason.refused, "The model declined to write this post.")
        if not text:
            raise CallFailed(Reason.empty_reply, "Nothing was left of the reply after cleaning it.")
        return Draft(text, raw, cleaned.steps)

    def create_original_post(self, session: Session, attempt: Attempt, draft: Draft, now: datetime) -> Post:
        """The post, added in the transaction that ends the attempt; moves the twin's `last_post`."""
        twin = attempt.digital_twin
        post = Post(
            experiment_id=attempt.experiment_id,
            user_profile_id=twin.user_profile_id,
            attempt_id=attempt.id,
            text=draft.text,
            is_stand_in=attempt.is_stand_in,
            created_at=now,
            changed_at=now,
        )
        session.add(PostRevision(post=post, number=1, text=draft.text, created_at=now))
        twin.last_post = now
        return post

    @property
    def name(self) -> str:
        """Where this class lives, stored with each attempt so that replay knows whom to ask."""
        return f"{type(self).__module__}:{type(self).__qualname__}"


def draw_for(
    service: DTService,
    session: Session,
    experiment: Experiment | None,
    intent: Schedule | ScheduleRevision,
    key: str,
) -> list[Pick] | BigDraw:
    """The twins a schedule, or one of its revisions, asks by this key; of more than LARGEST_DRAW, the draw
    that is still to be made. Raises TargetError.

    A service that draws by itself has made its draw. One that knows no targets is not given one where there
    is none.
    """
    target = Target.from_dict(intent.target)
    count = None if intent.asks_all else intent.twins_per_slot
    if count is None or count > LARGEST_DRAW:
        settled = settle(session, experiment, count, key, target)
        draws_itself = type(service).get_random_digital_twins is not DTService.get_random_digital_twins
        if settled.wanted > LARGEST_DRAW and not draws_itself:
            return settled
        count = settled.wanted
    narrowed = {} if target.is_everybody else {"target": target}
    return service.get_random_digital_twins(session, experiment, count, key, **narrowed) if count else []


def load_service(settings: Settings) -> DTService:
    """The service named by PDS_DT_SERVICE. Raises NotConfigured when it cannot be used."""
    module_name, _, class_name = settings.dt_service.partition(":")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NotConfigured(
            f"PDS_DT_SERVICE={settings.dt_service} cannot be loaded ({error}). Write it as module:Class, "
            "with the module on PYTHONPATH."
        ) from None
    if not (isinstance(found, type) and issubclass(found, DTService)):
        raise NotConfigured(f"PDS_DT_SERVICE={settings.dt_service} is not a subclass of DTService.")
    return found()
