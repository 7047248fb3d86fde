"""What of a decision depends on the attempt beside the rule: the length somebody asked for."""

from ..domain.length import LengthTarget, draw_length
from ..domain.policy import PostingPolicy
from ..dt_service import DTService
from ..models import Attempt


def length_of(attempt: Attempt, service: DTService, policy: PostingPolicy, key: str) -> LengthTarget:
    """The band and target: the service's, but within the band that was asked for, if the policy has it.

    Pure, so that replay gives the same again.
    """
    if attempt.asked_band and any(band.name == attempt.asked_band for band in policy.bands):
        return draw_length(policy, key, attempt.asked_band)
    return service.determine_post_length(policy, key)
