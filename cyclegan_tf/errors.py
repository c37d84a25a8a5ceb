"""The one exception for what a user can cause and mend."""


class UserError(ValueError):
    """A wrong argument, file or folder. The message is one sentence with the name, its value and the remedy.

    Programs print the message and exit with status 1, without a traceback; everything else is a defect of ours and
    shows its traceback.
    """
