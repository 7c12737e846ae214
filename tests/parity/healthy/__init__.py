"""mflux's own ports as healthy ports: every stage passes in every setting, or its true difference is listed.

``python -m tests.parity.healthy`` runs all families in all settings and prints a table; ``--help`` says more.
"""
