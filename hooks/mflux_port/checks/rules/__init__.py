"""The integration checklist: one module per group of ids (see ``engine/registry.py``), one function per row."""
