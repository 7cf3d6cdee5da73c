// Package console keeps one append-only log per build and lets any number of readers follow it.
//
// A log is a plain file, <dir>/<element>/<number>.log, that holds exactly the bytes which were written; offsets are
// offsets into that file, so one that a client was given stays good after a restart. A log is live while its [Writer] is
// open in this process. After a crash nothing is live: the file is simply complete, and [Store.Append] adds the lines
// that the lost build could not write.
//
// What will bite: bytes go to the operating system with each Write, but to the disk only with [Writer.Close]; a power
// cut may cost the end of a log of a build that was running. Two processes must not share a directory: live logs of the
// other one look complete. A follower reads from the file and never holds up the build that writes.
package console
