-- Console logs of builds, readable from every server. size is how many bytes
-- there are; complete says that no more will come.
create table logs (
    job      text collate "C" not null,
    number   bigint not null,
    size     bigint not null default 0,
    complete boolean not null default false,
    primary key (job, number),
    foreign key (job, number) references builds on delete cascade
) with (fillfactor = 70);

-- Their bytes, in pieces without gaps: off is where in the log a piece starts.
-- Those of a build that is dropped go soon after it: large logs would take too
-- long for the transaction that ends another build.
create table pieces (
    job    text collate "C" not null,
    number bigint not null,
    off    bigint not null,
    body   bytea not null,
    primary key (job, number, off)
);

-- The content of file parameters, from the trigger to the end of the build.
-- made is by the clock of the database.
create table uploads (
    ref  text collate "C" not null,
    part integer not null,
    made timestamptz not null default now(),
    body bytea not null,
    primary key (ref, part)
);
create index uploads_made on uploads (made);
-- Most files are compressed already.
alter table uploads alter column body set storage external;

-- What tells the key of the servers from another one. One row at most.
create table queue_key (
    single      boolean primary key default true check (single),
    fingerprint bytea not null
);
