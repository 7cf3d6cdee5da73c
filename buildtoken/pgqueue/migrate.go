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
	"github.com/jackc/pgx/v5/pgconn"
)

// migrations are the steps by which the tables came to be as they are, in
// order. A step that was released is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// oldest is the lowest version of the database server that has all we use.
const oldest = 130000

// ErrInUse is returned when tables cannot be changed or filled because a server
// works with them, or may still run builds.
var ErrInUse = errors.New("pgqueue: tables are used by a server")

// besideOthers begins a step after which servers of the version before go on as they
// did, so that several servers can be updated one after the other. Without it,
// all must be stopped.
const besideOthers = "-- Beside servers of the version before.\n"

// usable returns [ErrForeign] if the database cannot hold a queue.
func usable(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var name, encoding, commit string
	var standby bool
	err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding'),
		current_setting('synchronous_commit'), pg_is_in_recovery()`).Scan(&version, &name, &encoding, &commit, &standby)
	switch {
	case err != nil:
		return fmt.Errorf("pgqueue: %w", err)
	case version < oldest:
		return fmt.Errorf("%w: it is version %s, want 13 or newer", ErrForeign, name)
	case encoding != "UTF8":
		return fmt.Errorf("%w: its encoding is %s, want UTF8", ErrForeign, encoding)
	case commit == "off":
		return fmt.Errorf("%w: synchronous_commit is off, so it would lose what it has answered; set it to on for this user or database", ErrForeign)
	case standby:
		return fmt.Errorf("%w: it is a standby", ErrForeign)
	}
	return nil
}

// migrate brings the tables of the schema to what the steps make of them. Of two
// servers that start at the same time one waits for the other. It changes nothing, and
// needs no right to create anything, if the tables are up to date.
func migrate(ctx context.Context, conn *pgx.Conn, names *names, schema string, steps fs.FS) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return update(ctx, tx, names, schema, steps) })
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Code == "42501": // insufficient_privilege
		return fmt.Errorf("pgqueue: tables of schema %q: %w; start once with a role that may create them, or grant this one create on the schema", schema, err)
	}
	return fmt.Errorf("pgqueue: tables of schema %q: %w", schema, err)
}

// update brings the tables up to date, and keeps others from it until the end of
// the transaction.
func update(ctx context.Context, tx pgx.Tx, names *names, schema string, steps fs.FS) error {
	files, _ := fs.Glob(steps, "migrations/*.sql") // sorted; the pattern is well formed
	version, err := versionOf(ctx, tx, names, schema)
	if err != nil || version == len(files) {
		return err
	}
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended($1, 0))", "buildtoken migrate "+schema); err != nil {
		return err
	}
	if version, err = versionOf(ctx, tx, names, schema); err != nil { // another one may have been faster
		return err
	}
	if version > len(files) {
		return fmt.Errorf("%w: its tables have version %d, this program knows %d", ErrForeign, version, len(files))
	}
	if version == 0 {
		if err := create(ctx, tx, names, schema); err != nil {
			return err
		}
	}
	for n := version + 1; n <= len(files); n++ {
		text, err := fs.ReadFile(steps, files[n-1])
		if err != nil {
			return err
		}
		if n > 1 && !bytes.HasPrefix(text, []byte(besideOthers)) {
			if err := idle(ctx, tx, names); err != nil {
				return fmt.Errorf("update from version %d to %d: %w", version, len(files), err)
			}
		}
		if _, err := tx.Exec(ctx, names.in(string(text))); err != nil {
			return fmt.Errorf("%s: %w", files[n-1], err)
		}
		if _, err := tx.Exec(ctx, names.in("insert into queue.migrations (version) values ($1)"), n); err != nil {
			return err
		}
	}
	return nil
}

// versionOf returns how many steps were made in the schema; 0 means that it holds
// no tables.
func versionOf(ctx context.Context, tx pgx.Tx, names *names, schema string) (version int, err error) {
	var exists bool
	// to_regclass may not see yet what another transaction has made.
	const sql = "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = 'migrations')"
	if err := tx.QueryRow(ctx, sql, schema).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = tx.QueryRow(ctx, names.in("select coalesce(max(version), 0) from queue.migrations")).Scan(&version)
	return version, err
}

// create makes the schema, and the table that counts the steps.
func create(ctx context.Context, tx pgx.Tx, names *names, schema string) error {
	// A role that may not make schemas can still use one that was made for it.
	var exists bool
	if err := tx.QueryRow(ctx, "select exists (select from pg_namespace where nspname = $1)", schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, "create schema "+pgx.Identifier{schema}.Sanitize()); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, names.in("create table if not exists queue.migrations (version integer primary key, applied timestamptz not null default now())"))
	return err
}

// idle makes sure that no server works with the tables, until the end of the
// transaction. A server of another version would continue to use the old tables.
func idle(ctx context.Context, tx pgx.Tx, names *names) error {
	// A server that opens the queue first inserts its name here.
	if _, err := tx.Exec(ctx, names.in("lock table queue.servers in exclusive mode")); err != nil {
		return err
	}
	rows, _ := tx.Query(ctx, names.in(`select format('%s was heard of %s s ago and is given up after %s s', server,
			round(extract(epoch from clock_timestamp() - beat)), round(ttl::numeric))
		from queue.servers where not released and clock_timestamp() - beat <= make_interval(secs => ttl) order by server`)) // its error is that of the rows
	live, err := column[string](rows)
	if err != nil {
		return err
	}
	if len(live) > 0 {
		return fmt.Errorf("%w, which must be stopped first: %s", ErrInUse, strings.Join(live, "; "))
	}
	return nil
}
