// Package pgqueue keeps the queue in a PostgreSQL database (13 or newer).
//
// A lane is a row, and its row lock serializes the decisions about one job. A
// decision locks the row, looks up the few records that it needs by an index,
// calls the rules of package queue, writes the changes, and commits. The caller is
// answered after the commit. No decision reads more than a few rows, so a trigger
// costs the same with a million queued items as with none. Only the position of an
// item is counted, up to [MaxPosition].
//
// Triggers that wait at the same time are decided in one transaction: one
// goroutine takes all waiting triggers (at most [maxBatch]), so they share a commit.
// Other servers are notified with NOTIFY after the commit, never inside it: a
// transaction with a NOTIFY waits for every other one of the database server.
//
// Any number of servers may open the queue. Each has a name and a lease, which it
// renews with a heartbeat every few seconds. When the lease of a server expires, the
// first server that notices releases it and ends its builds ([DB.ReclaimLost]).
// Triggers need no lease, only row locks. A claim locks the row of its server, so
// a server without a lease starts nothing.
//
// Statements name the schema of each table (see names), and nothing is sent as a
// startup parameter, so connection poolers in session mode work.
//
// What to watch out for:
//
//   - Opening a second server of the same name returns [ErrLocked].
//   - A server that loses its lease must stop its builds ([DB.CutOff]). Other servers
//     release it only when it has had the time to do that.
//   - Servers may have different jobs. As long as they do, a server neither starts a
//     job nor changes its rules unless it is in its own [DB.SetRules].
//   - Lanes are locked in the order of their names; items, builds and counts only
//     under the lock of their lane. A second lane out of that order causes deadlocks.
//   - If the connection is lost during a commit, the outcome is looked up in the
//     database. If that is not possible in time, queue.ErrStorage is returned although
//     the change may have been made. A repeated trigger joins the queued item.
//   - The database may be set back: by an asynchronous standby, or an older data
//     directory. Servers then compare their builds with it first (confirm.go).
//   - Instants come from the callers, and so from the servers' clocks. The
//     database's clock decides only whether a lease has expired.
//   - Connection strings hold passwords. No error of this package shows one.
package pgqueue
