// Package build runs builds on this server: it prepares the workspace, the
// environment and the uploaded files, calls the runner, writes the console log,
// polls for changes, and ends what a crash left behind.
//
// A [Host] holds what the builds of one server share. It decides neither when a
// build starts nor how its end is recorded; that is the caller's part. The
// caller must call [Host.CompleteLog] before it records the end of a build: a
// reader that sees that a build has ended then finds its whole log.
package build
