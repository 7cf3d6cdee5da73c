-- What a server says of itself: what it can run (null: it has not said it yet),
-- and a digest of the names of the jobs that its configuration has.
alter table servers add column labels text[];
alter table servers add column executors integer;
alter table servers add column jobs bytea;
-- Names that were given once, as where each start has another one, cost nothing.
create index servers_here on servers (server) where not released;

-- Which server runs a build, and the epoch that it had when it started it. An orphan was
-- ended by another server, and what is left of it may still be where it ran.
alter table builds add column server text collate "C" not null default '';
alter table builds add column epoch bigint not null default 0;
alter table builds add column orphan boolean not null default false;
create index builds_orphan on builds (server, job, number) where orphan;

-- Before, one server at a time had the queue.
update builds set server = (select server from servers order by beat desc limit 1)
    where running and exists (select from servers);
