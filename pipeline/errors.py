"""The errors of the pipeline, one tree.

    GreedyLRPipelineError                 retryable
    ├── SourceUnreadableError             no    a store of the user cannot be read; the others go on
    ├── WarehouseMissingError             no    asked to read a warehouse that nothing has written yet
    ├── WarehouseUnreadableError          no    what lies at the path is no warehouse of ours
    ├── WarehouseInaccessibleError        no    the system does not let us open or write it
    ├── WarehouseTooNewError              no    a later release has written it
    ├── WarehouseLockedError              yes   another process or thread holds it
    ├── CommandFailedError                no    a user's training command cannot be used as it is
    ├── CommandStoreError                 yes   the store that commands log to refused, or did not answer
    ├── RegistryError                     no    the registry refused what we asked for
    └── RegistryUnreachableError          yes   the registry did not answer

Wrong arguments are plain `ValueError`; a path that names no warehouse is a wrong argument too, so its two errors are
both. `retryable` says whether the same call may succeed later with nothing
changed by the user; the flow asks it before it retries.
"""

from typing import ClassVar


class GreedyLRPipelineError(Exception):
    """Anything of the pipeline that a caller may want to catch."""

    retryable: ClassVar[bool] = False


class SourceUnreadableError(GreedyLRPipelineError):
    """A store cannot be read. The message is the reason alone: the report prints it beside the address.

    Parameters
    ----------
    message
        The reason.
    stands
        Whether there is a store all the same, which lets nobody in without a password, is locked, or is busy.
    """

    def __init__(self, message: str, *, stands: bool = False) -> None:
        super().__init__(message)
        self.stands = stands


class WarehouseMissingError(GreedyLRPipelineError, ValueError):
    """There is no warehouse at the path yet."""


class WarehouseUnreadableError(GreedyLRPipelineError, ValueError):
    """What lies at the path is not a warehouse that this project has written."""


class WarehouseInaccessibleError(GreedyLRPipelineError):
    """The system does not let us open or write the warehouse: permissions, no such folder, a full disk."""


class WarehouseTooNewError(GreedyLRPipelineError):
    """A later release has written the warehouse."""


class WarehouseLockedError(GreedyLRPipelineError):
    """Another process or thread holds the warehouse; the message names it."""

    retryable: ClassVar[bool] = True


class CommandFailedError(GreedyLRPipelineError):
    """A user's training command cannot be used as it is; the message says what to change."""


class CommandStoreError(GreedyLRPipelineError):
    """The MLflow store that commands log to refused what we asked for, or did not answer."""

    retryable: ClassVar[bool] = True


class RegistryError(GreedyLRPipelineError):
    """The registry refused what we asked for."""


class RegistryUnreachableError(GreedyLRPipelineError):
    """The registry did not answer."""

    retryable: ClassVar[bool] = True
