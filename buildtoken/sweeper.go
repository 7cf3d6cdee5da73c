package buildtoken

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
)

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
