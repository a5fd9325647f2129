"""Picture files, decoded within bounds."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt

from server.engine.failures import BadRequest

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3] uint8, red, green, blue."""

MAX_PIXELS: Final = 50_000_000
"""Width times height of a picture: 150 MB when decoded. The cameras of telephones make up to 48 million."""

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def decode_picture(data: bytes) -> Pixels:
    """The pixels of a picture file, upright, on white where it is transparent; of an animation the first.

    Its size is read before it is decoded. Raises: BadRequest.
    """
    from PIL import Image, ImageOps  # 60 ms that only a worker pays which gets a picture

    Image.MAX_IMAGE_PIXELS = None  # the bound below is checked first
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadRequest(
                    f"the picture has {width} x {height} pixels and at most {MAX_PIXELS:,} are taken; "
                    "send a smaller one"
                )
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            return np.asarray(upright.convert("RGB"))
    except BadRequest:
        raise
    except Exception as error:  # the decoders of the formats raise all kinds of errors for broken files
        reason = "it is no picture that can be read" if isinstance(error, OSError) else "it is broken"
        raise BadRequest(
            f"a picture cannot be decoded: {reason}; the formats are {', '.join(FORMATS)}"
        ) from error
