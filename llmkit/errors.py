"""Errors a user can cause or meet: one line that says what and where, one that says how to fix it, and an exit code.

Everything else that escapes is a bug in llmkit and ends with exit code 70.
"""

from __future__ import annotations


class LlmkitError(Exception):
    """A failure with a message for the user.

    message: what happened and where, lower case, one line (further lines only for quoted input).
    hint: how to fix it, or None.
    """

    exit_code = 1
    kind = "failed"
    # Whether another process of the same run tells the user.
    is_told = False

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Both, for who meets it in Python; the command line prints them itself."""
        return f"{self.message}\n  fix: {self.hint}" if self.hint else self.message


class UsageError(LlmkitError):
    """A flag, argument, recipe key or value that cannot be right."""

    exit_code = 2
    kind = "usage"


class RecipeError(UsageError):
    """A recipe that cannot be used as written."""

    kind = "recipe"


class CheckFailed(LlmkitError):
    """A check the user asked for did not pass."""

    exit_code = 3
    kind = "check"


class InputRefused(LlmkitError):
    """Input that is corrupt, unsafe, or does not match."""

    exit_code = 4
    kind = "input"


class Diverged(LlmkitError):
    """Training met a loss or gradient that is not finite."""

    exit_code = 5
    kind = "diverged"


class OutOfMemory(LlmkitError):
    """The host or the device has not enough memory."""

    exit_code = 6
    kind = "memory"


class RunInUse(LlmkitError):
    """Another process works in the run directory."""

    exit_code = 7
    kind = "in_use"


class StorageError(LlmkitError):
    """Reading or writing failed: missing file, full disk, no permission."""

    exit_code = 74
    kind = "io"


class Stopped(LlmkitError):
    """A signal ended the run after its state was saved."""

    exit_code = 75
    kind = "stopped"
