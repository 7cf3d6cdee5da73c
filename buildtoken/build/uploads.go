package build

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

// FileKeeper keeps the content of file parameters where every server can read
// it, until the item that refers to it has left the queue or its build has
// ended. A reference is used once.
type FileKeeper interface {
	PutFile(ctx context.Context, ref string, from io.Reader) error
	GetFile(ctx context.Context, ref string, to io.Writer) error
	DropFiles(ctx context.Context, refs ...string) error
	// SweepFiles drops old files whose references are not in keep.
	SweepFiles(ctx context.Context, keep []string) error
}

// OpenFile opens the content that a trigger brought for a file parameter.
type OpenFile func(parameter string) (io.ReadCloser, error)

// StoreFiles stores the content of the file parameters among values, makes it
// durable, and sets their references. With digest it also returns the
// concatenated SHA-256 sums of the files. After an error, or if the values are
// not queued after all, the caller must call [Host.DropFiles].
func (h *Host) StoreFiles(ctx context.Context, values []job.Value, open OpenFile, digest bool) (sums []byte, err error) {
	for i := range values {
		if values[i].Kind != job.KindFile {
			continue
		}
		var sum hash.Hash
		also := io.Discard
		if digest {
			sum = sha256.New()
			also = sum
		}
		values[i].Ref, err = h.uploads.store(ctx, func() (io.ReadCloser, error) { return open(values[i].Name) }, also)
		if err != nil {
			values[i].Ref = ""
			return nil, err
		}
		if digest {
			sums = sum.Sum(sums)
		}
	}
	return sums, nil
}

// SpoolFile creates an empty file in the data directory for a part of a request that is
// too large to stay in memory. The caller closes and removes it; what a crash leaves is
// removed when the controller opens. It is safe for concurrent use.
func (h *Host) SpoolFile() (*os.File, error) {
	if err := h.uploads.ready(); err != nil {
		return nil, fmt.Errorf("build: spool: %w", err)
	}
	f, err := os.CreateTemp(h.uploads.dir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("build: spool: %w", err)
	}
	return f, nil
}

// DropFiles drops what was stored for values that were not queued, because of
// why. If it is unknown whether they were queued, the next sweep decides.
func (h *Host) DropFiles(ctx context.Context, values []job.Value, why error) {
	u := &h.uploads
	for _, v := range values {
		switch {
		case v.Ref == "" || v.Ref == job.PendingRef:
		case u.keeper == nil:
			u.removeRef(v.Ref)
		case !errors.Is(why, queue.ErrStorage):
			_ = u.keeper.DropFiles(context.WithoutCancel(ctx), v.Ref) // or the sweep does
		}
	}
}

// RemoveUploads removes this server's files of an item that was cancelled or
// whose build has ended.
func (h *Host) RemoveUploads(values []queue.Value) {
	if hasFiles(values) && h.held.delay(func() { h.RemoveUploads(values) }) {
		return
	}
	for _, v := range values {
		if v.Ref != "" {
			h.uploads.removeRef(v.Ref)
		}
	}
}

// SweepUploads removes the uploads whose references are not in keep.
func (h *Host) SweepUploads(ctx context.Context, keep []string) error {
	return h.uploads.sweep(ctx, keep)
}

// hasFiles reports whether some value refers to a stored file.
func hasFiles(values []queue.Value) bool {
	return slices.ContainsFunc(values, func(v queue.Value) bool { return v.Ref != "" })
}

// uploads keeps the content of file parameters from the trigger to the end of
// the build, each in a file with a random name. With a keeper, there is a file
// on this server only while a build here needs it.
type uploads struct {
	dir    string
	keeper FileKeeper // nil: files of this server
	files  atomicfile.Files

	// mu guards the following.
	mu sync.Mutex
	// durable is set once the directory was made durable by this process.
	durable bool
}

// ready makes the directory unless it is there, and returns when it is durable: a file in
// it is durable only then. That an earlier process or another goroutine made it does not
// mean that it was synced.
func (u *uploads) ready() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := os.Stat(u.dir); u.durable && err == nil {
		return nil
	}
	err := u.files.MkdirAll(u.dir, 0o700)
	if err == nil {
		err = u.files.SyncDir(filepath.Dir(u.dir))
	}
	u.durable = err == nil
	return err
}

// path returns the path of an upload. References are made here and have no separators.
func (u *uploads) path(ref string) string { return filepath.Join(u.dir, filepath.Base(ref)) }

// store makes the content durable and returns its reference. It copies the
// content to also.
func (u *uploads) store(ctx context.Context, open func() (io.ReadCloser, error), also io.Writer) (ref string, err error) {
	in, err := open()
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }() // only read
	content := io.TeeReader(in, also)
	ref = rand.Text()
	if u.keeper != nil {
		return ref, u.keeper.PutFile(ctx, ref, content)
	}
	return ref, u.write(ref, content)
}

// write writes the content to a durable file.
func (u *uploads) write(ref string, content io.Reader) error {
	if err := u.ready(); err != nil {
		return err
	}
	return u.files.Write(u.path(ref), func(out io.Writer) error {
		_, err := io.Copy(out, content)
		return err
	})
}

// fetch copies the files that a build on this server needs from the keeper.
func (u *uploads) fetch(ctx context.Context, values []queue.Value) error {
	if u.keeper == nil || !hasFiles(values) {
		return nil
	}
	if err := u.ready(); err != nil {
		return fmt.Errorf("file parameter: %w", err)
	}
	for _, v := range values {
		if v.Ref == "" {
			continue
		}
		if err := u.fetchOne(ctx, v.Ref); err != nil {
			return fmt.Errorf("file parameter %s: %w", v.Name, err)
		}
	}
	return nil
}

func (u *uploads) fetchOne(ctx context.Context, ref string) error {
	path := u.path(ref)
	err := u.files.Write(path, func(out io.Writer) error { return u.keeper.GetFile(ctx, ref, out) })
	if _, statErr := os.Stat(path); statErr == nil && errors.Is(err, queue.ErrNotFound) {
		return nil // stored here before the queue kept files
	}
	return err
}

// removeRef removes an upload. If that fails, the next start sweeps it.
func (u *uploads) removeRef(ref string) { _ = os.Remove(u.path(ref)) }

// sweep removes the files that no queued or running build refers to.
func (u *uploads) sweep(ctx context.Context, refs []string) error {
	if u.keeper != nil {
		if err := u.keeper.SweepFiles(ctx, refs); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(u.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	keep := make(map[string]bool, len(refs))
	for _, ref := range refs {
		keep[ref] = true
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			u.removeRef(e.Name())
		}
	}
	return nil
}
