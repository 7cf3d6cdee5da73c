// Command torture runs a Caddy binary with build_token. It triggers, cancels and stops builds
// and reloads configurations at random, and kills the server at random moments. After each
// restart it checks that nothing was lost and nothing happened twice.
//
//	torture -binary bin/caddy -for 60s
//
// Its knowledge comes from three sources that the server cannot falsify: the answers to
// clients, what the reading API shows after a restart, and a ledger that the builds themselves
// write. It uses only the public interface of the server.
//
// It checks that
//
//   - a trigger that was acknowledged is queued, running, ended or cancelled, once, with its
//     cause, its parameters, and a due time not later than promised;
//   - a trigger that was refused never shows up;
//   - a trigger with a key that is repeated, also because its answer was lost, gets the first
//     answer, and is queued once;
//   - IDs and build numbers are never assigned twice, and numbers have no gaps;
//   - no build runs twice, starts before it is due, or runs at the same time as another of its job;
//   - results do not change, and are those with which the builds ended;
//   - only retention drops records, and only those that are old enough;
//   - a refused reload changes nothing.
//
// With -servers 3, that many servers share a queue in a PostgreSQL that is started for it, each
// behind its own proxy (with -pooler, they reach the database through PgBouncer). They are also suspended (SIGSTOP), cut off from the database and reloaded
// one by one, and the database is killed. Then it also checks that
//
//   - a build is lost only if its server died, or was silent for long enough, with a reason,
//     and in bounded time if another server had no fault;
//   - the command of a build ends before the build does on record, unless its server did not run;
//   - builds run on servers with the label, and end as recorded;
//   - a client that follows a log sees its whole content;
//   - when all faults are over, everything that is due gets built, and all servers give the same
//     answers.
//
// With -setback, the database of several servers is replaced by earlier states of itself: a
// data directory that was saved before is put back, or an asynchronous standby that lacks the
// last changes takes over. Servers are killed, suspended and cut off meanwhile. What the
// earlier state lacks is lost. It checks that nothing else is lost, that no build gets the result,
// log or upload of another build, that no two builds of an item run at once, and that servers
// stop the builds that the database has lost.
//
// With -rolling 2000, servers on one Postgres are restarted one after the other behind HAProxy
// while clients send that many triggers. It checks that every trigger is answered with 201, and
// that every item is there afterwards.
//
// With -relay, each build is one of a Jenkins (package jenkinstest), which loses connections,
// forgets items and restarts, while the server is killed. It checks that Jenkins gets no trigger
// twice, and that each build ends in the same way on both sides.
//
// With -notify, each build notifies a receiver, which hangs, closes connections and answers 301,
// 410, 429 and 500, while servers are killed, suspended and reloaded; with -servers 3 on a shared
// queue. It checks that the receiver accepts the end of every build, in order, nothing about an
// item after a later state of it, and only right signatures. With -reference
// testdata/clients/npm/verify.mjs, it verifies each signature also with the reference library of
// Standard Webhooks, which npm installs.
//
// A seed determines what is tried, but not when the system does it: the same seed often finds the
// same bug, but not always. Only the loopback interface is used. The program ends by itself. If it
// found a failure, it exits with 1 and keeps its directory.
package main
