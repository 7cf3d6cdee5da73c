package queuetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// notifies are rules under which targets are notified of every end.
func notifies(targets ...string) queue.Rules {
	r := queue.Rules{Concurrent: true, KeepBuilds: 5}
	for _, target := range targets {
		r.Notify = append(r.Notify, queue.Target{Name: target, On: []queue.Condition{queue.OnAlways}})
	}
	return r
}

// end queues, starts and ends a build of each job.
func end(t *testing.T, q Queue, key string, jobs ...string) {
	t.Helper()
	executors := make([]int, len(jobs))
	for i, job := range jobs {
		schedule(t, q, request(job, key))
		executors[i] = i
	}
	builds := claim(t, q, executors...)
	if len(builds) != len(jobs) {
		t.Fatalf("started %d builds, want %d", len(builds), len(jobs))
	}
	for _, b := range builds {
		finish(t, q, b)
	}
}

// ended is the time when the builds of these tests end.
var ended = start.Add(time.Minute)

// backlogged returns the targets that have waiting notifications.
func backlogged(t *testing.T, q Queue) []string {
	t.Helper()
	backlogs, err := q.Backlogs(t.Context())
	if err != nil {
		t.Fatalf("Backlogs: %v", err)
	}
	var targets []string
	for _, b := range backlogs {
		targets = append(targets, b.Target)
	}
	return targets
}

func take(t *testing.T, q Queue, limit int) []queue.Notification {
	t.Helper()
	due, _, err := q.TakeNotifications(t.Context(), ended, backlogged(t, q), limit)
	if err != nil {
		t.Fatalf("TakeNotifications: %v", err)
	}
	for _, n := range due {
		if !q.MaySend(n.ID) {
			t.Errorf("MaySend(%d) = false for a notification that was just taken", n.ID)
		}
	}
	return due
}

func settle(t *testing.T, q Queue, id int64, a queue.Attempt) queue.Notification {
	t.Helper()
	n, err := q.SettleNotification(t.Context(), ended, id, a)
	if err != nil {
		t.Fatalf("SettleNotification(%d): %v", id, err)
	}
	all, err := q.Notifications(t.Context(), queue.NotificationFilter{Job: n.Job})
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range all { // a later one may have replaced it
		if found.ID == id {
			if diff := cmp.Diff(n, found); diff != "" {
				t.Errorf("notification %d on record (-returned +found):\n%s", id, diff)
			}
		}
	}
	return n
}

func notificationsTakenAtOnce(t *testing.T, _ Store, q Queue) {
	const rounds = 4
	jobs := []string{"a", "b", "c"}
	rules := map[string]queue.Rules{}
	for _, job := range jobs {
		rules[job] = notifies("x", "y")
	}
	setRules(t, q, rules, 0)
	for round := range rounds {
		end(t, q, fmt.Sprint(round), jobs...)
	}
	var mu sync.Mutex
	sent := map[queue.Channel][]int64{}
	var left sync.WaitGroup // of all notifications
	left.Add(rounds * len(jobs) * 2)
	done := make(chan struct{})
	go func() { left.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			together(2, func(int) {
				// One after the other, as a worker does, besides triggers and builds.
				schedule(t, q, request("other", "k"))
			})
			for _, n := range take(t, q, 2) {
				mu.Lock()
				sent[n.Channel()] = append(sent[n.Channel()], n.Build)
				mu.Unlock()
				settle(t, q, n.ID, queue.Attempt{})
				left.Done()
			}
		}
	}
	for c, builds := range sent {
		if !slices.Equal(builds, []int64{1, 2, 3, 4}) {
			t.Errorf("%s of %s got builds %v, want each once, in order", c.Target, c.Job, builds)
		}
	}
	if len(sent) != len(jobs)*2 {
		t.Errorf("%d channels were notified, want %d", len(sent), len(jobs)*2)
	}
}

func notificationsAreDurable(t *testing.T, store Store, q Queue) {
	all := queue.Rules{Notify: []queue.Target{{Name: "t", On: queue.Conditions()}}}
	setRules(t, q, map[string]queue.Rules{"j": all}, 0)
	var b queue.Build
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"a queued item", func() { schedule(t, q, request("j", "k")) }},
		{"a started build", func() { b = claim(t, q, 0)[0] }},
		{"an end", func() { finish(t, q, b) }},
		{"a lease", func() { take(t, q, 1) }},
		{"a failed attempt", func() { settle(t, q, 3, queue.Attempt{Error: "503"}) }},
		{"a notification that was sent", func() { settle(t, q, 3, queue.Attempt{}) }},
		{"a queued item again", func() { schedule(t, q, request("j", "k")) }},
		{"a cancelled item", func() {
			if err := q.Cancel(t.Context(), start, "j", 2, "alice"); err != nil {
				t.Fatal(err)
			}
		}},
		{"a notification that was given up", func() { settle(t, q, 5, queue.Attempt{Error: "410", GiveUp: true}) }},
		{"a retry", func() {
			if err := q.RetryNotification(t.Context(), ended, 5); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		select {
		case <-q.NotificationsChanged():
		default:
		}
		step.do()
		if step.name != "a lease" {
			select {
			case <-q.NotificationsChanged():
			default:
				t.Errorf("no value of NotificationsChanged after %s", step.name)
			}
		}
		after := store.Copy(t).Open(t)
		want, wantErr := q.Notifications(t.Context(), queue.NotificationFilter{})
		got, err := after.Notifications(t.Context(), queue.NotificationFilter{})
		if diff := cmp.Diff(want, got); diff != "" || err != nil || wantErr != nil || len(got) == 0 {
			t.Errorf("%s is not durable: %v, %v (-answered +after a power cut):\n%s", step.name, wantErr, err, diff)
		}
		select {
		case <-after.NotificationsChanged():
		default:
			if slices.ContainsFunc(got, func(n queue.Notification) bool { return n.State == queue.DeliveryWaiting }) {
				t.Errorf("no value of NotificationsChanged at the start after %s", step.name)
			}
		}
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func retryWhileSending(t *testing.T, _ Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"j": notifies("t")}, 0)
	end(t, q, "k", "j")
	sent := take(t, q, 10)
	if len(sent) != 1 {
		t.Fatalf("%d notifications are due, want one", len(sent))
	}
	if err := q.RetryNotification(t.Context(), start, sent[0].ID); err != nil {
		t.Errorf("RetryNotification = %v", err)
	}
	if again := take(t, q, 10); len(again) != 0 {
		t.Errorf("after a retry, %v are due, want none: it is being sent", again)
	}
	if n := settle(t, q, sent[0].ID, queue.Attempt{}); n.State != queue.DeliverySent {
		t.Errorf("notification %+v, want it sent", n)
	}
}

func retryHidesNothing(t *testing.T, _ Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"j": notifies("t")}, 0)
	for n := range 3 {
		end(t, q, fmt.Sprint(n), "j")
		settle(t, q, take(t, q, 1)[0].ID, queue.Attempt{Error: "410", GiveUp: true})
	}
	for retried := range int64(4) {
		if retried > 0 {
			if err := q.RetryNotification(t.Context(), ended, retried); err != nil {
				t.Fatal(err)
			}
		}
		listed, err := q.Notifications(t.Context(), queue.NotificationFilter{Job: "j"})
		if err != nil || len(listed) != 3 {
			t.Errorf("after %d retries, the job has %d notifications, %v; want 3", retried, len(listed), err)
		}
		backlogs, err := q.Backlogs(t.Context())
		want := []queue.Backlog{{Target: "t", Waiting: int(retried), GivenUp: 3 - int(retried)}}
		if retried > 0 {
			want[0].Oldest = ended
		}
		if diff := cmp.Diff(want, backlogs); diff != "" || err != nil {
			t.Errorf("Backlogs after %d retries: %v (-want +got):\n%s", retried, err, diff)
		}
	}
	for range 3 {
		settle(t, q, take(t, q, 1)[0].ID, queue.Attempt{})
	}
	if backlogs, err := q.Backlogs(t.Context()); err != nil || len(backlogs) != 0 {
		t.Errorf("Backlogs after all were sent = %+v, %v; want none", backlogs, err)
	}
}

func waitingIsBounded(t *testing.T, _ Store, q Queue) {
	const more = 20
	setRules(t, q, map[string]queue.Rules{"j": notifies("full"), "k": notifies("full", "other")}, 0)
	jobs := slices.Repeat([]string{"j"}, 100)
	for i := range queue.MaxWaiting / len(jobs) {
		for n := range jobs {
			schedule(t, q, request("j", fmt.Sprint(i, " ", n)))
		}
		executors := make([]int, len(jobs))
		for n := range executors {
			executors[n] = n
		}
		for _, b := range claim(t, q, executors...) {
			finish(t, q, b)
		}
	}
	end(t, q, "more", "k")    // nothing is being sent: the first one is given up
	first := take(t, q, 1)[0] // it is being sent, and so not given up
	for i := range more - 1 {
		end(t, q, fmt.Sprint("more ", i), "k")
	}
	backlogs, err := q.Backlogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []queue.Backlog{
		{Target: "full", Waiting: queue.MaxWaiting, Oldest: ended, GivenUp: more},
		{Target: "other", Waiting: more, Oldest: ended},
	}
	if diff := cmp.Diff(want, backlogs); diff != "" {
		t.Errorf("Backlogs (-want +got):\n%s", diff)
	}
	given, err := q.Notifications(t.Context(), queue.NotificationFilter{State: queue.DeliveryGivenUp})
	if err != nil || len(given) != more || given[more-1].ID != first.ID-1 || given[more-2].ID != first.ID+1 || given[0].ID != first.ID+more-1 {
		t.Errorf("%d notifications were given up, %v; want the oldest %d except the one that is being sent", len(given), err, more)
	}
	settle(t, q, first.ID, queue.Attempt{}) // makes room for one
	end(t, q, "the last", "j")
	if backlogs, err = q.Backlogs(t.Context()); err != nil || cmp.Diff(want, backlogs) != "" {
		t.Errorf("Backlogs after one was sent: %v (-want +got):\n%s", err, cmp.Diff(want, backlogs))
	}
}

func settledIsBounded(t *testing.T, store Store, q Queue) {
	setRules(t, q, map[string]queue.Rules{"j": notifies("t")}, 0)
	ended := int64(0)
	settleNext := func(q Queue) {
		t.Helper()
		ended++
		end(t, q, fmt.Sprint(ended), "j")
		settle(t, q, take(t, q, 1)[0].ID, queue.Attempt{Error: "410"[:3*(ended%2)], GiveUp: true})
	}
	for range queue.KeepSettled + 5 {
		settleNext(q)
	}
	check := func(q Queue) (givenUp []int64) {
		t.Helper()
		found, err := q.Notifications(t.Context(), queue.NotificationFilter{Job: "j"})
		if err != nil || len(found) != queue.KeepSettled {
			t.Fatalf("%d notifications on record, %v; want %d", len(found), err, queue.KeepSettled)
		}
		for i, n := range found {
			if n.Build != ended-int64(i) {
				t.Errorf("notification %d of the list is about build %d, want the last builds", i, n.Build)
			}
			if n.State == queue.DeliveryGivenUp {
				givenUp = append(givenUp, n.ID)
			}
		}
		backlogs, err := q.Backlogs(t.Context())
		if diff := cmp.Diff([]queue.Backlog{{Target: "t", GivenUp: len(givenUp)}}, backlogs); diff != "" || err != nil {
			t.Errorf("Backlogs: %v (-want +got):\n%s", err, diff)
		}
		return givenUp
	}
	check(q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = store.Open(t)
	defer q.Close()
	check(q)
	settleNext(q)
	givenUp := check(q)
	if err := q.RetryNotification(t.Context(), start, givenUp[0]); err != nil {
		t.Fatal(err)
	}
	backlogs, err := q.Backlogs(t.Context())
	if err != nil || len(backlogs) != 1 || backlogs[0].Waiting != 1 || backlogs[0].GivenUp != len(givenUp)-1 {
		t.Errorf("Backlogs after a retry = %+v, %v; want one that waits and one less given up", backlogs, err)
	}
	for _, f := range []queue.NotificationFilter{{Limit: 1}, {Limit: 2}, {Limit: 1, Job: "j"}} {
		if few, err := q.Notifications(t.Context(), f); err != nil || len(few) != f.Limit {
			t.Errorf("Notifications(%+v) = %d, %v", f, len(few), err)
		}
	}
}
