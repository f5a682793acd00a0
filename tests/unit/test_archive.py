"""A chart's archive: what is kept, and what it may not do."""

import gzip
import io
import tarfile

import pytest

from catalog.errors import CatalogError, LimitExceeded, SourceMalformed, SourceRefused, SourceUnavailable
from tests.conftest import SHARED
from tests.fakes.helm_repo import archive
from worker.archive import MOST_FILE, file_name, read_chart_files
from worker.files import backoff, mismatch

ODD = SHARED / "data" / "odd-archives"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/README.md", "README.md"),
        ("a/Readme.md", "README.md"),
        ("README.md", "README.md"),
        ("./a/values.yaml", "values.yaml"),
        ("a\\values.schema.json", "values.schema.json"),
        ("a/charts/b/README.md", None),
        ("a/../values.yaml", None),
        ("a/templates/x.yaml", None),
        ("a/values.yaml.bak", None),
    ],
)
def test_files_are_kept_by_base_name_at_most_one_directory_deep(path: str, name: str | None) -> None:
    assert file_name(path) == name


def test_a_charts_three_files_are_read_and_a_byte_order_mark_goes() -> None:
    data = archive("a", README__md="\ufeff# hi", values__yaml="x: 1", values__schema__json="{}", NOTES__txt="no")
    assert read_chart_files(data) == {"README.md": b"# hi", "values.yaml": b"x: 1", "values.schema.json": b"{}"}


def test_a_gzip_header_with_helms_extra_field_is_understood() -> None:
    plain = gzip.decompress(archive("a", README__md="x"))
    extra = b"\x1f\x8b\x08\x04" + b"\0" * 6 + b"\x04\x00" + b"Helm" + gzip.compress(plain)[10:]
    assert read_chart_files(extra) == {"README.md": b"x"}


def bomb(size: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("a/big.bin")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    return packed.getvalue()


def liar() -> bytes:
    """One header that claims a petabyte."""
    info = tarfile.TarInfo("a/x")
    info.size = 2**50
    return gzip.compress(info.tobuf())


def longnames() -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    return gzip.compress((header.tobuf() + b"x" + bytes(511)) * 1500)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", SourceMalformed),
        (b"<html>", SourceMalformed),
        (gzip.compress(b"no tar"), SourceMalformed),
        (archive("a", README__md="x")[:60], SourceMalformed),
        (bomb(101 * 1024 * 1024), LimitExceeded),
        (archive("a", README__md="x" * (MOST_FILE + 1)), LimitExceeded),
        (liar(), LimitExceeded),
        (longnames(), SourceMalformed),
    ],
    ids=["empty", "html", "no tar", "cut", "bomb", "large file", "liar", "longnames"],
)
def test_what_is_no_chart_or_too_large_is_an_error(data: bytes, error: type[CatalogError]) -> None:
    with pytest.raises(error):
        read_chart_files(data)


def test_a_link_is_not_followed() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("a/README.md")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    assert read_chart_files(packed.getvalue()) == {}


@pytest.mark.skipif(not ODD.is_dir(), reason="the collection of real odd archives is not beside this checkout")
@pytest.mark.parametrize("name", sorted(path.name for path in ODD.iterdir()) if ODD.is_dir() else [])
def test_a_real_odd_archive_is_read_or_refused_and_nothing_else(name: str) -> None:
    try:
        files = read_chart_files((ODD / name).read_bytes())
    except SourceMalformed:
        files = {}
    assert set(files) <= {"README.md", "values.yaml", "values.schema.json"}
    assert bool(files) == (name not in {"corrupted-compressed-chart.tgz", "flux-empty.tgz", "empty-0.0.1.tgz"})


@pytest.mark.parametrize(
    ("attempts", "error", "low", "high"),
    [
        (0, SourceUnavailable("x"), 48, 72),
        (3, SourceUnavailable("x"), 384, 576),
        (40, SourceUnavailable("x"), 69_120, 103_680),
        (0, SourceUnavailable("x", retry_after=7200.0), 7200, 7200),
        (0, SourceRefused("x"), 69_120, 103_680),
    ],
)
def test_the_wait_doubles_up_to_a_day_and_obeys_the_remote(attempts: int, error: CatalogError, low: float, high: float) -> None:
    assert low <= backoff(attempts, error, 0.0) <= backoff(attempts, error, 1.0) <= high + 1


@pytest.mark.parametrize(
    ("listed", "differs"), [("ab", False), ("sha256:ab", False), ("AB", False), (None, False), ("", False), ("cd", True)]
)
def test_digests_are_compared_with_and_without_their_prefix(listed: str | None, differs: bool) -> None:
    assert bool(mismatch(listed, "ab")) is differs
