"""Kubeapps' rows made of ours, and in what two such rows differ.

Its JSON is described by its own readers: missing keywords and sources are null, missing maintainers [], other missing texts "", a missing
`created` is year 1; README, values and schema stand in `files` alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.conformance.collection import Rows, recorded_url
from tests.conftest import Database

# `deprecated` is no key of Kubeapps': it hides such charts.
CHARTS = """
    select jsonb_build_object(
      'ID', r.name || '/' || replace(c.name, '/', '%%2F'), 'name', replace(c.name, '/', '%%2F'),
      'repo', jsonb_build_object('namespace', r.namespace, 'name', r.name, 'url', r.url, 'type', ''),
      'description', coalesce(c.description, ''), 'home', coalesce(c.home, ''), 'icon', coalesce(c.icon, ''),
      'keywords', newest.metadata -> 'keywords', 'sources', newest.metadata -> 'sources',
      'maintainers', (
        select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
          'name', nullif(person ->> 'name', ''), 'email', nullif(person ->> 'email', ''), 'url', nullif(person ->> 'url', '')))), '[]')
        from jsonb_path_query(newest.metadata, 'lax $.maintainers[*]') person),
      'category', coalesce(newest.metadata #>> '{annotations,category}', ''),
      'raw_icon', translate(encode(i.content, 'base64'), E'\\n', ''), 'icon_content_type', coalesce(i.content_type, ''),
      'chartVersions', (
        select jsonb_agg(jsonb_build_object(
          'version', v.version, 'app_version', coalesce(v.app_version, ''), 'digest', coalesce(v.digest, ''),
          'urls', case when v.urls <> '{}' then to_jsonb(v.urls) end,
          'created', coalesce(
            rtrim(rtrim(to_char(v.created at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z', '0001-01-01T00:00:00Z'),
          'readme', '', 'values', '', 'schema', '', 'additional_values', null) order by v.order_key desc, v.version desc)
        from chartfleet.chart_versions v where v.chart_id = c.id and v.removed_at is null),
      'deprecated', c.deprecated)
    from chartfleet.repositories r
    join chartfleet.charts c on c.repository_id = r.id and c.removed_at is null
    join chartfleet.chart_versions newest on newest.chart_id = c.id and newest.version = c.version
    left join chartfleet.icon_sources s on s.repository_id = r.id and s.url_sha256 = sha256(convert_to(c.icon, 'UTF8'))
    left join chartfleet.icons i on i.sha256 = s.sha256
    where r.name = %s
"""

FILES = """
    select jsonb_build_object(
      'ID', r.name || '/' || replace(c.name, '/', '%%2F') || '-' || v.version,
      'Repo', jsonb_build_object('namespace', r.namespace, 'name', r.name, 'url', r.url, 'type', ''),
      'Digest', coalesce(v.digest, ''),
      'Readme', coalesce(texts ->> 'README.md', ''), 'DefaultValues', coalesce(texts ->> 'values.yaml', ''),
      'Schema', coalesce(texts ->> 'values.schema.json', ''),
      'AdditionalDefaultValues', (
        select coalesce(jsonb_object_agg(replace(name, '.yaml', ''), text), '{}')
        from jsonb_each(texts) as file(name, text) where name like 'values-%%'))
    from chartfleet.repositories r
    join chartfleet.charts c on c.repository_id = r.id and c.removed_at is null
    join chartfleet.chart_versions v on v.chart_id = c.id and v.removed_at is null
    join chartfleet.version_files f on f.version_id = v.id
    cross join lateral (
      select jsonb_object_agg(file.name, convert_from(b.content, 'UTF8')) as texts
      from unnest(f.names, f.contents) as file(name, sha256) join chartfleet.blobs b using (sha256)) as contents
    where r.name = %s
"""


@dataclass(frozen=True)
class Difference:
    """One fact that differs: of a row as a whole, or of its `key`, or of a key of one of its versions. None: there is none on that side."""

    row: str
    key: str
    version: str
    kubeapps: Any
    ours: Any


def our_charts(database: Database, name: str, url: str) -> Rows:
    """Our charts as `charts.info` by its ID. `url` is where the repository was served: Kubeapps' rows have the address of then."""
    return _by_id(database, CHARTS, name, url)


def our_files(database: Database, name: str, url: str) -> Rows:
    """Our files as `files.info` by its ID."""
    return _by_id(database, FILES, name, url)


def _by_id(database: Database, query: str, name: str, url: str) -> Rows:
    rows = database.rows(f"select replace(row::text, %s, %s)::jsonb from ({query}) as rows(row)", url, recorded_url(name), name)
    return {info["ID"]: info for (info,) in rows}  # pyright: ignore[reportIndexIssue]


def differences(kubeapps: Rows, ours: Rows) -> Iterator[Difference]:
    """In what our rows differ from Kubeapps', key by key; keys that only ours have do not count."""
    for row in sorted(kubeapps.keys() | ours.keys()):
        if row not in kubeapps or row not in ours:
            yield Difference(row, "", "", kubeapps.get(row), ours.get(row))
            continue
        yield from _of_keys(row, "", kubeapps[row], ours[row])
        yield from _of_versions(row, kubeapps[row].get("chartVersions", []), ours[row].get("chartVersions", []))


def _of_keys(row: str, version: str, kubeapps: dict[str, Any], ours: dict[str, Any]) -> Iterator[Difference]:
    for key in sorted(kubeapps.keys() - {"chartVersions"}):
        if key not in ours or kubeapps[key] != ours[key]:
            yield Difference(row, key, version, kubeapps[key], ours.get(key))


def _of_versions(row: str, kubeapps: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[Difference]:
    theirs = {entry["version"]: entry for entry in kubeapps}
    own = {entry["version"]: entry for entry in ours}
    for version in sorted(theirs.keys() | own.keys()):
        listed = [entry for entry in kubeapps if entry["version"] == version]
        if not listed or version not in own:
            yield Difference(row, "version", version, theirs.get(version), own.get(version))
        elif len(listed) > 1:
            yield Difference(row, "twice", version, listed, own[version])
        else:
            yield from _of_keys(row, version, theirs[version], own[version])
    common = theirs.keys() & own.keys()
    orders = [list(dict.fromkeys(entry["version"] for entry in side if entry["version"] in common)) for side in (kubeapps, ours)]
    if orders[0] != orders[1]:
        yield Difference(row, "order", "", *orders)


def places(found: Iterable[Difference]) -> str:
    """For a failing test's message."""
    return "\n".join(str(each)[:300] for each in found)
