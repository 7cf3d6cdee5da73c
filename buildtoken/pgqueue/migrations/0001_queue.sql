-- The schema that holds the tables is named when they are made; here it is "queue".

-- What tells this queue from every other one, wherever its database moves. One row.
create table queue.identity (
    single boolean primary key default true check (single),
    id     uuid not null default gen_random_uuid()
);
insert into queue.identity default values;

-- The fingerprint of the key that all servers share. One row at most.
create table queue.queue_key (
    single      boolean primary key default true check (single),
    fingerprint bytea not null
);

-- One row, which the database forgets when it recovers from a crash, or a standby
-- takes over. The mark also changes whenever the database is started, since an older copy
-- of its files may have been put back before. A server that finds the same mark again knows
-- that nothing that was committed was lost in between, and that no transaction has the
-- number of another one.
create unlogged table queue.incarnations (
    one     boolean primary key default true check (one),
    mark    uuid not null default gen_random_uuid(),
    started timestamptz not null default pg_postmaster_start_time()
);

-- The servers that have had the queue open. epoch grows whenever one opens the
-- queue, and whenever another one takes over from it. beat is when it was last
-- heard of, by the clock of the database, and ttl how many seconds after that its
-- builds may still run. labels is what it can run (null: it has not said it yet), and
-- jobs a digest of the names of the jobs in its configuration.
--
-- pulse is what the last heartbeat wrote: a server that finds an older one knows that
-- the database was set back. mark is that of the incarnation under which the server
-- has made sure that its builds are on record; nothing is started before all have done
-- that. stopping are jobs of which it still stops a build that is not on record.
create table queue.servers (
    server    text collate "C" primary key,
    epoch     bigint not null,
    beat      timestamptz not null,
    ttl       double precision not null,
    released  boolean not null,
    pulse     bigint not null default 0,
    mark      uuid,
    stopping  text[] not null default '{}',
    labels    text[],
    executors integer,
    jobs      bytea
);
-- Names that were used once, as where each start has another one, cost nothing.
create index servers_here on queue.servers (server) where not released;

-- One row for each job that was ever triggered. The row is the lock of its lane:
-- nothing of a lane is decided without it. head is queue.Lane as JSON; next is
-- what queue.Next says of it (nanoseconds since 1970), next_id the item that is
-- due then, and label what a node needs to start it.
create table queue.lanes (
    job     text collate "C" primary key,
    head    json not null,
    next    bigint,
    next_id bigint,
    label   text collate "C" not null
) with (fillfactor = 70);
create index lanes_next on queue.lanes (label, next, next_id) where next is not null;

create sequence queue.item_ids;

-- Queued items. body is queue.Item as JSON; due (nanoseconds since 1970) and
-- digest stand beside it to be found by. kib is how much the parameters take. An item
-- whose body cannot be read is damaged: it is neither joined nor started.
create table queue.items (
    id      bigint primary key,
    job     text collate "C" not null,
    due     bigint not null,
    digest  bytea not null,
    solo    boolean not null,
    files   boolean not null,
    damaged boolean not null default false,
    kib     integer not null default 0,
    body    json not null
) with (fillfactor = 90);
create unique index items_equal on queue.items (job, digest) where not solo and not damaged;
create index items_lane on queue.items (job, due, id);
-- The sum keeps the planner from walking over all jobs in the order of this
-- index when it is asked for the first item of one.
create index items_due on queue.items ((due + 0), id);
create index items_files on queue.items (id) where files;

-- How much is queued, in parts, so that transactions that change it seldom wait
-- for each other. A part alone may be negative; only the sum counts.
create table queue.counts (
    part   integer primary key,
    queued bigint not null,
    kib    bigint not null
) with (fillfactor = 10);
insert into queue.counts select part, 0, 0 from generate_series(0, 15) as part;

-- Builds, running or ended. body is queue.Build as JSON. server runs it, and had the
-- epoch when it started it. run is what only this build has: a database that was set
-- back gives the number again. An orphan was ended by another server, and what is left of
-- it may still be where it ran.
create table queue.builds (
    job     text collate "C" not null,
    number  bigint not null,
    item    bigint not null,
    node    text not null,
    server  text collate "C" not null,
    epoch   bigint not null default 0,
    run     bigint not null default 0,
    running boolean not null,
    wished  boolean not null,
    orphan  boolean not null default false,
    files   boolean not null,
    body    json not null,
    primary key (job, number)
);
create unique index builds_item on queue.builds (item);
create index builds_running on queue.builds (job, number) where running;
create index builds_orphan on queue.builds (server, job, number) where orphan;

-- Items that left the queue without a build. body is queue.Cancelled as JSON.
create table queue.cancelled (
    item bigint primary key,
    job  text collate "C" not null,
    body json not null
);
create index cancelled_job on queue.cancelled (job, item);

-- What is kept of triggers with a key, until an instant (nanoseconds since
-- 1970). body is queue.Receipt as JSON.
create table queue.receipts (
    job    text collate "C" not null,
    key    bytea not null,
    until  bigint not null,
    body   json not null,
    primary key (job, key)
);
create index receipts_until on queue.receipts (job, until);

-- The recent history of each job. body is queue.Summary as JSON.
create table queue.summaries (
    job  text collate "C" primary key,
    body json not null
) with (fillfactor = 70);

-- How tokens were used, as each server has counted it. body is queue.TokenUse as JSON,
-- last its last use in nanoseconds since 1970.
create table queue.token_uses (
    server text collate "C" not null,
    place  text collate "C" not null,
    name   text collate "C" not null,
    last   bigint not null,
    body   text not null,
    primary key (server, place, name)
) with (fillfactor = 70);

create sequence queue.notification_ids;

-- Who is to be notified of what, see queue.Notification. Instants are nanoseconds since
-- 1970. A notification that is being sent is leased to a server in one of its lives.
create table queue.notifications (
    id      bigint primary key default nextval('queue.notification_ids'),
    target  text collate "C" not null,
    job     text collate "C" not null,
    item    bigint not null,
    build   bigint not null,
    event   text not null,
    result  text not null,
    turn    text not null,
    at      bigint not null,
    state   text not null,
    tries   integer not null default 0,
    next    bigint not null,
    until   bigint not null,
    settled bigint not null default 0,
    error   text not null default '',
    lease_server text collate "C",
    lease_epoch  bigint
) with (fillfactor = 80);
create index notifications_channel on queue.notifications (target, job, id) where state = 'waiting';
create index notifications_next on queue.notifications (next, id) where state = 'waiting';
create index notifications_settled on queue.notifications (target, job, id) where state <> 'waiting';
create index notifications_job on queue.notifications (job, id);

-- Console logs of builds, readable from every server. size is how many bytes
-- there are; complete says that no more will come.
create table queue.logs (
    job      text collate "C" not null,
    number   bigint not null,
    size     bigint not null default 0,
    complete boolean not null default false,
    primary key (job, number),
    foreign key (job, number) references queue.builds on delete cascade
) with (fillfactor = 70);

-- Their bytes, in pieces without gaps: off is where in the log a piece starts.
-- written is when it was appended, null if it was written long before.
-- Those of a build that is dropped go soon after it: large logs would take too
-- long for the transaction that ends another build.
create table queue.pieces (
    job    text collate "C" not null,
    number bigint not null,
    off    bigint not null,
    body   bytea not null,
    written timestamptz,
    primary key (job, number, off)
);

-- The content of file parameters, from the trigger to the end of the build.
-- made is by the clock of the database.
create table queue.uploads (
    ref  text collate "C" not null,
    part integer not null,
    made timestamptz not null default now(),
    body bytea not null,
    primary key (ref, part)
);
create index uploads_made on queue.uploads (made);
-- Most files are compressed already.
alter table queue.uploads alter column body set storage external;
