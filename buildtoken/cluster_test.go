package buildtoken_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// cluster is several servers that share a queue in their own database.
type cluster struct {
	t      testing.TB
	pg     *pgtest.Server
	schema string
	key    vault.Key
	jobs   []definition.Job
	// The following apply to servers that join from now on.
	url string        // the database as these servers reach it
	ttl time.Duration // 0 is the default
}

func newCluster(t testing.TB, jobs ...definition.Job) *cluster {
	t.Helper()
	pg := pgtest.Start(t)
	return &cluster{t: t, pg: pg, schema: pgtest.Schema(t, pg.URL()), key: vault.NewKey(), jobs: jobs, url: pg.URL()}
}

// join adds a server with labels, besides the label of its name, and its own directory.
func (c *cluster) join(name string, labels ...string) *site {
	c.t.Helper()
	return c.start(name, c.t.TempDir(), c.queue(name), labels...)
}

// queue opens the queue as the server of this name.
func (c *cluster) queue(name string) *pgqueue.DB {
	c.t.Helper()
	q, err := pgqueue.Open(c.t.Context(), pgqueue.Options{URL: c.url, Schema: c.schema, Server: name, TTL: c.ttl})
	if err != nil {
		c.t.Fatal(err)
	}
	return q
}

// start starts a server on a directory and a queue that may have been used before.
func (c *cluster) start(name, dir string, q buildtoken.Queue, labels ...string) *site {
	c.t.Helper()
	s := &site{t: c.t, dir: dir, key: c.key, cfg: buildtoken.Config{Labels: labels, ShutdownTimeout: -1}}
	var err error
	s.Controller, err = buildtoken.Open(c.t.Context(), buildtoken.Options{Queue: q, Dir: dir, SealKey: c.key, Node: name})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			c.t.Errorf("Close of %s = %v", name, err)
		}
	})
	s.attach(c.spec())
	return s
}

// spec is the configuration that all servers have.
func (c *cluster) spec() definition.Spec {
	return definition.Spec{Root: definition.Folder{Jobs: c.jobs}}
}

// labelled returns a job that runs on servers with the label, or on all if it is "".
func labelled(name, label string, r runner.Runner) definition.Job {
	j := definition.Job{Name: name, Tokens: opens(), Runner: r}
	if label != "" {
		j.Settings.Label = &label
	}
	return j
}

// await waits until enough returns true for an item.
func (s *site) await(id int64, enough func(queue.Entry) bool) queue.Entry {
	s.t.Helper()
	e, err := s.Await(s.t.Context(), s.def, id, enough)
	if err != nil {
		s.t.Fatalf("Await(%d) = %v", id, err)
	}
	return e
}

func began(e queue.Entry) bool { return e.Build != nil }

// ended waits for the end of an item's build and returns it.
func (s *site) ended(id int64) queue.Build {
	s.t.Helper()
	e := s.await(id, queue.Entry.Ended)
	if e.Build == nil {
		s.t.Fatalf("item %d ended without a build: %+v", id, e)
	}
	return *e.Build
}

// TestServersShareAQueue runs builds on one server and reads their state from another one.
func TestServersShareAQueue(t *testing.T) {
	c := newCluster(t, labelled("quick", "gpu", succeeds()), labelled("long", "b", untilStopped{}))
	a := c.join("a")
	reason := func(id int64) queue.Reason {
		t.Helper()
		e, err := a.Entry(t.Context(), a.def, id)
		if err != nil {
			t.Fatal(err)
		}
		return e.Blockage.Reason
	}
	first := a.trigger("quick").Item.ID
	if got := reason(first); got != queue.NoNode {
		t.Errorf("why, without the other server: %q, want %q", got, queue.NoNode)
	}
	looks := 0
	ended := make(chan queue.Entry)
	go func() {
		e, err := a.Await(t.Context(), a.def, first, func(e queue.Entry) bool { looks++; return e.Ended() })
		if err != nil {
			t.Errorf("Await = %v", err)
		}
		ended <- e
	}()
	b := c.join("b", "gpu")
	if e := <-ended; e.Build == nil || e.Build.Node != "b" || e.Build.Result != queue.Success {
		t.Errorf("item %+v, want a build on b", e)
	}
	if looks > 10 {
		t.Errorf("enough was called %d times", looks)
	}

	long := b.trigger("long").Item.ID
	if e := a.await(long, began); e.Build.Node != "b" {
		t.Errorf("the build runs on %s, want b", e.Build.Node)
	}
	next := b.trigger("long").Item.ID
	if got := reason(next); got != queue.BuildRunning {
		t.Errorf("why, behind a build of another server: %q, want %q", got, queue.BuildRunning)
	}
	if err := a.Cancel(t.Context(), "long", next, "user alice"); err != nil {
		t.Errorf("Cancel on another server: %v", err)
	}
	if e := b.await(next, queue.Entry.Ended); e.Cancelled == nil {
		t.Errorf("item %+v, want it cancelled", e)
	}
	if n := len(a.Running()); n != 0 {
		t.Errorf("%d builds are running on a, want none", n)
	}
	changed := b.WatchBuilds("long")
	if err := a.StopBuild(t.Context(), "long", 1, "user alice"); err != nil {
		t.Fatal(err)
	}
	<-changed
	e := a.await(long, queue.Entry.Ended)
	if e.Build.Result != queue.Aborted || e.Build.Reason != "stopped by user alice" {
		t.Errorf("the build ended %s, %q, want it stopped by alice", e.Build.Result, e.Build.Reason)
	}
}

// TestWatchersAreNotifiedOfOtherServers changes something on one server, and expects that
// watchers on another one are notified.
func TestWatchersAreNotifiedOfOtherServers(t *testing.T) {
	c := newCluster(t, labelled("long", "b", untilStopped{}), labelled("other", "b", untilStopped{}))
	a, b := c.join("a"), c.join("b")
	var id int64
	for _, step := range []struct {
		name   string
		builds bool // whether watchers of builds are notified
		do     func()
	}{
		{"a new item", false, func() { id = b.trigger("long", delayed("1h")).Item.ID }},
		{"a joined item that is due now", true, func() { b.trigger("long") }},
		{"an end", true, func() {
			b.await(id, began)
			if err := b.StopBuild(t.Context(), "long", 1, "user alice"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		changed := a.Watch()
		builds := a.WatchBuilds("long")
		step.do()
		<-changed // a lost notice lets the test time out
		if step.builds {
			<-builds
		}
	}
}

// TestServersAreReloadedOneByOne reloads two servers with a configuration that has a new job
// and does not have an old one.
func TestServersAreReloadedOneByOne(t *testing.T) {
	c := newCluster(t, labelled("old", "nowhere", succeeds()), labelled("stays", "", succeeds()))
	a, b := c.join("a"), c.join("b")
	before := *a
	old := a.trigger("old").Item.ID
	c.jobs = []definition.Job{labelled("new", "", succeeds()), labelled("stays", "", succeeds())}
	b.attach(c.spec())
	for range 10 { // the other server has free executors too, and claims as often
		if e := b.await(b.trigger("new").Item.ID, queue.Entry.Ended); e.Build.Result != queue.Success || e.Build.Node != "b" {
			t.Fatalf("a build of the new job: %+v, want it where the job is known", e.Build)
		}
	}
	if e, err := before.Entry(t.Context(), before.def, old); err != nil || e.Blockage.Reason != queue.NoNode {
		t.Errorf("item of the old job: %+v, %v; want it waiting for its label", e, err)
	}
	a.attach(c.spec())
	if e, err := a.Entry(t.Context(), a.def, old); err != nil || e.Blockage.Reason != queue.NoServer {
		t.Errorf("item of the job that is gone: %+v, %v; want it waiting for a server", e, err)
	}
	a.cfg.OrphanTimeout = -1 // applies only to jobs that are removed from now on
	c.jobs = []definition.Job{labelled("old", "nowhere", succeeds()), labelled("stays", "", succeeds())}
	a.attach(c.spec())
	b.attach(c.spec())
	c.jobs = c.jobs[1:]
	b.attach(c.spec())
	a.attach(c.spec())
	if e := before.await(old, queue.Entry.Ended); e.Build == nil || e.Build.Result != queue.NotBuilt {
		t.Errorf("item of the job that is gone: %+v, want it to end %s", e, queue.NotBuilt)
	}
}

// cable is a connection to the socket of a database that can be cut.
type cable struct {
	dir string

	mu sync.Mutex
	// mu guards the following.
	isCut bool
	conns []net.Conn
}

// newCable returns a cable and the connection string for using it.
func newCable(t *testing.T, to string) (*cable, string) {
	t.Helper()
	parsed, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(parsed.Query().Get("host"), ".s.PGSQL.5432")
	// The path of a socket can have only about a hundred bytes, so it is not below t.TempDir.
	dir, err := os.MkdirTemp("", "cable") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	w := &cable{dir: dir}
	var work sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		w.cut()
		work.Wait()
		os.RemoveAll(dir)
	})
	work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", socket)
			if err != nil {
				near.Close()
				continue
			}
			w.keep(near, far)
			for _, ends := range [][2]net.Conn{{near, far}, {far, near}} {
				work.Go(func() {
					defer ends[0].Close()
					_, _ = io.Copy(ends[0], ends[1]) // ends when either is closed
				})
			}
		}
	})
	return w, strings.Replace(to, parsed.Query().Get("host"), dir, 1)
}

func (w *cable) keep(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conns...)
	if w.isCut {
		for _, conn := range conns {
			conn.Close()
		}
	}
}

func (w *cable) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, conn := range w.conns {
		conn.Close()
	}
}

func (w *cable) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut, w.conns = false, nil
}

// reportsCause is a runner whose build runs until it is stopped, and sends the reason.
type reportsCause struct{ stopped chan string }

func (n reportsCause) Run(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
	<-ctx.Done()
	reason := context.Cause(ctx).Error()
	n.stopped <- reason
	return runner.Result{Outcome: runner.Aborted, Reason: reason}
}

// TestServerThatIsCutOffLosesItsBuildsOnce cuts the connection to the database while a build
// runs, and restores it later.
func TestServerThatIsCutOffLosesItsBuildsOnce(t *testing.T) {
	stopped := make(chan string, 2)
	c := newCluster(t, labelled("long", "", reportsCause{stopped}), labelled("quick", "b", succeeds()))
	c.ttl = 3 * time.Second
	w, way := newCable(t, c.pg.URL())
	c.url = way
	b := c.join("b")
	first := b.trigger("long").Item.ID
	b.await(first, began)
	c.url = c.pg.URL()
	a := c.join("a")
	next := a.trigger("long", func(t *buildtoken.Trigger) { t.Delay = nil }).Item.ID
	w.cut()
	e := a.await(first, queue.Entry.Ended)
	select {
	case reason := <-stopped:
		if reason != "the server was cut off from the queue" {
			t.Errorf("the build was stopped because %q", reason)
		}
	default:
		t.Error("the build was given up before it was stopped")
	}
	if e.Build.Result != queue.Aborted || e.Build.Reason != "lost: the server b was not heard of for 3s" {
		t.Errorf("the build ended %s, %q; want it lost", e.Build.Result, e.Build.Reason)
	}
	if after := a.await(next, began); after.Build.Node != "a" || after.Build.Number != 2 {
		t.Errorf("the next build is %+v, want it started on the other server", after.Build)
	}
	w.mend()
	quick := a.trigger("quick").Item.ID
	if back := a.await(quick, queue.Entry.Ended); back.Build.Node != "b" || back.Build.Result != queue.Success {
		t.Errorf("build %+v, want it on the server that is back", back.Build)
	}
	if again, err := a.Entry(t.Context(), a.def, first); err != nil || again.Build.Ended != e.Build.Ended || again.Build.Reason != e.Build.Reason {
		t.Errorf("the lost build is %+v now, %v; want %+v", again.Build, err, e.Build)
	}
	if err := a.StopBuild(t.Context(), "long", 2, "user alice"); err != nil {
		t.Error(err)
	}
	a.await(next, queue.Entry.Ended)
}

// leaves is a runner whose builds leave processes behind when their server dies.
type leaves struct {
	untilStopped
	reaped chan int64
}

func (l leaves) Reap(_ context.Context, b runner.Build) (int, error) {
	l.reaped <- b.Number
	return 1, nil
}

// TestServerThatComesBackEndsWhatIsLeft kills a server, lets another one record the end of its
// build, and starts the first one again.
func TestServerThatComesBackEndsWhatIsLeft(t *testing.T) {
	r := leaves{reaped: make(chan int64, 1)}
	c := newCluster(t, labelled("long", "b", r))
	c.ttl = 3 * time.Second
	w, way := newCable(t, c.pg.URL())
	dir := t.TempDir()
	c.url = way
	b := c.start("b", dir, c.queue("b"))
	id := b.trigger("long").Item.ID
	b.await(id, began)
	c.url = c.pg.URL()
	if _, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: c.url, Schema: c.schema, Server: "b"}); !errors.Is(err, pgqueue.ErrLocked) {
		t.Errorf("a second server of the name: %v, want %v", err, pgqueue.ErrLocked)
	}
	a := c.join("a")
	w.cut()
	a.await(id, queue.Entry.Ended)
	select {
	case <-r.reaped:
		t.Error("a server looked for the processes of another one")
	default:
	}
	again := c.start("b", dir, c.queue("b"))
	t.Cleanup(w.mend) // so that what is left of the first server ends soon
	select {
	case number := <-r.reaped:
		if number != 1 {
			t.Errorf("the server looked for the processes of build %d, want 1", number)
		}
	default:
		t.Error("builds could start before the server had looked for left processes")
	}
	next := a.trigger("long").Item.ID
	if e := again.await(next, began); e.Build.Node != "b" || e.Build.Number != 2 {
		t.Errorf("the next build is %+v, want number 2 on b", e.Build)
	}
}
