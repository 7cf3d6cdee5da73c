package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// Follower starts a standby of this server. It can be read from, receives commits a moment
// later, and takes over with [Server.Promote]. The caller must call [Server.Stop] of both.
func (s *Server) Follower() (*Server, error) {
	return start(s.bin, func(other *Server) error { return other.copy(s) })
}

// Detach stops the replication to a follower once it has received what is committed now.
func (s *Server) Detach(from *Server) error {
	var position string
	err := from.ask(func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "select pg_current_wal_flush_lsn()::text").Scan(&position)
	})
	if err != nil {
		return err
	}
	return s.ask(func(ctx context.Context, conn *pgx.Conn) error {
		for has := false; !has; time.Sleep(pollEvery) { // another process replicates; there is no event to wait for
			if err := conn.QueryRow(ctx, "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position).Scan(&has); err != nil {
				return fmt.Errorf("pgserver: detach: %w", err)
			}
		}
		for _, statement := range []string{"alter system set primary_conninfo = ''", "select pg_reload_conf()"} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("pgserver: %s: %w", statement, err)
			}
		}
		for follows := true; follows; time.Sleep(pollEvery) {
			if err := conn.QueryRow(ctx, "select exists (select from pg_stat_wal_receiver)").Scan(&follows); err != nil {
				return fmt.Errorf("pgserver: detach: %w", err)
			}
		}
		return nil
	})
}

// Standby starts a [Server.Follower] with synchronous replication: from now on a commit of this
// server is answered when the standby has it on disk. A server can have one.
func (s *Server) Standby() (*Server, error) {
	other, err := s.Follower()
	if err != nil {
		return nil, err
	}
	if err := s.waitFor(); err != nil {
		return nil, errors.Join(err, other.Stop())
	}
	return other, nil
}

// copy creates the cluster as a copy of another one, which it follows.
func (s *Server) copy(of *Server) error {
	if err := giveAway(s.dir); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(s.bin, "pg_basebackup"), "--pgdata", s.data(), "--host", of.dir, "--username", "buildtoken",
		"--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
	unprivileged(cmd)
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgserver: pg_basebackup: %w\n%s", err, out)
	}
	return nil
}

// waitFor makes commits wait for the standby, and returns once they do.
func (s *Server) waitFor() error {
	return s.ask(func(ctx context.Context, conn *pgx.Conn) error {
		for _, statement := range []string{"alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("pgserver: %s: %w", statement, err)
			}
		}
		for follows := false; !follows; {
			err := conn.QueryRow(ctx, "select exists (select from pg_stat_replication where sync_state = 'sync')").Scan(&follows)
			if err != nil {
				return fmt.Errorf("pgserver: the standby does not follow: %w", err)
			}
			time.Sleep(pollEvery) // another process reloads; there is no event to wait for
		}
		// The process that makes the others wait for the standby also makes checkpoints, and
		// reads the settings before one.
		if _, err := conn.Exec(ctx, "checkpoint"); err != nil {
			return fmt.Errorf("pgserver: checkpoint: %w", err)
		}
		return nil
	})
}

// Promote makes a standby take over from the server that it followed, and returns when it
// accepts writes.
func (s *Server) Promote() error {
	// The recovery can wait for a statement that waits for the end of the recovery.
	return s.ask(func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "select pg_promote(false)"); err != nil {
			return fmt.Errorf("pgserver: promote: %w", err)
		}
		for follows := true; follows; {
			time.Sleep(pollEvery) // another process recovers; there is no event to wait for
			if err := conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&follows); err != nil {
				return fmt.Errorf("pgserver: promote: %w", err)
			}
		}
		return nil
	})
}

// ask calls a function with a connection to the running server.
func (s *Server) ask(what func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is lost with it
	return what(ctx, conn)
}
