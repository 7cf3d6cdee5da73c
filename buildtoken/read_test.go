package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/share"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// A trigger whose token grants it gets a link, which shows its item as long as the token is the same.
func TestSharedItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := func(name string, tokens ...definition.Token) definition.Spec {
			return definition.Spec{Root: definition.Folder{Jobs: []definition.Job{
				{Name: name, Tokens: tokens, Runner: succeeds()}, {Name: "other", Tokens: opens(token.Trigger, token.Status), Coalesce: job.Never, Runner: succeeds()},
			}}}
		}
		granted := spec("app", opens(token.Trigger, token.Share)...)
		s := openSite(t, buildtoken.Config{})
		s.attach(granted)
		if out := s.trigger("other", delayed("1h")); out.Share != "" || out.Grants != token.Trigger|token.Status {
			t.Errorf("a trigger without the grant got the link %q and grants %v", out.Share, out.Grants)
		}
		out := s.trigger("app", delayed("2h"), once("k"))
		if out.Grants != token.Trigger|token.Share {
			t.Errorf("grants %v, want those of the token", out.Grants)
		}
		if again := s.trigger("app", delayed("2h"), once("k")); !again.Repeated || again.Share != out.Share {
			t.Errorf("a repeated trigger got the link %q, want %q", again.Share, out.Share)
		}
		shows := func(what, id string, item int64) {
			t.Helper()
			e, err := s.SharedItem(t.Context(), s.def, id)
			if item != 0 && (err != nil || e.Item.ID != item) || item == 0 && (!errors.Is(err, queue.ErrNotFound) || e.Item.ID != 0) {
				t.Errorf("%s: SharedItem = item %d, %v; want %d", what, e.Item.ID, err, item)
			}
		}
		shows("the link", out.Share, out.Item.ID)
		shows("no link", "", 0)
		shows("nonsense", "nonsense", 0)
		other := strings.Repeat("A", 43) + out.Share[43:]
		shows("a forged link", other, 0)
		for name, changed := range map[string]definition.Spec{
			"without the grant":      spec("app", opens(token.Trigger)...),
			"without the job":        spec("app2", opens(token.Trigger, token.Share)...),
			"without a token":        spec("app"),
			"with another token":     spec("app", definition.Token{Digest: token.NewSecret("other").Digest(), Grants: token.Trigger | token.Share}),
			"with the token expired": spec("app", definition.Token{Digest: token.NewSecret(secret).Digest(), Grants: token.Trigger | token.Share, Expires: time.Now()}),
		} {
			s.attach(changed)
			shows(name, out.Share, 0)
		}
		s.attach(granted)
		shows("as before", out.Share, out.Item.ID)

		// A queue that starts from the beginning gives the numbers of items to others.
		if err := errors.Join(s.Close(), os.Remove(filepath.Join(s.dir, "queue.db"))); err != nil {
			t.Fatal(err)
		}
		s.open()
		s.attach(granted)
		shows("an item that is not kept", out.Share, 0)
		for last := int64(0); last < out.Item.ID; {
			last = s.trigger("other", delayed("1h")).Item.ID
		}
		shows("the item of another job", out.Share, 0)
	})
}

func TestLinkToAnItemEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(token.Trigger, token.Share), Runner: succeeds()})
		out := s.trigger("app")
		time.Sleep(share.Keep - 1)
		if e, err := s.SharedItem(t.Context(), s.def, out.Share); err != nil || e.Build == nil {
			t.Errorf("before the end of a link: SharedItem = %+v, %v; want a build", e, err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := s.SharedItem(t.Context(), s.def, out.Share); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("after the end of a link: SharedItem = %v, want %v", err, queue.ErrNotFound)
		}
	})
}

// broken is a queue that cannot be read while it is down.
type broken struct {
	buildtoken.Queue
	down bool
}

func (q *broken) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	if q.down {
		return queue.Entry{}, queue.ErrStorage
	}
	return q.Queue.Entry(ctx, now, id)
}

func (q *broken) Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error) {
	if q.down {
		return nil, queue.ErrStorage
	}
	return q.Queue.Items(ctx, now, job, limit)
}

func (*broken) Gone(context.Context) ([]queue.Lane, error) { return nil, queue.ErrStorage }

func (*broken) AllLanes(context.Context) ([]queue.Lane, error) { return nil, queue.ErrStorage }

func (*broken) Lanes(context.Context, []string) ([]queue.Lane, error) { return nil, queue.ErrStorage }

func (*broken) Overviews(context.Context, []string) ([]queue.Overview, error) {
	return nil, queue.ErrStorage
}

func (*broken) Build(context.Context, string, int64) (queue.Build, error) {
	return queue.Build{}, queue.ErrStorage
}

func (*broken) Builds(context.Context, string, int64, int) ([]queue.Build, error) {
	return nil, queue.ErrStorage
}

func (*broken) Oldest(context.Context, string) (int64, error) { return 0, queue.ErrStorage }

func (*broken) Abort(context.Context, string, int64, string) error { return queue.ErrStorage }

func (*broken) Backlogs(context.Context) ([]queue.Backlog, error) { return nil, queue.ErrStorage }

func (*broken) RetryNotification(context.Context, time.Time, int64) error { return queue.ErrStorage }

func (*broken) Cancel(context.Context, time.Time, string, int64, string) error {
	return queue.ErrStorage
}

func (*broken) Notifications(context.Context, queue.NotificationFilter) ([]queue.Notification, error) {
	return nil, queue.ErrStorage
}

// Each method that reads the queue returns its error, and nothing else.
func TestErrorsOfTheQueueAreReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		q := &broken{Queue: openFailing(t, dir)}
		c, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := &site{Controller: c, t: t, cfg: buildtoken.Config{Log: zap.NewNop()}}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(token.Trigger, token.Share), Runner: succeeds()}}}})
		out := s.trigger("app", delayed("1h"))
		cancelIsRefused := c.Cancel(t.Context(), "app", out.Item.ID, "user alice")
		q.down = true
		ctx := t.Context()
		for name, call := range map[string]func() (any, error){
			"Entry":             func() (any, error) { return c.Entry(ctx, s.def, out.Item.ID) },
			"Items":             func() (any, error) { return c.Items(ctx, s.def, "", 10) },
			"Await":             func() (any, error) { return c.Await(ctx, s.def, out.Item.ID, queue.Entry.Ended) },
			"SharedItem":        func() (any, error) { return c.SharedItem(ctx, s.def, out.Share) },
			"Gone":              func() (any, error) { return c.Gone(ctx) },
			"QueuedLanes":       func() (any, error) { return c.QueuedLanes(ctx) },
			"OldestDue":         func() (any, error) { return c.OldestDue(ctx) },
			"Overviews":         func() (any, error) { return c.Overviews(ctx, "app") },
			"Lanes":             func() (any, error) { return c.Lanes(ctx, "app") },
			"Build":             func() (any, error) { return c.Build(ctx, "app", 1) },
			"Builds":            func() (any, error) { return c.Builds(ctx, "app", 0, 10) },
			"Log":               func() (any, error) { return c.Log(ctx, "app", 1) },
			"OldestBuild":       func() (any, error) { return c.OldestBuild(ctx, "app") },
			"Notifications":     func() (any, error) { return c.Notifications(ctx, queue.NotificationFilter{}) },
			"Backlogs":          func() (any, error) { return c.Backlogs(ctx) },
			"Cancel":            func() (any, error) { return nil, c.Cancel(ctx, "app", out.Item.ID, "user alice") },
			"Cancel of an item": func() (any, error) { return nil, cancelIsRefused },
			"StopBuild":         func() (any, error) { return nil, c.StopBuild(ctx, "app", 1, "user alice") },
			"RetryNotification": func() (any, error) { return nil, c.RetryNotification(ctx, 1) },
		} {
			got, err := call()
			if !errors.Is(err, queue.ErrStorage) || !strings.HasPrefix(fmt.Sprint(err), "buildtoken: ") {
				t.Errorf("%s = %v, want %v of package buildtoken", name, err, queue.ErrStorage)
			}
			switch got := fmt.Sprintf("%v", got); got {
			case "<nil>", "[]", "0", fmt.Sprint(queue.Entry{}), fmt.Sprint(queue.Build{}), fmt.Sprint(time.Time{}):
			default:
				t.Errorf("%s returns %s beside its error", name, got)
			}
		}
	})
}

// NeverRuns gives a reason only if no server can run the builds of a job.
func TestNeverRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := map[string]definition.Job{}
		for _, name := range []string{"gone", "gpu", "off", "busy", "idle"} {
			jobs[name] = definition.Job{Name: name, Tokens: opens(), Runner: lasts(24 * time.Hour)}
		}
		spec := func(names ...string) (spec definition.Spec) {
			for _, name := range names {
				spec.Root.Jobs = append(spec.Root.Jobs, jobs[name])
			}
			return spec
		}
		s := openSite(t, buildtoken.Config{Labels: []string{"linux"}})
		s.attach(spec("gone", "gpu", "off", "busy", "idle"))
		s.trigger("busy")
		for _, name := range []string{"gone", "gpu", "off", "busy"} {
			s.trigger(name, delayed("1h"))
		}
		gpu, off := jobs["gpu"], jobs["off"]
		gpu.Settings.Label, off.Disabled = new("gpu"), true
		jobs["gpu"], jobs["off"] = gpu, off
		s.attach(spec("gpu", "off", "busy", "idle"))
		time.Sleep(time.Minute)
		synctest.Wait()
		lanes, err := s.Lanes(t.Context(), "gone", "gpu", "off", "busy", "idle")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, l := range lanes {
			b := s.NeverRuns(l)
			got[l.Job] = strings.TrimSpace(fmt.Sprint(b.Reason, " ", b.Label))
		}
		want := map[string]string{"gone": string(queue.NoServer), "gpu": string(queue.NoNode) + " gpu", "off": "", "busy": "", "idle": ""}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("NeverRuns (-want +got):\n%s", diff)
		}
	})
}

// hiding is a shared queue whose builds cannot be read while err is set.
type hiding struct {
	cutOff
	err *error
}

func (q hiding) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	if *q.err != nil {
		return queue.Build{}, *q.err
	}
	return q.cutOff.Build(ctx, job, number)
}

// The log of a build that runs here can be read while the queue fails, but not if its record is gone.
func TestLogWhileTheQueueFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hidden error
		s := openSite(t, buildtoken.Config{})
		s.reopenShared(func(q cutOff) buildtoken.Queue {
			q.logs.down = time.Now().Add(30 * time.Second) // other servers cannot have the log yet
			return hiding{q, &hidden}
		})
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: lasts(time.Minute)}}}})
		s.trigger("app")
		synctest.Wait()
		for _, tt := range []struct {
			name      string
			err, want error
		}{
			{"a build that runs", nil, nil},
			{"a build that runs, while the queue fails", queue.ErrStorage, nil},
			{"a build that runs, whose record is gone", queue.ErrNotFound, queue.ErrNotFound},
		} {
			hidden = tt.err
			r, err := s.Log(t.Context(), "app", 1)
			if !errors.Is(err, tt.want) || (err == nil) != (r != nil) {
				t.Errorf("%s: Log = %v, %v; want %v", tt.name, r, err, tt.want)
			}
			if r != nil {
				if err := r.Close(); err != nil || r.Size() == 0 {
					t.Errorf("%s: the log has %d bytes, %v; want what was written here", tt.name, r.Size(), err)
				}
			}
		}
		hidden = nil
	})
}

// A build whose log is gone has none, which is not an error of the server.
func TestLogThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()})
		s.trigger("app")
		s.wantResult("app", 1, queue.Success, "")
		if err := os.RemoveAll(filepath.Join(s.dir, "logs")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Log(t.Context(), "app", 1); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Log = %v, want %v", err, queue.ErrNotFound)
		}
	})
}

// What the controller only passes on is what the queue and the host have.
func TestReadsOfOneJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{KeepBuilds: 2}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()}, definition.Job{Name: "other", Tokens: opens(), Runner: succeeds()})
		for range 4 {
			s.trigger("app")
			synctest.Wait()
		}
		s.trigger("app", delayed("1h"))
		all, err := s.Overviews(t.Context(), "other", "app")
		if err != nil || len(all) != 2 || all[0].Lane.Job != "other" || all[1].Lane.Job != "app" || all[1].Lane.Queued != 1 {
			t.Errorf("Overviews = %+v, %v; want that of other, then that of app with one item", all, err)
		}
		if oldest, err := s.OldestBuild(t.Context(), "app"); err != nil || oldest != 3 {
			t.Errorf("OldestBuild = %d, %v; want 3", oldest, err)
		}
		_, lastErr := s.LastPoll("app")
		_, logErr := s.PollLog("app")
		_, oldestErr := s.OldestBuild(t.Context(), "other")
		for name, err := range map[string]error{"LastPoll": lastErr, "PollLog": logErr, "OldestBuild": oldestErr} {
			if !errors.Is(err, queue.ErrNotFound) {
				t.Errorf("%s of a job without one = %v, want %v", name, err, queue.ErrNotFound)
			}
		}
		if first := s.Deliveries(); first == nil || s.Deliveries() != first {
			t.Error("Deliveries returns another log each time")
		}
	})
}

// A backup finds the logs and files that were there when it began.
func TestHoldFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{KeepBuilds: 1}, definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Params: []job.Param{{Name: "F", Kind: job.KindFile}}})
		trigger := func(delay string) int64 {
			return s.trigger("app", values(), delayed(delay), func(t *buildtoken.Trigger) { t.Files = map[string]buildtoken.Upload{"F": upload("f", "one")} }).Item.ID
		}
		logs := func() int {
			synctest.Wait()
			all, err := filepath.Glob(filepath.Join(s.dir, "logs", "*", "*.log"))
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}
		trigger("0")
		item := trigger("1h")
		synctest.Wait()
		release := s.HoldFiles()
		if err := s.Cancel(t.Context(), "app", item, "user alice"); err != nil {
			t.Fatal(err)
		}
		trigger("0")
		if n, files := logs(), len(s.uploads()); n != 2 || files != 2 {
			t.Errorf("%d logs and %d files during a backup, want two each", n, files)
		}
		release()
		if n, files := logs(), len(s.uploads()); n != 1 || files != 0 {
			t.Errorf("%d logs and %d files after a backup, want one and none", n, files)
		}
	})
}

// What a crash leaves of a request in a file is removed at the next start.
func TestSpoolFile(t *testing.T) {
	s := openSite(t, buildtoken.Config{})
	f, err := s.SpoolFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil || !strings.HasPrefix(f.Name(), s.dir) {
		t.Errorf("SpoolFile is %s, %v; want it in the data directory", f.Name(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.open()
	if _, err := os.Stat(f.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the next start, the file is there: %v", err)
	}
}
