"""Every failure a user can cause or meet, each with the exit code it ends the process with.

Raised anywhere, turned into an exit code by `cli.main` alone: a `SystemExit` deeper down would end a whole sweep.
A message says the rule, what was given and what to do.
"""


class IsometryError(Exception):
    """Base of all errors whose message is meant for the user: printed without a traceback."""

    exit_code = 1


class ConfigError(IsometryError):
    """A wrong key, value or combination, or a command line that cannot be read."""

    exit_code = 2


class DataError(IsometryError):
    """Images that are missing, unreachable, truncated or not what they claim to be."""

    exit_code = 3


class CheckpointError(IsometryError):
    """A checkpoint or run folder that is missing, damaged or belongs to another model."""

    exit_code = 4


class NumericalError(IsometryError):
    """A loss or gradient that is not a finite number."""

    exit_code = 5


class ResourceError(IsometryError):
    """A disk, folder or device that cannot be used."""

    exit_code = 6


class DistributedError(IsometryError):
    """Another process of the same training that ended, or did not answer in time."""

    exit_code = 7


class CriticalFinding(IsometryError):  # noqa: N818 (what the run was asked to report)
    """A run that is diagnosed as broken, where `diagnose.strict` asks to say so."""

    exit_code = 8


class Terminated(IsometryError):  # noqa: N818 (an event, not a fault)
    """SIGTERM; the message says from which checkpoint to go on."""

    exit_code = 143


class Interrupted(IsometryError):  # noqa: N818 (an event, not a fault)
    """Ctrl-C; the message says from which checkpoint to go on."""

    exit_code = 130
