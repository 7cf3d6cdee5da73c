package buildtoken_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// elsewhere is a runner whose builds run on another system until a test ends them.
type elsewhere struct {
	began chan string // the handle with which a build was started or resumed
	ends  chan runner.Result
}

func (elsewhere) Remote() {}

func (e elsewhere) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	fmt.Fprintf(log, "handle %q\n", b.Handle)
	if b.Handle == nil {
		if err := b.Save([]byte("work 7")); err != nil {
			return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
		}
	}
	e.began <- string(b.Handle)
	select {
	case r := <-e.ends:
		return r
	case <-ctx.Done():
		return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
	}
}

func newElsewhere() elsewhere { return elsewhere{make(chan string, 1), make(chan runner.Result)} }

// TestRemoteBuildGoesOnOnAnotherServer ends the server that follows a build in three ways.
func TestRemoteBuildGoesOnOnAnotherServer(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, c *cluster, w *cable, b *site) (takesOver *site){
		"it stops": func(t *testing.T, c *cluster, _ *cable, b *site) *site {
			a := c.join("a")
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			return a
		},
		"it is cut off": func(t *testing.T, c *cluster, w *cable, b *site) *site {
			a := c.join("a")
			// Otherwise, changes that the server has not sent yet would be lost.
			here, there := b.openLog("far", 1), a.openLog("far", 1)
			for size := int64(0); size < here.Size(); {
				var err error
				if size, _, err = there.Wait(t.Context(), size); err != nil {
					t.Fatal(err)
				}
			}
			w.cut()
			t.Cleanup(w.mend)
			for { // until the build is none of this server's any more
				changed := b.Watch()
				if len(b.RunningRemote()) == 0 {
					break
				}
				<-changed
			}
			return a
		},
		"it is started again": func(t *testing.T, c *cluster, _ *cable, b *site) *site {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			return c.start("b", b.dir, c.queue("b"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			far := newElsewhere()
			c := newCluster(t, labelled("far", "", far))
			c.ttl = 3 * time.Second
			w, way := newCable(t, c.pg.URL())
			c.url = way
			b := c.join("b")
			item := b.trigger("far").Item.ID
			if handle := <-far.began; handle != "" {
				t.Errorf("started with handle %q, want none", handle)
			}
			c.url = c.pg.URL()
			next := end(t, c, w, b)
			if handle := <-far.began; handle != "work 7" {
				t.Errorf("resumed with handle %q, want the one that was saved", handle)
			}
			far.ends <- runner.Result{Outcome: runner.Success}
			if build := next.ended(item); build.Result != queue.Success || build.Node != next.Name() || build.Number != 1 {
				t.Errorf("build %+v, want SUCCESS on %s", build, next.Name())
			}
			want := []string{"handle \"\"", "Resumed after a restart of the server", "handle \"work 7\"", "Finished: SUCCESS"}
			if diff := cmp.Diff(want, next.log("far", 1)[1:]); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRemoteBuildIsNotLostWhileItIsAdopted reports lost builds, as a heartbeat does, after a server has begun to go on with
// the builds of its previous process, and before it has recorded that.
func TestRemoteBuildIsNotLostWhileItIsAdopted(t *testing.T) {
	far := newElsewhere()
	c := newCluster(t, labelled("far", "", far))
	b := c.join("b")
	item := b.trigger("far").Item.ID
	<-far.began
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	next := c.start("b", b.dir, adopting{c.queue("b"), make(chan queue.Notice)})
	if build, err := next.Build(t.Context(), "far", 1); err != nil || !build.Running() {
		t.Fatalf("build %+v, %v; want it to go on", build, err)
	}
	if handle := <-far.began; handle != "work 7" {
		t.Errorf("resumed with handle %q, want the one that was saved", handle)
	}
	far.ends <- runner.Result{Outcome: runner.Success}
	if build := next.ended(item); build.Result != queue.Success {
		t.Errorf("build %+v, want a success", build)
	}
}

// adopting is a queue that reports lost builds before each adoption, and waits until the server has seen to that.
type adopting struct {
	*pgqueue.DB

	notices chan queue.Notice
}

func (a adopting) Notices() <-chan queue.Notice { return a.notices }

func (a adopting) Adopt(ctx context.Context, builds []queue.Build, node queue.Node, executors []int) ([]queue.Build, error) {
	a.notices <- queue.Notice{Lost: true}
	a.notices <- queue.Notice{} // is received after the other was handled
	return a.DB.Adopt(ctx, builds, node, executors)
}

func TestRemoteBuildsTakeNoExecutor(t *testing.T) {
	far := newElsewhere()
	c := newCluster(t, labelled("far", "", far), labelled("near", "", untilStopped{}))
	s := c.join("a")
	first := s.trigger("far").Item.ID
	<-far.began
	near := s.trigger("near").Item.ID
	s.await(near, began)
	if running, remote := s.Running(), s.RunningRemote(); len(running) != 1 || len(remote) != 1 || remote[0].Item.Job != "far" {
		t.Errorf("Running = %v, RunningRemote = %v; want one each", running, remote)
	}
	if err := s.StopBuild(t.Context(), "far", 1, "user alice"); err != nil {
		t.Fatal(err)
	}
	if b := s.ended(first); b.Result != queue.Aborted || !strings.Contains(b.Reason, "alice") {
		t.Errorf("build %+v, want it stopped", b)
	}
	if len(s.RunningRemote()) != 0 {
		t.Error("the build that was stopped still counts")
	}
}
