// Package pgtest provides tests with a real PostgreSQL server.
//
// [Main] runs the tests of a package and stops the server afterwards. The first test that needs
// the server starts it: from the installed binaries, as an unprivileged user if the tests run
// as root, on a Unix socket in a temporary directory. If BUILDTOKEN_TEST_POSTGRES contains a
// connection string, [URL] returns that and no server is started.
// that and nothing is started.
//
// On a machine without a PostgreSQL server the tests are skipped, and `make test`
// reports how many. If CI or BUILDTOKEN_TEST_POSTGRES is set, they fail instead.
//
// All tests of a process share the database of [URL], so each works in a separate schema
// ([Schema]). A test that has to stop the server starts another one with [Start].
package pgtest
