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
// What will bite you:
//
//   - One server at a time. The queue holds a lock in the database as long as
//     it is open, and a second [Open] of the same schema answers [ErrLocked].
//     While the connection that holds the lock is lost, nothing is accepted.
//   - A server that was cut off must stop its builds ([DB.CutOff]). Another one
//     takes over only when that time is over.
//   - Lanes are locked in the order of their names, and items, builds and counts
//     only under the lock of their lane. Whoever takes a second lane otherwise
//     makes deadlocks.
//   - If the connection is lost during a commit, the database is asked what
//     became of it. If it can't be asked in time, the answer is
//     queue.ErrStorage although the change may have been made: asking again joins
//     what is there.
//   - Instants come from the callers, which is to say from the servers' clocks.
//     The database's clock decides nothing.
//   - Connection strings hold passwords. No error of this package shows one.
package pgqueue
