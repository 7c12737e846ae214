"""Every rule there is. Importing it fills ``RULES`` with those of ``--merge`` and ``--run`` as well."""

from mflux_port.checks import RULES, executing, merge  # noqa: F401

__all__ = ["RULES"]
