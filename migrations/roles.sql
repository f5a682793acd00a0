-- What stands before the first migration: four roles and the schema. Every statement may run again.
--   chartfleet_owner   owns the schema; migrations run as it
--   chartfleet_writer  controller, scheduler and worker
--   chartfleet_reader  the API; sees rows of the namespaces in the setting chartfleet.namespaces
--   chartfleet_search  owns the search functions, which hold the namespace predicate themselves
do $$
declare
  wanted text;
  -- From 16 on, whoever made a role is its member without being able to act as it.
  acting constant text := case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end;
begin
  foreach wanted in array array['chartfleet_owner', 'chartfleet_writer', 'chartfleet_reader', 'chartfleet_search'] loop
    begin
      if not exists (select from pg_roles where rolname = wanted) then
        execute format('create role %I %s', wanted, case wanted when 'chartfleet_search' then 'nologin' else 'login' end);
      end if;
    exception when duplicate_object or unique_violation then
      null; -- another database of this server is being migrated at the same moment
    end;
    if not pg_has_role(current_user, wanted, acting) then
      execute format('grant %I to current_user', wanted);
    end if;
  end loop;
  if not pg_has_role('chartfleet_owner', 'chartfleet_search', 'member') then
    grant chartfleet_search to chartfleet_owner; -- who may hand a function over to it
  end if;
  if not has_database_privilege('chartfleet_writer', current_database(), 'temporary') then
    execute format('grant temporary on database %I to chartfleet_writer', current_database()); -- publishing stages rows
  end if;
end $$;

create schema if not exists chartfleet authorization chartfleet_owner;
