package pgserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Pooler starts PgBouncer before this server, with its defaults except for the
// settings, as in "pool_mode = session". The caller must call [Server.Stop] of both.
// Without an installed PgBouncer it returns a [NotInstalledError].
func (s *Server) Pooler(settings ...string) (*Server, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	if _, err := os.Stat(program); err != nil {
		return nil, &NotInstalledError{"pgbouncer"}
	}
	return start("", func(pooler *Server) error {
		config := filepath.Join(pooler.dir, "pgbouncer.ini")
		pooler.pooler = []string{"TERM", program, config}
		text := fmt.Sprintf(`[databases]
postgres = host=%s dbname=postgres user=buildtoken
[pgbouncer]
listen_addr =
listen_port = 5432
unix_socket_dir = %s
auth_type = any
%s
`, s.dir, pooler.dir, strings.Join(settings, "\n"))
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return fmt.Errorf("pgserver: %w", err)
		}
		return giveAway(pooler.dir)
	})
}
