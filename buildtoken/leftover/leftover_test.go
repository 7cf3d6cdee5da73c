package leftover_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/leftover"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// place is a data directory and a queue, with a configuration that has some jobs.
type place struct {
	*leftover.Pruner
	t    *testing.T
	dir  string
	logs *observer.ObservedLogs

	// mu guards the following.
	mu    sync.Mutex
	jobs  []string
	keep  time.Duration
	lanes []queue.Lane
	fails error // of AllLanes
	looks int   // calls of AllLanes
	// forget is called by Forget.
	forget func(job string) error
	// inForce is the lock of the configuration.
	inForce sync.Mutex
}

func newPlace(t *testing.T, jobs ...string) *place {
	core, logs := observer.New(zap.InfoLevel)
	p := &place{t: t, dir: t.TempDir(), logs: logs, jobs: jobs, forget: func(string) error { return nil }}
	p.open(zap.New(core))
	return p
}

func (p *place) open(log *zap.Logger) {
	p.Pruner = leftover.New(leftover.Options{
		Queue: p, Dir: p.dir, Lock: &p.inForce,
		Jobs: func() iter.Seq[string] { p.mu.Lock(); defer p.mu.Unlock(); return slices.Values(p.jobs) },
		Keep: func() time.Duration { p.mu.Lock(); defer p.mu.Unlock(); return p.keep },
		Log:  func() *zap.Logger { return log },
	})
}

// AllLanes is part of [leftover.Queue].
func (p *place) AllLanes(context.Context) ([]queue.Lane, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks++
	return slices.Clone(p.lanes), p.fails
}

// Forget is part of [leftover.Queue].
func (p *place) Forget(_ context.Context, name string) error {
	if p.inForce.TryLock() {
		p.inForce.Unlock()
		p.t.Error("Forget without the lock of the configuration")
	}
	if err := p.forget(name); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.lanes {
		if p.lanes[i].Job == name {
			p.lanes[i].Kept, p.lanes[i].KeptCancelled, p.lanes[i].Receipts = 0, 0, 0
		}
	}
	return nil
}

func (p *place) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// write makes files with these paths in the data directory, each of seven bytes.
func (p *place) write(paths ...string) {
	p.t.Helper()
	for _, path := range paths {
		path = filepath.Join(p.dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("content"), 0o600)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// files returns what is below the data directory.
func (p *place) files() (all []string) {
	p.t.Helper()
	err := filepath.WalkDir(p.dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			path, err = filepath.Rel(p.dir, path)
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

// prune returns the names of the jobs whose leftovers were removed.
func (p *place) prune(before time.Time) (names []string, err error) {
	removed, err := p.Prune(p.t.Context(), before)
	for _, l := range removed {
		names = append(names, l.Job+"/"+l.Element)
	}
	if !p.inForce.TryLock() {
		p.t.Fatal("the lock of the configuration is held after Prune")
	}
	p.inForce.Unlock()
	return names, err
}

var left = time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)

// element returns the name of a job's files.
func element(name string) string { return job.PathElement(name) }

// whole returns a removed job as prune does.
func whole(name string) string { return name + "/" + element(name) }

func TestAllReturnsWhatIsKeptOfRemovedJobs(t *testing.T) {
	p := newPlace(t, "here", "back")
	p.lanes = []queue.Lane{
		{Job: "here", Kept: 1},
		{Job: "elsewhere", Kept: 1}, // in the configuration of another server
		{Job: "back", GoneUntil: left, Kept: 1},
		{Job: "records", GoneUntil: left, Kept: 3},
		{Job: "cancelled", GoneUntil: left, KeptCancelled: 1},
		{Job: "receipts", GoneUntil: left, Receipts: 1},
		{Job: "queued", GoneUntil: left, Queued: 2},
		{Job: "running", GoneUntil: left, Running: []int64{4, 5, 6}},
		{Job: "number", GoneUntil: left, LastNumber: 7}, // nothing but the last number
		{Job: "files", GoneUntil: left},
	}
	for _, name := range []string{"here", "elsewhere", "back"} {
		p.write("logs/"+element(name)+"/1.log", "workspaces/"+element(name)+"/file")
	}
	p.write("logs/"+element("files")+"/1.log", "logs/"+element("files")+"/2.log", "workspaces/"+element("files")+"@2/folder/file",
		"polling/"+element("unknown")+".log", "logs/lost+found/file", "uploads/"+element("unknown")+"/file")
	got, err := p.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []leftover.Leftover{
		{Job: "cancelled", Gone: left},
		{Job: "files", Gone: left, Paths: []string{"logs/" + element("files"), "workspaces/" + element("files") + "@2"}, Files: 3, Bytes: 21},
		{Job: "queued", Gone: left, Queued: 2},
		{Job: "receipts", Gone: left},
		{Job: "records", Gone: left, Builds: 3},
		{Job: "running", Gone: left, Running: 3},
		{Element: element("unknown"), Paths: []string{"polling/" + element("unknown") + ".log"}, Files: 1, Bytes: 7},
	}
	for i := range want {
		if want[i].Job != "" {
			want[i].Element = element(want[i].Job)
		}
	}
	slices.SortFunc(want, func(a, b leftover.Leftover) int { return strings.Compare(a.Element, b.Element) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("All (-want +got):\n%s", diff)
	}
}

func TestPruneLeavesWhatIsInUseOrRecent(t *testing.T) {
	lanes := []queue.Lane{
		{Job: "before", GoneUntil: left.Add(-1), Kept: 1},
		{Job: "just", GoneUntil: left, Kept: 1},
		{Job: "queued", GoneUntil: left.Add(-1), Kept: 1, Queued: 1},
		{Job: "running", GoneUntil: left.Add(-1), Kept: 1, Running: []int64{2}},
	}
	for _, tt := range []struct {
		name   string
		before time.Time
		want   []string
		files  []string
	}{
		{"before an instant", left, []string{whole("before")}, []string{"just", "queued", "running", "unknown"}},
		{"all", time.Time{}, []string{"/" + element("unknown"), whole("before"), whole("just")}, []string{"queued", "running"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			p.lanes = slices.Clone(lanes)
			for _, name := range []string{"before", "just", "queued", "running", "unknown"} {
				p.write("logs/" + element(name) + "/1.log")
			}
			var forgotten []string
			p.forget = func(name string) error {
				forgotten = append(forgotten, name)
				return nil
			}
			got, err := p.prune(tt.before)
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("Prune: %v, (-want +got):\n%s", err, diff)
			}
			var files, jobs []string
			for _, name := range tt.files {
				files = append(files, "logs/"+element(name)+"/1.log")
			}
			if diff := cmp.Diff(files, p.files()); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			for _, full := range tt.want {
				if name, _, _ := strings.Cut(full, "/"); name != "" {
					jobs = append(jobs, name)
				}
			}
			if diff := cmp.Diff(jobs, forgotten); diff != "" {
				t.Errorf("jobs whose records were dropped (-want +got):\n%s", diff)
			}
			if got := p.logs.FilterMessage("removed what was left of a job").Len(); got != len(tt.want) {
				t.Errorf("%d messages about %d removed jobs", got, len(tt.want))
			}
		})
	}
}

// A job that comes back between the look and the removal keeps everything. One that cannot be
// removed does not keep the others.
func TestPruneGoesOnAfterAJobThatStays(t *testing.T) {
	p := newPlace(t)
	full := errors.New("the disk is full")
	p.lanes = []queue.Lane{{Job: "a", GoneUntil: left, Kept: 1}, {Job: "b", GoneUntil: left, Kept: 1}, {Job: "c", GoneUntil: left, Kept: 1}, {Job: "d", GoneUntil: left, Kept: 1}}
	for _, name := range []string{"a", "b", "c", "d"} {
		p.write("logs/" + element(name) + "/1.log")
	}
	p.forget = func(name string) error {
		switch name {
		case "a":
			p.set(func() { p.jobs = []string{"here", "d"} }) // a new configuration
			return queue.ErrInUse
		case "b":
			return full
		}
		return nil
	}
	got, err := p.prune(time.Time{})
	if diff := cmp.Diff([]string{whole("c")}, got); !errors.Is(err, full) || errors.Is(err, queue.ErrInUse) || !strings.Contains(err.Error(), "prune "+element("b")+": ") || diff != "" {
		t.Errorf("Prune: %v, (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"logs/" + element("a") + "/1.log", "logs/" + element("b") + "/1.log", "logs/" + element("d") + "/1.log"}, p.files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestLeftoversThatCannotBeReadOrRemoved(t *testing.T) {
	broken := errors.New("the queue is broken")
	t.Run("the queue", func(t *testing.T) {
		p := newPlace(t)
		p.fails = broken
		if all, err := p.All(t.Context()); !errors.Is(err, broken) || all != nil {
			t.Errorf("All = %v, %v, want %v", all, err, broken)
		}
		if got, err := p.prune(time.Time{}); !errors.Is(err, broken) || got != nil {
			t.Errorf("Prune = %v, %v, want %v", got, err, broken)
		}
	})
	t.Run("a directory that is a file", func(t *testing.T) {
		p := newPlace(t)
		p.write("workspaces")
		if all, err := p.All(t.Context()); err == nil || all != nil {
			t.Errorf("All = %v, %v, want an error", all, err)
		}
	})
	t.Run("the caller has gone", func(t *testing.T) {
		p := newPlace(t)
		p.write("logs/" + element("unknown") + "/1.log")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(broken)
		if all, err := p.All(ctx); !errors.Is(err, broken) || all != nil {
			t.Errorf("All = %v, %v, want %v", all, err, broken)
		}
	})
	t.Run("files that cannot be moved", func(t *testing.T) {
		p := newPlace(t)
		p.lanes = []queue.Lane{{Job: "a", GoneUntil: left, Kept: 1}}
		p.write("logs/"+element("a")+"/1.log", "polling/"+element("a")+".log")
		p.forget = func(string) error {
			if err := os.Remove(filepath.Join(p.dir, "polling", element("a")+".log")); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(p.dir, "polling")); err != nil {
				t.Fatal(err)
			}
			p.write("polling") // now a file
			return nil
		}
		if got, err := p.prune(time.Time{}); err == nil || got != nil {
			t.Errorf("Prune = %v, %v, want an error", got, err)
		}
		if diff := cmp.Diff([]string{"polling"}, p.files()); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	})
	t.Run("files that are gone meanwhile", func(t *testing.T) {
		p := newPlace(t)
		p.lanes = []queue.Lane{{Job: "a", GoneUntil: left, Kept: 1}}
		p.write("logs/"+element("a")+"/1.log", "workspaces/"+element("a")+"/file")
		p.forget = func(string) error { return os.RemoveAll(filepath.Join(p.dir, "logs")) }
		if got, err := p.prune(time.Time{}); err != nil || len(got) != 1 {
			t.Errorf("Prune = %v, %v, want one job", got, err)
		}
		if got := p.files(); got != nil {
			t.Errorf("files = %v, want none", got)
		}
	})
}

// What an earlier process moved away and did not delete is deleted at the start.
func TestNewDeletesWhatWasMovedAway(t *testing.T) {
	p := newPlace(t)
	p.write("pruned-XYZ/logs/a/1.log", "logs/pruned-a/1.log", "queue.db")
	p.open(zap.NewNop())
	if diff := cmp.Diff([]string{"logs/pruned-a/1.log", "queue.db"}, p.files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// Run looks after each configuration, and again when the next leftover is due, or after a day.
func TestRunRemovesWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		var forgotten []string
		p.forget = func(name string) error {
			p.set(func() { forgotten = append(forgotten, name) })
			return nil
		}
		gone := func(name string) {
			p.set(func() { p.lanes = append(p.lanes, queue.Lane{Job: name, GoneUntil: time.Now(), Kept: 1}) })
		}
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			p.set(func() {
				if diff := cmp.Diff(want, forgotten); diff != "" {
					t.Errorf("%s, records were dropped of (-want +got):\n%s", when, diff)
				}
			})
		}
		stop := make(chan struct{})
		var running sync.WaitGroup
		running.Go(func() { p.Run(stop) })

		gone("a")
		time.Sleep(100 * 24 * time.Hour)
		expect("without a time")

		p.set(func() { p.keep = time.Hour })
		p.Configured()
		expect("with a time", "a")

		gone("b")
		p.Configured()
		p.Configured() // does not block
		time.Sleep(time.Hour)
		expect("an hour after b has gone", "a")
		time.Sleep(time.Second)
		expect("a second later", "a", "b")

		gone("c") // on another server
		p.set(func() { p.lanes[2].GoneUntil = time.Now().Add(-2 * time.Hour) })
		time.Sleep(24*time.Hour - 1)
		expect("before a day is over", "a", "b")
		time.Sleep(time.Nanosecond)
		expect("after a day", "a", "b", "c")

		close(stop)
		running.Wait()
	})
}

// After an error, Run looks again an hour later.
func TestRunTriesAgain(t *testing.T) {
	full := errors.New("the disk is full")
	for _, tt := range []struct {
		name      string
		fail      func(p *place)
		warnings  int
		wantLooks int // until an hour is over; the second look is for what is due next
	}{
		{"records that cannot be dropped", func(p *place) { p.forget = func(string) error { return full } }, 1, 1},
		{"records that cannot be read", func(p *place) { p.fails = full }, 1, 1},
		{"records that cannot be read after others were dropped", func(p *place) {
			p.forget = func(string) error {
				p.set(func() { p.fails = full })
				return nil
			}
		}, 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t)
				p.keep = time.Hour
				p.lanes = []queue.Lane{{Job: "a", GoneUntil: time.Now().Add(-2 * time.Hour), Kept: 1}, {Job: "b", GoneUntil: time.Now(), Kept: 1}}
				tt.fail(p)
				stop := make(chan struct{})
				var running sync.WaitGroup
				running.Go(func() { p.Run(stop) })
				p.Configured()
				time.Sleep(time.Hour - 1)
				synctest.Wait()
				p.set(func() {
					if p.looks != tt.wantLooks {
						t.Errorf("%d looks within an hour, want %d", p.looks, tt.wantLooks)
					}
				})
				if got := p.logs.FilterMessage("what is left of removed jobs could not be removed").Len(); got != tt.warnings {
					t.Errorf("%d warnings, want %d", got, tt.warnings)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				p.set(func() {
					if p.looks != tt.wantLooks+1 {
						t.Errorf("%d looks after an hour, want %d", p.looks, tt.wantLooks+1)
					}
				})
				close(stop)
				running.Wait()
			})
		})
	}
}
