package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// others is a shared queue whose other servers are played by a test.
type others struct {
	cutOff
	notices chan queue.Notice
	nodes   []queue.Node
	// lost is what ReclaimLost does; it must be set before the queue is asked for that.
	lost func(keep func(queue.Build) bool) ([]queue.Build, error)
	// refuses is the error of Announce and of Adopt of more than one build; of each build of refused, too.
	refuses error
	refused int64

	// mu guards the following.
	mu        sync.Mutex
	said      []string // what this server announced and told
	executors [][]int  // those of each adoption
}

func (q *others) Notices() <-chan queue.Notice { return q.notices }
func (q *others) Nodes() []queue.Node          { return q.nodes }

func (q *others) Tell(n queue.Notice) { q.note(fmt.Sprintf("items %v", n.Items)) }

func (q *others) Announce(_ context.Context, node queue.Node, executors int) error {
	q.note(fmt.Sprintf("%s %v %d", node.Name, node.Labels, executors))
	return q.refuses
}

func (q *others) ReclaimLost(_ context.Context, _ time.Time, keep func(queue.Build) bool) ([]queue.Build, error) {
	return q.lost(keep)
}

func (q *others) Adopt(ctx context.Context, builds []queue.Build, node queue.Node, executors []int) ([]queue.Build, error) {
	q.mu.Lock()
	q.executors = append(q.executors, executors)
	q.mu.Unlock()
	if q.refuses != nil && (len(builds) > 1 || builds[0].Number == q.refused) {
		return nil, q.refuses
	}
	return q.cutOff.Adopt(ctx, builds, node, executors)
}

func (q *others) note(line string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.said = append(q.said, line)
}

// takeSaid returns what this server said since the last call.
func (q *others) takeSaid() []string {
	synctest.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	said := q.said
	q.said = nil
	return said
}

// reopenAmongOthers opens the site again with such a queue.
func (s *site) reopenAmongOthers(q *others) {
	s.t.Helper()
	q.notices = make(chan queue.Notice)
	s.reopenShared(func(c cutOff) buildtoken.Queue {
		q.cutOff = c
		return q
	})
}

// A notice of another server wakes the callers that wait for what it names, and no others.
func TestNoticesOfOtherServers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		notice queue.Notice
		wakes  string
	}{
		{"an item", queue.Notice{Items: []int64{1}}, "any item 1 "},
		{"a job", queue.Notice{Jobs: []string{"b"}}, "any builds of b "},
		{"several", queue.Notice{Items: []int64{2, 1}, Jobs: []string{"a"}, Logs: []string{"a"}}, "any builds of a item 1 item 2 "},
		{"everything", queue.Notice{All: true}, "any builds of a builds of b item 1 item 2 "},
		{"something queued", queue.Notice{Queued: true}, "any "},
		{"only logs", queue.Notice{Logs: []string{"a"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openSite(t, buildtoken.Config{})
				q := &others{}
				s.reopenAmongOthers(q)
				s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "a", Tokens: opens(), Runner: succeeds()}, {Name: "b", Tokens: opens(), Runner: succeeds()}}}})
				looks := make([]atomic.Int32, 3) // by item
				ctx, cancel := context.WithCancel(t.Context())
				var waiters sync.WaitGroup
				for _, full := range []string{"a", "b"} {
					id := s.trigger(full, delayed("1h")).Item.ID
					waiters.Go(func() {
						_, _ = s.Await(ctx, s.def, id, func(queue.Entry) bool { looks[id].Add(1); return false }) // until ctx ends
					})
					synctest.Wait()
				}
				any, a, b := s.Watch(), s.WatchBuilds("a"), s.WatchBuilds("b")
				q.notices <- tt.notice
				synctest.Wait()
				cancel()
				waiters.Wait()
				woken := ""
				for _, w := range []struct {
					name    string
					changed <-chan struct{}
				}{{"any ", any}, {"builds of a ", a}, {"builds of b ", b}} {
					select {
					case <-w.changed:
						woken += w.name
					default:
					}
				}
				for id := range looks {
					if looks[id].Load() > 1 {
						woken += fmt.Sprintf("item %d ", id)
					}
				}
				if woken != tt.wakes {
					t.Errorf("woken: %s; want %s", woken, tt.wakes)
				}
			})
		})
	}
}

// Other servers learn what this one can run whenever that changes, and when the log of a build begins.
func TestOtherServersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		q := &others{nodes: []queue.Node{{Name: "b", Labels: []string{"gpu"}}, {Name: buildtoken.DefaultNode, Labels: []string{"of before"}}}}
		s.reopenAmongOthers(q)
		said := func(what string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, q.takeSaid()); diff != "" {
				t.Errorf("%s: said (-want +got):\n%s", what, diff)
			}
		}
		said("while nothing is attached")
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}}
		s.cfg.Labels, s.cfg.Executors = []string{"linux"}, 3
		s.attach(spec)
		said("a configuration", "built-in [linux] 3")
		s.cfg.Labels, s.cfg.Executors = nil, 4
		q.refuses = queue.ErrStorage
		second := s.attach(spec)
		said("another one", "built-in [] 4")
		warnings := s.logs.FilterLevelExact(zapcore.WarnLevel).All()
		if diff := cmp.Diff([]string{"warn other servers could not be told what this one can run:"}, logged(warnings)); diff != "" || warnings[0].ContextMap()["error"] == nil {
			t.Errorf("warnings (-want +got):\n%s", diff)
		}
		second()
		said("the first one again", "built-in [linux] 3")
		if diff := cmp.Diff([]queue.Node{{Name: buildtoken.DefaultNode, Labels: []string{"linux"}}, q.nodes[0]}, buildtoken.Nodes(s.Controller)); diff != "" {
			t.Errorf("nodes (-want +got):\n%s", diff)
		}
		s.trigger("app")
		said("a build", "items [1]")
	})
}

// The builds of servers that are gone end here, unless nothing is attached or this server shuts down.
func TestBuildsOfServersThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		lost := queue.Build{Item: queue.Item{ID: 7, Job: "app"}, Number: 3, Node: "b", Result: queue.Aborted, Reason: "lost"}
		q := &others{lost: func(keep func(queue.Build) bool) ([]queue.Build, error) {
			asked++
			if keep(lost) {
				t.Error("a build without a handle would be kept")
			}
			return []queue.Build{lost}, queue.ErrStorage // one could be ended, another one not
		}}
		s := openSite(t, buildtoken.Config{})
		s.reopenAmongOthers(q)
		q.notices <- queue.Notice{Lost: true}
		synctest.Wait()
		if asked != 0 {
			t.Error("builds were ended although nothing was attached")
		}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "app", Tokens: opens(), Runner: succeeds()}}}})
		builds, others := s.WatchBuilds("app"), s.WatchBuilds("other")
		q.notices <- queue.Notice{Lost: true}
		synctest.Wait()
		select {
		case <-builds:
		default:
			t.Error("watchers of the job's builds were not notified")
		}
		select {
		case <-others:
			t.Error("watchers of another job's builds were notified")
		default:
		}
		if got := s.Stats(); asked != 1 || got.Lost != 1 {
			t.Errorf("asked %d times, %d builds were lost; want one each", asked, got.Lost)
		}
		s.wantEndLogged("app", 3, queue.Aborted)
		if n := s.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessage("builds of servers that are gone could not be ended").Len(); n != 1 {
			t.Errorf("%d log lines about builds that could not be ended, want 1", n)
		}

		s.detach()
		q.notices <- queue.Notice{Lost: true}
		synctest.Wait()
		if asked != 1 {
			t.Error("builds were ended although nothing was attached any more")
		}
	})
}

// handed is a runner whose remote builds save a handle and run until they are stopped.
type handed struct {
	mu      sync.Mutex
	resumed []string // number and handle
}

func (*handed) Remote() {}

func (h *handed) Run(ctx context.Context, b runner.Build, _ io.Writer) runner.Result {
	if b.Handle == nil {
		if err := b.Save(fmt.Appendf(nil, "handle of #%d", b.Number)); err != nil {
			return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
		}
	} else {
		h.mu.Lock()
		h.resumed = append(h.resumed, fmt.Sprintf("#%d by %s", b.Number, b.Handle))
		h.mu.Unlock()
	}
	<-ctx.Done()
	return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
}

// Reap is called for builds that have ended. It must not be while they go on elsewhere.
func (h *handed) Reap(_ context.Context, b runner.Build) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resumed = append(h.resumed, fmt.Sprintf("#%d ended", b.Number))
	return 0, nil
}

// slots returns the numbers and slots of the remote builds that run on this server.
func (s *site) slots() string {
	synctest.Wait()
	text := ""
	for _, b := range s.RunningRemote() {
		text += fmt.Sprintf("#%d in %d ", b.Number, b.Executor)
	}
	return text
}

// Remote builds of the previous process, and of servers that are gone, go on in free slots. One that cannot be adopted keeps no
// other from it.
func TestRemoteBuildsAreAdoptedInFreeSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var far handed
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "far", Tokens: opens(), Concurrent: true, Runner: &far}}}}
		s := openSite(t, buildtoken.Config{})
		q := &others{}
		s.reopenAmongOthers(q)
		s.attach(spec)
		for range 3 {
			s.trigger("far")
			synctest.Wait()
		}
		if got, want := s.slots(), "#1 in 0 #2 in 1 #3 in 2 "; got != want {
			t.Fatalf("running %s, want %s", got, want)
		}
		q.refuses, q.refused = errors.New("no such record"), 2
		s.reopenAmongOthers(q)
		s.attach(spec)
		if got, want := s.slots(), "#1 in 0 #3 in 1 "; got != want {
			t.Errorf("of three builds, one of which cannot be read, these go on: %s, want %s", got, want)
		}
		slices.Sort(far.resumed)
		if diff := cmp.Diff([]string{"#1 by handle of #1", "#3 by handle of #3"}, far.resumed); diff != "" {
			t.Errorf("resumed (-want +got):\n%s", diff)
		}
		lines := s.logs.FilterMessage("build cannot be resumed before the next start").All()
		if len(lines) != 1 || lines[0].Level != zapcore.ErrorLevel || lines[0].ContextMap()["number"] != int64(2) || lines[0].ContextMap()["job"] != "far" {
			t.Errorf("log lines %v, want one about build 2", lines)
		}
		if b := s.build("far", 2); !b.Running() {
			t.Errorf("the build that cannot be adopted is %+v, want it to wait for the next start", b)
		}

		// Another server was going on with it, and is gone.
		q.refuses = nil
		two := s.build("far", 2)
		q.lost = func(keep func(queue.Build) bool) ([]queue.Build, error) {
			for range 2 { // a queue may ask again
				if !keep(two) {
					t.Error("a build with a handle is not kept")
				}
			}
			return nil, nil
		}
		q.notices <- queue.Notice{Lost: true}
		if got, want := s.slots(), "#1 in 0 #3 in 1 #2 in 2 "; got != want {
			t.Errorf("then these go on: %s, want %s", got, want)
		}
		want := [][]int{{0, 1, 2}, {0}, {1}, {1}, {2}}
		if diff := cmp.Diff(want, q.executors); diff != "" {
			t.Errorf("slots of adoptions (-want +got):\n%s", diff)
		}
	})
}

// More builds than one commit adopts all go on.
func TestManyRemoteBuildsAreAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 230
		var far handed
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "far", Tokens: opens(), Concurrent: true, Runner: &far}}}}
		s := openSite(t, buildtoken.Config{RemoteBuilds: n})
		q := &others{}
		s.reopenAmongOthers(q)
		s.attach(spec)
		for range n {
			s.trigger("far")
			synctest.Wait()
		}
		s.reopenAmongOthers(q)
		s.attach(spec)
		synctest.Wait()
		taken := map[int]bool{}
		for _, b := range s.RunningRemote() {
			taken[b.Executor] = true
		}
		if len(taken) != n || !taken[0] || !taken[n-1] || len(far.resumed) != n {
			t.Errorf("%d builds in %d slots were resumed, want %d in the first slots", len(far.resumed), len(taken), n)
		}
		var sizes []int
		for _, e := range q.executors {
			sizes = append(sizes, len(e))
		}
		if diff := cmp.Diff([]int{100, 100, 30}, sizes); diff != "" {
			t.Errorf("sizes of adoptions (-want +got):\n%s", diff)
		}
	})
}

// A schedule polls on the server of the last build, or if that is gone, on the first by name that can run the job.
func TestScheduledPollIsOfOneServer(t *testing.T) {
	node := func(name string, labels ...string) queue.Node { return queue.Node{Name: name, Labels: labels} }
	for _, tt := range []struct {
		name   string
		others []queue.Node
		last   string // server of the last build, "" if there is none
		want   bool
	}{
		{"no other server", nil, "", true},
		{"a later one", []queue.Node{node("z", "can")}, "", true},
		{"an earlier one", []queue.Node{node("a", "can")}, "", false},
		{"an earlier one that cannot", []queue.Node{node("a")}, "", true},
		{"the last build on a later one", []queue.Node{node("z", "can")}, "z", false},
		{"the last build on one that is gone", []queue.Node{node("z", "can")}, "b", true},
		{"the last build on one that cannot any more", []queue.Node{node("z")}, "z", true},
		{"the last build here", []queue.Node{node("a", "can")}, buildtoken.DefaultNode, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				polls := 0
				j := hourly(func(j *definition.Job) {
					j.Settings.Label, j.Schedules[0].Poll, j.Schedules[0].Spec = new("can"), true, "0 0 1 1 *"
					j.Poller = looks(func(context.Context, runner.Build, io.Writer) (bool, error) { polls++; return false, nil })
				})
				s := openSite(t, buildtoken.Config{Labels: []string{"can"}})
				time.Sleep(time.Hour)
				q := &others{nodes: tt.others}
				s.reopenAmongOthers(q)
				if tt.last != "" {
					ctx, now := t.Context(), time.Now()
					rules := queue.Config{Limit: 10, Rules: map[string]queue.Rules{j.Name: {}}}
					_, _, scheduleErr := q.Schedule(ctx, now, queue.Request{Job: j.Name})
					if err := errors.Join(q.SetRules(ctx, now, rules), scheduleErr); err != nil {
						t.Fatal(err)
					}
					builds, _, err := q.Claim(ctx, now, queue.Node{Name: tt.last}, []int{0})
					if err != nil || len(builds) != 1 {
						t.Fatalf("Claim = %v, %v; want one build", builds, err)
					}
					if _, err := q.Finish(ctx, now, j.Name, builds[0].Number, queue.Success, ""); err != nil {
						t.Fatal(err)
					}
				}
				s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
				if err := buildtoken.Fire(t.Context(), s.Controller, j.Name, time.Now()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := polls == 1; got != tt.want {
					t.Errorf("%d polls, want one: %v", polls, tt.want)
				}
			})
		})
	}
}
