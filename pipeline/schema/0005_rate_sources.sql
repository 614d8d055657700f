-- Where a run's learning rate comes from. The column learning_rate of trajectories holds rebuilt values too.

alter table usable_runs add column rate_source varchar;  -- 'logged', 'rebuilt', 'assumed constant', 'unknown'
alter table usable_runs add column rate_reason varchar;  -- what it was read from, or why it is unknown
