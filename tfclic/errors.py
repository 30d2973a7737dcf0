"""Errors a user can act on: one sentence each, and the exit status a program ends with."""


class TfclicError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_status = 1


class UsageError(TfclicError):
    """The command line asks for something that cannot be done as written."""

    exit_status = 2


class ImageError(TfclicError):
    """An image cannot be read, or is of a kind that is not supported."""

    exit_status = 3


class FileFormatError(TfclicError):
    """A `.tfclic` file is damaged, foreign, or of a newer format."""

    exit_status = 4


class ModelError(TfclicError):
    """A model is missing, or is not the one that a file needs."""

    exit_status = 5


class InexactError(ModelError):
    """A layer that is to compute in integers has no form that does."""
