package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// cutOff is a shared queue that tests can cut off from its server. It keeps logs in memory, and
// no files.
type cutOff struct {
	*boltqueue.DB
	cut  chan struct{}
	logs *memoryLogs
}

func (q cutOff) CutOff() <-chan struct{}                       { return q.cut }
func (cutOff) UseKey(context.Context, []byte) error            { return nil }
func (cutOff) Notices() <-chan queue.Notice                    { return nil }
func (cutOff) Tell(queue.Notice)                               {}
func (cutOff) Announce(context.Context, queue.Node, int) error { return nil }
func (cutOff) Nodes() []queue.Node                             { return nil }
func (cutOff) ReclaimLost(context.Context, time.Time, func(queue.Build) bool) ([]queue.Build, error) {
	return nil, nil
}
func (cutOff) PutFile(context.Context, string, io.Reader) error { return errors.ErrUnsupported }

func (cutOff) GetFile(context.Context, string, io.Writer) error { return errors.ErrUnsupported }
func (cutOff) DropFiles(context.Context, ...string) error       { return nil }
func (cutOff) SweepFiles(context.Context, []string) error       { return nil }
func (cutOff) DropLogs(context.Context, string, int64) error    { return nil }

func (cutOff) LogTimes(context.Context, string, int64, int64, int64) ([]console.Stamp, error) {
	return nil, nil
}

func (q cutOff) AppendLog(_ context.Context, job string, number, _ int64, p []byte, last bool) (int64, error) {
	return q.logs.add(fmt.Sprint(job, number), p, last)
}

func (q cutOff) LogState(_ context.Context, job string, number int64) (console.State, error) {
	return q.logs.state(fmt.Sprint(job, number))
}

func (q cutOff) ReadLog(_ context.Context, job string, number, _, offset int64, p []byte) (int, error) {
	return q.logs.read(fmt.Sprint(job, number), offset, p)
}

// memoryLogs has logs by their names.
type memoryLogs struct {
	// mu guards the following.
	mu       sync.Mutex
	text     map[string][]byte
	complete map[string]bool
	// down is the time until which appends fail.
	down time.Time
}

func newMemoryLogs() *memoryLogs {
	return &memoryLogs{text: map[string][]byte{}, complete: map[string]bool{}}
}

func (l *memoryLogs) add(name string, p []byte, last bool) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.down) {
		return 0, queue.ErrStorage
	}
	l.text[name] = append(l.text[name], p...)
	l.complete[name] = last
	return int64(len(l.text[name])), nil
}

func (l *memoryLogs) state(name string) (console.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return console.State{Size: int64(len(l.text[name])), Complete: l.complete[name]}, nil
}

func (l *memoryLogs) read(name string, offset int64, p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return copy(p, l.text[name][offset:]), nil
}

var _ buildtoken.Shared = cutOff{}

// reopenShared opens the site again with a shared queue.
func (s *site) reopenShared(wrap func(cutOff) buildtoken.Queue) cutOff {
	s.t.Helper()
	if err := s.Close(); err != nil {
		s.t.Fatal(err)
	}
	db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(s.dir, "queue.db"), Commit: commitFast})
	if err != nil {
		s.t.Fatal(err)
	}
	q := cutOff{db, make(chan struct{}, 1), newMemoryLogs()}
	s.Controller, err = buildtoken.Open(context.Background(), buildtoken.Options{Queue: wrap(q), Dir: s.dir, SealKey: s.key, Log: s.cfg.Log})
	if err != nil {
		s.t.Fatal(err)
	}
	return q
}

func TestBuildsOfAServerThatIsCutOffAreStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		q := s.reopenShared(func(q cutOff) buildtoken.Queue { return q })
		app := definition.Job{Name: "app", Tokens: opens(), Runner: lasts(time.Minute)}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		s.trigger("app")
		synctest.Wait()
		q.cut <- struct{}{}
		synctest.Wait()
		s.wantResult("app", 1, queue.Aborted, "the server was cut off from the queue")
		s.trigger("app")
		time.Sleep(time.Hour)
		s.wantResult("app", 2, queue.Success, "")
	})
}

// finishes is a queue that calls a function when the end of a build is recorded.
type finishes struct {
	cutOff
	finish func(job string, number int64)
}

func (q finishes) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	q.finish(job, number)
	return q.cutOff.Finish(ctx, now, job, number, r, reason)
}

func TestEndIsRecordedAfterItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		finished := 0
		s.reopenShared(func(q cutOff) buildtoken.Queue {
			q.logs.down = time.Now().Add(2 * time.Minute) // longer than the build waits for its log
			return finishes{q, func(job string, number int64) {
				finished++
				if s, err := q.LogState(t.Context(), job, number); err != nil || !s.Complete {
					t.Errorf("the end of %s #%d is recorded while its log is %+v, %v", job, number, s, err)
				}
			}}
		})
		app := definition.Job{Name: "app", Tokens: opens(), Runner: lasts(time.Minute)}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		item := s.trigger("app").Item.ID
		if entry, ok, err := s.AwaitEnd(t.Context(), s.def, "app", item); err != nil || !ok || entry.Build == nil || entry.Build.Running() {
			t.Errorf("AwaitEnd = %+v, %v, %v, want the build's end", entry, ok, err)
		}
		if finished != 1 {
			t.Errorf("%d ends were recorded, want 1", finished)
		}
		s.wantResult("app", 1, queue.Success, "")
	})
}

// setBack is a shared queue that was set back: it knows other builds than this server runs.
type setBack struct {
	cutOff
	// other, if not nil, is the build on record under every number. Its log is that of otherLog.
	other *queue.Build
	// again is set once the number 1 was given again, to the next build that is claimed.
	again *atomic.Bool
}

const otherLog = "the log of the other build\n"

func (q setBack) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	if q.other != nil {
		return *q.other, nil
	}
	return q.cutOff.Build(ctx, job, number)
}

func (q setBack) LogState(ctx context.Context, job string, number int64) (console.State, error) {
	if q.other != nil {
		return console.State{Size: int64(len(otherLog)), Complete: true}, nil
	}
	return q.cutOff.LogState(ctx, job, number)
}

func (q setBack) ReadLog(ctx context.Context, job string, number, build, offset int64, p []byte) (int, error) {
	if q.other != nil {
		return copy(p, otherLog[offset:]), nil
	}
	return q.cutOff.ReadLog(ctx, job, number, build, offset, p)
}

func (q setBack) Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error) {
	builds, next, err := q.cutOff.Claim(ctx, now, node, executors)
	for i := range builds {
		if q.again != nil && builds[i].Number == 2 {
			builds[i].Number = 1
			q.again.Store(true)
		}
	}
	return builds, next, err
}

func (q setBack) Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error) {
	switch {
	case q.again == nil:
	case q.again.Load():
		number = 2
	default:
		if _, err := q.cutOff.Finish(ctx, now, job, number, r, reason); err != nil {
			return queue.Build{}, err
		}
		time.Sleep(10 * time.Second) // in which the next build is claimed
		return queue.Build{}, queue.ErrNotRunning
	}
	return q.cutOff.Finish(ctx, now, job, number, r, reason)
}

// TestLogIsThatOfTheBuildOnRecord has a shared queue know another build under the number of
// one that this server runs, and still has a file of.
func TestLogIsThatOfTheBuildOnRecord(t *testing.T) {
	for name, change := range map[string]func(*queue.Build){
		"of another item":                    func(b *queue.Build) { b.Item.ID++ },
		"of another item on another server":  func(b *queue.Build) { b.Item.ID, b.Node = 7, "elsewhere" },
		"of an item that was numbered again": func(b *queue.Build) { b.Node = "elsewhere" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openSite(t, buildtoken.Config{})
				var other queue.Build
				s.reopenShared(func(q cutOff) buildtoken.Queue { return setBack{cutOff: q, other: &other} })
				app := definition.Job{Name: "app", Tokens: opens(), Runner: lasts(time.Minute)}
				s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
				s.trigger("app")
				synctest.Wait()
				if len(s.Running()) != 1 {
					t.Fatalf("%d builds run, want 1", len(s.Running()))
				}
				other = s.Running()[0]
				other.Result = queue.Success
				change(&other)
				log, err := s.Log(t.Context(), "app", 1)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(io.NewSectionReader(log, 0, log.Size()))
				if err := errors.Join(err, log.Close()); err != nil || string(text) != otherLog {
					t.Errorf("the log is %q, %v; want %q", text, err, otherLog)
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

// TestNumberIsGivenAgainWhileItsBuildEnds has a server claim a build with the number of one
// whose end it has just tried to record.
func TestNumberIsGivenAgainWhileItsBuildEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		again := new(atomic.Bool)
		s.reopenShared(func(q cutOff) buildtoken.Queue { return setBack{cutOff: q, again: again} })
		app := definition.Job{Name: "app", Tokens: opens(), Runner: lasts(time.Minute)}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		s.trigger("app")
		time.Sleep(30 * time.Second)
		second := s.trigger("app").Item.ID
		time.Sleep(time.Minute) // the first one has ended, and the second one runs
		running := s.Running()
		if !again.Load() || len(running) != 1 || running[0].Item.ID != second {
			t.Errorf("these builds run: %+v; want item %d", running, second)
		}
		time.Sleep(time.Hour)
	})
}
