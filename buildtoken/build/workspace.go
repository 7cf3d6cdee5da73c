package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/watch"
)

// workspaces assigns a separate directory to every running build: that of the
// job or, if builds of the job run at the same time, the same name with @2, @3
// and so on. The next build finds what the last one left.
//
// A poll compares with what the last build left, so it always gets the job's
// first directory, alone: it waits for a build that uses it, and a build waits
// for a poll, as in Jenkins.
type workspaces struct {
	dir string

	// mu guards the following.
	mu   sync.Mutex
	used map[string]use

	// left is notified when a directory becomes free.
	left watch.Signal
}

// use is how a directory is used now.
type use int

const (
	unused use = iota
	byBuild
	byPoll
)

// enter assigns a directory to a build and creates it if it does not exist. The
// caller must call leave. If a poll uses the job's directory, enter calls wait
// once and blocks until the poll has ended or ctx ends.
func (w *workspaces) enter(ctx context.Context, full string, wait func()) (path string, leave func(), err error) {
	own := job.PathElement(full)
	for {
		w.mu.Lock()
		if w.used[own] != byPoll {
			name := own
			for n := 2; w.used[name] != unused; n++ {
				name = own + "@" + strconv.Itoa(n)
			}
			return w.take(name, byBuild)
		}
		left := w.left.Next()
		w.mu.Unlock()
		if wait != nil {
			wait()
			wait = nil
		}
		select {
		case <-left:
		case <-ctx.Done():
			return "", nil, fmt.Errorf("workspace: %w", context.Cause(ctx))
		}
	}
}

// enterPoll assigns the job's first directory to a poll and creates it if it
// does not exist. It blocks until the directory is free or ctx ends. The caller
// must call leave.
func (w *workspaces) enterPoll(ctx context.Context, full string) (path string, leave func(), err error) {
	own := job.PathElement(full)
	for {
		w.mu.Lock()
		if w.used[own] == unused {
			return w.take(own, byPoll)
		}
		left := w.left.Next()
		w.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return "", nil, fmt.Errorf("workspace: %w", context.Cause(ctx))
		}
	}
}

// separate returns the directory of a poller that does not share the job's first directory, which
// the caller has from enterPoll, and creates it if it does not exist.
func (w *workspaces) separate(path string) (string, error) {
	path += "@poll"
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("workspace: %w", err)
	}
	return path, nil
}

// take creates the directory and marks it as used. The caller must hold mu;
// take unlocks it.
func (w *workspaces) take(name string, by use) (path string, leave func(), err error) {
	defer w.mu.Unlock()
	path = filepath.Join(w.dir, name)
	// A build that runs as another user must be able to pass, but not to list.
	err = os.MkdirAll(w.dir, 0o711) //nolint:gosec // see above
	if err == nil {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return "", nil, fmt.Errorf("workspace: %w", err)
	}
	if w.used == nil {
		w.used = map[string]use{}
	}
	w.used[name] = by
	return path, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.used, name)
		w.left.Notify()
	}, nil
}

// of returns the directories that builds of a job have used.
func (w *workspaces) of(full string) ([]string, error) {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return nil, fmt.Errorf("workspace: %w", err)
	}
	own := job.PathElement(full)
	var paths []string
	for _, e := range entries {
		if name, _, _ := strings.Cut(e.Name(), "@"); name == own {
			paths = append(paths, filepath.Join(w.dir, e.Name()))
		}
	}
	return paths, nil
}
