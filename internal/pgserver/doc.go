// Package pgserver starts a real Postgres, for tests and for programs that try
// what happens when it dies: from the binaries of this machine, as a user
// without rights if this process is root, on a Unix socket in a temporary folder.
//
// What will bite you: the server ends with this process, however that ends, and
// [Server.Stop] removes its data. The newest installed version is taken.
package pgserver
