package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

func init() {
	caddy.RegisterModule(new(Postgres))
}

// openTime is how long a configuration waits for the database when it starts. Caddy
// handles no signal in the meantime.
const openTime = 10 * time.Second

// minTakeover is the shortest takeover time that leaves room for a heartbeat and a commit.
const minTakeover = 3 * time.Second

// Postgres keeps the queue in a PostgreSQL database, 13 or newer. Any number of
// servers may share it. Each needs a different name: the name of its node, by default
// that of its machine.
//
// Console logs and uploaded files are in the database too. Workspaces and the logs of
// running builds are files of the server that runs the build, in a separate folder
// below `build_token/postgres` in Caddy's data directory.
type Postgres struct {
	// The connection string, as a URL (`postgres://user:password@host/database`) or
	// as keywords and values. It holds a password, so use a placeholder such as
	// `{env.DATABASE_URL}` or `{file./run/secrets/database}`, which is resolved for each
	// new connection. It is never logged. `pool_max_conns` in it limits the number of
	// connections; the default is 8.
	URL string `json:"url,omitempty"`

	// The schema of the tables. It is created if it does not exist. Default: `buildtoken`.
	Schema string `json:"schema,omitempty"`

	// The key that protects queued password parameters, 64 hexadecimal digits;
	// placeholders are replaced. All servers of a queue need the same key; a server with
	// a different one does not start. Default: a file `key` in the folder of the
	// workspaces, created if missing, which is enough for one server.
	Key string `json:"key,omitempty"`

	// How long after this server's last heartbeat the other servers consider it lost and
	// record the end of its builds. When a third of this time has passed without reaching
	// the database, this server starts no more builds; after two thirds it stops them, so
	// that two builds of a job never run at once. At least 3s. Default: 30s.
	TakeoverAfter caddy.Duration `json:"takeover_after,omitempty"`

	// Makes the start of Caddy fail if the database cannot be reached. By default Caddy
	// starts, answers triggers with 503, and opens the queue when the database answers. A
	// reload that needs an unreachable database always fails.
	FailStart bool `json:"fail_start,omitempty"`

	// Set by Provision. Secrets are kept in functions, so printing the module does not
	// show them.
	place string
	url   func() (string, error)
	key   func() (vault.Key, bool)
}

// CaddyModule returns the Caddy module information.
func (*Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token.queues.postgres",
		New: func() caddy.Module { return new(Postgres) },
	}
}

// Provision checks the settings and resolves the secrets. It clears them in the
// fields, and opens nothing.
func (p *Postgres) Provision(caddy.Context) error {
	if p.URL == "" {
		return errors.New("queue postgres: the url is missing")
	}
	if after := time.Duration(p.TakeoverAfter); after != 0 && after < minTakeover {
		return fmt.Errorf("queue postgres: takeover_after is %v, want at least %v", after, minTakeover)
	}
	text := p.URL
	p.url = func() (string, error) { // for each new connection, since a file may change
		url, err := placeholders{}.replace(text)
		if err != nil {
			return "", fmt.Errorf("queue postgres: url: %w", err)
		}
		return url, nil
	}
	url, err := p.url()
	if err != nil {
		return err
	}
	if p.place, err = pgqueue.Place(url, p.Schema); err != nil {
		return fmt.Errorf("queue postgres: %w (it is not shown, since it may hold a password)", err)
	}
	p.key = func() (vault.Key, bool) { return vault.Key{}, false }
	if p.Key != "" {
		text, err := placeholders{}.replace(p.Key)
		if err != nil {
			return fmt.Errorf("queue postgres: key: %w", err)
		}
		key, err := parseKey([]byte(text))
		if err != nil {
			return fmt.Errorf("queue postgres: key holds %w", err)
		}
		p.key = func() (vault.Key, bool) { return key, true }
	}
	p.URL, p.Key = "", ""
	return nil
}

// Place implements [Queue]: it names server, database and schema.
func (p *Postgres) Place() (string, error) { return p.place, nil }

// MayWait implements [waiter].
func (p *Postgres) MayWait() bool { return !p.FailStart }

// Renew implements [renewer]. It switches an open queue to the connection settings of
// this configuration, after it has tried them: a reload with a wrong password fails.
func (p *Postgres) Renew(open buildtoken.Queue) error {
	db, ok := open.(*pgqueue.DB)
	if !ok {
		return fmt.Errorf("queue %s: %w", p.place, errAnotherQueue)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	err := db.Reconnect(ctx, p.url, p.Schema)
	if errors.Is(err, pgqueue.ErrOther) {
		err = fmt.Errorf("%w: %w", errAnotherQueue, err)
	}
	if err != nil {
		return fmt.Errorf("queue %s: %w", p.place, err)
	}
	return nil
}

// Open implements [Queue].
func (p *Postgres) Open(place, node string, limit int, log *zap.Logger) (buildtoken.Options, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	node, err := serverName(node)
	if err != nil {
		return buildtoken.Options{}, err
	}
	db, err := pgqueue.Open(ctx, pgqueue.Options{
		CurrentURL: p.url, Schema: p.Schema, Server: node, TTL: time.Duration(p.TakeoverAfter), Limit: limit, LockTimeout: lockTimeout, Log: log.Named("queue"),
	})
	if errors.Is(err, pgqueue.ErrLocked) {
		return buildtoken.Options{}, fmt.Errorf("open queue %s: another Caddy is called %s; give each a name with `node <name>`", place, node)
	}
	if err != nil {
		return buildtoken.Options{}, fmt.Errorf("open queue %s: %w", place, err)
	}
	dir := postgresDir(db.Identity())
	// Builds that run as other users must reach their workspaces.
	if err := atomicfile.MkdirAll(dir, 0o711); err != nil {
		return buildtoken.Options{}, errors.Join(fmt.Errorf("make the folder of the queue: %w", err), db.Close())
	}
	key, given := p.key()
	if !given {
		// The lock of the name is held, so no other process creates the key.
		key, err = p.ownKey(filepath.Join(dir, "key"), log)
		if err != nil {
			return buildtoken.Options{}, errors.Join(err, db.Close())
		}
	}
	return buildtoken.Options{Queue: db, Dir: dir, SealKey: key, Node: node, Log: log}, nil
}

// postgresDir returns this server's directory for a queue in a database. Its name is the
// identity of the queue, so it stays the same when the database moves.
func postgresDir(identity string) string {
	return filepath.Join(filepath.Dir(defaultPath()), "postgres", identity)
}

// serverName returns the name under which the queue records this server: the name of
// the node, or of the machine if node is "".
func serverName(node string) (string, error) {
	if node != "" {
		return node, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this machine: %w", err)
	}
	return host, nil
}

func (*Postgres) ownKey(path string, log *zap.Logger) (vault.Key, error) {
	key, made, err := openKey(atomicfile.Files{}, path)
	if err != nil {
		return key, fmt.Errorf("key of the queue: %w", err)
	}
	if made {
		log.Info("made a key for queued password parameters; other servers of the queue need the same one", zap.String("key", path))
	}
	return key, nil
}

// UnmarshalCaddyfile sets up the queue. Syntax:
//
//	postgres <url> {
//		schema <name>
//		key    <64 hexadecimal digits>
//		takeover_after <duration>
//		fail_start
//	}
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	args, err := arguments(d, "queue postgres", 1, 1)
	if err != nil {
		return err
	}
	if args[0] == "" {
		return d.Err("queue postgres: the url is empty")
	}
	p.URL = args[0]
	text := newParser(d)
	seen := once{}
	return block(d, func(name string) (err error) {
		if err := seen.check(d, name, "schema", "key", "takeover_after", "fail_start"); err != nil {
			return err
		}
		switch name {
		case "schema":
			return text.text(&p.Schema, name)
		case "key":
			return text.text(&p.Key, name)
		case "takeover_after":
			p.TakeoverAfter, err = text.duration(name)
			return err
		case "fail_start":
			p.FailStart = true
			_, err := arguments(d, "fail_start", 0, 0)
			return err
		default:
			return unknown(d, name, "queue postgres")
		}
	})
}

var (
	_ Queue                 = (*Postgres)(nil)
	_ renewer               = (*Postgres)(nil)
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
)
