package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/outbox"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/stats"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// inbox is a receiver whose answers a test determines.
type inbox struct {
	// answer decides about each attempt; nil accepts it.
	answer func(ctx context.Context, e *notify.Event) notify.Outcome
	// connect is called before it is asked whether it is too late; nil takes no time.
	connect func()

	mu       sync.Mutex
	attempts []string // time, text and outcome
	events   []notify.Event
}

func (*inbox) UsesLog() bool { return true }

func (b *inbox) Send(ctx context.Context, e *notify.Event, late func() bool) notify.Outcome {
	at := time.Now()
	if b.connect != nil {
		b.connect()
	}
	if late() {
		return notify.Outcome{Error: "the connection failed"}
	}
	var out notify.Outcome
	if b.answer != nil {
		out = b.answer(ctx, e)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	line := fmt.Sprintf("%v %s", at.Sub(start()).Round(time.Second), e.Subject()+" "+string(e.Kind)+string(e.Result))
	if out.Error != "" {
		line += ": " + out.Error
	}
	b.attempts = append(b.attempts, line)
	b.events = append(b.events, *e)
	return out
}

// start is when a synctest bubble begins.
func start() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func (b *inbox) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.attempts...)
}

// want compares the attempts, with the times of retries rounded.
func (b *inbox) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.lines()); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
}

// notified returns a job that notifies the receiver of each end.
func notified(name string, to notify.Receiver) definition.Job {
	return definition.Job{
		Name: name, Tokens: opens(), Runner: succeeds(),
		Notify: []definition.NotifySpec{{Name: "in", On: []queue.Condition{queue.OnAlways}, To: to}},
	}
}

// triggerNow queues a build without a quiet period and waits until all goroutines are idle.
func (s *site) triggerNow(full string) {
	s.t.Helper()
	if _, err := s.Trigger(context.Background(), s.def, buildtoken.Trigger{
		Job: full, Action: buildtoken.Build, Caller: definition.Caller{Secret: token.NewSecret(secret), Presented: true}, Delay: new("0"),
	}); err != nil {
		s.t.Fatalf("Trigger(%s) = %v", full, err)
	}
	quiet()
}

// quiet waits until everything that is due has been sent.
func quiet() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

func TestNotificationHasAllFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		j := notified("deploy", &in)
		j.Notify[0].On = []queue.Condition{queue.OnRegressed}
		j.Params = []job.Param{{Name: "ENV", Kind: job.KindString, Default: "prod"}, {Name: "PIN", Kind: job.KindPassword, Default: "Pa55word"}}
		outcome := runner.Success
		j.Runner = runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
			time.Sleep(2 * time.Second)
			fmt.Fprint(log, "\x1b[31mred\x1b[0m\r\n10%\r20%\n\x1b]8;;http://x\x07link\x1b]8;;\x07\n")
			return runner.Result{Outcome: outcome, Reason: map[runner.Outcome]string{runner.Failure: "exit status 1"}[outcome]}
		})
		s := openSite(t, buildtoken.Config{}, j)
		for n := range 11 {
			if n == 10 {
				outcome = runner.Failure
			}
			if _, err := s.Trigger(t.Context(), s.def, buildtoken.Trigger{
				Job: "deploy", Action: buildtoken.BuildWithParameters, Root: "https://ci.example.com/",
				Caller: definition.Caller{Secret: token.NewSecret(secret), Presented: true}, Delay: new("0"),
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		if len(in.events) != 1 {
			t.Fatalf("got %d events, want 1", len(in.events))
		}
		got := in.events[0]
		if len(got.ID) < 20 || !strings.HasPrefix(got.ID, "msg_") {
			t.Errorf("ID %q", got.ID)
		}
		got.ID = ""
		want := notify.Event{
			Sequence: 1, Target: "deploy/in", At: start().Add(32 * time.Second), Kind: queue.EventEnded, Job: "deploy", JobURL: "https://ci.example.com/job/deploy/",
			Item: 11, ItemURL: "https://ci.example.com/queue/item/11/", Number: 11, BuildURL: "https://ci.example.com/job/deploy/11/", Node: "built-in",
			Result: queue.Failure, Reason: "exit status 1", Turn: queue.OnRegressed,
			Queued: start().Add(30 * time.Second), Started: start().Add(30 * time.Second), Ended: start().Add(32 * time.Second),
			Causes: got.Causes, Params: []notify.Param{{Name: "ENV", Value: "prod"}}, Log: got.Log,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
		if !strings.HasSuffix(got.Log, "red\n20%\nlink\nexit status 1\nFinished: FAILURE\n") || strings.ContainsAny(got.Log, "\x1b\r") {
			t.Errorf("log %q", got.Log)
		}
		if len(got.Causes) != 1 || !strings.HasPrefix(got.Causes[0], "Started by remote host") {
			t.Errorf("causes %q", got.Causes)
		}
	})
}

// A notification has the last 8 KiB of a log, without a part of a line, or all of a shorter one.
func TestNotificationHasTheEndOfTheLog(t *testing.T) {
	const line = 64 // bytes, with the line end
	for _, tt := range []struct{ written, lines int }{
		{3, 3},
		{1000, (8<<10)/line - 1}, // the end is that of our own lines, which are shorter
	} {
		synctest.Test(t, func(t *testing.T) {
			var in inbox
			j := notified("deploy", &in)
			j.Runner = runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
				for i := range tt.written {
					fmt.Fprintf(log, "%063d\n", i)
				}
				return runner.Result{Outcome: runner.Success}
			})
			s := openSite(t, buildtoken.Config{}, j)
			s.triggerNow("deploy")
			if len(in.events) != 1 {
				t.Fatalf("got %d events, want 1", len(in.events))
			}
			var want strings.Builder
			if tt.written == tt.lines {
				want.WriteString(s.log("deploy", 1)[0] + "\n") // the cause
			}
			for i := tt.written - tt.lines; i < tt.written; i++ {
				fmt.Fprintf(&want, "%063d\n", i)
			}
			want.WriteString("Finished: SUCCESS\n")
			if diff := cmp.Diff(want.String(), in.events[0].Log); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRetryOfAnUnknownNotification(t *testing.T) {
	s := openSite(t, buildtoken.Config{})
	if err := s.RetryNotification(t.Context(), 7); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("RetryNotification = %v, want %v", err, queue.ErrNotFound)
	}
}

// TestNotificationsAreRetriedInOrder uses a receiver that asks for a pause of an hour.
func TestNotificationsAreRetriedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		in.answer = func(context.Context, *notify.Event) notify.Outcome {
			if time.Since(start()) < 2*time.Second {
				return notify.Outcome{Error: "503 Service Unavailable", After: time.Hour}
			}
			return notify.Outcome{}
		}
		a, b := notified("a", &in), notified("b", nil)
		b.Notify = nil
		folder := definition.Folder{Name: "f", Jobs: []definition.Job{a, b}, Notify: a.Notify}
		folder.Jobs[0].Notify = nil
		s := openSite(t, buildtoken.Config{})
		s.attach(definition.Spec{Root: definition.Folder{Folders: []definition.Folder{folder}}})
		s.triggerNow("f/a")
		s.triggerNow("f/a")
		s.triggerNow("f/b") // no attempt: it is the same receiver
		time.Sleep(time.Hour - 2*time.Second)
		quiet()
		in.want(t, "0s f/a #1 endedSUCCESS: 503 Service Unavailable")
		time.Sleep(2 * time.Second)
		quiet()
		got := in.lines()[1:]
		slices.Sort(got)
		want := []string{"1h0m0s f/a #1 endedSUCCESS", "1h0m0s f/a #2 endedSUCCESS", "1h0m0s f/b #1 endedSUCCESS"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
		if lines := strings.Join(in.lines(), " "); strings.LastIndex(lines, "a #1") > strings.Index(lines, "a #2") {
			t.Errorf("out of order: %s", lines)
		}
	})
}

// TestEarlierStateIsReplaced sends the first state while later ones happen.
func TestEarlierStateIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(context.Context, *notify.Event) notify.Outcome {
			time.Sleep(10 * time.Second)
			return notify.Outcome{}
		}}
		j := notified("a", &in)
		j.Runner = lasts(time.Second)
		j.Notify[0].On = queue.Conditions()
		s := openSite(t, buildtoken.Config{}, j)
		if _, err := s.Trigger(t.Context(), s.def, buildtoken.Trigger{
			Job: "a", Action: buildtoken.Build, Caller: definition.Caller{Secret: token.NewSecret(secret), Presented: true}, Delay: new("1s"),
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		quiet()
		in.want(t, "0s a queued", "10s a #1 endedSUCCESS")
	})
}

func TestOneReceiverHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := inbox{answer: func(ctx context.Context, _ *notify.Event) notify.Outcome {
			<-ctx.Done()
			return notify.Outcome{Error: "no answer in time"}
		}}
		var good inbox
		var all []definition.Job
		for i := range 20 {
			j := notified(fmt.Sprint("j", i), &hangs)
			j.Notify[0].On = []queue.Condition{queue.OnSuccess}
			all = append(all, j)
		}
		s := &site{}
		*s = *openSite(t, buildtoken.Config{Executors: 50})
		s.attach(definition.Spec{Root: definition.Folder{
			Jobs: append(all, definition.Job{Name: "good", Tokens: opens(), Runner: succeeds(), Notify: []definition.NotifySpec{{Name: "g", On: []queue.Condition{queue.OnAlways}, To: &good}}}),
		}})
		for i := range 20 {
			s.triggerNow(fmt.Sprint("j", i))
		}
		s.triggerNow("good")
		if d := time.Since(start()); d > 3*time.Second {
			t.Errorf("the builds took %v", d)
		}
		good.want(t, "2s good #1 endedSUCCESS")
		time.Sleep(16 * time.Second)
		quiet()
		for _, line := range hangs.lines() {
			if !strings.HasSuffix(line, "no answer in time") {
				t.Errorf("attempt %s", line)
			}
		}
		if n := len(hangs.lines()); n != 20 {
			t.Errorf("%d attempts ended after 15 s, want 1 for each target", n)
		}
	})
}

// givenUp is a queue that says when this server may not send what it has taken.
type givenUp struct {
	cutOff
	is *atomic.Bool
}

func (q givenUp) MaySend(int64) bool { return !q.is.Load() }

// TestSuspendedServerDoesNotPauseAReceiver gives the server up while it connects for the first
// notification.
func TestSuspendedServerDoesNotPauseAReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		j := notified("a", &in)
		other := definition.Job{Name: "b", Tokens: opens(), Runner: succeeds()}
		s := openSite(t, buildtoken.Config{})
		var gone atomic.Bool
		s.reopenShared(func(q cutOff) buildtoken.Queue { return givenUp{q, &gone} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j, other}, Notify: j.Notify}})
		in.connect = func() { gone.Store(true) }
		s.triggerNow("a")
		time.Sleep(3 * time.Second)
		in.connect = nil
		gone.Store(false)
		s.triggerNow("b")
		in.want(t, "3s b #1 endedSUCCESS")
		waiting, err := s.Notifications(t.Context(), queue.NotificationFilter{State: queue.DeliveryWaiting})
		if err != nil || len(waiting) != 2 || waiting[0].Error != "not sent, because another server may be sending it" {
			t.Errorf("waiting: %+v, %v; want both of a, which came too late", waiting, err)
		}
		time.Sleep(time.Minute)
		quiet()
		if got := in.lines(); len(got) != 3 {
			t.Errorf("attempts %q; want both of a too", got)
		}
	})
}

func TestRefusedNotificationIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(_ context.Context, e *notify.Event) notify.Outcome {
			if e.Number == 1 {
				return notify.Outcome{Error: "400 Bad Request", Refused: true}
			}
			return notify.Outcome{}
		}}
		j := notified("a", &in)
		s := openSite(t, buildtoken.Config{}, j)
		s.triggerNow("a")
		s.triggerNow("a")
		time.Sleep(10 * time.Minute)
		quiet()
		if got := in.lines(); len(got) != 4 || !strings.HasPrefix(got[2], "5m") && !strings.HasPrefix(got[2], "4m") && !strings.HasPrefix(got[2], "6m") || !strings.HasSuffix(got[3], "a #2 endedSUCCESS") {
			t.Errorf("attempts %q; want three for #1, then one for #2", got)
		}
		if n := s.logs.FilterMessage("notification given up").Len(); n != 1 {
			t.Errorf("%d log lines about notifications given up, want 1", n)
		}
		given, err := s.Notifications(t.Context(), queue.NotificationFilter{State: queue.DeliveryGivenUp})
		if err != nil || len(given) != 1 || given[0].Error != "400 Bad Request" {
			t.Fatalf("given up: %v, %v", given, err)
		}
		want := []stats.Notification{{Target: "a/in", Outcome: "failed", N: 2}, {Target: "a/in", Outcome: "given up", N: 1}, {Target: "a/in", Outcome: "sent", N: 1}}
		if diff := cmp.Diff(want, s.Stats().Notifications); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
		backlogs, err := s.Backlogs(t.Context())
		if diff := cmp.Diff([]queue.Backlog{{Target: "a/in", GivenUp: 1}}, backlogs); err != nil || diff != "" {
			t.Errorf("Backlogs: %v (-want +got):\n%s", err, diff)
		}
		in.answer = nil
		if err := s.RetryNotification(t.Context(), given[0].ID); err != nil {
			t.Fatal(err)
		}
		quiet()
		if got := in.lines(); len(got) != 5 || !strings.HasSuffix(got[4], "a #1 endedSUCCESS") {
			t.Errorf("attempts %q; want one more for #1", got)
		}
	})
}

// TestNotificationThatCannotBeMadeHoldsUpNothing uses a receiver that can make no message of the
// first build.
func TestNotificationThatCannotBeMadeHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(_ context.Context, e *notify.Event) notify.Outcome {
			if e.Number == 1 {
				return notify.Outcome{Error: "body: index out of range", Refused: true, Final: true}
			}
			return notify.Outcome{}
		}}
		s := openSite(t, buildtoken.Config{}, notified("a", &in))
		s.triggerNow("a")
		s.triggerNow("a")
		quiet()
		if got := in.lines(); len(got) != 2 || !strings.HasSuffix(got[1], "a #2 endedSUCCESS") {
			t.Errorf("attempts %q; want one for each build, without a pause", got)
		}
		if n := s.logs.FilterMessage("notification given up").Len(); n != 1 {
			t.Errorf("%d log lines about notifications given up, want 1", n)
		}
	})
}

// TestReceiverThatIsGoneWaitsForTheNextConfiguration uses a receiver that answers 410 Gone.
func TestReceiverThatIsGoneWaitsForTheNextConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(context.Context, *notify.Event) notify.Outcome {
			return notify.Outcome{Error: "410 Gone", Gone: true}
		}}
		j := notified("a", &in)
		s := openSite(t, buildtoken.Config{}, j)
		s.triggerNow("a")
		time.Sleep(20 * time.Hour)
		s.triggerNow("a")
		in.want(t, "0s a #1 endedSUCCESS: 410 Gone")
		if !s.Targets()["a/in"] {
			t.Error("Targets does not report that the receiver is gone")
		}
		in.answer = nil
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
		quiet()
		in.want(t, "0s a #1 endedSUCCESS: 410 Gone", "20h0m0s a #1 endedSUCCESS", "20h0m0s a #2 endedSUCCESS")
	})
}

// TestNotificationsWaitForTheirTarget removes a target from the configuration, and adds it
// again.
func TestNotificationsWaitForTheirTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(context.Context, *notify.Event) notify.Outcome { return notify.Outcome{Error: "503"} }}
		j := notified("a", &in)
		s := openSite(t, buildtoken.Config{}, j)
		s.triggerNow("a")
		detach := s.detach
		without := s.attach(definition.Spec{})
		detach()
		time.Sleep(71 * time.Hour)
		quiet()
		in.want(t, "0s a #1 endedSUCCESS: 503")
		in.answer = nil
		detach = s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
		without()
		quiet()
		in.want(t, "0s a #1 endedSUCCESS: 503", "71h0m0s a #1 endedSUCCESS")
		s.triggerNow("a") // sent at once
		in.answer = func(context.Context, *notify.Event) notify.Outcome { return notify.Outcome{Error: "503"} }
		s.triggerNow("a")
		detach() // between two configurations nothing is sent
		time.Sleep(time.Hour)
		quiet()
		in.want(t, "0s a #1 endedSUCCESS: 503", "71h0m0s a #1 endedSUCCESS", "71h0m0s a #2 endedSUCCESS", "71h0m0s a #3 endedSUCCESS: 503")
		s.attach(definition.Spec{})
		time.Sleep(73 * time.Hour)
		quiet()
		given, err := s.Notifications(t.Context(), queue.NotificationFilter{State: queue.DeliveryGivenUp})
		if err != nil || len(given) != 1 || given[0].Error != "the configuration has no notify of this name" {
			t.Errorf("given up: %+v, %v; want those that waited for three days", given, err)
		}
	})
}

// TestNotificationSurvivesARestart closes the server while the receiver hangs.
func TestNotificationSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(ctx context.Context, _ *notify.Event) notify.Outcome {
			<-ctx.Done()
			return notify.Outcome{Error: "no answer in time"}
		}}
		j := notified("a", &in)
		s := openSite(t, buildtoken.Config{}, j)
		s.triggerNow("a")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start()).Round(time.Second); d != 2*time.Second {
			t.Errorf("Close waited %v for the receiver, want 2s", d)
		}
		id := in.events[0].ID
		in.answer = nil
		s.open()
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
		quiet()
		in.want(t, "0s a #1 endedSUCCESS: no answer in time", "2s a #1 endedSUCCESS")
		if again := in.events[1].ID; again != id {
			t.Errorf("the second attempt has the ID %s, the first had %s", again, id)
		}
	})
}

// TestNotificationAtTheEndOfTheServer closes the server while a build is running, and expects a
// notification of the aborted build.
func TestNotificationAtTheEndOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		j := notified("a", &in)
		j.Runner = lasts(time.Hour)
		j.Notify[0].On = []queue.Condition{queue.OnAborted}
		s := openSite(t, buildtoken.Config{ShutdownTimeout: time.Second}, j)
		s.triggerNow("a")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		in.want(t, "1s a #1 endedABORTED")
	})
}

// Each notification has what is known at its event, and URLs if the trigger came with one.
func TestNotificationOfEachEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		j := notified("app", &in)
		j.Notify[0].On = []queue.Condition{queue.OnQueued, queue.OnStarted, queue.OnAlways}
		j.Runner = lasts(time.Minute)
		s := openSite(t, buildtoken.Config{}, j)
		queued := func(item int64, since time.Time, root string) notify.Event {
			e := notify.Event{Target: "app/in", Job: "app", Item: item, Queued: since, Causes: []string{"Started by remote host (no address)"}}
			if root != "" {
				e.JobURL, e.ItemURL = root+"job/app/", fmt.Sprintf("%squeue/item/%d/", root, item)
			}
			return e
		}
		var want []notify.Event
		wantNext := func(e notify.Event, kind queue.Event, when time.Time) {
			e.Sequence, e.Kind, e.At = int64(len(want)+1), kind, when
			want = append(want, e)
		}
		for i, root := range []string{"https://ci.example.com/", ""} {
			id, begin := int64(2*i+1), start().Add(time.Duration(i)*time.Hour)
			time.Sleep(time.Until(begin))
			with := func(t *buildtoken.Trigger) { t.Root, t.Delay = root, new("10s") }
			s.trigger("app", with)
			time.Sleep(time.Until(begin.Add(100 * time.Second)))
			s.trigger("app", with)
			time.Sleep(time.Until(begin.Add(105 * time.Second)))
			if err := s.Cancel(t.Context(), "app", id+1, "user alice"); err != nil {
				t.Fatal(err)
			}
			quiet()

			e := queued(id, begin, root)
			wantNext(e, queue.EventQueued, begin)
			e.Number, e.Node, e.Started = int64(i+1), buildtoken.DefaultNode, begin.Add(10*time.Second)
			if root != "" {
				e.BuildURL = fmt.Sprintf("%sjob/app/%d/", root, e.Number)
			}
			wantNext(e, queue.EventStarted, e.Started)
			e.Ended, e.Result, e.Log = begin.Add(70*time.Second), queue.Success, "Started by remote host (no address)\nFinished: SUCCESS\n"
			wantNext(e, queue.EventEnded, e.Ended)
			e = queued(id+1, begin.Add(100*time.Second), root)
			wantNext(e, queue.EventQueued, e.Queued)
			e.By = "user alice"
			wantNext(e, queue.EventCancelled, begin.Add(105*time.Second))
		}
		ids := map[string]bool{}
		for i := range in.events {
			ids[in.events[i].ID] = true
			in.events[i].ID = ""
		}
		if diff := cmp.Diff(want, in.events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if len(ids) != len(want) {
			t.Errorf("%d notifications have %d IDs: %v", len(want), len(ids), ids)
		}
	})
}

// noLog is a receiver that does not show the log.
type noLog struct{ inbox }

func (*noLog) UsesLog() bool { return false }

// A receiver that fails while the records of a build are dropped still gets what the notification itself has. If the queue
// cannot be read, nothing is sent for now.
func TestNotificationOfABuildWithoutRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := noLog{inbox{answer: func(_ context.Context, e *notify.Event) notify.Outcome {
			if e.Number == 1 && time.Since(start()) < time.Second {
				return notify.Outcome{Error: "503"}
			}
			return notify.Outcome{}
		}}}
		j := notified("a", &in)
		j.Settings.KeepBuilds = new(1)
		s := openSite(t, buildtoken.Config{})
		var broken atomic.Bool
		s.reopenShared(func(q cutOff) buildtoken.Queue { return unreadable{q, &broken} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
		s.triggerNow("a")
		s.triggerNow("a")
		time.Sleep(10 * time.Minute)
		quiet()
		if len(in.events) != 3 {
			t.Fatalf("attempts %q, want two of build 1", in.lines())
		}
		got := in.events[1]
		want := notify.Event{
			ID: in.events[0].ID, Sequence: 1, Target: "a/in", At: start(), Kind: queue.EventEnded,
			Job: "a", Item: 1, Number: 1, Result: queue.Success, Turn: in.events[0].Turn,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event of a build whose records were dropped (-want +got):\n%s", diff)
		}
		if first := in.events[0]; first.Node == "" || first.Log != "" {
			t.Errorf("the event of the first attempt has the node %q and the log %q, want the node only", first.Node, first.Log)
		}

		broken.Store(true)
		s.triggerNow("a")
		waiting, err := s.Notifications(t.Context(), queue.NotificationFilter{State: queue.DeliveryWaiting})
		if err != nil || len(waiting) != 1 || waiting[0].Error != "the record of the build cannot be read" {
			t.Errorf("while the queue cannot be read: waiting %+v, %v", waiting, err)
		}
		if len(in.events) != 3 {
			t.Errorf("while the queue cannot be read, %q was sent", in.lines()[3:])
		}
		broken.Store(false)
		time.Sleep(10 * time.Minute)
		quiet()
		if len(in.events) != 4 {
			t.Errorf("attempts %q, want one for build 3", in.lines())
		}
	})
}

// unreadable is a queue whose items cannot be read while broken is set.
type unreadable struct {
	cutOff
	broken *atomic.Bool
}

func (q unreadable) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	if q.broken.Load() {
		return queue.Entry{}, queue.ErrStorage
	}
	return q.cutOff.Entry(ctx, now, id)
}

// A log of exactly 8 KiB is whole. Of one with a byte more, the first line is incomplete.
func TestNotificationHasALogOfTheLimit(t *testing.T) {
	for _, more := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			const first, last = "Started by remote host (no address)\n", "\nFinished: SUCCESS\n"
			output := strings.Repeat("x", 8<<10+more-len(first)-len(last))
			var in inbox
			j := notified("deploy", &in)
			j.Runner = runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
				fmt.Fprint(log, output)
				return runner.Result{Outcome: runner.Success}
			})
			openSite(t, buildtoken.Config{}, j).triggerNow("deploy")
			want := first + output + last
			if more > 0 {
				want = output + last
			}
			if len(in.events) != 1 || in.events[0].Log != want {
				t.Errorf("with %d bytes more than the limit: %d events, log of %d bytes that begins with %.40q", more, len(in.events), len(in.events[0].Log), in.events[0].Log)
			}
		})
	}
}

// A log that cannot be read keeps no notification from being sent.
func TestNotificationWithoutALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *site
		var in inbox
		in.answer = func(context.Context, *notify.Event) notify.Outcome {
			if len(in.events) > 0 {
				return notify.Outcome{}
			}
			if err := os.RemoveAll(filepath.Join(s.dir, "logs")); err != nil {
				t.Error(err)
			}
			return notify.Outcome{Error: "503"}
		}
		s = openSite(t, buildtoken.Config{}, notified("a", &in))
		s.triggerNow("a")
		time.Sleep(10 * time.Minute)
		quiet()
		if len(in.events) != 2 || in.events[0].Log == "" || in.events[1].Log != "" || in.events[1].Reason != in.events[0].Reason {
			t.Errorf("attempts %+v, want the second one without a log", in.events)
		}
	})
}

// hasty is a queue in which each item is cancelled while a notification of it is made.
type hasty struct{ cutOff }

func (q hasty) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	if err := q.Cancel(ctx, now, "a", id, "user alice"); err != nil && !errors.Is(err, queue.ErrLeft) {
		return queue.Entry{}, err
	}
	return q.cutOff.Entry(ctx, now, id)
}

// A notification has nothing of what happened after its event.
func TestNotificationOfAnItemThatIsCancelledMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		j := notified("a", &in)
		j.Notify[0].On = []queue.Condition{queue.OnQueued}
		s := openSite(t, buildtoken.Config{})
		s.reopenShared(func(q cutOff) buildtoken.Queue { return hasty{q} })
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
		s.trigger("a", delayed("1h"))
		quiet()
		got := map[queue.Event]string{}
		for _, e := range in.events {
			got[e.Kind] = e.By
		}
		if diff := cmp.Diff(map[queue.Event]string{queue.EventQueued: "", queue.EventCancelled: "user alice"}, got); diff != "" {
			t.Errorf("who cancelled the item, by event (-want +got):\n%s", diff)
		}
	})
}

// The IDs of notifications differ, whatever is the same: of two targets, and of a queue that starts from the beginning.
func TestIDsOfNotificationsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one, other inbox
		j := notified("a", &one)
		j.Notify = append(j.Notify, definition.NotifySpec{Name: "other", On: j.Notify[0].On, To: &other})
		spec := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}}
		s := openSite(t, buildtoken.Config{})
		s.attach(spec)
		s.triggerNow("a")
		if err := errors.Join(s.Close(), os.Remove(filepath.Join(s.dir, "queue.db"))); err != nil {
			t.Fatal(err)
		}
		s.open()
		s.attach(spec)
		s.triggerNow("a")
		ids := map[string]bool{}
		for _, e := range append(one.events, other.events...) {
			ids[e.ID] = true
		}
		if len(ids) != 4 {
			t.Errorf("four notifications have the IDs %v", ids)
		}
	})
}

// A test of a target sends a sample that names the first job with this target, and records nothing.
func TestTestOfATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(ctx context.Context, e *notify.Event) notify.Outcome {
			if e.Param("HANGS") != "" {
				<-ctx.Done()
			}
			return notify.Outcome{Error: "503", After: time.Hour}
		}}
		var other inbox
		app, last := notified("x", &in), notified("y", &in)
		app.Notify, last.Notify = nil, nil
		folder := definition.Folder{Name: "f", Jobs: []definition.Job{last, app}, Notify: notified("", &in).Notify}
		spec := definition.Spec{URL: "https://ci.example.com/", Root: definition.Folder{Jobs: []definition.Job{notified("a", &other)}, Folders: []definition.Folder{folder}}}
		s := openSite(t, buildtoken.Config{})
		s.attach(spec)
		if diff := cmp.Diff(map[string]bool{"a/in": false, "f/in": false}, s.Targets()); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
		if _, err := s.TestNotification(t.Context(), "f/none", nil); !errors.Is(err, buildtoken.ErrNoTarget) {
			t.Errorf("TestNotification of no target = %v, want %v", err, buildtoken.ErrNoTarget)
		}

		time.Sleep(time.Hour)
		params := []notify.Param{{Name: "BRANCH", Value: "x"}}
		out, err := s.TestNotification(t.Context(), "f/in", params)
		if diff := cmp.Diff(notify.Outcome{Error: "503", After: time.Hour}, out); err != nil || diff != "" {
			t.Errorf("TestNotification = %v, outcome (-want +got):\n%s", err, diff)
		}
		want := notify.Sample()
		now := time.Now()
		want.Queued, want.Started, want.Ended = now.Add(want.Queued.Sub(want.At)), now.Add(want.Started.Sub(want.At)), now.Add(want.Ended.Sub(want.At))
		want.At, want.Target, want.Reason, want.Params, want.Node = now, "f/in", "this is a test", params, buildtoken.DefaultNode
		want.Job, want.JobURL, want.ItemURL, want.BuildURL = "f/x", "https://ci.example.com/job/f/job/x/", "", ""
		got := in.events[0]
		if !strings.HasPrefix(got.ID, "msg_") {
			t.Errorf("ID %q", got.ID)
		}
		got.ID = want.ID
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sample (-want +got):\n%s", diff)
		}

		spec.URL = ""
		s.attach(spec)
		time.Sleep(time.Second)
		began := time.Now()
		if _, err := s.TestNotification(t.Context(), "f/in", []notify.Param{{Name: "HANGS", Value: "yes"}}); err != nil || time.Since(began) != outbox.Timeout {
			t.Errorf("TestNotification of a receiver that hangs = %v after %v, want it after %v", err, time.Since(began), outbox.Timeout)
		}
		if second := in.events[1]; second.JobURL != "" || second.ID == in.events[0].ID {
			t.Errorf("without the site's URL, the sample has %q; its ID is %s, that of the first was %s", second.JobURL, second.ID, in.events[0].ID)
		}
		quiet()
		all, err := s.Notifications(t.Context(), queue.NotificationFilter{})
		if err != nil || len(all) != 0 || len(in.lines()) != 2 || len(other.lines()) != 0 {
			t.Errorf("after two tests: notifications %+v, %v, attempts %q and %q; want nothing recorded, and two attempts", all, err, in.lines(), other.lines())
		}
	})
}

// A page that shows notifications is notified of each attempt.
func TestAttemptNotifiesWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := inbox{answer: func(context.Context, *notify.Event) notify.Outcome {
			time.Sleep(time.Second)
			return notify.Outcome{}
		}}
		s := openSite(t, buildtoken.Config{}, notified("a", &in))
		s.triggerNow("a")
		changed := s.Watch()
		synctest.Wait()
		select {
		case <-changed:
			t.Fatal("notified during the attempt")
		default:
		}
		<-changed
		sent, err := s.Notifications(t.Context(), queue.NotificationFilter{State: queue.DeliverySent})
		if err != nil || len(sent) != 1 {
			t.Errorf("when watchers are notified, these were sent: %+v, %v; want one", sent, err)
		}
	})
}
