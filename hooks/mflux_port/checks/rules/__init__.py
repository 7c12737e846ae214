"""The integration checklist: one module per table of the guide, one function per row."""
