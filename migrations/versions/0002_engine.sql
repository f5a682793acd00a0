-- What the complete sync engine keeps. Runs as chartfleet_owner, inside one transaction.

-- The listing -----------------------------------------------------------------------------------------------------------

alter table chartfleet.repositories
  add column applied_filter text not null default '',
  add column applied_files text not null default 'all',
  add column applied_url text,
  add column generated timestamptz,
  add column newest_created timestamptz,
  add column purge_at timestamptz;
comment on column chartfleet.repositories.applied_filter is 'hash of the filter rule that the visible charts passed; empty: none';
comment on column chartfleet.repositories.applied_files is 'whose archives are wanted: all, latest or none';
comment on column chartfleet.repositories.applied_url is 'where the published listing came from; url is what is asked for now';
comment on column chartfleet.repositories.generated is 'of the published listing, with the newest `created` in it: an older pair is a stale copy';
comment on column chartfleet.repositories.purge_at is 'when the first withdrawn version''s days of grace are over';

alter table chartfleet.charts
  add column excluded boolean not null default false,
  add column piece_rollup bytea,
  add column pieces bytea;
alter table chartfleet.charts alter column pieces set storage external;
comment on column chartfleet.charts.removed_at is 'not null: out of sight, because withdrawn or excluded by the filter';
comment on column chartfleet.charts.excluded is 'listed, but the repository''s filter leaves it out; its rows are kept in step, so that another filter needs no download';
comment on column chartfleet.charts.piece_rollup is 'hash over the raw pieces of its entries, when the fast path read them; null: read it fully';
comment on column chartfleet.charts.pieces is 'pairs of 16 bytes each: an entry''s raw hash and its fingerprint';

alter table chartfleet.chart_versions drop column piece_hash;

alter table chartfleet.held_listings
  add column content bytea not null,
  add column versions integer not null;
comment on column chartfleet.held_listings.content is 'hash over the entries'' contents: the same listing may be written down anew';

alter table chartfleet.ledger drop constraint ledger_change_check;
alter table chartfleet.ledger add check (change in
  ('added', 'changed', 'digest-changed', 'host-changed', 'removed', 'reappeared', 'excluded', 'included'));

-- Files: one row a version, contents shared -----------------------------------------------------------------------------

drop table chartfleet.version_files, chartfleet.file_work, chartfleet.blobs cascade; -- with the policy that let readers reach a content

-- One index instead of two: nothing looks for a version by its number alone that would not find it by the pair.
alter table chartfleet.chart_versions drop constraint chart_versions_pkey, drop constraint chart_versions_id_namespace_key,
  add primary key (id, namespace);

create table chartfleet.blobs (
  sha256 bytea primary key,
  size integer not null,
  content bytea not null
);
comment on table chartfleet.blobs is 'file contents, once each, shared between versions and repositories, compressed by PostgreSQL';

create table chartfleet.version_files (
  version_id bigint primary key,
  namespace text not null,
  names text[] not null,
  contents bytea[] not null,
  digest text not null,
  as_listed boolean,
  signed boolean,
  templates integer not null default 0,
  dependencies jsonb not null default '[]',
  images text[] not null default '{}',
  read_at timestamptz not null default now(),
  check (cardinality(names) = cardinality(contents)),
  foreign key (version_id, namespace) references chartfleet.chart_versions (id, namespace) on delete cascade
);
comment on table chartfleet.version_files is 'what a version''s archive holds';
comment on column chartfleet.version_files.contents is 'SHA-256 of each name''s content, in blobs';
comment on column chartfleet.version_files.digest is 'SHA-256 of the archive, hexadecimal';
comment on column chartfleet.version_files.as_listed is 'whether the index lists this digest; null: it lists none';
comment on column chartfleet.version_files.signed is 'whether a .prov stands beside the archive; null: not asked';
comment on column chartfleet.version_files.templates is 'members below templates/';
comment on column chartfleet.version_files.images is 'of the annotation artifacthub.io/images';

create table chartfleet.file_work (
  version_id bigint primary key,
  namespace text not null,
  repository_id integer not null references chartfleet.repositories on delete cascade,
  newest boolean not null,
  attempts smallint not null default 0,
  next_attempt_at timestamptz not null default now(),
  error_class text,
  error text,
  foreign key (version_id, namespace) references chartfleet.chart_versions (id, namespace) on delete cascade
);
create index file_work_due on chartfleet.file_work (repository_id, next_attempt_at);
comment on table chartfleet.file_work is 'archives that are to be read, each by its own clock, not by the index''s; a row goes when its archive was read';
comment on column chartfleet.file_work.newest is 'of its chart when it was listed: these are read first';

insert into chartfleet.file_work (version_id, namespace, repository_id, newest)
select v.id, v.namespace, c.repository_id, v.version = c.version
from chartfleet.charts c join chartfleet.chart_versions v on v.chart_id = c.id
where c.removed_at is null and v.removed_at is null and v.urls <> '{}';

-- Icons: one source a repository and URL --------------------------------------------------------------------------------

drop policy reader on chartfleet.icons;
drop table chartfleet.icon_sources;
create table chartfleet.icon_sources (
  repository_id integer not null,
  namespace text not null,
  url_sha256 bytea not null,
  url text not null,
  sha256 bytea references chartfleet.icons,
  etag text,
  last_modified text,
  attempts smallint not null default 0,
  next_attempt_at timestamptz default now(),
  error_class text,
  error text,
  primary key (repository_id, url_sha256),
  foreign key (repository_id, namespace) references chartfleet.repositories (id, namespace) on delete cascade
);
create index icon_sources_sha256 on chartfleet.icon_sources (sha256);
create index icon_sources_due on chartfleet.icon_sources (repository_id, next_attempt_at);
comment on column chartfleet.icon_sources.url_sha256 is 'of the url''s UTF-8, because a data: URI may be longer than an index can hold';
comment on column chartfleet.icon_sources.next_attempt_at is 'null: settled, nothing to ask again';

-- Politeness, shared by the fleet ---------------------------------------------------------------------------------------

create table chartfleet.hosts (
  host text primary key,
  not_before timestamptz not null default now(),
  reason text,
  failures smallint not null default 0,
  rate real,
  tokens real not null default 0,
  refilled_at timestamptz not null default now()
);
comment on table chartfleet.hosts is 'only hosts that asked for patience or fail: everything else is asked without a look here';
comment on column chartfleet.hosts.host is 'host:port';
comment on column chartfleet.hosts.not_before is 'no job of the fleet asks this host for anything before';
comment on column chartfleet.hosts.rate is 'requests a second for the whole fleet, from what the host said; null: no limit known';

create table chartfleet.housekeeping (
  task text primary key,
  wanted boolean not null default false,
  done_at timestamptz not null default '-infinity'
);
comment on table chartfleet.housekeeping is 'chores that whoever comes by does, at most once an hour';
insert into chartfleet.housekeeping (task) values ('contents');

-- Who may do what -------------------------------------------------------------------------------------------------------

grant select, insert, update, delete on chartfleet.blobs, chartfleet.version_files, chartfleet.file_work, chartfleet.icon_sources,
  chartfleet.hosts, chartfleet.housekeeping to chartfleet_writer;
grant select on chartfleet.version_files, chartfleet.file_work, chartfleet.icon_sources to chartfleet_reader;

do $$
declare
  visible constant text := '(select chartfleet.sees_all()) or namespace = any ((select chartfleet.namespaces())::text[])';
  t text;
begin
  foreach t in array array['version_files', 'file_work', 'blobs', 'icon_sources', 'hosts', 'housekeeping'] loop
    execute format('alter table chartfleet.%I enable row level security', t);
    execute format('create policy writer on chartfleet.%I to chartfleet_writer using (true) with check (true)', t);
    if t in ('version_files', 'file_work', 'icon_sources') then
      execute format('create policy reader on chartfleet.%I for select to chartfleet_reader using (%s)', t, visible);
    end if;
  end loop;
end $$;
create policy reader on chartfleet.icons for select to chartfleet_reader
  using (exists (select from chartfleet.icon_sources s where s.sha256 = icons.sha256));

-- Contents are shared, so a tenant reaches one only through a version that it sees.
create function chartfleet.version_file(of_version bigint, of_name text) returns table (sha256 bytea, content bytea)
  language sql stable security definer set search_path = pg_catalog, pg_temp
  as $$
    select b.sha256, b.content
    from chartfleet.version_files f join chartfleet.blobs b on b.sha256 = f.contents[array_position(f.names, of_name)]
    where f.version_id = of_version
      and ((select chartfleet.sees_all()) or f.namespace = any ((select chartfleet.namespaces())::text[]))
  $$;
comment on function chartfleet.version_file(bigint, text) is 'a file of a visible version';

create function chartfleet.release_held(of_namespace text, of_name text) returns timestamptz
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $$
    declare
      released timestamptz;
    begin
      if not (chartfleet.sees_all() or coalesce(of_namespace = any (chartfleet.namespaces()), false)) then
        return null;
      end if;
      update chartfleet.held_listings h set released_at = clock_timestamp()
      from chartfleet.repositories r
      where r.id = h.repository_id and r.namespace = of_namespace and r.name = of_name
      returning h.released_at into released;
      if released is not null then
        perform chartfleet.request_sync(of_namespace, of_name);
      end if;
      return released;
    end
  $$;
comment on function chartfleet.release_held(text, text) is 'lets the next sync apply the removals of a held listing; null when nothing visible is held';

revoke execute on function chartfleet.version_file(bigint, text), chartfleet.release_held(text, text) from public;
grant execute on function chartfleet.version_file(bigint, text), chartfleet.release_held(text, text) to chartfleet_reader, chartfleet_writer;
