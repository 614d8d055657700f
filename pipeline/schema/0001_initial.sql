-- One file, one migration, one transaction. A released file is never changed: the next number alters it.
-- `run_id` is '<source_id>/<run_uuid>' everywhere. Times of MLflow are milliseconds since 1970; ours are UTC.
-- Only two tables have a primary key: a key on the others would double the time of a copy, and their rows are
-- replaced run by run (or group by group) inside one transaction.

create table sources (
    source_id        varchar primary key,
    uri              varchar not null,
    status           varchar not null check (status in ('read', 'unreadable')),
    reason           varchar,              -- why it is unreadable, or what is odd about it
    last_ingested_at timestamp not null,
    run_count        bigint not null,      -- what this warehouse holds of it
    point_count      bigint not null
);

create table runs (
    run_id              varchar not null,
    source_id           varchar not null,
    run_uuid            varchar not null,
    experiment_id       varchar not null,
    experiment_name     varchar not null,
    run_name            varchar,
    status              varchar not null,
    lifecycle_stage     varchar not null,
    start_time          bigint,
    end_time            bigint,
    point_count         bigint not null,
    is_ours             boolean not null,
    trained_with_preset varchar,
    ingested_at         timestamp not null
);

create table params (run_id varchar not null, key varchar not null, value varchar);

create table tags (run_id varchar not null, key varchar not null, value varchar);

create table metrics (
    run_id    varchar not null,
    key       varchar not null,
    step      bigint not null,
    timestamp bigint not null,
    value     double not null              -- NaN and both infinities as themselves
);

create table series_roles (
    run_id varchar not null,
    key    varchar not null,
    role   varchar not null check (role in ('training_loss', 'validation_loss', 'learning_rate')),
    reason varchar not null
);

create table trajectories (
    run_id          varchar not null,
    position        bigint not null,
    step            bigint not null,
    progress        double,                -- null where the planned length is unknown
    training_loss   double,
    validation_loss double,
    learning_rate   double
);

create table usable_runs (
    run_id        varchar not null,
    usable        boolean not null,
    reason        varchar,
    optimizer     varchar,
    starting_rate double,
    schedule      varchar,
    diverged      boolean not null,
    final_loss    double,
    planned_steps bigint
);

create table run_groups (group_name varchar not null, run_id varchar not null);

create table group_statistics (group_name varchar not null, statistics json not null);

create table candidates (
    group_name varchar not null,
    position   integer not null,
    name       varchar not null,
    candidate  json not null
);

create table retrainings (
    group_name     varchar not null,
    attempt        integer not null,
    purpose        varchar not null,
    schedule_name  varchar not null,
    starting_rate  double not null,
    seed           bigint not null,
    selection_loss double,
    reporting_loss double,
    diverged       boolean not null
);

create table cells (
    group_name    varchar not null,
    attempt       integer not null,
    control       varchar not null,
    region        varchar not null,
    starting_rate double not null,
    control_rate  double,
    difference    double,
    lower         double,
    upper         double,
    level         double,
    seeds         integer,
    verdict       varchar not null
);

-- Over the starting rates of a comparison, which are the same for all schedules; the preset is called 'preset'.
create table mean_regrets (
    group_name    varchar not null,
    attempt       integer not null,
    schedule_name varchar not null,
    mean_regret   double not null
);

create table preset_versions (
    group_name      varchar not null,
    attempt         integer not null,
    registered_name varchar not null,
    version         integer not null,
    alias           varchar,
    preset_hash     varchar not null,
    preset          json not null,
    verdict         varchar not null,
    created_at      timestamp not null
);

create table stages (
    group_name  varchar not null,
    stage       varchar not null,
    key         varchar not null,
    finished_at timestamp not null,
    primary key (group_name, stage)
);

-- One row a logged series: all that the rules for roles need to see of it.
create view series as
select
    run_id,
    key,
    count(*) filter (isfinite(value))        as points,
    count(*) filter (not isfinite(value))    as non_finite_points,
    min(value) filter (isfinite(value))      as minimum,
    max(value) filter (isfinite(value))      as maximum
from metrics
group by run_id, key;

-- The points of the series that have a role, and only those: a store holds ten times as many.
create view role_points as
select metrics.run_id, metrics.key, metrics.step, metrics.timestamp, metrics.value
from metrics
join series_roles on series_roles.run_id = metrics.run_id and series_roles.key = metrics.key;
