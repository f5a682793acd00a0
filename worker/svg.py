"""An SVG as it may be served: written anew from what is known to be harmless. Pure.

What stays is drawing: elements and attributes of the lists below, addresses that are a #fragment or a raster data: URI, and CSS without
escapes, imports or functions that load. A document with declarations of its own (entities) is refused, as are levels and sizes
beyond reason; scripts, handlers, foreign elements, animations and everything unknown are left out silently.
"""

import re
from collections.abc import Mapping
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from catalog.errors import LimitExceeded, SourceMalformed

MOST_LEVELS = 100
MOST_SVG = 1024 * 1024  # bytes of the result
SVG, XLINK, XML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/XML/1998/namespace"

ELEMENTS = frozenset(
    """
    svg g defs symbol use switch a title desc style image
    path rect circle ellipse line polyline polygon text tspan textPath
    linearGradient radialGradient stop pattern clipPath mask marker
    filter feBlend feColorMatrix feComponentTransfer feComposite feConvolveMatrix feDiffuseLighting feDisplacementMap feDistantLight
    feDropShadow feFlood feFuncA feFuncB feFuncG feFuncR feGaussianBlur feMerge feMergeNode feMorphology feOffset fePointLight
    feSpecularLighting feSpotLight feTile feTurbulence
    """.split()  # noqa: SIM905 - read as lines, not as one string a word
)
WITH_TEXT = ("title", "desc", "text", "tspan", "textPath")
ATTRIBUTES = frozenset(
    """
    id class style type media version viewBox preserveAspectRatio width height x y dx dy x1 y1 x2 y2 cx cy r rx ry fx fy fr d points
    transform rotate pathLength offset href requiredExtensions requiredFeatures systemLanguage
    gradientUnits gradientTransform spreadMethod patternUnits patternContentUnits patternTransform
    clipPathUnits maskUnits maskContentUnits markerUnits markerWidth markerHeight refX refY orient
    textLength lengthAdjust startOffset method spacing
    filterUnits primitiveUnits in in2 result mode values operator k1 k2 k3 k4 order kernelMatrix divisor bias targetX targetY edgeMode
    kernelUnitLength preserveAlpha surfaceScale diffuseConstant specularConstant specularExponent limitingConeAngle scale
    xChannelSelector yChannelSelector azimuth elevation pointsAtX pointsAtY pointsAtZ z stdDeviation radius baseFrequency numOctaves
    seed stitchTiles amplitude exponent intercept slope tableValues
    alignment-baseline baseline-shift clip clip-path clip-rule color color-interpolation color-interpolation-filters direction display
    dominant-baseline enable-background fill fill-opacity fill-rule filter flood-color flood-opacity font-family font-size
    font-size-adjust font-stretch font-style font-variant font-weight image-rendering isolation letter-spacing lighting-color
    marker-end marker-mid marker-start mask mask-type mix-blend-mode opacity overflow paint-order shape-rendering stop-color
    stop-opacity stroke stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity
    stroke-width text-anchor text-decoration text-rendering transform-origin unicode-bidi vector-effect visibility word-spacing
    writing-mode
    """.split()  # noqa: SIM905 - read as lines, not as one string a word
)
FUNCTIONS = frozenset(
    """
    rgb rgba hsl hsla matrix translate translatex translatey scale scalex scaley rotate skewx skewy calc var min max
    blur brightness contrast drop-shadow grayscale hue-rotate invert opacity saturate sepia
    """.split()  # noqa: SIM905 - read as lines, not as one string a word
)
_RASTER = re.compile(r"data:image/(png|jpeg|gif|webp)[;,]", re.IGNORECASE)
_INNER_URL = re.compile(r"url\(\s*([\"']?)#[^\"'()\s]*\1\s*\)", re.IGNORECASE)
_FUNCTION = re.compile(r"(?<![\w-])([\w-]*)\(")
_ESCAPE_OR_RULE = re.compile(r"\\|@(?!media\b)", re.IGNORECASE)


def sanitised(data: bytes) -> bytes:
    """The drawing in an SVG, in UTF-8. Raises SourceMalformed or LimitExceeded."""
    drawing = Drawing()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse_declarations
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = drawing.start, drawing.end, drawing.text
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise SourceMalformed(f"the SVG is not well-formed: {error}") from None
    return drawing.content()


def refuse_declarations(_name: str, _system: str | None, _public: str | None, has_internal_subset: bool) -> None:
    """A DOCTYPE is passed over, what it points to is never read; one with declarations could define entities."""
    if has_internal_subset:
        raise SourceMalformed("the SVG declares a document type of its own (entities), which is not read")


def is_safe(value: str) -> bool:
    """Whether an attribute's value or a style sheet loads nothing: CSS, of which only known functions and url(#…) pass."""
    if _ESCAPE_OR_RULE.search(value):
        return False
    return all(name.lower() in FUNCTIONS for name in _FUNCTION.findall(_INNER_URL.sub(" ", value)) if name)


def is_inner(address: str) -> bool:
    """Whether an address stays inside: #fragment, or a raster image as data."""
    return address.startswith("#") or bool(_RASTER.match(address))


def attribute_name(name: str) -> str | None:
    """An allowed attribute as it is written, from expat's `namespace name`; None for the others."""
    namespace, _, local = name.rpartition(" ")
    if not namespace:
        return local if local in ATTRIBUTES else None
    return {(XLINK, "href"): "xlink:href", (XML, "space"): "xml:space"}.get((namespace, local))


class Drawing:
    """What a parser sees of an SVG, written down as far as it is allowed."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._size = 0
        self._open: list[tuple[str, str | None]] = []  # the elements that are kept, each with its id
        self._left_out = 0  # levels below an element that is not kept
        self._style = ""  # of a style sheet that is open: it may come in pieces
        self._uses: set[str] = set()  # what is drawn by reference
        self._users: set[str] = set()  # what holds such a reference

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        drawn = namespace in ("", SVG) and local in ELEMENTS
        if not self._open and not (drawn and local == "svg"):
            raise SourceMalformed(f"neither an image nor an SVG: its first element is {local[:40]!r}")
        if self._left_out or not drawn or self._inside("style"):
            self._left_out += 1
            return
        kept = kept_attributes(attributes)
        self._enter(local, kept)
        self._write(f"<{local}{''.join(f' {key}={quoteattr(value)}' for key, value in kept.items())}>")

    def end(self, name: str) -> None:
        if self._left_out:
            self._left_out -= 1
            return
        if self._style and is_safe(self._style):
            self._write(escape(self._style))
        self._style = ""
        self._open.pop()
        self._write(f"</{name.rpartition(' ')[2]}>")

    def text(self, text: str) -> None:
        if self._left_out:
            return
        if self._inside("style"):
            self._style += text
        elif self._inside(*WITH_TEXT):
            self._write(escape(text))

    def content(self) -> bytes:
        # A reference to what itself refers on multiplies: ten levels of ten would draw for ever.
        if self._uses & self._users:
            raise LimitExceeded("the SVG draws by reference what draws by reference again")
        return "".join(self._written).encode()

    def _inside(self, *names: str) -> bool:
        return bool(self._open) and self._open[-1][0] in names

    def _enter(self, local: str, kept: dict[str, str]) -> None:
        if not self._open:
            kept |= {"xmlns": SVG, "xmlns:xlink": XLINK}
        if len(self._open) >= MOST_LEVELS:
            raise LimitExceeded(f"the SVG is nested more than {MOST_LEVELS} levels deep")
        self._open.append((local, kept.get("id")))
        if local == "use":
            self._uses |= {kept[key].removeprefix("#") for key in ("href", "xlink:href") if key in kept}
            self._users |= {each for _, each in self._open if each}

    def _write(self, piece: str) -> None:
        self._size += len(piece.encode())
        if self._size > MOST_SVG:
            raise LimitExceeded(f"the SVG is larger than {MOST_SVG:,} bytes")
        self._written.append(piece)


def kept_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """The allowed attributes whose values are harmless."""
    named = {attribute_name(name): value for name, value in attributes.items()}
    return {name: value for name, value in named.items() if name and (is_inner(value) if name.endswith("href") else is_safe(value))}
