"""The error with which the console refuses a request."""


class RefusedError(Exception):
    """A request that is not let through.

    Args:
        status: The HTTP status.
        message: Why, for a person.
        hint: What to do next.
    """

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
