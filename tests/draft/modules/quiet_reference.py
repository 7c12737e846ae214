"""Run inside an environment with diffusers: build a reference that warns, and print only its tree's size."""

import sys

from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.draft.tree.from_reference import reference_tree

checkpoint = open_checkpoint(sys.argv[1])
print(sum(1 for component in checkpoint.components.values() for _ in reference_tree(component).walk()))
