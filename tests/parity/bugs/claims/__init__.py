"""Bugs in what a port claims besides text-to-image, each with the row that must fail and words that must be in its
note.

``Claim.apply`` changes the released Z-Image port, or mflux's own code that it uses, inside its context. The
expected answers were written before the first run.
"""

from __future__ import annotations

from bugs.claims import image_to_image, lora, quantized, training

RIGHT = lora.RIGHT  # not bugs: the row that is named must pass
CLAIMS = (*lora.CLAIMS, *training.CLAIMS, *image_to_image.CLAIMS, *quantized.CLAIMS)
