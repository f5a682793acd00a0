"""Icons from a listing to the API: fetched once, stored small, refused with a reason, and never seen by who may not."""

import asyncio
import base64
import io
import os
import re
import resource
import signal
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import httpx2
import pytest
from PIL import Image

from api.app import create_app
from api.errors import ErrorBody
from api.settings import Settings
from catalog import icons, tick
from catalog.engine import pooled_engine
from catalog.errors import LimitExceeded, SourceMalformed
from catalog.report import Report
from catalog.search import ChartKey, seeing
from tests.conftest import Database
from tests.fakes.helm_repo import index
from tests.fakes.icon_host import IconHost, serving_icons
from tests.integration.conftest import KEY, Syncer
from tests.integration.rows import Rows
from worker.decoder import Decoder, decoding
from worker.http import Credentials
from worker.icon_work import AT_ONCE, SILENT, fetch_icons
from worker.icons import MOST_CPU, MOST_MEMORY

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>evil()</script><g/></svg>'


def picture(size: tuple[int, int] = (300, 200), colour: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


def listing(**listed: object) -> bytes:
    """An index whose charts name these icons; `_` in a chart's name stands for `-`."""
    return index({chart.replace("_", "-"): [{"version": "1.0.0", "icon": icon}] for chart, icon in listed.items()})


@pytest.fixture
def host() -> Iterator[IconHost]:
    with serving_icons(IconHost()) as served:
        yield served


class Icons:
    """Syncs a listing and fetches its icons, as a sync and a files job would."""

    def __init__(self, syncer: Syncer) -> None:
        self.syncer, self.worker, self.database = syncer, syncer.worker, syncer.database
        self.report = Report()
        self.credentials = Credentials()

    async def fetch(self, listed: bytes | None = None, seconds: float = 60.0) -> int:
        if listed is not None:
            assert (await self.syncer.sync(listed)).state == "done"
        async with self.worker.connection.transaction():
            stored = await tick.find(self.worker.connection, KEY)
        assert stored is not None
        async with self.worker.transaction() as connection:
            await icons.want_icons(connection, stored.id, KEY.namespace)
        async with self.worker.http.remote(self.syncer.job.repository, self.credentials, self.report) as remote:
            return await fetch_icons(self.worker, remote, stored, self.report, monotonic() + seconds)

    def sources(self) -> dict[str, tuple[object, ...]]:
        """By listed address: what is stored (content type, or None), the error's class, and whole hours until it is asked again."""
        rows = self.database.rows("""
            select s.url, i.content_type, s.error_class, round(extract(epoch from s.next_attempt_at - now()) / 3600)::int
            from chartfleet.icon_sources s left join chartfleet.icons i using (sha256)""")
        return {str(url): tuple(rest) for url, *rest in rows}

    def stored(self) -> list[bytes]:
        return [bytes(content) for (content,) in self.database.rows("select content from chartfleet.icons order by sha256")]  # pyright: ignore[reportArgumentType]

    def make_old(self) -> None:
        self.database.rows("update chartfleet.icon_sources set next_attempt_at = now() - interval '1 second'")

    def make_versions_old(self) -> None:
        self.database.rows("update chartfleet.chart_versions set first_seen = now() - interval '2 days'")


@pytest.fixture
def catalogue(syncer: Syncer) -> Icons:
    return Icons(syncer)


async def test_an_icon_that_many_charts_share_is_fetched_once(catalogue: Icons, host: IconHost) -> None:
    host.icons["/i.png"] = picture()
    charts = {f"app_{number}": f"{host.url}/i.png" for number in range(200)}
    assert await catalogue.fetch(listing(**charts)) == 1
    assert [path for path, _ in host.requests] == ["/i.png"]
    [content] = catalogue.stored()
    assert Image.open(io.BytesIO(content)).size == (160, 107)
    assert catalogue.sources() == {f"{host.url}/i.png": ("image/png", None, 168)}
    assert await catalogue.fetch() == 0
    assert len(host.requests) == 1
    assert catalogue.report.requests == 1


async def test_addresses_with_the_same_picture_share_what_is_stored(catalogue: Icons, host: IconHost) -> None:
    host.icons = {"/a.png": picture(), "/b.png": picture()}
    assert await catalogue.fetch(listing(a=f"{host.url}/a.png", b=f"{host.url}/b.png")) == 2
    assert len(catalogue.stored()) == 1


async def test_icons_of_all_kinds_come_or_say_why_not(catalogue: Icons, host: IconHost) -> None:
    host.icons = {
        "/i.png": picture(),
        "/i.svg": SVG,
        "/page": b"<html>sign in</html>",
        "/broken.png": picture()[:60],
        "/b": b"\0" * 5_300_000,
    }
    host.moved = {"/old.png": "/i.png"}
    catalogue.syncer.repo.archives["own.png"] = picture(colour="blue")
    data = "data:image/png;base64," + base64.b64encode(picture((20, 20), "green")).decode()
    assert (
        await catalogue.fetch(
            listing(
                moved=f"{host.url}/old.png",
                svg=f"{host.url}/i.svg",
                data=data,
                own="icons/own.png",
                none="",
                blank="  ",
                page=f"{host.url}/page",
                broken=f"{host.url}/broken.png",
                big=f"{host.url}/b",
                missing=f"{host.url}/missing.png",
                ftp="ftp://h/i.png",
                oci="oci://h/i",
                odd="http://[::1/i.png",
                map={"src": "i.png"},
            )
        )
        == 4
    )
    found = {url.removeprefix(host.url): said for url, said in catalogue.sources().items()}
    assert found == {
        "/old.png": ("image/png", None, 168),
        "/i.svg": ("image/svg+xml", None, 168),
        data: ("image/png", None, None),
        "icons/own.png": ("image/png", None, 168),
        "/page": (None, "SourceMalformed", 24),
        "/broken.png": (None, "SourceMalformed", 24),
        "/b": (None, "LimitExceeded", 24),
        "/missing.png": (None, "SourceRefused", 24),
        "ftp://h/i.png": (None, "SourceRefused", 24),
        "oci://h/i": (None, "SourceRefused", 24),
        "http://[::1/i.png": (None, "SourceMalformed", 24),
        '{"src": "i.png"}': (None, "SourceRefused", 24),
    }
    assert not any(b"script" in content for content in catalogue.stored())
    asked = len(host.requests)
    assert await catalogue.fetch() == 0
    assert len(host.requests) == asked


async def test_credentials_go_with_icons_of_the_repository_alone(catalogue: Icons, host: IconHost) -> None:
    host.icons["/i.png"] = catalogue.syncer.repo.archives["own.png"] = picture()
    catalogue.credentials = Credentials("Bearer secret")
    await catalogue.fetch(listing(own="own.png", other=f"{host.url}/i.png"))
    asked = {path: headers.get("Authorization") for path, headers in (*catalogue.syncer.repo.requests, *host.requests)}
    assert (asked["/own.png"], asked["/i.png"]) == ("Bearer secret", None)


async def test_a_failed_icon_comes_back_and_later_ever_later(catalogue: Icons, host: IconHost) -> None:
    url = f"{host.url}/i.png"
    await catalogue.fetch(listing(app=url))
    assert catalogue.sources() == {url: (None, "SourceRefused", 24)}
    catalogue.make_old()
    await catalogue.fetch()
    assert catalogue.sources() == {url: (None, "SourceRefused", 48)}
    host.icons["/i.png"] = picture()
    catalogue.make_old()
    assert await catalogue.fetch() == 1
    assert catalogue.sources() == {url: ("image/png", None, 168)}


async def test_a_host_that_keeps_failing_is_left_alone(catalogue: Icons, host: IconHost) -> None:
    host.status = 503
    await catalogue.fetch(listing(**{f"app{number}": f"{host.url}/{number}.png" for number in range(60)}))
    assert SILENT <= len(host.requests) <= SILENT + AT_ONCE
    assert {said[1] for said in catalogue.sources().values()} == {"SourceUnavailable"}


async def test_an_old_icon_is_asked_for_by_its_validator_when_its_chart_has_a_new_version(catalogue: Icons, host: IconHost) -> None:
    host.icons["/i.png"] = picture()
    await catalogue.fetch(listing(app=f"{host.url}/i.png"))
    catalogue.make_old()
    catalogue.make_versions_old()
    assert await catalogue.fetch() == 0
    assert len(host.requests) == 1
    await catalogue.fetch(index({"app": [{"version": version, "icon": f"{host.url}/i.png"} for version in ("2.0.0", "1.0.0")]}))
    assert len(host.requests) == 2
    assert "If-None-Match" in host.requests[1][1]
    assert catalogue.sources() == {f"{host.url}/i.png": ("image/png", None, 168)}
    host.icons["/i.png"] = picture(colour="blue")
    catalogue.make_old()
    assert await catalogue.fetch() == 1
    assert catalogue.sources() == {f"{host.url}/i.png": ("image/png", None, 168)}


async def test_an_old_icon_stays_when_its_address_fails(catalogue: Icons, host: IconHost) -> None:
    host.icons["/i.png"] = picture()
    await catalogue.fetch(listing(app=f"{host.url}/i.png"))
    before = catalogue.stored()
    host.icons.clear()
    catalogue.make_old()
    await catalogue.fetch()
    assert catalogue.stored() == before
    assert catalogue.sources() == {f"{host.url}/i.png": ("image/png", "SourceRefused", 168)}


async def test_of_what_no_chart_names_any_more_only_grace_keeps_an_icon(catalogue: Icons, host: IconHost) -> None:
    host.icons["/kept.png"] = picture()
    await catalogue.fetch(listing(a=f"{host.url}/kept.png", b=f"{host.url}/gone.png", c=f"{host.url}/renamed.png"))
    await catalogue.fetch(listing(c=f"{host.url}/new.png"))
    assert {url.removeprefix(host.url) for url in catalogue.sources()} == {"/kept.png", "/new.png"}


async def test_only_the_named_charts_icons_are_wanted(catalogue: Icons) -> None:
    await catalogue.syncer.sync(listing(a="a.png", b="b.png", c="c.png"))
    [(repository,)] = catalogue.database.rows("select id from chartfleet.repositories")
    catalogue.database.rows("delete from chartfleet.icon_sources")
    for charts in (["a", "b"], [], ["b"]):
        async with catalogue.worker.transaction() as connection:
            await icons.want_icons(connection, int(str(repository)), KEY.namespace, charts)
    assert catalogue.sources().keys() == {"a.png", "b.png"}


async def test_nothing_begins_when_the_time_is_over(catalogue: Icons, host: IconHost) -> None:
    assert await catalogue.fetch(listing(app=f"{host.url}/i.png"), seconds=-1.0) == 0
    assert not host.requests


async def test_with_its_repository_an_icon_goes_unless_another_names_it(catalogue: Icons, host: IconHost) -> None:
    host.icons = {"/a.png": picture(), "/b.png": picture(colour="blue")}
    await catalogue.fetch(listing(a=f"{host.url}/a.png", b=f"{host.url}/b.png"))
    rows = Rows(catalogue.database)
    [(shared,)] = catalogue.database.rows("select sha256 from chartfleet.icon_sources where url like '%%a.png'")
    rows.insert("icon_sources", repository_id=rows.repository("other"), namespace="default", url_sha256=b"", url="x", sha256=shared)
    rows.connection.close()
    await catalogue.syncer.delete()
    assert catalogue.database.rows("select sha256 from chartfleet.icons") == [(shared,)]


# The child that decodes -----------------------------------------------------------------------------------------------


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    async with decoding() as decoder:
        yield decoder


async def test_the_child_has_limits_and_nothing_of_ours(decoder: Decoder) -> None:
    await decoder.decode(picture())
    assert decoder._child
    pid = decoder._child.pid
    assert resource.prlimit(pid, resource.RLIMIT_AS)[0] == MOST_MEMORY
    assert 0 < resource.prlimit(pid, resource.RLIMIT_CPU)[0] <= MOST_CPU + 2
    assert Path(f"/proc/{pid}/environ").read_bytes().split(b"=")[0] == b"PYTHONPATH"
    await decoder.decode(SVG)
    assert decoder._child.pid == pid


async def test_an_icon_that_kills_its_child_is_an_error_and_the_next_has_another(decoder: Decoder) -> None:
    await decoder.decode(picture())
    assert decoder._child
    os.kill(decoder._child.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(decoder.decode(picture()))
    await asyncio.sleep(0)
    os.kill(decoder._child.pid, signal.SIGKILL)
    with pytest.raises(LimitExceeded, match="SIGKILL"):
        await waiting
    assert (await decoder.decode(picture())).content_type == "image/png"


async def test_who_stops_waiting_leaves_no_answer_to_the_next(decoder: Decoder) -> None:
    await decoder.decode(picture())
    assert decoder._child
    os.kill(decoder._child.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(decoder.decode(picture()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await decoder.decode(SVG)).content_type == "image/svg+xml"


async def test_a_bomb_inside_an_ico_ends_at_the_childs_memory_or_before(decoder: Decoder) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 13_000  # 676 MB as RGBA, few bytes packed
    packed = zlib.compress(bytes(1 + side * 4) * 2000, 9)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
        + chunk(b"IDAT", packed)
        + chunk(b"IEND", b"")
    )
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(bomb), 22)
    with pytest.raises((LimitExceeded, SourceMalformed)):
        await decoder.decode(struct.pack("<HHH", 0, 1, 1) + entry + bomb)
    assert (await decoder.decode(picture())).content_type == "image/png"


async def test_decoding_ends_with_its_child(decoder: Decoder) -> None:
    await decoder.decode(SVG)
    child = decoder._child
    assert child
    await decoder.close()
    assert child.returncode == -signal.SIGKILL


# The API --------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(Settings(database_url=database.reader))  # pyright: ignore[reportArgumentType]
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://chartfleet") as client:
        yield client


async def test_the_api_serves_what_was_stored_and_how_it_may_be_used(catalogue: Icons, host: IconHost, client: httpx2.AsyncClient) -> None:
    host.icons = {"/i.png": picture(), "/i.svg": SVG}
    await catalogue.fetch(listing(png=f"{host.url}/i.png", svg=f"{host.url}/i.svg"))
    for chart, content_type in (("png", "image/png"), ("svg", "image/svg+xml")):
        response = await client.get(f"/api/v1/charts/default/demo/{chart}/icon")
        assert (response.status_code, response.headers["content-type"]) == (200, content_type)
        assert response.content in catalogue.stored()
        assert response.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "private, max-age=3600"
        again = await client.get(response.request.url, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", response.headers["etag"])


async def test_the_api_says_why_there_is_no_icon(catalogue: Icons, host: IconHost, client: httpx2.AsyncClient) -> None:
    async def said(chart: str) -> tuple[str, str]:
        response = await client.get(f"/api/v1/charts/default/demo/{chart}/icon")
        assert response.status_code == 404
        error = ErrorBody.model_validate_json(response.text, extra="forbid").error
        return error.reason, error.message

    await catalogue.syncer.sync(listing(waits=f"{host.url}/i.png", none=""))
    assert await said("waits") == ("NotFetched", "icon of default/demo/waits is not fetched yet: it waits to be read")
    assert await said("none") == ("NotFound", "no icon of default/demo/none: the chart names none")
    assert (await said("unknown"))[0] == "NotFound"
    await catalogue.fetch()
    assert "the last attempt failed: SourceRefused: " in (await said("waits"))[1]


async def test_the_page_shows_an_icon_that_is_here_and_an_initial_for_one_that_is_not(
    catalogue: Icons, host: IconHost, client: httpx2.AsyncClient
) -> None:
    host.icons["/i.png"] = picture()
    await catalogue.fetch(
        index({"team/app": [{"version": "1", "icon": f"{host.url}/i.png"}], "zebra": [{"version": "1", "icon": "no.png"}]})
    )
    [image] = re.findall(r'<img class="icon" src="([^"]*)"[^>]* loading="lazy">', (page := await client.get("/")).text)
    assert (await client.get(image)).headers["content-type"] == "image/png"
    assert re.findall(r'<span class="avatar[^>]*>(.)</span>', page.text) == ["Z"]


async def test_another_tenants_icon_is_not_reachable(catalogue: Icons, host: IconHost) -> None:
    host.icons["/i.png"] = picture()
    await catalogue.fetch(listing(app=f"{host.url}/i.png"))
    engine = pooled_engine(catalogue.database.reader, "chartfleet_reader", "test")
    key = ChartKey("default", "demo", "app")
    async with seeing(engine, ("default",)) as connection:
        row = await icons.icon_of(connection, key)
        assert row
        assert row["content"] == catalogue.stored()[0]
    async with seeing(engine, ("other",)) as connection:
        assert await icons.icon_of(connection, key) is None
    await engine.dispose()


async def test_a_chart_of_another_tenant_shows_the_shared_icon_only_through_a_source_of_its_own(catalogue: Icons, host: IconHost) -> None:
    host.icons["/i.png"] = picture()
    await catalogue.fetch(listing(app=f"{host.url}/i.png"))
    rows = Rows(catalogue.database)
    rows.chart(rows.repository("mine", "tenant"), "app", namespace="tenant", icon=f"{host.url}/i.png")
    rows.connection.close()
    engine = pooled_engine(catalogue.database.reader, "chartfleet_reader", "test")
    async with seeing(engine, ("tenant",)) as connection:
        row = await icons.icon_of(connection, ChartKey("tenant", "mine", "app"))
    await engine.dispose()
    assert row
    assert (row["named"], row["content"]) == (True, None)
