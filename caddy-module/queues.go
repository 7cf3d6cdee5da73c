package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

func init() {
	caddy.RegisterModule(new(Bolt))
}

// lockTimeout is how long to wait until another process releases the file. It is short,
// because Caddy handles no signal while a configuration starts.
const lockTimeout = 2 * time.Second

// Bolt keeps the queue of one server in a file. The key beside it, with the same name and
// `.key` appended, protects queued password parameters; move both together.
type Bolt struct {
	// The path of the file. Its directory is created if missing. Placeholders such as
	// `{env.STATE_DIRECTORY}` are replaced.
	// Default: `build_token/queue.db` in Caddy's data directory.
	//
	// Logs, workspaces and uploads of the default file are in its directory. Those of
	// another file are in a directory beside it: the name of the file without `.db`, or
	// with `.d` appended if it does not end in `.db`.
	Path string `json:"path,omitempty"`

	files atomicfile.Files // of its directory; a test records what is durable
}

// CaddyModule returns the Caddy module information.
func (*Bolt) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token.queues.bolt",
		New: func() caddy.Module { return new(Bolt) },
	}
}

// Place implements [Queue]. It returns the absolute path with symbolic links in its
// directories resolved.
func (b *Bolt) Place() (string, error) {
	path := b.Path
	if path == "" {
		path = defaultPath()
	}
	path, err := placeholders{}.replace(path)
	if err != nil {
		return "", fmt.Errorf("path of the queue: %w", err)
	}
	return realPath(path)
}

func defaultPath() string {
	return filepath.Join(caddy.AppDataDir(), "build_token", "queue.db")
}

// realPath returns the absolute path, with the symbolic links resolved in as many of its
// directories as exist.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("path %q: %w", path, err)
	}
	rest := filepath.Base(path)
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		real, err := filepath.EvalSymlinks(folder)
		switch {
		case err == nil:
			return filepath.Join(real, rest), nil
		case !errors.Is(err, os.ErrNotExist) || folder == filepath.Dir(folder):
			return "", fmt.Errorf("path %q: %w", path, err)
		}
		rest = filepath.Join(filepath.Base(folder), rest)
	}
}

// dataDir returns the directory of the logs, workspaces and uploads of a queue file.
func dataDir(place string) string {
	if byDefault, err := realPath(defaultPath()); err == nil && byDefault == place {
		return filepath.Dir(place)
	}
	if stem, ok := strings.CutSuffix(place, ".db"); ok && filepath.Base(place) != ".db" {
		return stem
	}
	return place + ".d"
}

// Open implements [Queue].
func (b *Bolt) Open(place, node string, limit int, log *zap.Logger) (buildtoken.Options, error) {
	dir := dataDir(place)
	for _, folder := range []string{filepath.Dir(place), dir} {
		// Builds that run as other users must reach their workspaces.
		if err := b.files.MkdirAll(folder, 0o711); err != nil {
			return buildtoken.Options{}, fmt.Errorf("make the folder of the queue: %w", err)
		}
	}
	_, err := os.Lstat(place)
	isNew := errors.Is(err, os.ErrNotExist)
	db, err := boltqueue.Open(boltqueue.Options{Path: place, Limit: limit, LockTimeout: lockTimeout, Log: log.Named("queue"), SyncDir: b.files.SyncDir})
	if errors.Is(err, boltqueue.ErrLocked) {
		return buildtoken.Options{}, fmt.Errorf("open queue: %w; does another Caddy run with the same file?", err)
	}
	if err != nil {
		return buildtoken.Options{}, fmt.Errorf("open queue: %w", err)
	}
	// The lock of the file is held, so no other process creates the key.
	key, made, err := openKey(b.files, place+".key")
	if err != nil {
		return buildtoken.Options{}, errors.Join(fmt.Errorf("key of the queue: %w", err), db.Close())
	}
	if isNew && !made {
		log.Warn("made a new queue beside the key of an earlier one: what was queued and built is not in it, and builds are numbered from 1 again",
			zap.String("queue", place))
	}
	if made && !isNew {
		log.Warn("made a new key for an existing queue: builds that are queued with password parameters cannot be started",
			zap.String("key", place+".key"))
	}
	return buildtoken.Options{Queue: db, Dir: dir, SealKey: key, Node: node, Log: log}, nil
}

var _ Queue = (*Bolt)(nil)
