"""What is asked of those who give out permits to call, and what they answer."""

from dataclasses import dataclass

from ..domain.call_limits import CallLimits


@dataclass(frozen=True)
class Asked:
    """One call somebody wants to make. `subject` names the token in Redis, `name` in sentences.

    `estimate`: its tokens, roughly. `group`: whose attempts share their places among those that wait.
    `goes_first`: somebody stands there and waits for it.
    """

    subject: str
    limits: CallLimits
    name: str | None
    estimate: int
    group: str
    goes_first: bool = False


@dataclass(frozen=True)
class Answer:
    """What came of asking: a permit, a wait in place, or (`is_refused`) a time to come back at."""

    is_granted: bool
    seconds: float = 0.0
    is_refused: bool = False
    why: str = ""
    bucket: int = 0
