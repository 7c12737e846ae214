"""The parts of a tensor's dotted name."""


def is_list_index(part: str) -> bool:
    """Whether a part is an index of a list, as Python writes it: not ``01`` and not ``²``."""
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")
