// Package pgtest provides tests with a real PostgreSQL server.
//
// [Main] runs the tests of a package and stops the server afterwards. The first
// test that needs the server starts it: from the binaries of this machine, as an
// unprivileged user if the tests run as root, on a Unix socket in a temporary
// folder. If BUILDTOKEN_TEST_POSTGRES holds a connection string, [URL] returns
// that and nothing is started.
//
// On a machine without a PostgreSQL server the tests are skipped, and `make test`
// reports how many. If CI or BUILDTOKEN_TEST_POSTGRES is set, they fail instead.
//
// All tests of a process share the database of [URL], so each works in a schema
// of its own ([Schema]). A test that has to stop the server starts its own with
// [Start].
package pgtest
