package pgqueue

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
)

// migrations are the steps by which the tables came to be as they are, in
// order. A step that was released is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// oldest is the lowest version of the server that knows all we ask for.
const oldest = 130000

// ErrInUse says that tables can't be changed or filled because a server works
// with them, or may still run builds.
var ErrInUse = errors.New("pgqueue: tables are used by a server")

// serversSince is the version of the tables since which servers enter their names.
const serversSince = 2

// besideOthers begins a step after which servers of the version before go on as they
// did, so that several servers can be updated one after the other. Without it,
// all must be stopped.
const besideOthers = "-- Beside servers of the version before.\n"

// migrate brings the tables of the schema to what this program needs. Two
// servers that start at the same time do it one after the other.
func migrate(ctx context.Context, config *pgx.ConnConfig, schema string) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("pgqueue: connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // committed or not, it is not needed any more
	if err := usable(ctx, conn); err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return update(ctx, tx, schema) })
	if err != nil {
		return fmt.Errorf("pgqueue: tables of schema %q: %w", schema, err)
	}
	return nil
}

// update brings the tables up to date, and keeps others from it until the end of
// the transaction.
func update(ctx context.Context, tx pgx.Tx, schema string) error {
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended($1, 0))", "buildtoken migrate "+schema); err != nil {
		return err
	}
	return migrateLocked(ctx, tx, schema)
}

func usable(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var encoding, commit string
	var standby bool
	err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('server_encoding'),
		current_setting('synchronous_commit'), pg_is_in_recovery()`).Scan(&version, &encoding, &commit, &standby)
	switch {
	case err != nil:
		return fmt.Errorf("pgqueue: %w", err)
	case version < oldest:
		return fmt.Errorf("%w: it is version %d, want %d or newer", ErrForeign, version/10000, oldest/10000)
	case encoding != "UTF8":
		return fmt.Errorf("%w: its encoding is %s, want UTF8", ErrForeign, encoding)
	case commit == "off":
		return fmt.Errorf("%w: synchronous_commit is off, so it would lose what it has answered; set it to on for this user or database", ErrForeign)
	case standby:
		return fmt.Errorf("%w: it is a standby", ErrForeign)
	}
	return nil
}

func migrateLocked(ctx context.Context, tx pgx.Tx, schema string) error {
	// Who may not make schemas can still use one that was made for them.
	var exists bool
	if err := tx.QueryRow(ctx, "select exists (select from pg_namespace where nspname = $1)", schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, "create schema "+pgx.Identifier{schema}.Sanitize()); err != nil {
			return err
		}
	}
	const table = `create table if not exists migrations (version integer primary key, applied timestamptz not null default now())`
	if _, err := tx.Exec(ctx, table); err != nil {
		return err
	}
	var version int
	if err := tx.QueryRow(ctx, "select coalesce(max(version), 0) from migrations").Scan(&version); err != nil {
		return err
	}
	steps, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("%w: its tables have version %d, this program knows %d", ErrForeign, version, len(steps))
	}
	for n := version + 1; n <= len(steps); n++ {
		text, err := migrations.ReadFile(steps[n-1])
		if err != nil {
			return err
		}
		if n > serversSince && !bytes.HasPrefix(text, []byte(besideOthers)) {
			if err := idle(ctx, tx); err != nil {
				return fmt.Errorf("update from version %d to %d: %w", version, len(steps), err)
			}
		}
		if _, err := tx.Exec(ctx, string(text)); err != nil {
			return fmt.Errorf("%s: %w", steps[n-1], err)
		}
		if _, err := tx.Exec(ctx, "insert into migrations (version) values ($1)", n); err != nil {
			return err
		}
	}
	return nil
}

// idle makes sure that no server works with the tables, until the end of the
// transaction. One of another version would go on as if they were what it knows.
func idle(ctx context.Context, tx pgx.Tx) error {
	// Who opens the queue enters its name here, before anything else.
	if _, err := tx.Exec(ctx, "lock table servers in exclusive mode"); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `select format('%s was heard of %s s ago and is given up after %s s', server,
			round(extract(epoch from clock_timestamp() - beat)), round(ttl::numeric))
		from servers where not released and clock_timestamp() - beat <= make_interval(secs => ttl) order by server`)
	if err != nil {
		return err
	}
	live, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(live) > 0 {
		return fmt.Errorf("%w, which must be stopped first: %s", ErrInUse, strings.Join(live, "; "))
	}
	return nil
}
