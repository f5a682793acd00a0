"""An icon's bytes → what is stored of it, in a process of its own that may die.

python -m worker.icons < ICONS > ANSWERS

A picture becomes a PNG that fits into 160×160; an SVG stays one, sanitised. Hostile input meets limits of CPU seconds and address space
besides those on pixels and sizes. On standard input an icon is a length and its bytes; on standard output an answer is a kind, a length and
a payload: the content, or the words of an error.
"""

import io
import os
import resource
import struct
import sys
import time
import warnings

from catalog.errors import CatalogError, LimitExceeded, SourceMalformed
from worker.svg import sanitised

SIDE = 160
MOST_PIXELS = 4096 * 4096
MOST_MEMORY = 512 * 1024 * 1024
MOST_CPU = 10  # seconds an icon
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO")
BOM = b"\xef\xbb\xbf"

# What goes over the pipes
LENGTH, HEADER = struct.Struct(">I"), struct.Struct(">cI")
CONTENT_TYPES = {b"P": "image/png", b"S": "image/svg+xml"}
ERRORS: dict[bytes, type[CatalogError]] = {b"M": SourceMalformed, b"L": LimitExceeded}


def stored_icon(data: bytes) -> tuple[bytes, bytes]:
    """Kind (of CONTENT_TYPES) and content. Raises SourceMalformed or LimitExceeded."""
    if data.removeprefix(BOM).lstrip().startswith(b"<"):
        return b"S", sanitised(data)
    return b"P", png(data)


def png(data: bytes) -> bytes:
    """A picture's pixels as a PNG: of an animation the first, fitted into SIDE × SIDE, never enlarged."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - for the child alone, and not for an SVG

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise LimitExceeded(f"the icon has {picture.width:,} × {picture.height:,} pixels, more than {MOST_PIXELS:,}")
            # Grey of 16 bits would be cut off at 255, not scaled.
            pixels = picture.point(lambda value: value * (1 / 256)) if picture.mode == "I;16" else picture
            small = pixels.convert("RGBA" if pixels.has_transparency_data else "RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        small.info.clear()  # profiles and texts
        small.save(content := io.BytesIO(), "PNG")
        return content.getvalue()
    except UnidentifiedImageError:
        raise SourceMalformed(f"neither an SVG nor an image of the formats {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise LimitExceeded(f"the icon has too many pixels: {error}") from None
    except MemoryError:
        raise LimitExceeded(f"decoding the icon takes more than {MOST_MEMORY // 2**20} MiB of memory") from None
    except CatalogError:
        raise
    except Exception as error:  # whatever the library stumbles over, it is the image
        raise SourceMalformed(f"the image cannot be decoded: {type(error).__name__}: {error}") from None


def answer(data: bytes) -> tuple[bytes, bytes]:
    """Kind and payload: the icon, or what is wrong with it."""
    try:
        return stored_icon(data)
    except (SourceMalformed, LimitExceeded) as error:
        kind = next(kind for kind, each in ERRORS.items() if isinstance(error, each))
        return kind, str(error).encode()


def main() -> None:
    """The process: limits first, then icon after icon until the parent's end of the pipe is closed."""
    warnings.simplefilter("ignore")  # Pillow's remarks on odd files
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while length := sys.stdin.buffer.read(LENGTH.size):
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + MOST_CPU, resource.RLIM_INFINITY))
        kind, payload = answer(sys.stdin.buffer.read(*LENGTH.unpack(length)))
        sys.stdout.buffer.write(HEADER.pack(kind, len(payload)) + payload)
        sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
