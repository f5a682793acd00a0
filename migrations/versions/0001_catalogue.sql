-- The catalogue as it begins. Runs as chartfleet_owner, inside one transaction.

create function chartfleet.namespaces() returns text[]
  language sql stable parallel safe
  as $$ select string_to_array(current_setting('chartfleet.namespaces', true), ',') $$;
comment on function chartfleet.namespaces() is
  'The namespaces this session may see, from the setting chartfleet.namespaces (comma separated); {*} is all, null is none.';

create function chartfleet.sees_all() returns boolean
  language sql stable parallel safe
  as $$ select coalesce('*' = any (chartfleet.namespaces()), false) $$;

create function chartfleet.chart_words(name text, keywords text[], description text) returns tsvector
  language sql immutable parallel safe
  as $$
    select setweight(to_tsvector('simple', left(name, 1000) || ' ' || regexp_replace(left(name, 1000), '[^[:alnum:]]+', ' ', 'g')), 'A')
        || setweight(to_tsvector('simple', left(array_to_string(keywords, ' '), 4000)), 'B')
        || setweight(to_tsvector('simple', left(coalesce(description, ''), 4000)), 'C')
  $$;

create table chartfleet.repositories (
  id integer generated always as identity primary key,
  namespace text not null check (namespace <> '' and namespace !~ '[,*]'),
  name text not null check (name <> ''),
  type text not null,
  url text not null,
  source text,
  incarnation text,
  applied_fingerprint text,
  etag text,
  last_modified text,
  body_sha256 bytea,
  charts integer not null default 0,
  versions integer not null default 0,
  created_at timestamptz not null default now(),
  unique (namespace, name),
  unique (id, namespace)
);
comment on column chartfleet.repositories.source is 'who asks for this repository, such as directory:/path; null: a sync started by hand';
comment on column chartfleet.repositories.incarnation is 'tells a re-created resource from a deleted one of the same name';
comment on column chartfleet.repositories.applied_fingerprint is 'fingerprint of the specification that the published listing was read with';
comment on column chartfleet.repositories.etag is 'validators and hash of the published listing, written only by the commit that published it';

create table chartfleet.fences (
  namespace text not null,
  name text not null,
  incarnation text not null default '',
  fenced_at timestamptz not null default now(),
  primary key (namespace, name, incarnation)
);
comment on table chartfleet.fences is 'deleted incarnations: a late job of one of them may not write';

create table chartfleet.schedules (
  repository_id integer primary key,
  namespace text not null,
  argv text[] not null,
  fingerprint text not null,
  period_seconds integer check (period_seconds > 0),
  cron text,
  next_due_at timestamptz,
  requested_at timestamptz,
  problem_reason text,
  problem text,
  check ((period_seconds is null) <> (cron is null)),
  foreign key (repository_id, namespace) references chartfleet.repositories (id, namespace) on delete cascade
);
create index schedules_due on chartfleet.schedules (next_due_at);
create index schedules_requested on chartfleet.schedules (requested_at) where requested_at is not null;
comment on column chartfleet.schedules.requested_at is 'a sync asked for by a person or a changed specification, not yet claimed';
comment on column chartfleet.schedules.next_due_at is 'null while suspended';

create table chartfleet.sync_runs (
  id bigint generated always as identity primary key,
  repository_id integer references chartfleet.repositories on delete cascade,
  namespace text not null,
  name text not null,
  job text not null check (job in ('sync', 'files', 'delete')),
  cause text not null check (cause in ('schedule', 'request', 'command', 'leftover', 'deletion')),
  argv text[] not null,
  tick timestamptz,
  state text not null check (state in ('queued', 'sent', 'running', 'done', 'failed', 'parked')),
  attempt smallint not null default 0,
  queued_at timestamptz not null default now(),
  sent_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  worker text,
  phase text,
  result text check (result in ('changed', 'unchanged')),
  error_class text,
  error text,
  transient boolean,
  charts integer,
  versions integer,
  added integer,
  changed integer,
  removed integer,
  notes_total integer,
  notes jsonb,
  requests integer,
  bytes bigint,
  phases jsonb,
  unique (repository_id, job, tick)
);
create index sync_runs_history on chartfleet.sync_runs (repository_id, job, id desc);
create index sync_runs_unfinished on chartfleet.sync_runs (id) where state in ('queued', 'sent', 'running');
comment on column chartfleet.sync_runs.tick is 'the due time this run answers; unique, so that a tick runs once';
comment on column chartfleet.sync_runs.repository_id is 'null for a deletion, whose run outlives the repository';
comment on column chartfleet.sync_runs.phases is 'milliseconds by phase, such as {"fetch": 12, "read": 240}';

create table chartfleet.charts (
  id bigint generated always as identity primary key,
  repository_id integer not null,
  namespace text not null,
  name text not null,
  rollup bytea not null,
  version text not null,
  app_version text,
  description text,
  icon text,
  home text,
  keywords text[] not null default '{}',
  deprecated boolean not null default false,
  created timestamptz,
  versions integer not null,
  removed_at timestamptz,
  words tsvector not null generated always as (chartfleet.chart_words(name, keywords, description)) stored,
  unique (repository_id, name),
  unique (id, namespace),
  foreign key (repository_id, namespace) references chartfleet.repositories (id, namespace) on delete cascade
);
create index charts_words on chartfleet.charts using gin (words) where removed_at is null;
create index charts_by_name on chartfleet.charts (name, namespace, id) where removed_at is null;
comment on column chartfleet.charts.rollup is 'hash over the fingerprints of all listed versions: equal means nothing below changed';
comment on column chartfleet.charts.version is 'the newest version in Helm''s order; the columns after it are that version''s';

create table chartfleet.chart_versions (
  id bigint generated always as identity primary key,
  chart_id bigint not null,
  namespace text not null,
  version text not null,
  order_key bytea not null,
  fingerprint bytea not null,
  piece_hash bytea,
  app_version text,
  digest text,
  created timestamptz,
  deprecated boolean not null default false,
  urls text[] not null default '{}',
  metadata jsonb not null,
  first_seen timestamptz not null default now(),
  removed_at timestamptz,
  unique (chart_id, version),
  unique (id, namespace),
  foreign key (chart_id, namespace) references chartfleet.charts (id, namespace) on delete cascade
);
create index chart_versions_newest_first on chartfleet.chart_versions (chart_id, order_key desc, version desc) where removed_at is null;
comment on column chartfleet.chart_versions.order_key is 'bytes whose order is Helm''s version order; equal keys are broken by the version''s text';
comment on column chartfleet.chart_versions.fingerprint is 'hash of the entry''s canonical content without created';
comment on column chartfleet.chart_versions.piece_hash is 'hash of the entry''s raw bytes, when the listing was read by the fast path';
comment on column chartfleet.chart_versions.metadata is 'the entry as listed, without the columns of this table';

create table chartfleet.blobs (
  sha256 bytea primary key,
  size integer not null,
  encoding text not null default 'identity' check (encoding in ('identity', 'zstd')),
  content bytea not null
);
comment on table chartfleet.blobs is 'file contents, once each, shared between versions and repositories';

create table chartfleet.version_files (
  version_id bigint not null,
  namespace text not null,
  name text not null,
  sha256 bytea not null references chartfleet.blobs,
  primary key (version_id, name),
  foreign key (version_id, namespace) references chartfleet.chart_versions (id, namespace) on delete cascade
);
create index version_files_sha256 on chartfleet.version_files (sha256);

create table chartfleet.file_work (
  version_id bigint primary key,
  namespace text not null,
  repository_id integer not null references chartfleet.repositories on delete cascade,
  state text not null default 'pending' check (state in ('pending', 'done')),
  digest text,
  digest_found text,
  attempts smallint not null default 0,
  next_attempt_at timestamptz not null default now(),
  error_class text,
  error text,
  foreign key (version_id, namespace) references chartfleet.chart_versions (id, namespace) on delete cascade
);
create index file_work_due on chartfleet.file_work (repository_id, next_attempt_at) where state = 'pending';
comment on table chartfleet.file_work is 'one row for each archive that is to be read, or was: retried by its own clock, not by the index''s';
comment on column chartfleet.file_work.digest_found is 'the archive''s own digest where it differs from the listed one';

create table chartfleet.icons (
  sha256 bytea primary key,
  content_type text not null,
  content bytea not null
);

create table chartfleet.icon_sources (
  repository_id integer not null,
  namespace text not null,
  url text not null,
  sha256 bytea references chartfleet.icons,
  etag text,
  last_modified text,
  attempts smallint not null default 0,
  next_attempt_at timestamptz not null default now(),
  error_class text,
  error text,
  primary key (repository_id, url),
  foreign key (repository_id, namespace) references chartfleet.repositories (id, namespace) on delete cascade
);
create index icon_sources_sha256 on chartfleet.icon_sources (sha256);

create table chartfleet.held_listings (
  repository_id integer primary key,
  namespace text not null,
  etag text,
  last_modified text,
  body_sha256 bytea not null,
  reason text not null,
  removals integer not null,
  reads integer not null default 1,
  first_read_at timestamptz not null default now(),
  last_read_at timestamptz not null default now(),
  released_at timestamptz,
  foreign key (repository_id, namespace) references chartfleet.repositories (id, namespace) on delete cascade
);
comment on table chartfleet.held_listings is 'a listing whose removals look like an accident: not applied until it repeats or a person releases it';

create table chartfleet.ledger (
  seq bigint generated always as identity primary key,
  at timestamptz not null default now(),
  run_id bigint not null,
  namespace text not null,
  repository text not null,
  chart text not null,
  version text not null,
  change text not null check (change in ('added', 'changed', 'removed', 'reappeared')),
  replaced jsonb
);
create index ledger_chart on chartfleet.ledger (namespace, repository, chart, seq);
comment on table chartfleet.ledger is 'append-only; numbers are taken at the end of the publishing transaction under a lock, so their order is commit order';

create table chartfleet.source_problems (
  source text not null,
  file text not null,
  line integer not null,
  namespace text,
  name text,
  message text not null,
  primary key (source, file, line)
);
comment on table chartfleet.source_problems is 'documents of a manifest source that cannot be used, as of its last scan';

-- Who may do what -----------------------------------------------------------------------------------------------------

grant usage on schema chartfleet to chartfleet_writer, chartfleet_reader, chartfleet_search;
grant select, insert, update, delete on all tables in schema chartfleet to chartfleet_writer;
revoke update, delete on chartfleet.ledger from chartfleet_writer;
grant select on all tables in schema chartfleet to chartfleet_reader;
revoke select on chartfleet.schedules, chartfleet.sync_runs, chartfleet.fences from chartfleet_reader;
grant select (repository_id, namespace, period_seconds, cron, next_due_at, requested_at, problem_reason, problem)
  on chartfleet.schedules to chartfleet_reader;
grant select (id, repository_id, namespace, name, job, cause, tick, state, attempt, queued_at, sent_at, started_at, finished_at, worker, phase,
              result, error_class, error, transient, charts, versions, added, changed, removed, notes_total, notes, requests, bytes, phases)
  on chartfleet.sync_runs to chartfleet_reader;
grant select on chartfleet.charts to chartfleet_search;

do $$
declare
  visible constant text := '(select chartfleet.sees_all()) or namespace = any ((select chartfleet.namespaces())::text[])';
  t text;
begin
  foreach t in array array['repositories', 'fences', 'schedules', 'sync_runs', 'charts', 'chart_versions', 'version_files', 'file_work',
                           'icon_sources', 'held_listings', 'ledger', 'source_problems', 'blobs', 'icons'] loop
    execute format('alter table chartfleet.%I enable row level security', t);
    execute format('create policy writer on chartfleet.%I to chartfleet_writer using (true) with check (true)', t);
    if t not in ('blobs', 'icons') then
      execute format('create policy reader on chartfleet.%I for select to chartfleet_reader using (%s)', t, visible);
    end if;
  end loop;
end $$;
-- Shared contents are visible through a visible row that names them.
create policy reader on chartfleet.blobs for select to chartfleet_reader
  using (exists (select from chartfleet.version_files f where f.sha256 = blobs.sha256));
create policy reader on chartfleet.icons for select to chartfleet_reader
  using (exists (select from chartfleet.icon_sources s where s.sha256 = icons.sha256));
create policy search on chartfleet.charts for select to chartfleet_search using (true);

-- @@ is not leakproof, so below row-level security PostgreSQL would leave the GIN index aside: this function runs as a
-- role that sees all and holds the namespace predicate itself.
create function chartfleet.matching_charts(query text) returns table (chart_id bigint, rank integer)
  language sql stable security definer set search_path = pg_catalog, pg_temp
  as $$
    select c.id, (ts_rank(c.words, q) * 1000000)::integer
    from chartfleet.charts c, to_tsquery('simple', query) q
    where c.words @@ q and c.removed_at is null
      and ((select chartfleet.sees_all()) or c.namespace = any ((select chartfleet.namespaces())::text[]))
  $$;
comment on function chartfleet.matching_charts(text) is 'visible charts whose words match a tsquery text, with a rank';

create function chartfleet.request_sync(of_namespace text, of_name text) returns timestamptz
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $$
    declare
      asked timestamptz;
    begin
      if not (chartfleet.sees_all() or coalesce(of_namespace = any (chartfleet.namespaces()), false)) then
        return null;
      end if;
      update chartfleet.schedules s set requested_at = clock_timestamp()
      from chartfleet.repositories r
      where r.id = s.repository_id and r.namespace = of_namespace and r.name = of_name and s.next_due_at is not null
      returning s.requested_at into asked;
      if asked is not null then
        perform pg_notify('chartfleet_work', '');
      end if;
      return asked;
    end
  $$;
comment on function chartfleet.request_sync(text, text) is 'asks for a sync now; null when there is no such visible repository, or it is suspended or refused';

revoke execute on function chartfleet.request_sync(text, text), chartfleet.matching_charts(text) from public;
grant execute on function chartfleet.request_sync(text, text), chartfleet.matching_charts(text) to chartfleet_reader, chartfleet_writer;
grant create on schema chartfleet to chartfleet_search;
alter function chartfleet.matching_charts(text) owner to chartfleet_search;
revoke create on schema chartfleet from chartfleet_search;
