-- The servers that have had the queue open. epoch grows whenever one opens the
-- queue, and whenever another one takes over from it; beat is when it was last
-- heard of, by the clock of the database, and ttl how many seconds after that its
-- builds may still run.
create table servers (
    server   text collate "C" primary key,
    epoch    bigint not null,
    beat     timestamptz not null,
    ttl      double precision not null,
    released boolean not null
);
