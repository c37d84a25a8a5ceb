"""The one exception for what a user can cause and mend, and what it says of the error behind it."""


class UserError(ValueError):
    """A wrong argument, file or folder. The message is one sentence with the name, its value and the remedy.

    Programs print the message and exit with status 1, without a traceback; everything else is a defect of ours and
    shows its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class where it has none; at most 300 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
