package buildtoken

import (
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
// the build, each in a file with a random name.
type uploads struct{ dir string }

// path is where the content of a reference is. References are made here and
// hold no separators.
func (u uploads) path(ref string) string { return filepath.Join(u.dir, filepath.Base(ref)) }

// store makes the content durable, and only then gives its reference. Who has
// a use for the content too, such as a digest of it, gives also; else nil.
func (u uploads) store(from Upload, also io.Writer) (ref string, err error) {
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUpload, err)
	}
	in, err := from.Open()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUpload, err)
	}
	defer func() { _ = in.Close() }() // only read
	ref = rand.Text()
	out, err := os.OpenFile(u.path(ref), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUpload, err)
	}
	var to io.Writer = out
	if also != nil {
		to = io.MultiWriter(out, also)
	}
	_, err = io.Copy(to, in)
	if err == nil {
		err = out.Sync()
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = syncDir(u.dir)
	}
	if err != nil {
		u.removeRef(ref)
		return "", fmt.Errorf("%w: %w", ErrUpload, err)
	}
	return ref, nil
}

// ErrUpload says that an uploaded file could not be made durable.
var ErrUpload = errors.New("buildtoken: upload")

// remove drops what was stored for values that were not queued after all.
func (u uploads) remove(values []job.Value) {
	for _, v := range values {
		if v.Ref != "" && v.Ref != pendingRef {
			u.removeRef(v.Ref)
		}
	}
}

// hasFiles says whether some value has stored content.
func hasFiles(values []queue.Value) bool {
	return slices.ContainsFunc(values, func(v queue.Value) bool { return v.Ref != "" })
}

// removeRef drops the content of a reference. What can't be removed now is
// swept at the next start.
func (u uploads) removeRef(ref string) { _ = os.Remove(u.path(ref)) }

// sweep drops what no queued or running build refers to.
func (u uploads) sweep(refs []string) error {
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
