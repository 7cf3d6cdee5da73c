// Package pgqueue keeps the queue in a PostgreSQL database (13 or newer).
//
// A lane is a row, and its row lock is what makes decisions of one job wait
// for each other. A decision locks the row, looks up by an index the few
// records that it is about, calls the rules of package queue, writes what they
// changed, and commits; only then is it answered. No decision looks at more
// than a few rows, so a trigger costs the same with a million items queued as
// with none; only the position of an item is counted, up to [MaxPosition].
//
// Triggers that wait at the same time are decided in one transaction: one
// goroutine takes all that wait (at most [maxBatch]), so one commit serves
// them. Other servers are told with NOTIFY after the commit, never inside it:
// a transaction with a NOTIFY waits for every other one of the whole database
// server.
//
// Any number of servers may have the queue open. Each has a name and says, every
// few seconds, that it is there; one that was not heard of for too long is given
// up, and whoever sees it first ends its builds ([DB.ReclaimLost]). Triggers need
// none of that, only row locks. A claim holds the row of its own server, so a
// server that was given up starts nothing.
//
// What will bite you:
//
//   - A second server of the same name is answered [ErrLocked].
//   - A server that was cut off must stop its builds ([DB.CutOff]). Others give it
//     up only when that time is over.
//   - Servers may have different jobs. As long as they do, nobody starts a job, or
//     changes its rules, that is not in its own [DB.SetRules].
//   - Lanes are locked in the order of their names, and items, builds and counts
//     only under the lock of their lane. Whoever takes a second lane otherwise
//     makes deadlocks.
//   - If the connection is lost during a commit, the database is asked what
//     became of it. If it can't be asked in time, the answer is
//     queue.ErrStorage although the change may have been made: asking again joins
//     what is there.
//   - Instants come from the callers, which is to say from the servers' clocks.
//     The database's clock decides only whether a server lives.
//   - Connection strings hold passwords. No error of this package shows one.
package pgqueue
