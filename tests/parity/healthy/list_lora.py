"""Print the keys that the family's own LoRA mapping lists.

Copied into a family's folder: runs where mflux is installed.
"""

from __future__ import annotations

from ports import Mapping


def main() -> None:
    for target in Mapping.get_mapping():
        for name, patterns in vars(target).items():
            if name.startswith("possible_"):
                print("\n".join(patterns))


main()
