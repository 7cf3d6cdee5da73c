package buildtoken

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

// workspaces gives every running build a folder of its own: the job's, or, if
// builds of the job run at the same time, the job's with @2, @3, … behind.
// What a build leaves there, the next one finds.
//
// A poll looks at what the last build left, so it gets the job's own folder
// and shares it with nobody: it waits for a build that is there, and a build
// waits for it, as Jenkins has it.
type workspaces struct {
	dir string

	// mu guards the following.
	mu   sync.Mutex
	used map[string]use

	// left reports that a folder became free.
	left watch.Signal
}

// use says who is in a folder.
type use int

const (
	unused use = iota
	byBuild
	byPoll
)

// enter makes a folder for a build if need be; leave gives it back. If a poll is in
// the job's folder, it calls wait and waits until the poll is done or ctx ends.
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

// enterPoll makes the job's own folder if need be, and waits until nobody else
// is in it or ctx ends; leave gives it back.
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

// take makes the folder and marks it as used. It takes mu over and unlocks it.
func (w *workspaces) take(name string, by use) (path string, leave func(), err error) {
	defer w.mu.Unlock()
	path = filepath.Join(w.dir, name)
	// A build that runs as another user has to come through; it sees no names.
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

// of are the folders that builds of a job have had.
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
