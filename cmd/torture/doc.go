// Command torture runs a Caddy binary with build_token in it, triggers builds,
// cancels, stops and reloads at random, kills the server at random moments, and
// checks after each restart that nothing was lost and nothing happened twice.
//
//	torture -binary bin/caddy -for 60s
//
// What it knows comes from three places that the server can't talk out of: the
// answers that clients got, what the reading API shows after a restart, and a
// ledger that the builds themselves write. It knows the server by its public
// interface only.
//
// What is checked:
//
//   - a trigger that was acknowledged is queued, running, ended or cancelled,
//     once, with its cause, its parameters, and a due time not later than promised;
//   - a trigger that was refused never shows up;
//   - a trigger with a key that is sent again, also because its answer was lost,
//     gets the first answer, and is queued once;
//   - IDs and build numbers are never given twice, and numbers have no gaps;
//   - no build runs twice, starts before it is due, or beside another of its job;
//   - results stand, and are those with which the builds ended;
//   - only retention drops records, and only as old as it may;
//   - a refused reload changes nothing.
//
// With -servers 3, so many servers share a queue in a Postgres that is started for
// it, each behind a proxy of its own. They are also stopped (SIGSTOP), cut off from the
// database and reloaded one by one, and that is killed. More is checked then:
//
//   - a build is lost only if its server died, or was silent for long enough, with
//     a reason, and in bounded time if another server was well;
//   - a command ends before its build does on record, unless its server did not run;
//   - builds run on servers with the label, and end as the record says;
//   - who follows a log sees what it holds in the end;
//   - once nothing is wrong any more, all that is due gets built, and all servers
//     give the same answers.
//
// With -relay, each build is one of a Jenkins (package jenkinstest), which loses
// connections, forgets items and restarts, while the server is killed. Checked is
// that Jenkins gets no trigger twice, and that each build ends on both sides alike.
//
// With -notify, each build notifies a receiver, which hangs, closes connections and
// answers 301, 410, 429 and 500, while servers are killed, suspended and reloaded; with
// -servers 3 on a shared queue. Checked is that it accepts the end of every build, in
// order, nothing about an item after a later state of it, and only with right signatures.
//
// A seed fixes what is tried, not when the system gets to it: the same seed
// finds the same bug often, not always. Only the loopback interface is used. The
// program ends by itself; it exits with 1 and keeps its folder if it found something.
package main
