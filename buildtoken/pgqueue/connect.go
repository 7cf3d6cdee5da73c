package pgqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrURL is returned for a connection string that cannot be used. The string
	// may hold a password, so it is not part of the error.
	ErrURL = errors.New("pgqueue: not a usable connection string")
	// ErrPooler is returned when a connection pooler stands before the database and
	// does not keep a session on one connection to it.
	ErrPooler = errors.New("pgqueue: a pooler in transaction or statement mode cannot be used; set its pool_mode to session, or connect to the database directly")
	// ErrUnreachable is returned by [Open] when the database does not answer, or not yet.
	ErrUnreachable = errors.New("pgqueue: the database cannot be reached")
	// ErrOther is returned for a connection that leads to another queue than the one
	// that is open.
	ErrOther = errors.New("pgqueue: the connection leads to another queue")
)

// parse reads the connection string that is in force now.
func (o *Options) parse() (*pgxpool.Config, error) {
	url := o.URL
	if o.CurrentURL != nil {
		var err error
		if url, err = o.CurrentURL(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrURL, err)
		}
	}
	if misplacedPassword(url) {
		return nil, fmt.Errorf("%w: there is an @ after its host; in a password, write @ as %%40, / as %%2F, ? as %%3F and # as %%23", ErrURL)
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, urlError(err)
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = DefaultConnections
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		// It is for each host, with TLS and without. One that answers must get its turn, also of the
		// two connections that [Open] makes.
		limit := o.Timeout / 2 / time.Duration(1+len(config.ConnConfig.Fallbacks))
		config.ConnConfig.ConnectTimeout = limit
		// It bounds the connections by which statements are cancelled, too.
		config.ConnConfig.DialFunc = (&net.Dialer{Timeout: limit, KeepAlive: 5 * time.Minute}).DialContext
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "buildtoken"
	}
	return config, nil
}

// misplacedPassword reports whether a password with an unescaped delimiter makes
// the rest of it a host, a database or a setting, which errors would show.
func misplacedPassword(url string) bool {
	_, rest, isURL := strings.Cut(url, "://")
	if !isURL {
		return false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return false
	}
	path, query, _ := strings.Cut(rest[end:], "?")
	if strings.Contains(path, "@") || strings.HasPrefix(path, "#") {
		return true
	}
	for setting := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(setting, "=")
		if strings.Contains(name, "@") || strings.Contains(value, "@") && name != "user" && name != "password" {
			return true
		}
	}
	return false
}

// urlError returns what pgx reports of a connection string, without any part of
// the string. Only reports about certificates hold none.
func urlError(err error) error {
	if !strings.Contains(err.Error(), "failed to configure TLS") {
		return ErrURL
	}
	cause := errors.Unwrap(err)
	var file *fs.PathError
	switch {
	case cause == nil:
		return ErrURL
	case errors.As(cause, &file):
		return fmt.Errorf("%w: a file that sslrootcert, sslcert or sslkey names: %w", ErrURL, file)
	}
	return fmt.Errorf("%w: sslmode, sslrootcert, sslcert or sslkey: %w", ErrURL, cause)
}

// settings returns the statements that every session begins with. They are not
// startup parameters, which poolers reject.
func (o *Options) settings() string {
	return fmt.Sprintf(`set client_encoding = 'UTF8';
		-- Each statement has its index, and finds few rows by it. A plan that was made
		-- while a table was empty must not outlive that.
		set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
		-- The few statements without an index look expensive then, and compiling one
		-- takes longer (25 ms) than everything else.
		set jit = off;
		-- A server that hangs in the middle must not hold up the others for ever.
		set statement_timeout = %[1]d; set idle_in_transaction_session_timeout = %[1]d;
		-- A connection without work is kept; the setting exists since version 14.
		select set_config(name, '0', false) from pg_settings where name = 'idle_session_timeout'`, o.Timeout.Milliseconds())
}

// poolConfig returns how the pool makes its connections.
func (q *DB) poolConfig() (*pgxpool.Config, error) {
	config, err := q.opts.parse()
	if err != nil {
		return nil, err
	}
	// All connections of a machine that is gone without a word hang. None of them may
	// take the whole time of a statement before the next one is tried, nor keep
	// its place for the 15 s of an orderly close.
	if config.PingTimeout == 0 {
		config.PingTimeout = q.opts.Timeout / 10
	}
	config.BeforeClose = func(conn *pgx.Conn) {
		if !conn.IsClosed() {
			return
		}
		select {
		case <-conn.PgConn().CleanupDone(): // the statement was given up, and its cancellation was sent
		case <-time.After(q.opts.Timeout / 10):
			_ = conn.PgConn().Conn().Close()
		}
	}
	config.BeforeConnect = func(_ context.Context, next *pgx.ConnConfig) error {
		newest, err := q.opts.parse()
		if err == nil {
			*next = *newest.ConnConfig
		}
		return err
	}
	config.AfterConnect = q.enter
	return config, nil
}

// connect makes a connection outside of the pool, with the settings of the session.
func (o *Options) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := o.parse()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil && unreachable(err) {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("pgqueue: connect: %w", err)
	}
	if _, err := conn.Exec(ctx, o.settings()); err != nil {
		err = orLost(fmt.Errorf("pgqueue: connect: %w", err), conn)
		_ = conn.Close(ctx) // the error that counts is err
		return nil, err
	}
	return conn, nil
}

// orLost returns [ErrUnreachable] with an error if the database has closed a connection, as
// it does when it stops. A pooler may close one, too.
func orLost(err error, conns ...*pgx.Conn) error {
	if err == nil || errors.Is(err, ErrPooler) {
		return err
	}
	if slices.ContainsFunc(conns, (*pgx.Conn).IsClosed) {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// unreachable reports whether a connection could not be made for a reason that may go
// away by itself: the server is down, starts, stops, or has no room for another one.
func unreachable(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return strings.HasPrefix(refused.Code, "57P") || strings.HasPrefix(refused.Code, "53")
	}
	var network net.Error // among them that a name was not found
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// listenerSettings let the database notice within 20 s that this server is gone.
const listenerSettings = "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"

// enter prepares a new connection of the pool, and makes sure that it leads to
// the queue that is open.
func (q *DB) enter(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, q.opts.settings()); err != nil {
		return fmt.Errorf("pgqueue: connect: %w", err)
	}
	return q.admit(ctx, conn)
}

// admit makes sure that a connection leads to the queue that is open.
func (q *DB) admit(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, q.names.in(makeMark)); err != nil {
		return fmt.Errorf("pgqueue: connect: %w", err)
	}
	id, err := q.names.identify(ctx, conn)
	switch {
	case err != nil:
		return err
	case id != q.identity:
		return fmt.Errorf("%w: schema %q of %s", ErrOther, q.opts.Schema, address(conn.Config()))
	}
	return nil
}

// identity distinguishes a queue from all others.
type identity struct {
	// id is made with the tables, and moves with them.
	id string
	// database is that of the server and its standbys. A copy of the tables that was
	// restored elsewhere has another one. It is empty if the role may not see it.
	database string
}

// identify returns the identity of the queue to which a connection leads, and notes
// with the connection what [startOf] returns.
func (n *names) identify(ctx context.Context, conn *pgx.Conn) (of identity, err error) {
	var may bool
	var start string
	err = conn.QueryRow(ctx, n.in(`select id::text, has_function_privilege('pg_control_system()', 'execute'), extract(epoch from pg_postmaster_start_time())::text
		from queue.identity`)).Scan(&of.id, &may, &start)
	conn.PgConn().CustomData()["start"] = start
	if err == nil && may {
		err = conn.QueryRow(ctx, "select system_identifier || ' ' || current_database() from pg_control_system()").Scan(&of.database)
	}
	if err != nil {
		return identity{}, fmt.Errorf("pgqueue: identity of the queue: %w", err)
	}
	return of, nil
}

// checkSession returns [ErrPooler] unless a connection keeps its session: a pooler in
// transaction mode serves a connection with any session, and each session serves any
// connection between two transactions.
func checkSession(ctx context.Context, conn, other *pgx.Conn) error {
	first, err := sessionOf(ctx, conn)
	if err != nil {
		return err
	}
	for range 3 { // a pooler may use its sessions in turns
		if again, err := sessionOf(ctx, conn); err != nil || again != first {
			return cmp.Or(err, ErrPooler)
		}
	}
	_, err = other.Exec(ctx, "begin") // it keeps its session until the end
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "08P01" { // PgBouncer in statement mode
		return ErrPooler
	}
	if err != nil {
		return fmt.Errorf("pgqueue: connect: %w", err)
	}
	second, err := sessionOf(ctx, other)
	if err != nil || second == first {
		return cmp.Or(err, ErrPooler)
	}
	if again, err := sessionOf(ctx, conn); err != nil || again != first {
		return cmp.Or(err, ErrPooler)
	}
	if _, err = other.Exec(ctx, "rollback"); err != nil {
		return fmt.Errorf("pgqueue: connect: %w", err)
	}
	return nil
}

// sessionOf returns the process of the database that serves a connection now. It uses no
// prepared statement, because another session would not have it.
func sessionOf(ctx context.Context, conn *pgx.Conn) (pid int, err error) {
	if err := conn.QueryRow(ctx, "select pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return 0, fmt.Errorf("pgqueue: connect: %w", err)
	}
	return pid, nil
}

// address returns the address of a connection, without user and password.
func address(config *pgx.ConnConfig) string {
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))) + "/" + config.Database
}
