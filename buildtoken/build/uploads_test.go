package build_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/internal/crashdisk"
)

// An upload without a place for it is not accepted, and a build does not run without its upload.
func TestUploadsThatCannotBeStored(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "uploads"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := openHost(t, build.Options{Dir: dir})
	values := []job.Value{{Name: "FILE", Kind: job.KindFile, Ref: job.PendingRef}}
	in := &closed{Reader: strings.NewReader("content")}
	open := func(string) (io.ReadCloser, error) { return in, nil }
	if _, err := h.StoreFiles(t.Context(), values, open, false); err == nil || values[0].Ref != "" {
		t.Errorf("StoreFiles = %v with the reference %q, want an error without one", err, values[0].Ref)
	}
	if f, err := h.SpoolFile(); err == nil || f != nil {
		t.Errorf("SpoolFile = %v, %v, want an error", f, err)
	}
	if err := h.SweepUploads(t.Context(), nil); err == nil {
		t.Error("SweepUploads returned no error")
	}
	if !in.closed {
		t.Error("the content was not closed")
	}
	h = openHost(t, build.Options{Dir: dir, Files: lost{}})
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app", Values: []queue.Value{{Name: "FILE", Kind: "file", Ref: "ref"}}}, Number: 1}
	if result, reason := h.Run(t.Context(), app, b); result != queue.NotBuilt || !strings.Contains(reason, "file parameter") {
		t.Errorf("Run = %s, %s, want NOT_BUILT because of the file", result, reason)
	}
}

// A trigger is not accepted with a part of its file.
func TestUploadThatBreaksOff(t *testing.T) {
	values := []job.Value{{Name: "FILE", Kind: job.KindFile, Ref: job.PendingRef}}
	open := func(string) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("a part"), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
	}
	if _, err := openHost(t, build.Options{}).StoreFiles(t.Context(), values, open, false); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("StoreFiles = %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// closed records that it was closed.
type closed struct {
	io.Reader

	closed bool
}

func (c *closed) Close() error {
	c.closed = true
	return nil
}

// lost is a keeper of files that has lost them.
type lost struct{ build.FileKeeper }

var errLost = errors.New("the files are lost")

func (lost) SweepFiles(context.Context, []string) error { return errLost }

func TestSweepThatFails(t *testing.T) {
	if err := openHost(t, build.Options{Files: lost{}}).SweepUploads(t.Context(), nil); !errors.Is(err, errLost) {
		t.Errorf("SweepUploads = %v, want the keeper's error", err)
	}
}

// drops is a keeper of files that records what is dropped.
type drops struct {
	build.FileKeeper

	refs *[]string
}

func (d drops) DropFiles(_ context.Context, refs ...string) error {
	*d.refs = append(*d.refs, refs...)
	return nil
}

// Files of a trigger that was refused are dropped, unless it may have been queued.
func TestDropFiles(t *testing.T) {
	for why, want := range map[error]string{queue.ErrFull: "[stored]", queue.ErrStorage: "[]"} {
		dropped := []string{}
		h := openHost(t, build.Options{Files: drops{refs: &dropped}})
		h.DropFiles(t.Context(), []job.Value{{Name: "TEXT"}, {Name: "F", Ref: job.PendingRef}, {Name: "G", Ref: "stored"}}, why)
		if got := fmt.Sprint(dropped); got != want {
			t.Errorf("DropFiles because of %v dropped %s, want %s", why, got, want)
		}
	}
}

// Without a keeper, nothing but the trigger refers to its files.
func TestDropFilesOfThisServer(t *testing.T) {
	dir := t.TempDir()
	h := openHost(t, build.Options{Dir: dir})
	values := []job.Value{{Name: "FILE", Kind: job.KindFile, Ref: job.PendingRef}}
	open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }
	if _, err := h.StoreFiles(t.Context(), values, open, false); err != nil {
		t.Fatal(err)
	}
	h.DropFiles(t.Context(), values, queue.ErrFull)
	if left, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(left) != 0 {
		t.Errorf("left in uploads: %v, %v", left, err)
	}
}

// older is a keeper that has no files yet. It records what it is asked for.
type older struct {
	build.FileKeeper

	refs *[]string
}

func (o older) GetFile(_ context.Context, ref string, _ io.Writer) error {
	*o.refs = append(*o.refs, ref)
	return queue.ErrNotFound
}

// A build whose file was stored before the servers shared a database uses it; without the file
// it does not run.
func TestFilesFromBeforeTheKeeper(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "uploads"), 0o700), os.WriteFile(filepath.Join(dir, "uploads", "here"), []byte("content"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var asked []string
	h := openHost(t, build.Options{Dir: dir, Files: older{refs: &asked}})
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: copies{}}
	number := int64(0)
	for ref, want := range map[string]queue.Result{"here": queue.Success, "missing": queue.NotBuilt} {
		number++
		values := []queue.Value{{Name: "FILE", Kind: "file", Ref: ref}, {Name: "OTHER", Kind: "file"}}
		b := queue.Build{Item: queue.Item{ID: number, Job: "app", Values: values}, Number: number}
		asked = nil
		result, reason := h.Run(t.Context(), app, b)
		if !slices.Equal(asked, []string{ref}) {
			t.Errorf("the keeper was asked for %q, want %q", asked, ref)
		}
		if result != want {
			t.Errorf("the build with the file %q ended %s, %s, want %s", ref, result, reason, want)
		}
		if log := readLog(t, h, b); strings.Contains(log, "content") != (want == queue.Success) {
			t.Errorf("the build with the file %q wrote %q", ref, log)
		}
	}
}

// A directory that was removed is made again.
func TestUploadsAfterTheirDirectoryIsGone(t *testing.T) {
	dir := t.TempDir()
	h := openHost(t, build.Options{Dir: dir})
	for range 2 {
		values := []job.Value{{Name: "FILE", Kind: job.KindFile, Ref: job.PendingRef}}
		open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }
		if _, err := h.StoreFiles(t.Context(), values, open, false); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "uploads")); err != nil {
			t.Fatal(err)
		}
	}
}

// unsynced is a disk whose root cannot be made durable.
type unsynced struct{ *crashdisk.Disk }

func (d unsynced) SyncDir(dir string) error {
	if dir == d.Root {
		return syscall.EIO
	}
	return d.Disk.SyncDir(dir)
}

// A trigger must not be answered while a power failure can take its file, also at the second try.
func TestUploadsInADirectoryThatIsNotDurable(t *testing.T) {
	disk := crashdisk.New(t)
	h := hostIn(t, disk.Root, unsynced{disk})
	for range 2 {
		values := []job.Value{{Name: "FILE", Kind: job.KindFile, Ref: job.PendingRef}}
		open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }
		if _, err := h.StoreFiles(t.Context(), values, open, false); !errors.Is(err, syscall.EIO) {
			t.Errorf("StoreFiles = %v, want an I/O error", err)
		}
	}
}

func TestStoreFilesReturnsTheirDigests(t *testing.T) {
	values := []job.Value{{Name: "A", Kind: job.KindFile}, {Name: "TEXT", Kind: job.KindString}, {Name: "B", Kind: job.KindFile}}
	open := func(name string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("file " + name)), nil }
	for _, digest := range []bool{true, false} {
		sums, err := openHost(t, build.Options{}).StoreFiles(t.Context(), values, open, digest)
		a, b := sha256.Sum256([]byte("file A")), sha256.Sum256([]byte("file B"))
		if want := slices.Concat(a[:], b[:]); err != nil || digest && !bytes.Equal(sums, want) || !digest && sums != nil {
			t.Errorf("StoreFiles with digest=%v = %x, %v, want %x", digest, sums, err, want)
		}
		if values[0].Ref == "" || values[1].Ref != "" || values[2].Ref == "" {
			t.Errorf("StoreFiles left %v", values)
		}
	}
}
