"""SQLAlchemy rows and constraints, nothing else."""

from .accounts import ADMINISTRATOR, Account, AuditEvent, Membership, Role, SignInLink, account_role
from .attempts import BY_ID, IS_DUE, IS_RUNNING, Attempt, AttemptContext, LostLease, ModelCall
from .attention import ModelSeen, SettledLine
from .base import Base, Json, UtcDateTime, utc_now
from .breakers import EndpointBreaker
from .bulk import BulkImport, ImportState
from .experiments import Experiment, Installation, PostingPolicyVersion, PromptVersion
from .notices import Notice, NoticeLine, NoticeMark
from .personas import Persona, PersonaVersion
from .posts import IS_IN_FEED, Post, PostRevision
from .processes import Heartbeat, ProcessKind
from .protocol import ProtocolChange
from .schedules import Cadence, Downtime, MissedPolicy, OverlapPolicy, Schedule, ScheduleRevision, Slot
from .tallies import (
    TALLIES,
    AuthorTally,
    CallTally,
    LengthTally,
    OutcomeTally,
    PostTally,
    ProbabilityTally,
    RollupMark,
)
from .tokens import ApiToken
from .twins import DigitalTwin, TwinTag, UserProfile
from .withdrawals import Withdrawal

__all__ = [
    "ADMINISTRATOR",
    "BY_ID",
    "IS_DUE",
    "IS_IN_FEED",
    "IS_RUNNING",
    "TALLIES",
    "Account",
    "ApiToken",
    "Attempt",
    "AttemptContext",
    "AuditEvent",
    "AuthorTally",
    "Base",
    "BulkImport",
    "Cadence",
    "CallTally",
    "DigitalTwin",
    "Downtime",
    "EndpointBreaker",
    "Experiment",
    "Heartbeat",
    "ImportState",
    "Installation",
    "Json",
    "LengthTally",
    "LostLease",
    "Membership",
    "MissedPolicy",
    "ModelCall",
    "ModelSeen",
    "Notice",
    "NoticeLine",
    "NoticeMark",
    "OutcomeTally",
    "OverlapPolicy",
    "Persona",
    "PersonaVersion",
    "Post",
    "PostRevision",
    "PostTally",
    "PostingPolicyVersion",
    "ProbabilityTally",
    "ProcessKind",
    "PromptVersion",
    "ProtocolChange",
    "Role",
    "RollupMark",
    "Schedule",
    "ScheduleRevision",
    "SettledLine",
    "SignInLink",
    "Slot",
    "TwinTag",
    "UserProfile",
    "UtcDateTime",
    "Withdrawal",
    "account_role",
    "utc_now",
]
