-- Where a run holds several trials, each is a curve: its run_id in trajectories, usable_runs and run_groups is the run's
-- with '#1', '#2' ... after it, and the run's own row in usable_runs says so as its reason.
alter table usable_runs add column first_step bigint;   -- above 0 for a run that was resumed in a new one
