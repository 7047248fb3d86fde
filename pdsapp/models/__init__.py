"""SQLAlchemy rows and constraints, nothing else."""

from .accounts import ADMINISTRATOR, Account, AuditEvent, Membership, Role, SignInLink, account_role
from .attempts import BY_ID, IS_DUE, IS_RUNNING, Attempt, AttemptContext, LostLease, ModelCall
from .base import Base, Json, UtcDateTime, utc_now
from .bulk import BulkImport, ImportState
from .experiments import Experiment, Installation, PostingPolicyVersion, PromptVersion
from .personas import Persona, PersonaVersion
from .posts import Post, PostRevision
from .processes import Heartbeat, ProcessKind
from .protocol import ProtocolChange
from .schedules import Cadence, Downtime, MissedPolicy, OverlapPolicy, Schedule, ScheduleRevision, Slot
from .tokens import ApiToken
from .twins import DigitalTwin, TwinTag, UserProfile

__all__ = [
    "ADMINISTRATOR",
    "BY_ID",
    "IS_DUE",
    "IS_RUNNING",
    "Account",
    "ApiToken",
    "Attempt",
    "AttemptContext",
    "AuditEvent",
    "Base",
    "BulkImport",
    "Cadence",
    "DigitalTwin",
    "Downtime",
    "Experiment",
    "Heartbeat",
    "ImportState",
    "Installation",
    "Json",
    "LostLease",
    "Membership",
    "MissedPolicy",
    "ModelCall",
    "OverlapPolicy",
    "Persona",
    "PersonaVersion",
    "Post",
    "PostRevision",
    "PostingPolicyVersion",
    "ProcessKind",
    "PromptVersion",
    "ProtocolChange",
    "Role",
    "Schedule",
    "ScheduleRevision",
    "SignInLink",
    "Slot",
    "TwinTag",
    "UserProfile",
    "UtcDateTime",
    "account_role",
    "utc_now",
]
