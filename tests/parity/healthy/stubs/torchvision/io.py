from enum import Enum


class ImageReadMode(Enum):
    RGB = "RGB"
