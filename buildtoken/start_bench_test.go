package buildtoken_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// BenchmarkDueToStart measures the time from an item's due instant until the program of its
// build runs: timer, claim, commit, log, fork, exec, and loading of a small program that prints
// the time first.
func BenchmarkDueToStart(b *testing.B) {
	for _, items := range []int{0, 1_000} {
		b.Run(fmt.Sprintf("notifications=%d", 10*items), func(b *testing.B) { dueToStartBeside(b, items) })
	}
}

// dueToStartBeside measures while ten notifications wait for each of as many items.
func dueToStartBeside(b *testing.B, items int) {
	b.Helper()
	dir := b.TempDir()
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		b.Fatal(err)
	}
	c, err := buildtoken.Open(b.Context(), buildtoken.Options{Queue: q, Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	}()
	told := labelled("told", "", succeeds())
	told.Params = []job.Param{{Name: "N", Kind: job.KindString}}
	refuses := &inbox{answer: func(context.Context, *notify.Event) notify.Outcome { return notify.Outcome{Error: "refused"} }}
	for i := range 10 {
		told.Notify = append(told.Notify, definition.NotifySpec{Name: fmt.Sprintf("to%d", i), On: []queue.Condition{queue.OnQueued}, To: refuses})
	}
	d := define(b, definition.Spec{Root: definition.Folder{Jobs: []definition.Job{labelled("date", "", date(b)), told}}})
	detach, err := c.Attach(b.Context(), buildtoken.Config{Sites: []*definition.Site{d}})
	if err != nil {
		b.Fatal(err)
	}
	defer detach()
	one := &site{Controller: c, t: b, def: d}
	for i := range items {
		if _, err := one.Trigger(b.Context(), d, ask("told", delayed("1h"), values("N", fmt.Sprint(i)))); err != nil {
			b.Fatal(err)
		}
	}
	dueToStart(b, one, one)
}

// BenchmarkDueToStartOnAnotherServer is the same with a queue in Postgres: one server takes the
// trigger, and another one runs the build.
func BenchmarkDueToStartOnAnotherServer(b *testing.B) {
	c := newCluster(b, labelled("date", "b", date(b)))
	dueToStart(b, c.join("a"), c.join("b"))
}

// date is a runner whose builds print the time at which they began.
func date(b *testing.B) *execrunner.Runner {
	b.Helper()
	r, err := execrunner.New(execrunner.Config{Command: "date", Args: []string{"+%s%N"}})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// dueToStart triggers builds on one server that run on another or the same one.
func dueToStart(b *testing.B, triggered, runs *site) {
	b.Helper()
	var late []time.Duration
	for b.Loop() {
		out, err := triggered.Trigger(b.Context(), triggered.def, ask("date", delayed("10"))) // milliseconds
		if err != nil {
			b.Fatal(err)
		}
		late = append(late, startOf(b.Context(), b, runs.Controller, out.Item.ID, runs.def).Sub(out.Item.Due))
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op") // would mostly show the delay
}

// startOf waits for the item's build and returns the time that it printed.
func startOf(ctx context.Context, b *testing.B, c *buildtoken.Controller, id int64, d *definition.Site) time.Time {
	b.Helper()
	entry, err := c.Await(ctx, d, id, queue.Entry.Ended)
	if err != nil {
		b.Fatal(err)
	}
	log, err := c.Log(ctx, "date", entry.Build.Number)
	if err != nil {
		b.Fatal(err)
	}
	text := make([]byte, log.Size())
	if _, err := log.ReadAt(text, 0); err != nil && len(text) == 0 {
		b.Fatal(err)
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
			return time.Unix(0, ns)
		}
	}
	b.Fatalf("no time in the log:\n%s", text)
	return time.Time{}
}

// BenchmarkResume measures how long a start with 1000 remote builds takes before anything else
// can happen, with a queue in a file and one in Postgres.
func BenchmarkResume(b *testing.B) {
	const builds = 1000
	saved := make(parked, builds)
	far := labelled("far", "", saved)
	far.Concurrent, far.Coalesce = true, job.Never
	cfg := buildtoken.Config{
		Sites:        []*definition.Site{define(b, definition.Spec{Root: definition.Folder{Jobs: []definition.Job{far}}})},
		RemoteBuilds: builds, ShutdownTimeout: -1,
	}
	for _, where := range []string{"file", "postgres"} {
		b.Run(where, func(b *testing.B) {
			dir, key := b.TempDir(), vault.NewKey()
			queueOf := func() buildtoken.Queue {
				q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
				if err != nil {
					b.Fatal(err)
				}
				return q
			}
			if where == "postgres" {
				cluster := newCluster(b)
				queueOf = func() buildtoken.Queue { return cluster.queue("a") }
			}
			open := func() *buildtoken.Controller {
				c, err := buildtoken.Open(b.Context(), buildtoken.Options{Queue: queueOf(), Dir: dir, SealKey: key, Node: "a"})
				if err != nil {
					b.Fatal(err)
				}
				return c
			}
			attach := func(c *buildtoken.Controller) {
				if _, err := c.Attach(b.Context(), cfg); err != nil {
					b.Fatal(err)
				}
			}
			c := open()
			attach(c)
			for range builds {
				if _, err := c.Trigger(b.Context(), cfg.Sites[0], ask("far")); err != nil {
					b.Fatal(err)
				}
			}
			for range builds {
				<-saved
			}
			for b.Loop() {
				b.StopTimer()
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				c = open()
				b.StartTimer()
				attach(c)
			}
			b.StopTimer()
			if n := len(c.RunningRemote()); n != builds {
				b.Errorf("%d builds go on, want %d", n, builds)
			}
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// parked is a runner whose builds go on elsewhere until this server stops. It sends a value for
// each build that can be resumed then.
type parked chan struct{}

func (parked) Remote() {}

func (p parked) Run(ctx context.Context, b runner.Build, _ io.Writer) runner.Result {
	if b.Handle == nil {
		if err := b.Save([]byte("work")); err != nil {
			return runner.FailedBy(err)
		}
		p <- struct{}{}
	}
	<-ctx.Done()
	return runner.AbortedBy(ctx)
}
