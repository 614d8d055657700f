-- A role says how sure it is, a logged epoch has one, and several series may be the parts of one loss, to be summed step
-- by step. Roles are cheap: what an earlier release gave is given anew.
drop view role_points;
drop view series;
drop table series_roles;
delete from stages where stage = 'roles';

create table series_roles (
    run_id     varchar not null,
    key        varchar not null,
    role       varchar not null check (role in ('training_loss', 'validation_loss', 'learning_rate', 'epoch')),
    confidence double not null check (confidence > 0 and confidence <= 1),
    reason     varchar not null
);

-- One row a logged series: all that the rules for roles need to see of it.
create view series as
select
    run_id,
    key,
    count(*) filter (isfinite(value))                       as points,
    count(*) filter (not isfinite(value))                   as non_finite_points,
    min(value) filter (isfinite(value))                     as minimum,
    max(value) filter (isfinite(value))                     as maximum,
    bool_and(value = trunc(value)) filter (isfinite(value)) as whole_numbers
from metrics
group by run_id, key;

-- The points of the series that have a role, and only those: a store holds ten times as many.
create view role_points as
select metrics.run_id, metrics.key, metrics.step, metrics.timestamp, metrics.value
from metrics
join series_roles on series_roles.run_id = metrics.run_id and series_roles.key = metrics.key;
