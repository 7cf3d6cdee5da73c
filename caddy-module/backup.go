package caddymodule

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// The names in a backup. A log is logs/JOB/N.log and an upload uploads/REF, as in the data
// directory. backupSums is written last, so a backup without it is not complete.
const (
	backupQueue = "queue.db"
	backupKey   = "queue.db.key"
	backupSums  = "SHA256SUMS"
)

// serveBackup answers with a backup as a tar archive.
func (a *App) serveBackup(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("method %s: only POST is here", r.Method))
	}
	ctl := a.opened()
	if ctl == nil {
		return apiError(http.StatusServiceUnavailable, buildtoken.ErrShuttingDown)
	}
	db, ok := a.slot.openQueue().(*boltqueue.DB)
	if !ok {
		return apiError(http.StatusConflict, a.noBackup())
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the admin API has one, which would end the request; some writers have none
	b := &backup{log: a.log, ctl: ctl, dir: dataDir(a.place), sizes: map[string]int64{}}
	defer ctl.HoldFiles()()
	began := time.Now()
	snapshot, err := b.snapshot(r.Context(), db)
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	defer func() { _ = os.Remove(snapshot) }() // or the next start does
	w.Header().Set("Content-Type", "application/x-tar")
	b.tar = tar.NewWriter(w)
	if err := b.write(r.Context(), snapshot, a.place+".key", r.URL.Query().Get("key") != "no"); err != nil {
		a.log.Error("backup failed", zap.Error(err))
		panic(http.ErrAbortHandler) // so that the client does not take what it has for all
	}
	a.log.Info("backup made", zap.Int("files", b.files), zap.Duration("took", time.Since(began)))
	return nil
}

// noBackup is the answer of a server whose queue is not in a file.
func (a *App) noBackup() error {
	p, ok := a.queue.(*Postgres)
	if !ok {
		return fmt.Errorf("the queue %s is not in a file: back it up where it is", a.place)
	}
	key := "the key of password parameters, which the configuration names"
	if _, given := p.key(); !given {
		key = "the key of password parameters, " + filepath.Join(postgresDir("…"), "key")
		if db, ok := a.slot.openQueue().(interface{ Identity() string }); ok {
			key = "the key of password parameters, " + filepath.Join(postgresDir(db.Identity()), "key")
		}
	}
	return fmt.Errorf("the queue %s is in PostgreSQL, and so are its builds, console logs and uploaded files: back them up with pg_dump --schema=%s. "+
		"Not in the database is %s; copy that too. Nothing was written", a.place, cmp.Or(p.Schema, "buildtoken"), key)
}

// backup writes one backup.
type backup struct {
	log *zap.Logger
	ctl *buildtoken.Controller
	dir string
	tar *tar.Writer
	// sizes are those of the logs of running builds, just before the copy of the queue.
	sizes map[string]int64
	sums  strings.Builder
	files int
}

// snapshot copies the queue to a temporary file on the same disk: a copy that waits for a
// slow client would hold up commits.
func (b *backup) snapshot(ctx context.Context, db *boltqueue.DB) (file string, err error) {
	for _, running := range append(b.ctl.Running(), b.ctl.RunningRemote()...) {
		if log, err := b.ctl.Log(ctx, running.Item.Job, running.Number); err == nil {
			b.sizes[logPath(running.Item.Job, running.Number)] = log.Size()
			_ = log.Close() // only read
		}
	}
	uploads := filepath.Join(b.dir, "uploads") // what a crash leaves there is removed at the next start
	if err := os.MkdirAll(uploads, 0o700); err != nil {
		return "", fmt.Errorf("back up: %w", err)
	}
	file = filepath.Join(uploads, "backup-"+rand.Text())
	_, err = db.Backup(ctx, file)
	return file, err
}

// write writes the files: first the queue and its key, then what the records of the queue
// refer to, and at last the sums of all.
func (b *backup) write(ctx context.Context, snapshot, key string, withKey bool) error {
	if err := b.file(backupQueue, snapshot, -1); err != nil {
		return err
	}
	if !withKey {
		if err := b.sum(backupKey, key); err != nil {
			return err
		}
	} else if err := b.file(backupKey, key, -1); err != nil {
		return err
	}
	if err := boltqueue.Export(snapshot, 0, func(r queue.Records) error { return b.records(ctx, r) }); err != nil {
		return err
	}
	sums := b.sums.String()
	if err := b.add(backupSums, int64(len(sums)), strings.NewReader(sums), io.Discard); err != nil {
		return err
	}
	return b.tar.Close()
}

func (b *backup) records(ctx context.Context, r queue.Records) error {
	for it, err := range r.Items {
		if err == nil {
			err = b.uploads(it.Values)
		}
		if err != nil {
			return err
		}
	}
	for build, err := range r.Builds {
		if err == nil {
			err = context.Cause(ctx) // nil as long as the client waits
		}
		if err == nil {
			err = b.build(build)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// build writes the log of a build. That of a running one ends where it ended when the queue
// was copied: its record does not know yet how the build ends.
func (b *backup) build(build queue.Build) error {
	name, size := logPath(build.Item.Job, build.Number), int64(-1)
	if build.Running() {
		if err := b.uploads(build.Item.Values); err != nil {
			return err
		}
		size = b.sizes[name]
	}
	err := b.file(name, filepath.Join(b.dir, filepath.FromSlash(name)), size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never had one
	}
	return err
}

func (b *backup) uploads(values []queue.Value) error {
	for _, v := range values {
		if v.Ref == "" {
			continue
		}
		name := path.Join("uploads", filepath.Base(v.Ref))
		err := b.file(name, filepath.Join(b.dir, filepath.FromSlash(name)), -1)
		if errors.Is(err, fs.ErrNotExist) {
			b.log.Warn("backup: an uploaded file is missing; its build will end as NOT_BUILT", zap.String("file", name))
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file adds a file, or its first size bytes if that is not negative.
func (b *backup) file(name, from string, size int64) error {
	f, err := os.Open(from) //nolint:gosec // a file of the data directory
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("back up %s: %w", name, err)
	}
	if size < 0 || size > info.Size() {
		size = info.Size()
	}
	sum := sha256.New()
	if err := b.add(name, size, io.LimitReader(f, size), sum); err != nil {
		return err
	}
	b.note(name, sum)
	return nil
}

// sum adds only the sum of a file.
func (b *backup) sum(name, from string) error {
	f, err := os.Open(from) //nolint:gosec // a file of the data directory
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	b.note(name, sum)
	return nil
}

func (b *backup) note(name string, sum hash.Hash) {
	fmt.Fprintf(&b.sums, "%x  %s\n", sum.Sum(nil), name) // as sha256sum prints it
}

func (b *backup) add(name string, size int64, from io.Reader, sum io.Writer) error {
	err := b.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size, Format: tar.FormatPAX})
	if err == nil {
		_, err = io.Copy(io.MultiWriter(b.tar, sum), from)
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", name, err)
	}
	b.files++
	return nil
}

// logPath is the path of a log below the data directory.
func logPath(full string, number int64) string {
	return path.Join("logs", job.PathElement(full), fmt.Sprintf("%d.log", number))
}
