package main

import (
	"io"
	"os"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// runPostgres starts a Postgres for a script, prints how to connect, and stops
// it when the input ends. It returns the exit status.
func runPostgres() int {
	server, err := pgserver.Start()
	if err != nil {
		say("torture:", err)
		return 1
	}
	say(server.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
	if err := server.Stop(); err != nil {
		say("torture:", err)
		return 1
	}
	return 0
}
