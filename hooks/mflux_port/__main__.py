"""``python -m mflux_port`` is the same as the ``mflux-port`` command."""

import sys

from mflux_port.cli import main

sys.exit(main())
