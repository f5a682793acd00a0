"""Content-Encodings undone in bounded memory, and a body that ends early is no whole one."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.decoding import PIECE, Broken, Zstd, decoder

zstd = pytest.importorskip("backports.zstd", reason="Python 3.14 and newer have it as compression.zstd")
COMPRESS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "zstd": zstd.compress, "identity": bytes, "": bytes}


def decoded(encoding: str, body: bytes, step: int = 65_536) -> list[bytes]:
    undo = decoder(encoding)
    pieces = [piece for start in range(0, len(body), step) for piece in undo.feed(body[start : start + step])]
    undo.check_end()
    return pieces


@given(st.sampled_from(list(COMPRESS)), st.lists(st.binary(max_size=2_000), max_size=3), st.integers(1, 500))
def test_a_body_comes_back_however_it_is_cut(encoding: str, parts: list[bytes], step: int) -> None:
    body = b"".join(COMPRESS[encoding](part) for part in parts)
    assert b"".join(decoded(encoding, body, step)) == b"".join(parts)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_small_body_comes_back_in_bounded_pieces_however_much_it_is(encoding: str) -> None:
    pieces = decoded(encoding, COMPRESS[encoding](b"x" * 50_000_000))
    assert (sum(map(len, pieces)), max(map(len, pieces)) <= PIECE) == (50_000_000, True)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [-1, -5, 7])
def test_a_body_that_ends_early_is_broken(encoding: str, cut: int) -> None:
    with pytest.raises(Broken):
        decoded(encoding, COMPRESS[encoding](bytes(range(256)) * 40)[:cut])


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_what_is_no_such_encoding_is_broken(encoding: str) -> None:
    with pytest.raises(Broken):
        decoded(encoding, b"this is not compressed at all")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd, gzip"])
def test_what_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(Broken, match="not asked for"):
        decoder(encoding)


def test_a_window_larger_than_http_allows_is_refused() -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(Broken, match="memory"):
        list(Zstd().feed(compressor.compress(b"x" * 1_000_000) + compressor.flush()))
