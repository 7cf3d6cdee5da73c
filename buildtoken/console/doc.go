// Package console keeps one append-only log per build and lets any number of readers follow it.
//
// A log is a plain file, <dir>/<element>/<number>.log, that holds exactly the bytes that were written. Offsets are
// offsets into that file, so they stay valid after a restart. A log is live while its [Writer] is open in this process.
// After a crash no log is live: the file is complete, and [Store.Append] adds the lines that the lost build could not
// write.
//
// Each Write passes its bytes to the operating system, but only [Writer.Close] syncs them to the disk; a power failure
// can cost the end of the log of a running build. Two processes must not share a directory: live logs of the other one
// would look complete. A follower reads from the file and never blocks the build that writes.
package console
