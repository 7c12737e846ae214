"""mflux_port: what runs in an mflux checkout around the Copier template."""

__version__ = "0.2.0"
