package main

import (
	"io"
	"os"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// runPostgres starts a PostgreSQL server for a script, prints the connection string, and stops
// it when the input ends. It returns the exit status.
func runPostgres() int {
	server, err := pgserver.Start()
	if err != nil {
		say("torture:", err)
		return 1
	}
	say(server.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // only its end matters
	if err := server.Stop(); err != nil {
		say("torture:", err)
		return 1
	}
	return 0
}
