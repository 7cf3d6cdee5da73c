package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// undo has the functions that end what a trial has begun.
type undo []func()

// add adds the function that ends what was begun last.
func (u *undo) add(end func()) { *u = append(*u, end) }

// run calls the functions, the last one first. Called again, it does nothing.
func (u *undo) run() {
	for n := len(*u); n > 0; n = len(*u) {
		(*u)[n-1]()
		*u = (*u)[:n-1]
	}
}

// listen occupies a free address of this machine.
func listen(ctx context.Context) (net.Listener, error) {
	var l net.Listener
	var err error
	for range 100 {
		// From 32768 on, the system gives the port to an outgoing connection before it is used.
		address := fmt.Sprint("127.0.0.1:", 20_000+rand.IntN(12_000)) //nolint:gosec // it is not secret
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("find a free address: %w", err)
}

// reserve sets all addresses to different free ones of this machine.
func reserve(ctx context.Context, addresses ...*string) error {
	for _, address := range addresses {
		l, err := listen(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }() // freed when all are known, so that they differ
		*address = l.Addr().String()
	}
	return nil
}

// socketOf returns the path of the socket on which a database or a pooler listens.
func socketOf(database *pgserver.Server) (string, error) {
	at, err := url.Parse(database.URL())
	if err != nil {
		return "", fmt.Errorf("address of Postgres: %w", err)
	}
	return filepath.Join(at.Query().Get("host"), ".s.PGSQL.5432"), nil
}

// traceTo records each beginning and end of a fault in the file trace in dir, for people who
// look into a failure. The caller must call end.
func (f *fates) traceTo(dir string) (end func(), err error) {
	trace, err := os.Create(filepath.Join(dir, "trace")) //nolint:gosec // in our own folder
	if err != nil {
		return nil, fmt.Errorf("make a trace: %w", err)
	}
	f.tell = func(k kind, servers []string, begins bool) {
		// The trial does not depend on it.
		_, _ = fmt.Fprintln(trace, now().UTC().Format(clock), servers, k, map[bool]string{true: "begins", false: "ends"}[begins])
	}
	return func() { _ = trace.Close() }, nil
}
