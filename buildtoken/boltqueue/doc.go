// Package boltqueue keeps the queue of one server in one file (bbolt).
//
// One caller at a time has the turn, and with it all lanes. What it asks for is
// decided with the rules of package queue; if that has to be written, it takes
// along whatever other requests wait (at most [maxBatch]), writes the changed
// records in one transaction, and everybody is answered only after the commit:
// one pair of fsyncs serves the whole batch. Look-ups by identity, by due instant
// and by ID are in memory, so a trigger costs the same with a million items queued
// as with none; records are on disk only.
//
// What will bite you:
//
//   - One process at a time. A second Open of the same file answers
//     [ErrLocked] after [Options.LockTimeout].
//   - A commit that failed leaves the file in a state that is only known by
//     reading it again. Whoever has the turn then opens it anew, takes back what the
//     failed batch may have left visible, rebuilds memory, and refuses
//     everything with queue.ErrStorage until that has worked.
//   - A file is looked at read-only before it is opened for writing, so a file
//     that is refused stays as it was. What is damaged later, or in a record
//     only, is reported and set aside; nothing else waits for it.
//   - The file never shrinks; bbolt uses freed pages again.
package boltqueue
