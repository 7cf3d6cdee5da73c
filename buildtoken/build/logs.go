package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

// logs are the console logs. If a keeper holds them for all servers, the files
// of this server are those of builds that run here, until the keeper has all of
// a log.
type logs struct {
	*console.Store
	dir    string
	files  atomicfile.Files
	keeper console.Keeper // nil: logs are files of this server
	shared *console.Shared
}

func newLogs(dir string, keeper console.Keeper, files atomicfile.Files) logs {
	l := logs{Store: console.New(dir), dir: dir, files: files}
	if keeper != nil {
		l.keeper, l.shared = keeper, console.NewShared(keeper)
	}
	return l
}

// create starts the log of a build that was claimed here. A number is used twice only
// after an older queue was put back: a log that is there belongs to a build that is not on
// record any more. create puts it aside and reports it to log.
func (l logs) create(log *zap.Logger, b queue.Build, limit int64) (*console.Writer, error) {
	element := job.PathElement(b.Item.Job)
	if err := l.files.MkdirAll(filepath.Join(l.dir, element), 0o700); err != nil {
		return nil, fmt.Errorf("console: create log: %w", err)
	}
	w, err := l.Create(element, b.Number, limit)
	if !errors.Is(err, fs.ErrExist) {
		return w, err
	}
	if l.keeper != nil {
		err = l.Remove(element, b.Number) // it was shipped to the database that was put back
	} else {
		var aside string
		if aside, err = l.PutAside(element, b.Number); err == nil {
			about(log, b).Warn("the log of an earlier build with this number was put aside; was an older queue restored over newer logs?", zap.String("file", aside))
		}
	}
	if err != nil {
		return nil, err
	}
	return l.Create(element, b.Number, limit)
}

// end completes the log of a build that ran here, and returns when it is durable. Its file
// is synced by Close, and its name with its directory. A log that the keeper gets needs
// neither.
func (l logs) end(out *console.Writer, full string) error {
	err := out.Close()
	if l.keeper == nil {
		err = errors.Join(err, l.files.SyncDir(filepath.Join(l.dir, job.PathElement(full))))
	}
	return err
}

// OpenLog opens the console log of a build, whichever server runs or ran it.
// here reports whether the build runs on this server, so that its file may be newer than what
// the keeper has. Another file with this number may be of a build that the keeper has lost. Offsets are the same on
// every server. If there is no log, OpenLog returns [console.ErrNotFound]. The
// caller must close the reader.
func (h *Host) OpenLog(ctx context.Context, full string, number int64, here bool) (*console.Reader, error) {
	local := func() (*console.Reader, error) { return h.logs.Open(job.PathElement(full), number) }
	if h.logs.keeper == nil {
		return local()
	}
	if here {
		r, err := local()
		if !errors.Is(err, console.ErrNotFound) {
			return r, err
		}
		// The build can end, and its file be removed, at any time.
	}
	return h.logs.shared.Open(ctx, full, number)
}

// NotifyLogs wakes the readers of logs that changed on another server.
func (h *Host) NotifyLogs(n queue.Notice) {
	switch {
	case h.logs.shared == nil:
	case n.All:
		h.logs.shared.WakeAll()
	default:
		h.logs.shared.Wake(n.Logs...)
		h.logs.shared.Wake(n.Jobs...) // a lost build has its log ended
	}
}

// sweeper removes the logs of builds whose records are dropped.
type sweeper struct {
	// mu guards the following.
	mu sync.Mutex
	// to is, for each job, the number below which no log is left.
	to map[string]int64
}

// below removes the logs of a job's builds with lower numbers. The first call
// for a job also removes those that an earlier process left; later calls
// continue where the last one ended.
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
		return fmt.Errorf("build: remove logs of %s: %w", full, err)
	}
	s.to[full] = max(from, number)
	return nil
}
