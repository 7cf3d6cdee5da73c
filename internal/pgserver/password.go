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

// RequirePassword makes the server require a password for this role, and no other one, from now
// on.
func (s *Server) RequirePassword(role string) error {
	rules := filepath.Join(s.data(), "pg_hba.conf")
	text, err := os.ReadFile(rules)
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	// Write in place, because the file belongs to the user of the server.
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
			_ = open.Close(ctx)   // it only proves that the password is required
			time.Sleep(pollEvery) // another process reloads; there is no event to wait for
		}
	})
}
