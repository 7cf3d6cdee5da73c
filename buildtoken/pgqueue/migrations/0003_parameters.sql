-- How much the parameters of queued items take, in KiB.
alter table items add column kib integer not null default 0;
alter table counts add column kib bigint not null default 0;
