-- One row for each job that was ever triggered. The row is the lock of its lane:
-- nothing of a lane is decided without it. head is queue.Lane as JSON; next is
-- what queue.Next says of it (nanoseconds since 1970), next_id the item that is
-- due then, and label what a node needs to start it.
create table lanes (
    job     text collate "C" primary key,
    head    json not null,
    next    bigint,
    next_id bigint,
    label   text collate "C" not null
) with (fillfactor = 70);
create index lanes_next on lanes (label, next, next_id) where next is not null;

create sequence item_ids;

-- Queued items. body is queue.Item as JSON; due (nanoseconds since 1970) and
-- digest stand beside it to be found by. An item whose body
-- can't be read is damaged: it is neither joined nor started.
create table items (
    id      bigint primary key,
    job     text collate "C" not null,
    due     bigint not null,
    digest  bytea not null,
    solo    boolean not null,
    files   boolean not null,
    damaged boolean not null default false,
    body    json not null
) with (fillfactor = 90);
create unique index items_equal on items (job, digest) where not solo and not damaged;
create index items_lane on items (job, due, id);
-- The sum keeps the planner from walking over all jobs in the order of this
-- index when it is asked for the first item of one.
create index items_due on items ((due + 0), id);
create index items_files on items (id) where files;

-- Builds, running or ended. body is queue.Build as JSON.
create table builds (
    job     text collate "C" not null,
    number  bigint not null,
    item    bigint not null,
    node    text not null,
    running boolean not null,
    wished  boolean not null,
    files   boolean not null,
    body    json not null,
    primary key (job, number)
);
create unique index builds_item on builds (item);
create index builds_running on builds (job, number) where running;

-- Items that left the queue without a build. body is queue.Cancelled as JSON.
create table cancelled (
    item bigint primary key,
    job  text collate "C" not null,
    body json not null
);
create index cancelled_job on cancelled (job, item);

-- What is kept of triggers with a key, until an instant (nanoseconds since
-- 1970). body is queue.Receipt as JSON.
create table receipts (
    job    text collate "C" not null,
    key    bytea not null,
    until  bigint not null,
    body   json not null,
    primary key (job, key)
);
create index receipts_until on receipts (job, until);

-- How many items are queued, in parts, so that transactions that change it
-- seldom wait for each other. A part alone may be negative; only the sum counts.
create table counts (
    part   integer primary key,
    queued bigint not null
) with (fillfactor = 10);
insert into counts select part, 0 from generate_series(0, 15) as part;
