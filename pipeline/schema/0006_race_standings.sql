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
