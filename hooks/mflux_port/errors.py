"""The one error that reaches a person."""


class PortError(Exception):
    """Wrong input. The message is one line: what is wrong, where, and what to do. ``mflux-port`` exits with 2."""
