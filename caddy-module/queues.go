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
)

func init() {
	caddy.RegisterModule(new(Bolt))
}

// lockTimeout is how long to wait for another process to let go of the file.
// It must not be long: Caddy takes no signal while a configuration starts.
const lockTimeout = 2 * time.Second

// Bolt keeps the queue in a file of one server. Beside the file there is its
// key, of the same name with `.key`, which protects queued password
// parameters; keep both when moving the queue.
type Bolt struct {
	// The file. Its folder is made if need be. Placeholders such as
	// `{env.STATE_DIRECTORY}` are replaced.
	// Default: `build_token/queue.db` in Caddy's data directory.
	//
	// Logs, workspaces and uploads are kept in folders of these names: for the
	// default in its folder; for another file in a folder of its own beside it, which is
	// named like the file without `.db`, or, if it is not named so, with `.d`
	// added.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Bolt) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "build_token.queues.bolt",
		New: func() caddy.Module { return new(Bolt) },
	}
}

// Place implements [Queue]: it is the absolute path, without symbolic links
// in its folders.
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

// realPath makes a path absolute and follows the symbolic links in as much of
// its folder as exists.
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

// dataDir is where what belongs to a queue file is kept.
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
func (*Bolt) Open(place, node string, limit int, log *zap.Logger) (buildtoken.Options, error) {
	dir := dataDir(place)
	for _, folder := range []string{filepath.Dir(place), dir} {
		// Builds that run as other users come through to their workspaces.
		if err := os.MkdirAll(folder, 0o711); err != nil { //nolint:gosec // what is in it is not for others, and so not readable
			return buildtoken.Options{}, fmt.Errorf("make the folder of the queue: %w", err)
		}
	}
	_, err := os.Lstat(place)
	isNew := errors.Is(err, os.ErrNotExist)
	db, err := boltqueue.Open(boltqueue.Options{Path: place, Limit: limit, LockTimeout: lockTimeout, Log: log.Named("queue")})
	if errors.Is(err, boltqueue.ErrLocked) {
		return buildtoken.Options{}, fmt.Errorf("open queue: %w; does another Caddy run with the same file?", err)
	}
	if err != nil {
		return buildtoken.Options{}, fmt.Errorf("open queue: %w", err)
	}
	// Only whoever holds the lock of the file may make its key.
	key, made, err := openKey(place + ".key")
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
