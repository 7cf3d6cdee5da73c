package pgqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Errors of [Open].
var (
	// ErrLocked is returned when another server with the same name has the queue open.
	ErrLocked = errors.New("pgqueue: another server has this name")
	// ErrForeign is returned for a database that cannot hold a queue of this program: it
	// is too old, its encoding is not UTF8, or a newer program has changed the
	// tables, which are left unchanged.
	ErrForeign = errors.New("pgqueue: not a usable database")
)

// Defaults of [Options].
const (
	DefaultSchema  = "buildtoken"
	DefaultTimeout = 10 * time.Second
	DefaultTTL     = 30 * time.Second
	// DefaultConnections is the size of the connection pool unless the connection string
	// sets pool_max_conns. One more connection listens.
	DefaultConnections = 8
)

// Options configures a queue. URL or CurrentURL is required.
type Options struct {
	// URL is a connection string, as a URL or as keywords and values.
	URL string
	// CurrentURL, if not nil, takes the place of URL. It is called for each new
	// connection, so that a password may change. Its error must hold no secret.
	CurrentURL func() (string, error)
	// Schema holds the tables. It is made if it doesn't exist. "" is [DefaultSchema].
	Schema string
	// Server is the name of this server, which must be unique among the servers of the
	// queue and should be stable over restarts, like the name of the machine.
	Server string
	// TTL is the duration of the server's lease. If the server cannot reach the database,
	// it claims nothing after a third of it, and stops its builds after two thirds. Zero
	// is [DefaultTTL].
	TTL time.Duration
	// Limit is how many items may be queued over all jobs; 0 means no limit.
	Limit int
	// MaxKiB limits the size of the parameters of all queued items, in KiB; 0 means
	// 256 MiB. Items whose parameters take less than one KiB do not count.
	MaxKiB int
	// Timeout bounds each operation on the database, including its commit. Zero is
	// [DefaultTimeout]; there is no "never".
	Timeout time.Duration
	// LockTimeout is how long Open waits until another server releases the name. Zero
	// means 1s; there is no "for ever".
	LockTimeout time.Duration
	// Log receives lost connections and how they were handled. Nil discards them.
	Log *zap.Logger
}

// DB is a queue in a database. Its methods are safe for concurrent use. The caller must
// not modify returned slices, which are shared with the queue.
type DB struct {
	opts     Options
	names    *names
	identity identity
	// current is what Reconnect has set.
	current atomic.Pointer[func() (string, error)]
	pool    *pgxpool.Pool
	changed chan struct{}
	// notified has a value when notifications may be due; sending holds those that this
	// server sends.
	notified chan struct{}
	sending  sending
	// known holds the builds that Claim has handed out and that have not ended.
	known known
	// starting is held while a claim starts builds, or what was started is compared with
	// the database.
	starting sync.Mutex
	// setBack is the first epoch after the database was last found changed.
	setBack atomic.Int64
	// refusal is what Refuses returns.
	refusal atomic.Pointer[error]
	hub     hub

	requests chan *request
	stop     chan struct{} // closed by Close
	work     sync.WaitGroup
	closing  sync.Once
	closed   chan struct{} // closed when Close is done
	lease    lease
	clock    clock
	lockSaid rate.Sometimes         // once a minute
	living   atomic.Pointer[living] // never nil after Open
	bulk     slots
	// guarding is the connection that holds the lock. It belongs to the listener until
	// that ends.
	guarding *pgx.Conn
	// reclaimed reports whether the builds of the server's previous process were ended.
	reclaimed atomic.Bool

	rules rules
	// foreign holds jobs that were found due and that only other servers have.
	foreign foreign
	// settle has a value when the rules must be applied again.
	settle chan struct{}
	// Only the loop uses the following: jobs that are known to have a row, and reserved
	// item IDs, lowest first, which a committed transaction has taken and not used.
	lanes map[string]bool
	ids   []int64
	// idsFrom is when the database server that has given them was started.
	idsFrom string
}

// setDefaults replaces zero values by what they mean.
func (o *Options) setDefaults() {
	o.Schema = cmp.Or(o.Schema, DefaultSchema)
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxKiB <= 0 {
		o.MaxKiB = 256 << 10
	}
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
}

// Open opens the queue of a schema, and creates or updates its tables if necessary.
// ctx bounds the opening.
//
// Builds that were running when the queue was last used are still running on record:
// call [DB.Reclaim] before the first [DB.Claim].
func Open(ctx context.Context, opts Options) (*DB, error) {
	opts.setDefaults()
	q := &DB{
		opts: opts, names: newNames(opts.Schema), changed: make(chan struct{}, 1), notified: make(chan struct{}, 1), known: known{builds: map[buildKey]running{}, unstarted: map[int64]bool{}},
		requests: make(chan *request), stop: make(chan struct{}), closed: make(chan struct{}),
		lanes: map[string]bool{}, settle: make(chan struct{}, 1), lockSaid: rate.Sometimes{Interval: time.Minute},
	}
	if opts.CurrentURL == nil {
		opts.CurrentURL = func() (string, error) { return opts.URL, nil }
	}
	q.current.Store(&opts.CurrentURL)
	q.opts.CurrentURL = func() (string, error) { return (*q.current.Load())() }
	q.rules.newRules = &newRules{Config: queue.Config{Limit: opts.Limit}}
	q.hub = newHub(opts.Schema)
	q.lease.cut = make(chan struct{}, 1)
	q.lease.beating = make(chan struct{}, 1)
	config, err := q.poolConfig()
	if err != nil {
		return nil, err
	}
	q.bulk = make(slots, max(1, config.MaxConns/2))
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	guard, err := q.enterFirst(ctx)
	if err != nil {
		return nil, err
	}
	if q.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		_ = guard.Close(ctx) // the error that counts is err
		return nil, fmt.Errorf("pgqueue: connect: %w", err)
	}
	opts.Log.Info("queue opened", zap.String("queue", "postgres:"+address(guard.Config())+"/"+opts.Schema), zap.String("server", opts.Server))
	//nolint:contextcheck // these outlive the opening; Close ends them and waits for them
	for _, run := range []func(){q.loop, q.tell, q.watch, func() { q.listen(guard) }} {
		q.work.Go(run)
	}
	q.notify() // there may be notifications of an earlier process
	return q, nil
}

// enterFirst checks the database, makes or updates the tables, and returns the
// connection that listens and holds the lock of the server's name.
func (q *DB) enterFirst(ctx context.Context) (guard *pgx.Conn, err error) {
	conn, err := q.opts.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // the error that counts is err
		}
	}()
	other, err := q.opts.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = other.Close(context.WithoutCancel(ctx)) }() // it is not needed any more
	defer func() { err = orLost(err, conn, other) }()
	if err := checkSession(ctx, conn, other); err != nil {
		return nil, err
	}
	if err := usable(ctx, other); err != nil {
		return nil, err
	}
	if err := migrate(ctx, other, q.names, q.opts.Schema, migrations); err != nil {
		return nil, err
	}
	if q.identity, err = q.names.identify(ctx, other); err != nil {
		return nil, err
	}
	return conn, q.guard(ctx, conn)
}

// Reconnect makes new connections take their connection string from current, after it
// has tried one. It returns [ErrOther] if that leads to another queue, or schema is another
// one. Connections that are there stay.
func (q *DB) Reconnect(ctx context.Context, current func() (string, error), schema string) error {
	if err := q.ask(ctx); err != nil {
		return err
	}
	if cmp.Or(schema, DefaultSchema) != q.opts.Schema {
		return fmt.Errorf("%w: its schema is %q", ErrOther, q.opts.Schema)
	}
	opts := q.opts // a copy
	opts.CurrentURL = current
	conn, err := opts.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it was only tried
	found, err := q.names.identify(ctx, conn)
	switch {
	case isMissing(err): // no queue was opened there
		return fmt.Errorf("%w: %s has no tables", ErrOther, address(conn.Config()))
	case err != nil:
		return err
	case found != q.identity:
		return fmt.Errorf("%w: schema %q of %s", ErrOther, q.opts.Schema, address(conn.Config()))
	}
	q.current.Store(&current)
	return nil
}

// isMissing reports whether a table is not there.
func isMissing(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "42P01" // undefined_table
}

// Identify returns the identity of a queue without opening it; "" if there are no
// tables yet.
func Identify(ctx context.Context, opts Options) (string, error) {
	opts.setDefaults()
	conn, err := opts.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it was only read
	found, err := newNames(opts.Schema).identify(ctx, conn)
	if isMissing(err) {
		return "", nil
	}
	return found.id, err
}

// Identity returns the identity of the queue. It is stored in the database, so it stays
// the same when that moves to another address.
func (q *DB) Identity() string { return q.identity.id }

// Close completes the accepted requests and closes the connections. Later calls of any
// method return queue.ErrClosed. Close may be called more than once.
func (q *DB) Close() error {
	q.closing.Do(func() {
		close(q.stop)
		q.work.Wait()
		q.pool.Close() // waits until all connections are released
		q.leave(q.guarding)
		close(q.closed)
	})
	<-q.closed
	return nil
}

// Changed has a value after a commit that may have moved the next due instant earlier,
// freed a lane, or requested to stop a build, and after new rules. It also has one when
// the notification of such a commit may have been missed. It holds one value, so the
// receiver must check everything.
func (q *DB) Changed() <-chan struct{} { return q.changed }

func (q *DB) change() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// Place returns the address of the database and the schema of a connection string, without
// user and password. Two strings with the same place lead to the same queue.
func Place(connection, schema string) (string, error) {
	opts := Options{URL: connection, Schema: schema}
	opts.setDefaults()
	config, err := opts.parse()
	if err != nil {
		return "", err
	}
	at := config.ConnConfig
	hosts := []string{net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port)))}
	for _, other := range at.Fallbacks {
		host := net.JoinHostPort(other.Host, strconv.Itoa(int(other.Port)))
		if !slices.Contains(hosts, host) { // the same one comes with TLS and without
			hosts = append(hosts, host)
		}
	}
	return "postgres:" + strings.Join(hosts, ",") + "/" + at.Database + "/" + opts.Schema, nil
}
