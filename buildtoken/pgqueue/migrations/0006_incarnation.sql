-- Beside servers of the version before.
--
-- One row, which the database forgets when it recovers from a crash, or a standby
-- takes over. Who finds the same mark again knows that nothing that was committed
-- was lost in between, and that no transaction has the number of another one.
create unlogged table incarnations (
    one  boolean primary key default true check (one),
    mark uuid not null default gen_random_uuid()
);
