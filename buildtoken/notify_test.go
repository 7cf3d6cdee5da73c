package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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
		for range 2 {
			if _, err := s.Trigger(t.Context(), s.def, buildtoken.Trigger{
				Job: "deploy", Action: buildtoken.BuildWithParameters, Root: "https://ci.example.com/",
				Caller: definition.Caller{Secret: token.NewSecret(secret), Presented: true}, Delay: new("0"),
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			outcome = runner.Failure
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
			Sequence: 1, Target: "deploy/in", At: start().Add(5 * time.Second), Kind: queue.EventEnded, Job: "deploy", JobURL: "https://ci.example.com/job/deploy/",
			Item: 2, ItemURL: "https://ci.example.com/queue/item/2/", Number: 2, BuildURL: "https://ci.example.com/job/deploy/2/", Node: "built-in",
			Result: queue.Failure, Reason: "exit status 1", Turn: queue.OnRegressed,
			Queued: start().Add(3 * time.Second), Started: start().Add(3 * time.Second), Ended: start().Add(5 * time.Second),
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
		s.attach(definition.Spec{})
		time.Sleep(71 * time.Hour)
		quiet()
		in.want(t, "0s a #1 endedSUCCESS: 503")
		in.answer = nil
		detach := s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{j}}})
		quiet()
		in.want(t, "0s a #1 endedSUCCESS: 503", "71h0m0s a #1 endedSUCCESS")
		s.triggerNow("a") // sent at once
		in.answer = func(context.Context, *notify.Event) notify.Outcome { return notify.Outcome{Error: "503"} }
		s.triggerNow("a")
		detach()
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
