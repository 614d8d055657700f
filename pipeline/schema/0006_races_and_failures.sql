-- What a race spent on each candidate, and who survived it: the rest was thrown away. No rows where nothing was raced.
create table race_standings (
    group_name varchar not null,
    attempt    integer not null,
    place      integer not null,
    name       varchar not null,
    score      double not null,               -- mean regret over starting rates and seeds
    rounds     integer not null,
    trainings  integer not null,
    survived   boolean not null
);

-- Trainings that could not be made, which says nothing of their schedule, and how many pairs of a cell are missing so.
alter table retrainings add column failed boolean default false;
alter table cells add column failed integer default 0;
