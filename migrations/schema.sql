-- The schema as it stands, to be read: written by `make schema`, made by the migrations.
-- Everything belongs to chartfleet_owner unless it says otherwise.

CREATE SCHEMA chartfleet;

CREATE FUNCTION chartfleet.chart_words(name text, keywords text[], description text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    select setweight(to_tsvector('simple', left(name, 1000) || ' ' || regexp_replace(left(name, 1000), '[^[:alnum:]]+', ' ', 'g')), 'A')
        || setweight(to_tsvector('simple', left(array_to_string(keywords, ' '), 4000)), 'B')
        || setweight(to_tsvector('simple', left(coalesce(description, ''), 4000)), 'C')
  $$;

CREATE FUNCTION chartfleet.matching_charts(query text) RETURNS TABLE(chart_id bigint, rank integer)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select c.id, (ts_rank(c.words, q) * 1000000)::integer
    from chartfleet.charts c, to_tsquery('simple', query) q
    where c.words @@ q and c.removed_at is null
      and ((select chartfleet.sees_all()) or c.namespace = any ((select chartfleet.namespaces())::text[]))
  $$;

ALTER FUNCTION chartfleet.matching_charts(query text) OWNER TO chartfleet_search;

COMMENT ON FUNCTION chartfleet.matching_charts(query text) IS 'visible charts whose words match a tsquery text, with a rank';

CREATE FUNCTION chartfleet.namespaces() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ select string_to_array(current_setting('chartfleet.namespaces', true), ',') $$;

COMMENT ON FUNCTION chartfleet.namespaces() IS 'The namespaces this session may see, from the setting chartfleet.namespaces (comma separated); {*} is all, null is none.';

CREATE FUNCTION chartfleet.release_held(of_namespace text, of_name text) RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

COMMENT ON FUNCTION chartfleet.release_held(of_namespace text, of_name text) IS 'lets the next sync apply the removals of a held listing; null when nothing visible is held';

CREATE FUNCTION chartfleet.request_sync(of_namespace text, of_name text) RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

COMMENT ON FUNCTION chartfleet.request_sync(of_namespace text, of_name text) IS 'asks for a sync now; null when there is no such visible repository, or it is suspended or refused';

CREATE FUNCTION chartfleet.sees_all() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ select coalesce('*' = any (chartfleet.namespaces()), false) $$;

CREATE FUNCTION chartfleet.version_file(of_version bigint, of_name text) RETURNS TABLE(sha256 bytea, content bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select b.sha256, b.content
    from chartfleet.version_files f join chartfleet.blobs b on b.sha256 = f.contents[array_position(f.names, of_name)]
    where f.version_id = of_version
      and ((select chartfleet.sees_all()) or f.namespace = any ((select chartfleet.namespaces())::text[]))
  $$;

COMMENT ON FUNCTION chartfleet.version_file(of_version bigint, of_name text) IS 'a file of a visible version';

CREATE TABLE chartfleet.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE chartfleet.blobs (
    sha256 bytea NOT NULL,
    size integer NOT NULL,
    content bytea NOT NULL
);

COMMENT ON TABLE chartfleet.blobs IS 'file contents, once each, shared between versions and repositories, compressed by PostgreSQL';

CREATE TABLE chartfleet.chart_versions (
    id bigint NOT NULL,
    chart_id bigint NOT NULL,
    namespace text NOT NULL,
    version text NOT NULL,
    order_key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    app_version text,
    digest text,
    created timestamp with time zone,
    deprecated boolean DEFAULT false NOT NULL,
    urls text[] DEFAULT '{}'::text[] NOT NULL,
    metadata jsonb NOT NULL,
    first_seen timestamp with time zone DEFAULT now() NOT NULL,
    removed_at timestamp with time zone
);

COMMENT ON COLUMN chartfleet.chart_versions.order_key IS 'bytes whose order is Helm''s version order; equal keys are broken by the version''s text';

COMMENT ON COLUMN chartfleet.chart_versions.fingerprint IS 'hash of the entry''s canonical content without created';

COMMENT ON COLUMN chartfleet.chart_versions.metadata IS 'the entry as listed, without the columns of this table';

ALTER TABLE chartfleet.chart_versions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME chartfleet.chart_versions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE chartfleet.charts (
    id bigint NOT NULL,
    repository_id integer NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    rollup bytea NOT NULL,
    version text NOT NULL,
    app_version text,
    description text,
    icon text,
    home text,
    keywords text[] DEFAULT '{}'::text[] NOT NULL,
    deprecated boolean DEFAULT false NOT NULL,
    created timestamp with time zone,
    versions integer NOT NULL,
    removed_at timestamp with time zone,
    words tsvector GENERATED ALWAYS AS (chartfleet.chart_words(name, keywords, description)) STORED NOT NULL,
    excluded boolean DEFAULT false NOT NULL,
    piece_rollup bytea,
    pieces bytea
);
ALTER TABLE ONLY chartfleet.charts ALTER COLUMN pieces SET STORAGE EXTERNAL;

COMMENT ON COLUMN chartfleet.charts.rollup IS 'hash over the fingerprints of all listed versions: equal means nothing below changed';

COMMENT ON COLUMN chartfleet.charts.version IS 'the newest version in Helm''s order; the columns after it are that version''s';

COMMENT ON COLUMN chartfleet.charts.removed_at IS 'not null: out of sight, because withdrawn or excluded by the filter';

COMMENT ON COLUMN chartfleet.charts.excluded IS 'listed, but the repository''s filter leaves it out; its rows are kept in step, so that another filter needs no download';

COMMENT ON COLUMN chartfleet.charts.piece_rollup IS 'hash over the raw pieces of its entries, when the fast path read them; null: read it fully';

COMMENT ON COLUMN chartfleet.charts.pieces IS 'pairs of 16 bytes each: an entry''s raw hash and its fingerprint';

ALTER TABLE chartfleet.charts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME chartfleet.charts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE chartfleet.fences (
    namespace text NOT NULL,
    name text NOT NULL,
    incarnation text DEFAULT ''::text NOT NULL,
    fenced_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE chartfleet.fences IS 'deleted incarnations: a late job of one of them may not write';

CREATE TABLE chartfleet.file_work (
    version_id bigint NOT NULL,
    namespace text NOT NULL,
    repository_id integer NOT NULL,
    newest boolean NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now() NOT NULL,
    error_class text,
    error text
);

COMMENT ON TABLE chartfleet.file_work IS 'archives that are to be read, each by its own clock, not by the index''s; a row goes when its archive was read';

COMMENT ON COLUMN chartfleet.file_work.newest IS 'of its chart when it was listed: these are read first';

CREATE TABLE chartfleet.held_listings (
    repository_id integer NOT NULL,
    namespace text NOT NULL,
    etag text,
    last_modified text,
    body_sha256 bytea NOT NULL,
    reason text NOT NULL,
    removals integer NOT NULL,
    reads integer DEFAULT 1 NOT NULL,
    first_read_at timestamp with time zone DEFAULT now() NOT NULL,
    last_read_at timestamp with time zone DEFAULT now() NOT NULL,
    released_at timestamp with time zone,
    content bytea NOT NULL,
    versions integer NOT NULL
);

COMMENT ON TABLE chartfleet.held_listings IS 'a listing whose removals look like an accident: not applied until it repeats or a person releases it';

COMMENT ON COLUMN chartfleet.held_listings.content IS 'hash over the entries'' contents: the same listing may be written down anew';

CREATE TABLE chartfleet.hosts (
    host text NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL,
    reason text,
    failures smallint DEFAULT 0 NOT NULL,
    rate real,
    tokens real DEFAULT 0 NOT NULL,
    refilled_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE chartfleet.hosts IS 'only hosts that asked for patience or fail: everything else is asked without a look here';

COMMENT ON COLUMN chartfleet.hosts.host IS 'host:port';

COMMENT ON COLUMN chartfleet.hosts.not_before IS 'no job of the fleet asks this host for anything before';

COMMENT ON COLUMN chartfleet.hosts.rate IS 'requests a second for the whole fleet, from what the host said; null: no limit known';

CREATE TABLE chartfleet.housekeeping (
    task text NOT NULL,
    wanted boolean DEFAULT false NOT NULL,
    done_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
);

COMMENT ON TABLE chartfleet.housekeeping IS 'chores that whoever comes by does, at most once an hour';

CREATE TABLE chartfleet.icon_sources (
    repository_id integer NOT NULL,
    namespace text NOT NULL,
    url_sha256 bytea NOT NULL,
    url text NOT NULL,
    sha256 bytea,
    etag text,
    last_modified text,
    attempts smallint DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now(),
    error_class text,
    error text
);

COMMENT ON COLUMN chartfleet.icon_sources.url_sha256 IS 'of the url''s UTF-8, because a data: URI may be longer than an index can hold';

COMMENT ON COLUMN chartfleet.icon_sources.next_attempt_at IS 'null: settled, nothing to ask again';

CREATE TABLE chartfleet.icons (
    sha256 bytea NOT NULL,
    content_type text NOT NULL,
    content bytea NOT NULL
);

CREATE TABLE chartfleet.ledger (
    seq bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    run_id bigint NOT NULL,
    namespace text NOT NULL,
    repository text NOT NULL,
    chart text NOT NULL,
    version text NOT NULL,
    change text NOT NULL,
    replaced jsonb,
    CONSTRAINT ledger_change_check CHECK ((change = ANY (ARRAY['added'::text, 'changed'::text, 'digest-changed'::text, 'host-changed'::text, 'removed'::text, 'reappeared'::text, 'excluded'::text, 'included'::text])))
);

COMMENT ON TABLE chartfleet.ledger IS 'append-only; numbers are taken at the end of the publishing transaction under a lock, so their order is commit order';

ALTER TABLE chartfleet.ledger ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME chartfleet.ledger_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE chartfleet.repositories (
    id integer NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    url text NOT NULL,
    source text,
    incarnation text,
    applied_fingerprint text,
    etag text,
    last_modified text,
    body_sha256 bytea,
    charts integer DEFAULT 0 NOT NULL,
    versions integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    applied_filter text DEFAULT ''::text NOT NULL,
    applied_files text DEFAULT 'all'::text NOT NULL,
    applied_url text,
    generated timestamp with time zone,
    newest_created timestamp with time zone,
    purge_at timestamp with time zone,
    CONSTRAINT repositories_name_check CHECK ((name <> ''::text)),
    CONSTRAINT repositories_namespace_check CHECK (((namespace <> ''::text) AND (namespace !~ '[,*]'::text)))
);

COMMENT ON COLUMN chartfleet.repositories.source IS 'who asks for this repository, such as directory:/path; null: a sync started by hand';

COMMENT ON COLUMN chartfleet.repositories.incarnation IS 'tells a re-created resource from a deleted one of the same name';

COMMENT ON COLUMN chartfleet.repositories.applied_fingerprint IS 'fingerprint of the specification that the published listing was read with';

COMMENT ON COLUMN chartfleet.repositories.etag IS 'validators and hash of the published listing, written only by the commit that published it';

COMMENT ON COLUMN chartfleet.repositories.applied_filter IS 'hash of the filter rule that the visible charts passed; empty: none';

COMMENT ON COLUMN chartfleet.repositories.applied_files IS 'whose archives are wanted: all, latest or none';

COMMENT ON COLUMN chartfleet.repositories.applied_url IS 'where the published listing came from; url is what is asked for now';

COMMENT ON COLUMN chartfleet.repositories.generated IS 'of the published listing, with the newest `created` in it: an older pair is a stale copy';

COMMENT ON COLUMN chartfleet.repositories.purge_at IS 'when the first withdrawn version''s days of grace are over';

ALTER TABLE chartfleet.repositories ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME chartfleet.repositories_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE chartfleet.schedules (
    repository_id integer NOT NULL,
    namespace text NOT NULL,
    argv text[] NOT NULL,
    fingerprint text NOT NULL,
    period_seconds integer,
    cron text,
    next_due_at timestamp with time zone,
    requested_at timestamp with time zone,
    problem_reason text,
    problem text,
    CONSTRAINT schedules_check CHECK (((period_seconds IS NULL) <> (cron IS NULL))),
    CONSTRAINT schedules_period_seconds_check CHECK ((period_seconds > 0))
);

COMMENT ON COLUMN chartfleet.schedules.next_due_at IS 'null while suspended';

COMMENT ON COLUMN chartfleet.schedules.requested_at IS 'a sync asked for by a person or a changed specification, not yet claimed';

CREATE TABLE chartfleet.source_problems (
    source text NOT NULL,
    file text NOT NULL,
    line integer NOT NULL,
    namespace text,
    name text,
    message text NOT NULL
);

COMMENT ON TABLE chartfleet.source_problems IS 'documents of a manifest source that cannot be used, as of its last scan';

CREATE TABLE chartfleet.sync_runs (
    id bigint NOT NULL,
    repository_id integer,
    namespace text NOT NULL,
    name text NOT NULL,
    job text NOT NULL,
    cause text NOT NULL,
    argv text[] NOT NULL,
    tick timestamp with time zone,
    state text NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    queued_at timestamp with time zone DEFAULT now() NOT NULL,
    sent_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    worker text,
    phase text,
    result text,
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
    CONSTRAINT sync_runs_cause_check CHECK ((cause = ANY (ARRAY['schedule'::text, 'request'::text, 'command'::text, 'leftover'::text, 'deletion'::text]))),
    CONSTRAINT sync_runs_job_check CHECK ((job = ANY (ARRAY['sync'::text, 'files'::text, 'delete'::text]))),
    CONSTRAINT sync_runs_result_check CHECK ((result = ANY (ARRAY['changed'::text, 'unchanged'::text]))),
    CONSTRAINT sync_runs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'sent'::text, 'running'::text, 'done'::text, 'failed'::text, 'parked'::text])))
);

COMMENT ON COLUMN chartfleet.sync_runs.repository_id IS 'null for a deletion, whose run outlives the repository';

COMMENT ON COLUMN chartfleet.sync_runs.tick IS 'the due time this run answers; unique, so that a tick runs once';

COMMENT ON COLUMN chartfleet.sync_runs.phases IS 'milliseconds by phase, such as {"fetch": 12, "read": 240}';

ALTER TABLE chartfleet.sync_runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME chartfleet.sync_runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE chartfleet.version_files (
    version_id bigint NOT NULL,
    namespace text NOT NULL,
    names text[] NOT NULL,
    contents bytea[] NOT NULL,
    digest text NOT NULL,
    as_listed boolean,
    signed boolean,
    templates integer DEFAULT 0 NOT NULL,
    dependencies jsonb DEFAULT '[]'::jsonb NOT NULL,
    images text[] DEFAULT '{}'::text[] NOT NULL,
    read_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT version_files_check CHECK ((cardinality(names) = cardinality(contents)))
);

COMMENT ON TABLE chartfleet.version_files IS 'what a version''s archive holds';

COMMENT ON COLUMN chartfleet.version_files.contents IS 'SHA-256 of each name''s content, in blobs';

COMMENT ON COLUMN chartfleet.version_files.digest IS 'SHA-256 of the archive, hexadecimal';

COMMENT ON COLUMN chartfleet.version_files.as_listed IS 'whether the index lists this digest; null: it lists none';

COMMENT ON COLUMN chartfleet.version_files.signed IS 'whether a .prov stands beside the archive; null: not asked';

COMMENT ON COLUMN chartfleet.version_files.templates IS 'members below templates/';

COMMENT ON COLUMN chartfleet.version_files.images IS 'of the annotation artifacthub.io/images';

ALTER TABLE ONLY chartfleet.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY chartfleet.blobs
    ADD CONSTRAINT blobs_pkey PRIMARY KEY (sha256);

ALTER TABLE ONLY chartfleet.chart_versions
    ADD CONSTRAINT chart_versions_chart_id_version_key UNIQUE (chart_id, version);

ALTER TABLE ONLY chartfleet.chart_versions
    ADD CONSTRAINT chart_versions_pkey PRIMARY KEY (id, namespace);

ALTER TABLE ONLY chartfleet.charts
    ADD CONSTRAINT charts_id_namespace_key UNIQUE (id, namespace);

ALTER TABLE ONLY chartfleet.charts
    ADD CONSTRAINT charts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY chartfleet.charts
    ADD CONSTRAINT charts_repository_id_name_key UNIQUE (repository_id, name);

ALTER TABLE ONLY chartfleet.fences
    ADD CONSTRAINT fences_pkey PRIMARY KEY (namespace, name, incarnation);

ALTER TABLE ONLY chartfleet.file_work
    ADD CONSTRAINT file_work_pkey PRIMARY KEY (version_id);

ALTER TABLE ONLY chartfleet.held_listings
    ADD CONSTRAINT held_listings_pkey PRIMARY KEY (repository_id);

ALTER TABLE ONLY chartfleet.hosts
    ADD CONSTRAINT hosts_pkey PRIMARY KEY (host);

ALTER TABLE ONLY chartfleet.housekeeping
    ADD CONSTRAINT housekeeping_pkey PRIMARY KEY (task);

ALTER TABLE ONLY chartfleet.icon_sources
    ADD CONSTRAINT icon_sources_pkey PRIMARY KEY (repository_id, url_sha256);

ALTER TABLE ONLY chartfleet.icons
    ADD CONSTRAINT icons_pkey PRIMARY KEY (sha256);

ALTER TABLE ONLY chartfleet.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY chartfleet.repositories
    ADD CONSTRAINT repositories_id_namespace_key UNIQUE (id, namespace);

ALTER TABLE ONLY chartfleet.repositories
    ADD CONSTRAINT repositories_namespace_name_key UNIQUE (namespace, name);

ALTER TABLE ONLY chartfleet.repositories
    ADD CONSTRAINT repositories_pkey PRIMARY KEY (id);

ALTER TABLE ONLY chartfleet.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (repository_id);

ALTER TABLE ONLY chartfleet.source_problems
    ADD CONSTRAINT source_problems_pkey PRIMARY KEY (source, file, line);

ALTER TABLE ONLY chartfleet.sync_runs
    ADD CONSTRAINT sync_runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY chartfleet.sync_runs
    ADD CONSTRAINT sync_runs_repository_id_job_tick_key UNIQUE (repository_id, job, tick);

ALTER TABLE ONLY chartfleet.version_files
    ADD CONSTRAINT version_files_pkey PRIMARY KEY (version_id);

CREATE INDEX chart_versions_newest_first ON chartfleet.chart_versions USING btree (chart_id, order_key DESC, version DESC) WHERE (removed_at IS NULL);

CREATE INDEX charts_by_name ON chartfleet.charts USING btree (name, namespace, id) WHERE (removed_at IS NULL);

CREATE INDEX charts_words ON chartfleet.charts USING gin (words) WHERE (removed_at IS NULL);

CREATE INDEX file_work_due ON chartfleet.file_work USING btree (repository_id, next_attempt_at);

CREATE INDEX icon_sources_due ON chartfleet.icon_sources USING btree (repository_id, next_attempt_at);

CREATE INDEX icon_sources_sha256 ON chartfleet.icon_sources USING btree (sha256);

CREATE INDEX ledger_chart ON chartfleet.ledger USING btree (namespace, repository, chart, seq);

CREATE INDEX schedules_due ON chartfleet.schedules USING btree (next_due_at);

CREATE INDEX schedules_requested ON chartfleet.schedules USING btree (requested_at) WHERE (requested_at IS NOT NULL);

CREATE INDEX sync_runs_history ON chartfleet.sync_runs USING btree (repository_id, job, id DESC);

CREATE INDEX sync_runs_unfinished ON chartfleet.sync_runs USING btree (id) WHERE (state = ANY (ARRAY['queued'::text, 'sent'::text, 'running'::text]));

ALTER TABLE ONLY chartfleet.chart_versions
    ADD CONSTRAINT chart_versions_chart_id_namespace_fkey FOREIGN KEY (chart_id, namespace) REFERENCES chartfleet.charts(id, namespace) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.charts
    ADD CONSTRAINT charts_repository_id_namespace_fkey FOREIGN KEY (repository_id, namespace) REFERENCES chartfleet.repositories(id, namespace) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.file_work
    ADD CONSTRAINT file_work_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES chartfleet.repositories(id) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.file_work
    ADD CONSTRAINT file_work_version_id_namespace_fkey FOREIGN KEY (version_id, namespace) REFERENCES chartfleet.chart_versions(id, namespace) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.held_listings
    ADD CONSTRAINT held_listings_repository_id_namespace_fkey FOREIGN KEY (repository_id, namespace) REFERENCES chartfleet.repositories(id, namespace) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.icon_sources
    ADD CONSTRAINT icon_sources_repository_id_namespace_fkey FOREIGN KEY (repository_id, namespace) REFERENCES chartfleet.repositories(id, namespace) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.icon_sources
    ADD CONSTRAINT icon_sources_sha256_fkey FOREIGN KEY (sha256) REFERENCES chartfleet.icons(sha256);

ALTER TABLE ONLY chartfleet.schedules
    ADD CONSTRAINT schedules_repository_id_namespace_fkey FOREIGN KEY (repository_id, namespace) REFERENCES chartfleet.repositories(id, namespace) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.sync_runs
    ADD CONSTRAINT sync_runs_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES chartfleet.repositories(id) ON DELETE CASCADE;

ALTER TABLE ONLY chartfleet.version_files
    ADD CONSTRAINT version_files_version_id_namespace_fkey FOREIGN KEY (version_id, namespace) REFERENCES chartfleet.chart_versions(id, namespace) ON DELETE CASCADE;

ALTER TABLE chartfleet.blobs ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.chart_versions ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.charts ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.fences ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.file_work ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.held_listings ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.hosts ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.housekeeping ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.icon_sources ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.icons ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.ledger ENABLE ROW LEVEL SECURITY;

CREATE POLICY reader ON chartfleet.chart_versions FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.charts FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.fences FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.file_work FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.held_listings FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.icon_sources FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.icons FOR SELECT TO chartfleet_reader USING ((EXISTS ( SELECT
   FROM chartfleet.icon_sources s
  WHERE (s.sha256 = icons.sha256))));

CREATE POLICY reader ON chartfleet.ledger FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.repositories FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.schedules FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.source_problems FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.sync_runs FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

CREATE POLICY reader ON chartfleet.version_files FOR SELECT TO chartfleet_reader USING ((( SELECT chartfleet.sees_all() AS sees_all) OR (namespace = ANY (( SELECT chartfleet.namespaces() AS namespaces)::text[]))));

ALTER TABLE chartfleet.repositories ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.schedules ENABLE ROW LEVEL SECURITY;

CREATE POLICY search ON chartfleet.charts FOR SELECT TO chartfleet_search USING (true);

ALTER TABLE chartfleet.source_problems ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.sync_runs ENABLE ROW LEVEL SECURITY;

ALTER TABLE chartfleet.version_files ENABLE ROW LEVEL SECURITY;

CREATE POLICY writer ON chartfleet.blobs TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.chart_versions TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.charts TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.fences TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.file_work TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.held_listings TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.hosts TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.housekeeping TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.icon_sources TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.icons TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.ledger TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.repositories TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.schedules TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.source_problems TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.sync_runs TO chartfleet_writer USING (true) WITH CHECK (true);

CREATE POLICY writer ON chartfleet.version_files TO chartfleet_writer USING (true) WITH CHECK (true);

GRANT USAGE ON SCHEMA chartfleet TO chartfleet_writer;
GRANT USAGE ON SCHEMA chartfleet TO chartfleet_reader;
GRANT USAGE ON SCHEMA chartfleet TO chartfleet_search;

REVOKE ALL ON FUNCTION chartfleet.matching_charts(query text) FROM PUBLIC;
GRANT ALL ON FUNCTION chartfleet.matching_charts(query text) TO chartfleet_reader;
GRANT ALL ON FUNCTION chartfleet.matching_charts(query text) TO chartfleet_writer;

REVOKE ALL ON FUNCTION chartfleet.release_held(of_namespace text, of_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION chartfleet.release_held(of_namespace text, of_name text) TO chartfleet_reader;
GRANT ALL ON FUNCTION chartfleet.release_held(of_namespace text, of_name text) TO chartfleet_writer;

REVOKE ALL ON FUNCTION chartfleet.request_sync(of_namespace text, of_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION chartfleet.request_sync(of_namespace text, of_name text) TO chartfleet_reader;
GRANT ALL ON FUNCTION chartfleet.request_sync(of_namespace text, of_name text) TO chartfleet_writer;

REVOKE ALL ON FUNCTION chartfleet.version_file(of_version bigint, of_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION chartfleet.version_file(of_version bigint, of_name text) TO chartfleet_reader;
GRANT ALL ON FUNCTION chartfleet.version_file(of_version bigint, of_name text) TO chartfleet_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.alembic_version TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.alembic_version TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.blobs TO chartfleet_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.chart_versions TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.chart_versions TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.charts TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.charts TO chartfleet_reader;
GRANT SELECT ON TABLE chartfleet.charts TO chartfleet_search;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.fences TO chartfleet_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.file_work TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.file_work TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.held_listings TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.held_listings TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.hosts TO chartfleet_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.housekeeping TO chartfleet_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.icon_sources TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.icon_sources TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.icons TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.icons TO chartfleet_reader;

GRANT SELECT,INSERT ON TABLE chartfleet.ledger TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.ledger TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.repositories TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.repositories TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.schedules TO chartfleet_writer;

GRANT SELECT(repository_id) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT(namespace) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT(period_seconds) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT(cron) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT(next_due_at) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT(requested_at) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT(problem_reason) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT(problem) ON TABLE chartfleet.schedules TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.source_problems TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.source_problems TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.sync_runs TO chartfleet_writer;

GRANT SELECT(id) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(repository_id) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(namespace) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(name) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(job) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(cause) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(tick) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(state) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(attempt) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(queued_at) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(sent_at) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(started_at) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(finished_at) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(worker) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(phase) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(result) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(error_class) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(error) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(transient) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(charts) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(versions) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(added) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(changed) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(removed) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(notes_total) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(notes) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(requests) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(bytes) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT(phases) ON TABLE chartfleet.sync_runs TO chartfleet_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE chartfleet.version_files TO chartfleet_writer;
GRANT SELECT ON TABLE chartfleet.version_files TO chartfleet_reader;
