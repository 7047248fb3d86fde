"""What a study is run by, and what counts as changing it while it runs."""

from enum import StrEnum

MOST_REASON = 500
NO_REASON = "no reason was given"  # by a command, or for an import of posts, which need none


class ProtocolPart(StrEnum):
    """Closed set: the part of an experiment that was changed."""

    policy = "policy"
    prompt = "prompt"
    persona = "persona"
    model = "model"
    schedule = "schedule"
    posts = "posts"
    life = "life"


PART_LABELS = {
    ProtocolPart.policy: "posting policy",
    ProtocolPart.prompt: "prompt",
    ProtocolPart.persona: "persona",
    ProtocolPart.model: "model",
    ProtocolPart.schedule: "schedule",
    ProtocolPart.posts: "posts",
    ProtocolPart.life: "start and end",
}
