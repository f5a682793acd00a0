"""A chart's archive: what is kept, and what it may not do."""

import gzip
import io
import random
import tarfile
import tracemalloc
import zlib
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catalog.errors import CatalogError, LimitExceeded, SourceMalformed
from tests.conftest import SHARED
from tests.fakes.helm_repo import archive
from worker.archive import MOST_FILE, MOST_FILES, file_name, path_of, read_archive
from worker.tgz import MOST_MEMBERS, MOST_RATIO, regular_files

REAL = [SHARED / "data" / "odd-archives", SHARED / "data" / "signed"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/README.md", "README.md"),
        ("a/Readme.MD", "README.md"),
        ("README.md", "README.md"),
        ("./a/values.yaml", "values.yaml"),
        ("a\\values.schema.json", "values.schema.json"),
        ("a/chart.yaml", "Chart.yaml"),
        ("a/values-production.yaml", "values-production.yaml"),
        ("a/Values-Prod-2_x.YAML", "values-Prod-2_x.yaml"),
        ("a/values-.yaml", None),
        ("a/values-p.q.yaml", None),
        ("a/charts/b/README.md", None),
        ("a/../values.yaml", None),
        ("..\\values.yaml", None),
        ("/values.yaml", None),
        ("\\a\\values.yaml", None),
        ("C:\\values.yaml", None),
        ("a/templates/values.yaml", None),
        ("a/values.yaml.bak", None),
        ("", None),
    ],
)
def test_files_are_kept_by_base_name_at_most_one_directory_deep(path: str, name: str | None) -> None:
    assert file_name(path_of(path)) == name


def test_a_charts_files_are_read_and_a_byte_order_mark_goes() -> None:
    files = {
        "README__md": "\ufeff# hi",
        "values__yaml": "x: 1",
        "values-dev__yaml": "x: 2",
        "values__schema__json": "{}",
        "NOTES__txt": "no",
    }
    kept = read_archive(archive("a", **files)).files
    assert dict(kept) == {
        "Chart.yaml": b"apiVersion: v2\nname: a\nversion: 1.0.0\n",
        "README.md": b"# hi",
        "values.yaml": b"x: 1",
        "values-dev.yaml": b"x: 2",
        "values.schema.json": b"{}",
    }


def test_of_two_files_of_one_name_the_last_counts() -> None:
    assert read_archive(archive("a", README__md="first", readme__md="last")).files["README.md"] == b"last"


def test_members_below_templates_are_counted_at_any_depth() -> None:
    files = {"templates/a__yaml": "", "templates/tests/b__yaml": "", "templates__yaml": "", "charts/b/templates/c__yaml": ""}
    assert read_archive(archive("a", **files)).templates == 2


V2 = """apiVersion: v2
dependencies:
- {name: db, version: 1.10, repository: "https://x", condition: db.enabled, alias: d, tags: [x]}
- {name: cache}
- not a dependency
annotations:
  artifacthub.io/images: |
    - {name: one, image: "docker.io/one:1.10"}
    - image: docker.io/two
    - image: docker.io/two
    - image: [odd]
"""


def test_dependencies_and_images_are_those_of_the_chart_as_written() -> None:
    found = read_archive(archive("a", Chart__yaml=V2, requirements__yaml="dependencies: [{name: old}]"))
    full = {"name": "db", "version": "1.10", "repository": "https://x", "condition": "db.enabled", "alias": "d"}
    assert found.dependencies == [full, {"name": "cache"}]
    assert found.images == ["docker.io/one:1.10", "docker.io/two"]
    assert "requirements.yaml" not in found.files


def test_a_chart_of_the_first_version_has_its_dependencies_in_a_file_of_their_own() -> None:
    files = {"Chart__yaml": "apiVersion: v1\nname: a\n", "requirements__yaml": "dependencies: [{name: old}]"}
    assert read_archive(archive("a", **files)).dependencies == [{"name": "old"}]


@pytest.mark.parametrize(
    "text",
    [
        "dependencies: [",
        "dependencies: 7",
        "dependencies: [*x]",
        "- dependencies",
        "dependencies: " + "[" * 50_000,
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{n}: &{n} [{','.join([f'*{o}'] * 10)}]\n" for o, n in pairwise("abcdef"))
        + "dependencies: *f",
        "dependencies: [{name: x}]\n#" + "x" * 300_000,
        "annotations: {artifacthub.io/images: '['}",
        "annotations: {artifacthub.io/images: [image]}",
    ],
    ids=["cut", "number", "no anchor", "list", "deep", "bomb", "long", "bad images", "images that are no text"],
)
def test_a_chart_yaml_that_cannot_be_read_has_no_dependencies_and_keeps_its_files(text: str) -> None:
    found = read_archive(archive("a", Chart__yaml=text, README__md="x"))
    assert (found.dependencies, found.images, found.files["README.md"]) == ([], [], b"x")


def test_a_nul_that_postgresql_cannot_hold_is_dropped() -> None:
    assert read_archive(archive("a", Chart__yaml='dependencies: [{name: "a\\0b"}]')).dependencies == [{"name": "ab"}]


def test_a_gzip_header_with_helms_extra_field_is_understood() -> None:
    plain = gzip.decompress(archive("a", README__md="x"))
    extra = b"\x1f\x8b\x08\x04" + b"\0" * 6 + b"\x04\x00" + b"Helm" + gzip.compress(plain)[10:]
    assert read_archive(extra).files["README.md"] == b"x"


def test_several_gzip_members_are_one_archive_and_what_follows_them_is_passed_over() -> None:
    plain = gzip.decompress(archive("a", README__md="x" * 1000))
    packed = b"".join(gzip.compress(plain[at : at + 700]) for at in range(0, len(plain), 700))
    assert read_archive(packed + b"garbage").files["README.md"] == b"x" * 1000


def packed_tar(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for info in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def member(name: str, type_: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type_, "/etc/passwd" if type_ in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "", size
    return info


@pytest.mark.parametrize("type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_regular_file_is_passed_over(type_: bytes) -> None:
    assert read_archive(packed_tar(member("a/README.md", type_), member("a/values.yaml"), content=b"x")).files == {"values.yaml": b"x"}


def test_a_link_that_claims_a_size_has_no_content_all_the_same() -> None:
    after = gzip.decompress(packed_tar(member("a/values.yaml"), content=b"x"))
    assert read_archive(gzip.compress(member("a/link", tarfile.SYMTYPE, size=512).tobuf() + after)).files == {"values.yaml": b"x"}


def long_name(size: int) -> bytes:
    return member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size).tobuf()


NOISE = random.Random(1).randbytes(2**19).hex()  # 1 MiB that packs to the half
PLAIN = gzip.decompress(archive("a", README__md="x"))


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"", SourceMalformed, "ends early"),
        (b"<html>no chart</html>", SourceMalformed, "not gzip"),
        (PLAIN, SourceMalformed, "not gzip"),
        (gzip.compress(b"no tar"), SourceMalformed, "unpacked byte 0"),
        (gzip.compress(PLAIN[:1024] + b"x" * 512), SourceMalformed, "unpacked byte 1,024: its checksum"),
        (gzip.compress(PLAIN[:520]), SourceMalformed, "within 'a/Chart.yaml'"),
        (archive("a", README__md="x")[:60], SourceMalformed, "ends early"),
        (archive("a", README__md="x")[:-8] + bytes(8), SourceMalformed, "incorrect data check"),
        (gzip.compress(member("a/README.md", b"S").tobuf()), SourceMalformed, "sparse"),
        (gzip.compress(long_name(1) + b"x" + bytes(511)), SourceMalformed, "long name"),
        (gzip.compress(member("a/x", b"x", 8).tobuf() + b"99 path\n" + bytes(504)), SourceMalformed, "pax header"),
        (gzip.compress(member("a/x", b"x", 12).tobuf() + b"12 size=-1z\n" + bytes(500)), SourceMalformed, "no number"),
        (archive("a", README__md="x" * (MOST_FILE + 1)), LimitExceeded, "README.md in the archive"),
        (archive("a", **{f"values-{n}__yaml": NOISE * 4 for n in range(3)}), LimitExceeded, "in all"),
        (archive("a", **{f"values-{n}__yaml": "" for n in range(MOST_FILES)}), LimitExceeded, f"more than {MOST_FILES}"),
        (gzip.compress(member("a/x", size=2**50).tobuf()), LimitExceeded, "claims"),
        (gzip.compress(long_name(65_537)), LimitExceeded, "name"),
        (gzip.compress(member("x").tobuf() * (MOST_MEMBERS + 1)), LimitExceeded, "members"),
        (gzip.compress(b"") * (MOST_MEMBERS + 1), LimitExceeded, "gzip members"),
    ],
    ids=[
        *(
            "empty",
            "html",
            "plain",
            "no tar",
            "header",
            "cut",
            "short",
            "crc",
            "sparse",
            "lone name",
            "pax",
            "size",
            "file",
            "kept",
            "files",
        ),
        *("liar", "long name", "members", "gzip members"),
    ],
)
def test_what_is_no_chart_or_too_large_is_an_error_that_says_where(data: bytes, error: type[CatalogError], said: str) -> None:
    with pytest.raises(error, match=said):
        read_archive(data)


def bomb(size: int) -> bytes:
    """A .tgz with one member of `size` MiB of zeros, quickly made: deflate's output after a full flush may be repeated."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = deflate.compress(member("a/big.bin", size=90 * 2**20).tobuf()) + deflate.flush(zlib.Z_FULL_FLUSH)
    piece = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + head + piece * size


@pytest.mark.parametrize(("size", "limit"), [(2_800, 100 * 2**20), (80, MOST_RATIO * len(bomb(80)))])
def test_an_archive_that_unpacks_without_end_stops_at_the_limit_with_little_memory(size: int, limit: int) -> None:
    data = bomb(size)
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match=f"more than {limit:,}"):
            read_archive(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()


FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120), min_size=1, max_size=3
)
TYPES = st.sampled_from([tarfile.REGTYPE, tarfile.REGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(FORMATS)),
    st.lists(st.tuples(NAMES, TYPES, st.binary(max_size=1500)), max_size=6),
    st.dictionaries(st.sampled_from(["comment", "é", "SCHILY.x"]), st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)),
)
def test_a_tar_reads_as_pythons_own_reader_reads_it(
    format_: str, members: list[tuple[list[str], bytes, bytes]], attributes: dict[str, str]
) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=FORMATS[format_]) as tar:
        for parts, type_, content in members:
            info = member("/".join(parts), type_, len(content) if type_ in (tarfile.REGTYPE, tarfile.CONTTYPE) else 0)
            info.pax_headers = attributes
            try:
                tar.addfile(info, io.BytesIO(content))
            except ValueError:  # a name that the format cannot hold
                assume(False)
    plain.seek(0)
    with tarfile.open(fileobj=plain) as tar:
        expected = [(info.name, file.read()) for info in tar if info.isreg() and (file := tar.extractfile(info))]
    assert [(found.path, found.read()) for found in regular_files(gzip.compress(plain.getvalue(), 1))] == expected


WHOLE = archive("a", README__md="# hi", values__yaml="x: 1\n" * 500, **{"templates/" + "x" * 120: "y"})


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_damaged_archive_gives_the_same_files_or_an_error_of_ours(randomly: random.Random) -> None:
    damaged = bytearray(WHOLE[: randomly.randrange(len(WHOLE))] if randomly.random() < 0.3 else WHOLE)
    if damaged and randomly.random() < 0.8:
        damaged[randomly.randrange(len(damaged))] ^= 1 << randomly.randrange(8)
    try:
        assert read_archive(bytes(damaged)) == read_archive(WHOLE)
    except (SourceMalformed, LimitExceeded):
        assert bytes(damaged) != WHOLE


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_tar_of_whatever_bytes_gives_files_or_an_error_of_ours(randomly: random.Random) -> None:
    damaged = bytearray(gzip.decompress(WHOLE))
    for _ in range(randomly.randrange(1, 20)):
        header = randomly.choice([0, 512 * randomly.randrange(len(damaged) // 512)])
        damaged[header + randomly.randrange(512)] = randomly.choice([0, 0x20, 0x30, 0x37, 0x4C, 0x78, 0x80, 0xFF, randomly.randrange(256)])
        if randomly.random() < 0.7:  # a header that is believed
            block = damaged[header : header + 512]
            damaged[header + 148 : header + 156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    with suppress(SourceMalformed, LimitExceeded):
        read_archive(gzip.compress(bytes(damaged), 1))


MOST = "Chart.yaml README.md values.yaml"
OUTCOMES: dict[str, tuple[str, int, int] | str] = {  # names, members below templates/, dependencies; or what is said
    "apache-7.3.15.tgz": (f"{MOST} values.schema.json", 7, 0),
    "chart-with-compressed-dependencies-2.1.8.tgz": (MOST, 1, 1),
    "chart-with-uncompressed-dependencies-2.1.8.tgz": (MOST, 1, 1),
    "corrupted-compressed-chart.tgz": "ends early: 0 bytes came",
    "empty-0.0.1.tgz": ("", 0, 0),  # a device alone
    "flux-empty.tgz": ("", 0, 0),  # no member at all
    "flux-helmchart-badname-0.1.0.tgz": ("Chart.yaml values.yaml", 7, 0),
    "frobnitz-1.2.3.tgz": (MOST, 1, 2),
    "frobnitz.v1.tgz": (MOST, 1, 2),
    "frobnitz_backslash-1.2.3.tgz": (MOST, 1, 2),
    "frobnitz_with_bom.tgz": (MOST, 1, 2),
    "nginx-5.1.1-apiVersionV1.tgz": (f"{MOST} values.schema.json", 8, 0),
    "nginx-5.1.1-apiVersionV2.tgz": (f"{MOST} values.schema.json", 8, 0),
    "pkg1-1.0.0.tgz": ("Chart.yaml values.yaml", 1, 0),
    "hashtest-1.2.3.tgz": ("Chart.yaml values.yaml", 0, 0),
    "i2i5gcorehelm-1.0.0.tgz": (f"{MOST} values.schema.json", 39, 0),
    "i2i5gcorehelm-1.0.9.tgz": (f"{MOST} values.schema.json", 82, 0),
    "i2i5gcorehelm-1.0.10.tgz": (f"{MOST} values.schema.json", 82, 0),
    "mybadchart-1.0.0.tgz": ("Chart.yaml", 1, 0),
    "signtest-0.1.0.tgz": ("Chart.yaml values.yaml", 1, 0),
    "vault-0.17.0.tgz": (f"{MOST} values.schema.json", 39, 0),
}


@pytest.mark.skipif(not REAL[0].is_dir(), reason="the collection of real odd archives is not beside this checkout")
@pytest.mark.parametrize("name", OUTCOMES)
def test_every_real_archive_has_its_outcome(name: str) -> None:
    data, expected = next(path for directory in REAL if (path := directory / name).is_file()).read_bytes(), OUTCOMES[name]
    if isinstance(expected, str):
        with pytest.raises(SourceMalformed, match=expected):
            read_archive(data)
        return
    found = read_archive(data)
    assert (set(found.files), found.templates, len(found.dependencies)) == (set(expected[0].split()), *expected[1:])
    assert not any(content.startswith(b"\xef\xbb\xbf") for content in found.files.values())


@pytest.mark.skipif(not REAL[0].is_dir(), reason="the collection of real odd archives is not beside this checkout")
def test_no_real_archive_is_left_out() -> None:
    assert {path.name for directory in REAL for path in directory.glob("*.tgz")} == OUTCOMES.keys()
