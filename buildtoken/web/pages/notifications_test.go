package pages_test

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// answers is a receiver that always gives the same answer, until set changes it.
type answers struct {
	mu      sync.Mutex
	outcome notify.Outcome
}

func (a *answers) set(o notify.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.outcome = o
}

func (a *answers) Send(context.Context, *notify.Event, func() bool) notify.Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.outcome
}

func (*answers) UsesLog() bool { return false }

// shownNotifications returns the rows of a page about notifications, as texts.
func shownNotifications(page string) string {
	_, rest, _ := strings.Cut(page, `id="notifications-title"`)
	rest, _, _ = strings.Cut(rest, "</dl>")
	rest = strings.ReplaceAll(rest, "</dt>", ": ")
	rest = strings.ReplaceAll(rest, "</div>", "; ")
	rest = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(rest, "")
	_, rest, _ = strings.Cut(rest, ">")
	return strings.Join(strings.Fields(rest), " ")
}

func TestPagesShowNotifications(t *testing.T) {
	j := at("deploy", writes(""))
	broken := &answers{outcome: notify.Outcome{Error: "503 <Service> Unavailable"}}
	for name, to := range map[string]*answers{
		"github": {}, "slack": broken, "mail": {outcome: notify.Outcome{Error: "no commit", Skip: true}},
	} {
		j.Notify = append(j.Notify, definition.NotifySpec{Name: name, On: []queue.Condition{queue.OnAlways}, To: to})
	}
	j.Notify = append(j.Notify, definition.NotifySpec{Name: "idle", On: []queue.Condition{queue.OnFailure}, To: &answers{}})
	onSite(t, jobs(j), func(s *site) {
		s.trigger("deploy", nil)
		s.settle()
		time.Sleep(100 * time.Millisecond) // the outbox looks at the queue so often
		s.settle()
		got := regexp.MustCompile(`2000-01-01 00:00:0[456] UTC`).ReplaceAllString(shownNotifications(s.page("/job/deploy/")), "SOON")
		want := "Notifications github: #1 reported 2000-01-01 00:00:00 UTC; idle: nothing reported yet; mail: #1 not reported: no commit; " +
			"slack: #1: 503 &lt;Service&gt; Unavailable, next try due SOON;"
		if diff := cmp.Diff(want, got); diff != "" {
			s.Errorf("page of the job (-want +got):\n%s", diff)
		}
		got = shownNotifications(s.page("/job/deploy/1/"))
		if strings.Contains(got, "idle") || !strings.HasPrefix(got, "Notifications github: #1 reported") || !strings.Contains(got, "slack: #1: 503") {
			s.Errorf("page of the build: %s", got)
		}
		broken.set(notify.Outcome{Error: "400 Bad Request", Refused: true})
		time.Sleep(10 * time.Minute)
		s.settle()
		if got := shownNotifications(s.page("/job/deploy/")); !regexp.MustCompile(`slack: #1 given up 2000-01-01 00:0\d:\d\d UTC: 400 Bad Request;`).MatchString(got) {
			s.Errorf("after three attempts: %s", got)
		}
	})
	onSite(t, jobs(at("plain", writes(""))), func(s *site) {
		s.trigger("plain", nil)
		s.lacks(s.page("/job/plain/")+s.page("/job/plain/1/"), "Notifications")
	})
}

// recorded is a queue with these notifications, newest first.
type recorded struct {
	buildtoken.Queue
	all []queue.Notification
}

func (q *recorded) Notifications(_ context.Context, filter queue.NotificationFilter) ([]queue.Notification, error) {
	return q.all[:min(len(q.all), filter.Limit)], nil
}

func TestPageDescribesTheLastNotificationOfEachTarget(t *testing.T) {
	var q recorded
	onQueue(t, jobs(at("deploy", writes(""))), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		soon := time.Date(2000, 1, 1, 0, 5, 0, 0, time.UTC)
		q.all = []queue.Notification{
			{Target: "new", Item: 7, State: queue.DeliveryWaiting, Next: soon},
			{Target: "app/tried", Item: 7, Build: 3, State: queue.DeliveryWaiting, Tries: 1, Next: soon, Error: "503"},
			{Target: "tried", Item: 6, Build: 2, State: queue.DeliveryReplaced, Tries: 2, Next: soon, Error: "older"},
			{Target: "up", Item: 7, State: queue.DeliverySent, Settled: soon},
		}
		for len(q.all) < 199 {
			q.all = append(q.all, q.all[3])
		}
		q.all = append(q.all, queue.Notification{Target: "x-last", Item: 1, State: queue.DeliverySkipped, Error: "200th"}, queue.Notification{Target: "y-older", Item: 1, State: queue.DeliverySkipped, Error: "201st"})
		got := shownNotifications(s.page("/job/deploy/"))
		const want = "Notifications new: item 7 waits to be sent; tried: #3: 503, next try due 2000-01-01 00:05:00 UTC; " +
			"tried: #2: older, next try due 2000-01-01 00:05:00 UTC; up: item 7 reported 2000-01-01 00:05:00 UTC; x-last: item 1 not reported: 200th;"
		if got != want {
			s.Errorf("got  %s\nwant %s", got, want)
		}
	})
}
