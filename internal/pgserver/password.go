package pgserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// RequirePassword makes the server ask a role for its password from now on. It asks no
// other one.
func (s *Server) RequirePassword(role string) error {
	rules := filepath.Join(s.data(), "pg_hba.conf")
	text, err := os.ReadFile(rules)
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	// In place, since the file belongs to the user of the server.
	if err := os.WriteFile(rules, append([]byte("local all "+role+" scram-sha-256\n"), text...), 0o600); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return s.ask(func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "select pg_reload_conf()"); err != nil {
			return fmt.Errorf("pgserver: %w", err)
		}
		for {
			open, err := pgx.Connect(ctx, strings.Replace(s.URL(), "user=buildtoken", "user="+role, 1))
			if err != nil {
				return ctx.Err()
			}
			_ = open.Close(ctx)   // it was only tried
			time.Sleep(pollEvery) // of another process; there is nothing to wait on
		}
	})
}
