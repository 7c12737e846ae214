"""The ``mflux-port`` command, and ``python -m mflux_port``."""

from mflux_port.process import begin, leave

begin()

from mflux_port.cli import main  # noqa: E402


def run() -> None:
    """Run the command and end the process."""
    leave(main())


if __name__ == "__main__":
    run()
