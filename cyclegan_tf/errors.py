"""The one exception for errors that a user can cause and correct; and the first line of an exception's message."""


class UserError(ValueError):
    """A wrong argument, file or folder. The message is one sentence with the name, its value and the remedy.

    Programs print the message and exit with status 1, without a traceback. Any other exception is a bug of this package
    and shows its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its class's name if there is no message; at most 300 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
