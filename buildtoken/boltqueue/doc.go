// Package boltqueue keeps the queue of one server in one file (bbolt).
//
// A channel with room for one value, the turn, is the lock of the whole queue. The caller
// that holds it has its request decided by the rules of package queue. If the decision has
// to be written, the caller also serves the requests that wait (at most 256), writes the
// changed records in one transaction, and answers all of them after the commit: one pair
// of fsyncs serves the whole batch.
//
// The indexes by digest, due instant and ID are in memory, so a trigger costs the same
// with a million queued items as with none. Memory also has the lanes and summaries of all
// jobs, the notifications that wait to be sent, and the keys of receipts (about 50 bytes
// each). The records of items, builds and receipts are on disk only, with three exceptions: for each job the item that was last
// created or joined, items whose joins still wait for a commit, and running builds that
// were asked to stop.
//
// What to watch out for:
//
//   - Only one process can open a file. A second Open returns [ErrLocked] after
//     [Options.LockTimeout].
//   - After a failed commit, the content of the file is only known by reading it
//     again. The caller that holds the turn reopens the file, reverts what the failed
//     batch may have left visible, and rebuilds memory. Until that succeeds, every
//     request except [DB.SetRules] fails with queue.ErrStorage. All decisions of the failed
//     batch fail with it too, and a backup that runs ends with an error. If the file can be
//     read again, but the next commit fails too, as on a full disk, only writes are refused,
//     until one has succeeded.
//   - A file is inspected read-only before it is opened for writing. One that fails this
//     inspection stays unchanged; one whose records cannot be indexed afterwards may have
//     been compacted, with the same content. A record that turns out to be damaged later
//     is logged and set aside; it blocks nothing else.
//   - The file never shrinks while it is open; bbolt reuses freed pages. [Open] compacts a
//     file of 16 MiB or more of which more than half is free.
package boltqueue
