-- What a run was like at its source when it was read, so that the next ingestion knows what has changed. Runs that an
-- earlier release has read have no watermark, and are read once more.
alter table runs add column logged_points bigint;   -- at the source, not only those copied; at least so many where it
                                                    -- cannot count
alter table runs add column watermark varchar;      -- the source's own, see pipeline/sources/source.py
alter table runs add column content varchar;        -- digest of the run's params and tags
alter table runs add column vanished_at timestamp;  -- since when its source has it no more: it stays history

-- Every series of a run by its name, also those that were not copied: where a choice made later asks for one of them,
-- the run is read again.
create table logged_series (run_id varchar not null, key varchar not null, copied boolean not null);

-- A source that broke off keeps the runs that were finished: a third status, which a check cannot be given afterwards.
alter table sources rename to sources_before;

create table sources (
    source_id        varchar primary key,
    uri              varchar not null,      -- where it was last; its id stays that of its first address
    status           varchar not null check (status in ('read', 'broken off', 'unreadable')),
    reason           varchar,               -- why it is unreadable, or what is odd about it
    last_ingested_at timestamp not null,
    run_count        bigint not null,       -- what this warehouse holds of it
    point_count      bigint not null
);

insert into sources from sources_before;

drop table sources_before;
