"""The one exception that a reader of the screen is meant to see."""


class KvtuiError(Exception):
    """Bad input or an impossible request; the message is one line and says what to do."""
