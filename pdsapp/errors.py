"""The one family of errors. Each says when it is raised; doors (web, CLI) map them once."""


class PdsError(Exception):
    """Anything this product raises on purpose. Its text is a sentence a person can act on."""


class BadInput(PdsError):
    """What somebody typed cannot be used; nothing was changed.

    `field` names the form field or CSV column, where there is one.
    """

    def __init__(self, message: str, field: str | None = None):
        super().__init__(message)
        self.field = field


class ReadOnly(BadInput):
    """An experiment that has ended or is archived is only read; nothing of it was changed."""


class NotFound(PdsError):
    """An id, name or identifier that names nothing, or nothing the asker may see."""


class RowUnreadable(PdsError):
    """A row holds what no door of this product writes: somebody has edited it in the database."""


class NobodyEligible(PdsError):
    """An experiment (or all of them) has no active twin that may be asked now."""


class AddressRefused(PdsError):
    """The endpoint guard does not allow a connection to this address."""


class SecretUnreadable(PdsError):
    """A stored secret cannot be decrypted, or was stored for another base URL."""


class LeaseLost(PdsError):
    """A worker tried to write to an attempt whose lease has passed to somebody else."""


class Stopped(PdsError):
    """Somebody stopped an attempt while it ran: the model is not asked again and nothing is published."""


class NotNow(PdsError):
    """An attempt has to wait: its endpoint rests, or what its token may do is used up. No strike, no failure.

    `seconds`: how long it is given back for; the text says why.
    """

    def __init__(self, message: str, seconds: float):
        super().__init__(message)
        self.seconds = seconds


class NotConfigured(PdsError):
    """A setting the process cannot do without is missing; the text names it."""


class DatabaseNotReady(PdsError):
    """The database is missing, unreachable or on another schema revision than the code."""


class QueueDown(PdsError):
    """Redis or Valkey does not answer. What is in SQL stays; wake-ups follow later."""


class DiskLow(PdsError):
    """Less room than PDS_MIN_FREE is left where the data dir is, so nothing is claimed or paid for."""


class CopyFailed(PdsError):
    """A backup, a restore or a move could not be made or checked; nothing half done carries its name."""


class StackError(PdsError):
    """The local stack cannot start: taken port, unwritable folder, second stack."""
