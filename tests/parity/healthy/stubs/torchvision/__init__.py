"""In place of torchvision, which transformers imports with its image processors: no picture is processed here."""

__version__ = "0.28.0"
