// Package pgtest gives tests a real Postgres.
//
// [Main] runs the tests of a package and stops the server afterwards. The
// server is started by the first test that asks for it: from the binaries of
// this machine, as a user without rights if the tests run as root, on a Unix
// socket in a temporary folder. If BUILDTOKEN_TEST_POSTGRES holds a connection
// string, [URL] is that one and nothing is started. Without either, tests fail:
// they are never skipped.
//
// What will bite you: all tests of a process share the database of [URL], so
// each works in a schema of its own ([Schema]). A test that has to stop the
// server starts its own with [Start].
package pgtest
