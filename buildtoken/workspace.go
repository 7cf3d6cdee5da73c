package buildtoken

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// workspaces gives every running build a folder of its own: the job's, or, if
// builds of the job run at the same time, the job's with @2, @3, … behind.
// What a build leaves there, the next one finds.
type workspaces struct {
	dir string

	// mu guards the following.
	mu   sync.Mutex
	used map[string]bool
}

// enter makes the folder if need be; leave gives it back.
func (w *workspaces) enter(full string) (path string, leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := job.PathElement(full)
	for n := 2; w.used[name]; n++ {
		name = job.PathElement(full) + "@" + strconv.Itoa(n)
	}
	path = filepath.Join(w.dir, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", nil, fmt.Errorf("workspace: %w", err)
	}
	if w.used == nil {
		w.used = map[string]bool{}
	}
	w.used[name] = true
	return path, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.used, name)
	}, nil
}

// sweeper removes the logs of builds whose records are dropped.
type sweeper struct {
	// mu guards the following.
	mu sync.Mutex
	// to is, for each job, the number below which no log is left.
	to map[string]int64
}

// below removes the logs of a job's builds with lower numbers. The first time
// it looks for any, also such as an earlier process left; from then on it
// knows where it was.
func (s *sweeper) below(logs *console.Store, full string, number int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == nil {
		s.to = map[string]int64{}
	}
	element := job.PathElement(full)
	from, known := s.to[full]
	var err error
	switch {
	case !known:
		err = logs.RemoveBelow(element, number)
	case from < number:
		var gone []int64
		for n := from; n < number; n++ {
			gone = append(gone, n)
		}
		err = logs.Remove(element, gone...)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("buildtoken: %w", err)
	}
	s.to[full] = max(from, number)
	return nil
}
