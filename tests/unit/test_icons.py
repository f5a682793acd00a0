"""From an icon's bytes to what is stored: formats, sizes, what is refused; and how a listed icon is understood."""

import io
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from catalog.errors import CatalogError, InvalidRepository, LimitExceeded, SourceMalformed, SourceRefused, SourceUnavailable
from catalog.icons import IconSource
from tests.conftest import SHARED
from worker.icon_work import DAY, WEEK, backoff, conditions, data_of, icon_url
from worker.icons import FORMATS, MOST_PIXELS, png, stored_icon

GOLDEN = SHARED / "data/kubeapps-golden/icons"


def picture(size: tuple[int, int] = (300, 200), mode: str = "RGB", colour: object = "red", kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, colour).save(content, kind, **options)  # pyright: ignore[reportArgumentType]
    return content.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    image.load()
    return image


def header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0), b"IDAT")
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_becomes_a_small_png(name: str) -> None:
    kind, content = stored_icon(picture(kind=name))
    assert kind == b"P"
    image = opened(content)
    assert 128 <= max(image.size) <= 160  # Pillow writes an ICO of 128 × 85
    red, green, blue = image.convert("RGB").getpixel((5, 5))  # pyright: ignore[reportGeneralTypeIssues]
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((320, 320), (160, 160)),
        ((320, 160), (160, 80)),
        ((100, 400), (40, 160)),
        ((1, 5000), (1, 160)),
        ((161, 160), (160, 159)),
        ((160, 160), (160, 160)),
        ((64, 32), (64, 32)),
        ((1, 1), (1, 1)),
    ],
)
def test_an_icon_fits_and_is_never_enlarged(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert opened(png(picture(size))).size == fitted


def test_transparency_stays() -> None:
    assert opened(png(picture(mode="RGBA", colour=(255, 0, 0, 0)))).getpixel((0, 0)) == (0, 0, 0, 0)  # of no colour where nothing is seen
    assert opened(png(picture((9, 9), "P", 0, "GIF", transparency=0))).convert("RGBA").getpixel((0, 0))[3] == 0  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]


@pytest.mark.parametrize(
    ("mode", "colour", "kind"), [("CMYK", (0, 0, 0, 0), "JPEG"), ("L", 255, "PNG"), ("1", 1, "PNG"), ("LA", (255, 255), "PNG")]
)
def test_other_colours_become_red_green_and_blue(mode: str, colour: object, kind: str) -> None:
    assert opened(png(picture((9, 9), mode, colour, kind))).convert("RGB").getpixel((4, 4)) == (255, 255, 255)


def test_grey_of_sixteen_bits_is_scaled() -> None:
    assert opened(png(picture((9, 9), "I;16", 0x8000))).getpixel((4, 4)) == (128, 128, 128)


def test_of_an_animation_the_first_picture_is_kept() -> None:
    content = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("blue", "red")]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    assert opened(png(content.getvalue())).convert("RGB").getpixel((0, 0)) == (0, 0, 255)


def test_nothing_but_the_pixels_is_stored() -> None:
    stored = opened(png(picture(icc_profile=b"profile", dpi=(300, 300), exif=b"Exif\0\0secret")))
    assert stored.info == {}


@pytest.mark.parametrize(("width", "height"), [(4097, 4096), (100_000, 100_000), (2_000_000_000, 1)])
def test_too_many_pixels_are_refused_by_the_header_alone(width: int, height: int) -> None:
    with pytest.raises(LimitExceeded, match="pixels"):
        png(header_only(width, height))


def test_as_many_pixels_as_are_allowed_are_decoded() -> None:
    assert opened(png(picture((4096, MOST_PIXELS // 4096), "1", 1))).size == (160, 160)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither"),
        (b"not an image", "neither"),
        (b"%PDF-1.7", "neither"),
        (b"8BPS\0\1", "neither"),
        (picture()[:100], "cannot be decoded"),
        (header_only(10, 10), "cannot be decoded"),
        (picture(kind="JPEG")[:300], "cannot be decoded"),
    ],
)
def test_what_is_no_whole_image_says_so(data: bytes, said: str) -> None:
    with pytest.raises(SourceMalformed, match=said):
        stored_icon(data)


@given(st.sampled_from([picture(kind=name) for name in FORMATS]), st.integers(0, 400), st.binary(max_size=40))
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_an_image_or_an_error_of_ours(data: bytes, place: int, damage: bytes) -> None:
    with suppress(SourceMalformed, LimitExceeded):
        assert max(opened(png(data[:place] + damage + data[place + len(damage) :])).size) <= 160


def test_an_svg_is_known_by_its_content() -> None:
    for head in (b"", b"\n ", b"\xef\xbb\xbf", b'<?xml version="1.0"?>\n'):
        assert stored_icon(head + b'<svg xmlns="http://www.w3.org/2000/svg"/>')[0] == b"S"


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="Kubeapps' icons are not on this machine")
def test_an_icon_is_the_one_that_kubeapps_stored() -> None:
    source, stored = ((GOLDEN / name).read_bytes() for name in ("icon-source.png", "icon-stored-x509-certificate-exporter.png"))
    ours, theirs = opened(png(source)).convert("RGBA"), opened(stored).convert("RGBA")
    assert ours.size == theirs.size == (160, 160)
    assert max(most for _, most in ImageChops.difference(ours, theirs).getextrema()) <= 2  # pyright: ignore[reportGeneralTypeIssues]
    small = (GOLDEN / "icon-stored-kube-router.png").read_bytes()
    assert opened(png(small)).tobytes() == opened(small).tobytes()


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:image/png;base64,aGVsbG8=", b"hello"),
        ("data:image/png;base64,aGVsbG8", b"hello"),
        ("data:image/png;base64,aGVs\n bG8=", b"hello"),
        ("data:image/png;base64,aGVsbG8%3D", b"hello"),
        ("DATA:image/svg+xml;charset=utf-8;BASE64,aGVsbG8=", b"hello"),
        ("data:image/svg+xml,%3Csvg%3E", b"<svg>"),
        ("data:image/svg+xml;utf8,<svg fill='#fff'>", b"<svg fill='#fff'>"),
        (" data:,a,b", b"a,b"),
    ],
)
def test_a_data_uri_holds_its_icon(uri: str, data: bytes) -> None:
    assert data_of(uri) == data


@pytest.mark.parametrize("uri", ["data:", "data:image/png;base64", "data:image/png;base64,a"])
def test_a_data_uri_without_data_says_so(uri: str) -> None:
    with pytest.raises(SourceMalformed, match="data: URI"):
        data_of(uri)


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("https://other/i.png", "https://other/i.png"),
        (" https://other/i.png\n", "https://other/i.png"),
        ("icons/i.png", "https://charts.example.com/stable/icons/i.png?token=t"),
        ("/i.png", "https://charts.example.com/i.png?token=t"),
        ("HTTP://other/i.png", "HTTP://other/i.png"),
    ],
)
def test_a_listed_icon_is_found_like_an_archive(listed: str, url: str) -> None:
    assert icon_url("https://charts.example.com/stable?token=t", listed) == url


@pytest.mark.parametrize("listed", ["ftp://h/i.png", "oci://h/i", "file:///etc/passwd", "javascript:evil()", "C:/i.png"])
def test_other_schemes_are_refused(listed: str) -> None:
    with pytest.raises(SourceRefused, match="only http:, https: and data:"):
        icon_url("https://charts.example.com/stable", listed)


def test_what_is_no_url_says_so() -> None:
    with pytest.raises(SourceMalformed, match="no URL"):
        icon_url("https://charts.example.com/stable", "http://[::1/i.png")
    with pytest.raises(InvalidRepository):
        icon_url("not-a-url", "i.png")


def source(attempts: int = 0, *, stored: bool = False) -> IconSource:
    return IconSource(b"", "https://h/i.png", stored, '"v1"', "yesterday", attempts)


def test_only_a_stored_icon_is_asked_for_by_its_validators() -> None:
    assert conditions(source(stored=True)) == {"If-None-Match": '"v1"', "If-Modified-Since": "yesterday"}
    assert conditions(source()) == {}


@pytest.mark.parametrize(
    ("failed", "error", "seconds"),
    [
        (source(0), SourceUnavailable("503"), 60),
        (source(3), SourceUnavailable("503"), 480),
        (source(20_000), SourceUnavailable("503"), DAY),
        (source(0), SourceUnavailable("503", 3_600.0), 3_600),
        (source(0), SourceRefused("404"), DAY),
        (source(1), SourceMalformed("broken"), 2 * DAY),
        (source(20_000), SourceRefused("404"), WEEK),
        (source(0, stored=True), SourceUnavailable("503"), WEEK),
    ],
)
def test_a_failed_icon_waits_ever_longer(failed: IconSource, error: CatalogError, seconds: float) -> None:
    assert backoff(failed, error) == seconds
