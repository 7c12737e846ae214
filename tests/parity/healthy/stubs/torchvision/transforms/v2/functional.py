"""Nothing of it is called for a text."""
