package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// NotInstalledError is returned when a program is not installed on this machine.
type NotInstalledError struct {
	// Package is the Debian package that contains it.
	Package string
}

func (e *NotInstalledError) Error() string { return "pgserver: not installed: " + e.Package }

// startTime bounds how long a server may take until it answers.
const startTime = 60 * time.Second

// pollEvery is the interval at which a starting server is polled.
const pollEvery = 20 * time.Millisecond

// Server is a PostgreSQL server of this process, with fsync on. Its methods must not be called
// concurrently.
type Server struct {
	dir, bin string
	pooler   []string // signal and command of a pooler; nil for a database server

	// The following belong to the running server.
	keeper *exec.Cmd
	leash  io.Closer
	output *bytes.Buffer
	ended  chan struct{} // closed when the keeper has ended; err is its error
	err    error
}

// URL is the server's connection string.
func (s *Server) URL() string {
	return "postgres:///postgres?user=buildtoken&host=" + s.dir
}

// Start creates a server in a temporary folder and starts it. The caller must
// call [Server.Stop]. Without a PostgreSQL installation it returns a [NotInstalledError].
func Start() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	return start(bin, (*Server).make)
}

// start makes a server and runs it.
func start(bin string, make func(*Server) error) (*Server, error) {
	// The path of a socket has room for about a hundred bytes, so not below t.TempDir.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	s := &Server{dir: dir, bin: bin}
	if err := make(s); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.Run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// binaries returns the directory of the newest PostgreSQL server of this machine.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		// The directories of other versions are beside the real one.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", &NotInstalledError{"postgresql"}
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 is the lowest
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// make creates the cluster.
func (s *Server) make() error {
	if err := giveAway(s.dir); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username", "buildtoken",
		"--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions")
	unprivileged(cmd)
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgserver: initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// keep runs the server and stops it when its input ends: with this process, or earlier.
const keep = `signal=$1; shift
"$@" & server=$!
(cat >/dev/null; kill -$signal $server) <&3 &
wait $server
kill $! 2>/dev/null
exit 0`

// Run starts the server and returns when it answers. It can be called again after
// [Server.Crash] and [Server.Kill].
func (s *Server) Run() error {
	for deadline := time.Now().Add(startTime); ; {
		if err := s.run(); err != nil {
			return err
		}
		err := s.wait(deadline)
		if err == nil {
			return nil
		}
		text := s.output.String() // the error is near the end
		if err := errors.Join(err, s.end()); !strings.Contains(text, "shared memory") || time.Now().After(deadline) {
			return err
		}
		// Some processes of a killed server may still be there.
		time.Sleep(pollEvery)
	}
}

// run starts the processes.
func (s *Server) run() error {
	input, leash, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	defer func() { _ = input.Close() }() // the keeper has its own
	s.output = new(bytes.Buffer)
	command := s.pooler
	if command == nil {
		command = []string{
			"INT", filepath.Join(s.bin, "postgres"), "-D", s.data(),
			"-c", "listen_addresses=", "-c", "unix_socket_directories=" + s.dir, "-c", "max_connections=100",
			"-c", "shared_buffers=32MB", "-c", "max_wal_size=256MB", "-c", "autovacuum=on", "-c", "fsync=on",
		}
	}
	s.keeper = exec.Command("sh", append([]string{"-c", keep, "sh"}, command...)...)
	s.keeper.Dir = s.dir
	s.keeper.ExtraFiles = []*os.File{input}
	s.keeper.Stdout, s.keeper.Stderr = s.output, s.output
	unprivileged(s.keeper)
	if err := s.keeper.Start(); err != nil {
		s.keeper = nil
		return errors.Join(fmt.Errorf("pgserver: %w", err), leash.Close())
	}
	s.leash, s.ended = leash, make(chan struct{})
	go func() { // ends with the server; end waits for it
		s.err = s.keeper.Wait()
		close(s.ended)
	}()
	return nil
}

// wait waits until the server answers. If it fails, the server has ended or is
// stopped.
func (s *Server) wait(deadline time.Time) error {
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		conn, err := pgx.Connect(ctx, s.URL())
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("pgserver: no answer after %v: %w", startTime, err), s.end())
		}
		select {
		case <-s.ended:
			return fmt.Errorf("pgserver: the server ended while it started: %w\n%s", err, s.output)
		case <-time.After(pollEvery): // another process starts; there is no event to wait for
		}
	}
}

// Ended returns why the server has ended by itself, with what it wrote; nil while it runs.
// It may be called concurrently with the other methods of a server that runs.
func (s *Server) Ended() error {
	select {
	case <-s.ended:
		return fmt.Errorf("pgserver: the server ended: %w\n%s", s.err, s.output)
	default:
		return nil
	}
}

// Crash ends the server without a checkpoint, as a crash does, so the next [Server.Run] has to
// recover.
func (s *Server) Crash() error { return s.signal(quit) }

// Kill kills the first process of the server, as `kill -9` does. The others end when they
// notice it, possibly after Kill has returned.
func (s *Server) Kill() error { return s.signal(kill) }

// signal sends a signal to the first process, and waits until it is gone.
func (s *Server) signal(send func(pid int) error) error {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return fmt.Errorf("pgserver: postmaster.pid: %w", err)
	}
	if err := send(pid); err != nil {
		return err
	}
	return s.end()
}

// Stop stops the server and removes its data.
func (s *Server) Stop() error {
	return errors.Join(s.end(), os.RemoveAll(s.dir))
}

// end waits until the server is gone.
func (s *Server) end() error {
	if s.keeper == nil {
		return nil
	}
	_ = s.leash.Close() // a pipe of this process
	<-s.ended
	s.keeper = nil
	if s.err != nil {
		return fmt.Errorf("pgserver: %w\n%s", s.err, s.output)
	}
	return nil
}
