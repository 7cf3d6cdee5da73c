// Package pgserver starts a real PostgreSQL server, for tests and for programs that test what
// happens when it dies. It runs the installed binaries on a Unix socket in a temporary
// directory, as an unprivileged user if this process is root.
//
// The server ends with this process, however that ends, and [Server.Stop] removes its data. The
// newest installed version is used.
package pgserver
