package buildtoken

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// uploads keeps the content of file parameters from the trigger to the end of
// the build, each in a file with a random name. If the queue keeps it for all
// servers, it is a file of this one only while a build here needs it.
type uploads struct {
	dir    string
	keeper fileKeeper // nil: files of this server
}

// fileKeeper is a queue that keeps the content of file parameters where every
// server can get it, by references which are used once, until what refers to it
// has left the queue or ended.
type fileKeeper interface {
	PutFile(ctx context.Context, ref string, from io.Reader) error
	GetFile(ctx context.Context, ref string, to io.Writer) error
	DropFiles(ctx context.Context, refs ...string) error
	// SweepFiles drops what is old and not to be kept.
	SweepFiles(ctx context.Context, keep []string) error
}

func newUploads(dir string, q Queue) uploads {
	keeper, _ := q.(fileKeeper)
	return uploads{dir, keeper}
}

// path is where the content of a reference is. References are made here and
// hold no separators.
func (u uploads) path(ref string) string { return filepath.Join(u.dir, filepath.Base(ref)) }

// store makes the content durable, and only then gives its reference. Who has
// a use for the content too, such as a digest of it, gives also; else nil.
func (u uploads) store(ctx context.Context, from Upload, also io.Writer) (ref string, err error) {
	in, err := from.Open()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUpload, err)
	}
	defer func() { _ = in.Close() }() // only read
	content := io.Reader(in)
	if also != nil {
		content = io.TeeReader(in, also)
	}
	ref = rand.Text()
	if u.keeper != nil {
		err = u.keeper.PutFile(ctx, ref, content)
	} else {
		err = u.write(ref, content)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUpload, err)
	}
	return ref, nil
}

// write makes the content a durable file.
func (u uploads) write(ref string, content io.Reader) error {
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(u.path(ref), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	if err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = syncDir(u.dir)
	}
	if err != nil {
		u.removeRef(ref)
	}
	return err
}

// fetch makes files of the content that a build on this server needs.
func (u uploads) fetch(ctx context.Context, values []queue.Value) error {
	if u.keeper == nil || !hasFiles(values) {
		return nil
	}
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
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

func (u uploads) fetchOne(ctx context.Context, ref string) error {
	path := u.path(ref)
	part := path + ".part"
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // path leads nowhere else
	if err != nil {
		return err
	}
	err = errors.Join(u.keeper.GetFile(ctx, ref, out), out.Close())
	if err == nil {
		return os.Rename(part, path)
	}
	_ = os.Remove(part) // or the next start sweeps it
	if _, statErr := os.Stat(path); statErr == nil && errors.Is(err, queue.ErrNotFound) {
		return nil // it was stored here when the queue did not keep files
	}
	return err
}

// ErrUpload says that an uploaded file could not be made durable.
var ErrUpload = errors.New("buildtoken: upload")

// remove drops what was stored for values that were not queued after all,
// because of why. If it is not known whether they were, the sweep decides.
func (u uploads) remove(ctx context.Context, values []job.Value, why error) {
	for _, v := range values {
		switch {
		case v.Ref == "" || v.Ref == pendingRef:
		case u.keeper == nil:
			u.removeRef(v.Ref)
		case !errors.Is(why, queue.ErrStorage):
			_ = u.keeper.DropFiles(context.WithoutCancel(ctx), v.Ref) // or the sweep does
		}
	}
}

// hasFiles says whether some value has stored content.
func hasFiles(values []queue.Value) bool {
	return slices.ContainsFunc(values, func(v queue.Value) bool { return v.Ref != "" })
}

// removeRef drops the file of a reference. What can't be removed now is swept at
// the next start.
func (u uploads) removeRef(ref string) { _ = os.Remove(u.path(ref)) }

// sweep drops what no queued or running build refers to.
func (u uploads) sweep(ctx context.Context, refs []string) error {
	if u.keeper != nil {
		if err := u.keeper.SweepFiles(ctx, refs); err != nil {
			return fmt.Errorf("%w: %w", ErrUpload, err)
		}
	}
	entries, err := os.ReadDir(u.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUpload, err)
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

// syncDir makes the names in a folder durable. Systems that can't sync a
// folder don't need it.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // a folder of ours
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer func() { _ = d.Close() }() // only synced
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
