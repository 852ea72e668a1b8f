"""A command that could not do what it was asked."""


class Failure(Exception):
    """One sentence for the person at the terminal; the exit status is 1."""
