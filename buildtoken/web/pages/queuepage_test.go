package pages_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// waits returns a job whose items wait for an hour and never join.
func waits(name string) definition.Job {
	j := at(name, writes(""), job.Param{Name: "N", Kind: job.KindString})
	hour := time.Hour
	j.Settings.QuietPeriod = &hour
	return j
}

// fill queues items of a job, with a range of numbers as their parameter.
func (s *site) fill(full string, from, to int) {
	s.Helper()
	for i := from; i <= to; i++ {
		s.trigger(full, map[string][]string{"N": {fmt.Sprint(i)}})
	}
}

// items returns the items of a page, in its order.
func items(page string) []string {
	var all []string
	for _, part := range strings.Split(page, `<tr data-key="`)[1:] {
		key, _, _ := strings.Cut(part, `"`)
		all = append(all, key)
	}
	return all
}

func TestQueueHasPages(t *testing.T) {
	spec := jobs(waits("app"), waits("shadow"))
	spec.Access.Read = `user == "alice" || (user == "rita" && job.name != "shadow")`
	onSite(t, spec, func(s *site) {
		for i := range 15 { // items that rita cannot read are among the others
			s.fill("shadow", i, i)
			s.fill("app", 15*i, 15*i+14)
		}
		for _, tt := range []struct {
			user, path  string
			first, n    int
			here        string
			holds, lack []string
		}{
			{"alice", "/queue/", 1, 100, "1–100 of 240 items", []string{`<a href="/ci/queue/?page=2">Next page</a>`}, []string{"Previous page"}},
			{"alice", "/queue/?page=2", 101, 100, "101–200 of 240 items", []string{`<a href="/ci/queue/?page=3">Next page</a>`, `<a href="/ci/queue/">Previous page</a>`, `events/queue/?page=2"`}, nil},
			{"alice", "/queue/?page=3", 201, 40, "201–240 of 240 items", []string{`<a href="/ci/queue/?page=2">Previous page</a>`, `<a href="/ci/queue/">First page</a>`}, []string{"Next page"}},
			{"alice", "/queue/?page=99", 201, 40, "201–240 of 240 items", nil, []string{"Next page"}},
			{"alice", "/queue/?page=-1", 1, 100, "1–100 of 240 items", nil, nil},
			{"rita", "/queue/?page=3", 215, 25, "201–225 of 225 items", nil, []string{"shadow", "cancelAll"}},
		} {
			page := s.get(tt.path, tt.user).Body.String()
			got := items(page)
			if len(got) != tt.n || tt.user == "alice" && got[0] != fmt.Sprint(tt.first) {
				s.Errorf("%s for %s lists %d items from %v, want %d from %d", tt.path, tt.user, len(got), got[:min(len(got), 1)], tt.n, tt.first)
			}
			s.holds(page, tt.here)
			s.holds(page, tt.holds...)
			s.lacks(page, tt.lack...)
		}
		s.holds(s.page("/queue/"), `<bdi>app</bdi></a> <span class="count">225</span>`, `<a href="/ci/job/app/cancelAll"`)
		s.holds(s.page("/job/app/"), "1–100 of 225 items", `<a href="/ci/queue/">The whole queue</a>`, "Cancel all 225…", "225 items queued")
	})
}

// copies is a queue that lists its items several times, and cancels when it is let go.
type copies struct {
	buildtoken.Queue
	times   int
	gate    chan struct{}
	waiting atomic.Int64
}

func (q *copies) Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error) {
	all, err := q.Queue.Items(ctx, now, job, limit)
	return slices.Repeat(all, q.times), err
}

func (q *copies) Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error) {
	all, err := q.Queue.Lanes(ctx, jobs)
	for i := range all {
		all[i].Queued *= q.times
	}
	return all, err
}

func (q *copies) AllLanes(ctx context.Context) ([]queue.Lane, error) {
	all, err := q.Queue.AllLanes(ctx)
	for i := range all {
		all[i].Queued *= q.times
	}
	return all, err
}

func (q *copies) Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error {
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	<-q.gate
	return q.Queue.Cancel(ctx, now, job, id, by)
}

// The confirmation lists a thousand items, and 32 at a time are cancelled.
func TestCancelAllOfManyItems(t *testing.T) {
	q := copies{times: 500}
	onQueue(t, jobs(waits("app")), func(inner buildtoken.Queue) buildtoken.Queue {
		q.Queue, q.gate = inner, make(chan struct{})
		return &q
	}, func(s *site) {
		s.fill("app", 1, 2)
		page := s.page("/job/app/cancelAll")
		s.lacks(page, "The others are cancelled too")
		if n := len(items(page)); n != 1000 {
			s.Errorf("%d items are listed, want 1000", n)
		}
		q.times = 501
		s.holds(s.page("/job/app/cancelAll"), "1002 items are queued", "The first 1000 of 1002.")
		done := make(chan struct{})
		go func() {
			defer close(done)
			if w := s.post("/job/app/cancelAllForm", "alice", url.Values{"upto": {"2"}}); w.Code != http.StatusSeeOther {
				s.Errorf("cancel all = %d, want 303", w.Code)
			}
		}()
		synctest.Wait()
		if n := q.waiting.Load(); n != 32 {
			s.Errorf("%d items are cancelled at a time, want 32", n)
		}
		close(q.gate)
		<-done
	})
}

// The jobs with the most items come first, and not all of them.
func TestQueuePageListsTheJobsWithManyItems(t *testing.T) {
	spec := jobs()
	for i := range 12 {
		spec.Root.Jobs = append(spec.Root.Jobs, waits(fmt.Sprintf("job-%02d", i)))
	}
	onSite(t, spec, func(s *site) {
		for i, j := range spec.Root.Jobs {
			s.fill(j.Name, 1, 1+i)
		}
		var got []string
		for _, m := range regexp.MustCompile(`<bdi>(job-\d+)</bdi></a> <span class="count">(\d+)<`).FindAllStringSubmatch(s.page("/queue/"), -1) {
			got = append(got, m[1]+" "+m[2])
		}
		var want []string
		for i := 11; i > 1; i-- {
			want = append(want, fmt.Sprintf("job-%02d %d", i, 1+i))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.Errorf("jobs with many items (-want +got):\n%s", diff)
		}
	})
}

func TestItemLeadsToWhatItWaitsFor(t *testing.T) {
	spec := jobs()
	for _, name := range []string{"one", "two", "three", "four"} { // there are three executors
		spec.Root.Jobs = append(spec.Root.Jobs, at(name, hangs("")))
	}
	onSite(t, spec, func(s *site) {
		for _, j := range spec.Root.Jobs {
			s.trigger(j.Name, nil)
		}
		s.trigger("one", nil)
		for _, path := range []string{"/queue/", "/queue/item/4/"} {
			s.holds(s.page(path), `<a href="/ci/computer/">Waiting for next available executor</a>`)
		}
		s.holds(s.page("/queue/"), `<a href="/ci/job/one/1/">Build #1 is already in progress</a>`)
	})
}

func TestCancelAllOfAJob(t *testing.T) {
	onSite(t, jobs(waits("app"), waits("other")), func(s *site) {
		s.fill("app", 0, 2)
		s.fill("other", 1, 1)
		s.lacks(s.page("/queue/")+s.page("/job/other/"), "other/cancelAll") // a single item has its own button
		page := s.page("/job/app/cancelAll")
		s.holds(page, `<form method="post" action="/ci/job/app/cancelAllForm">`, `name="upto" value="3"`, "3 items are queued.", "Cancel 3 items</button>", `<a class="button" href="/ci/job/app/">Keep them</a>`,
			"Item 1", "Item 2", "Item 3", `<span class="quiet">N</span> <bdi>2</bdi>`)
		s.lacks(page, "Item 4", "data-events")
		s.trigger("app", map[string][]string{"N": {"later"}}) // item 5 was not listed
		def, err := definition.Compile(jobs(waits("mine")))
		if err != nil {
			s.Fatal(err)
		}
		without := &site{T: s.T, ctl: s.ctl, def: def, pages: pagesOf(s.ctl, def, zap.NewNop())}
		for _, path := range []string{"/job/app/cancelAll", "/job/nothing/cancelAll"} {
			if w := without.get(path, "alice"); w.Code != http.StatusNotFound {
				s.Errorf("%s on a site without the job: %d, want 404", path, w.Code)
			}
		}
		s.holds(page, `name="listed" value="3"`)
		s.post("/queue/item/1/cancelForm", "alice", nil)
		w := s.post("/job/app/cancelAllForm", "alice", url.Values{"upto": {"3"}, "listed": {"3"}})
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ci/job/app/?cancelled=2&of=3" {
			s.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
		}
		for query, want := range map[string]string{
			"?cancelled=2&of=3": "2 of 3 items were cancelled. The rest had started or was cancelled already.",
			"?cancelled=2&of=2": "2 items were cancelled.", "?cancelled=1": "1 item was cancelled.",
			"?cancelled=0&of=1": "0 of 1 items were cancelled. The rest had",
		} {
			for _, path := range []string{"/job/app/", "/queue/"} {
				s.holds(s.page(path+query), `<p class="note" role="status" data-notice>`+want)
			}
		}
		for _, query := range []string{"", "?cancelled=", "?cancelled=-1", "?cancelled=%3Cb%3E", "?of=3"} {
			s.lacks(s.page("/job/app/"+query), "data-notice")
		}
		if got := strings.Join(items(s.page("/queue/")), " "); got != "4 5" {
			s.Errorf("items %s are left, want 4 5", got)
		}
		s.holds(s.page("/queue/item/2/"), "Cancelled by <bdi>user alice</bdi>")
		if w := s.post("/job/app/cancelAllForm", "alice", url.Values{"upto": {"3"}}); w.Code != http.StatusSeeOther { // again
			s.Errorf("again: %d", w.Code)
		}
		if w := s.post("/job/app/cancelAllForm", "alice", url.Values{}); w.Code != http.StatusBadRequest {
			s.Errorf("without upto: %d, want 400", w.Code)
		}
		if w := s.get("/job/app/cancelAllForm", "alice"); w.Header().Get("Location") != "/ci/job/app/cancelAll" {
			s.Errorf("GET of the form leads to %q", w.Header().Get("Location"))
		}
		r := request(http.MethodPost, "/job/app/cancelAllForm", "alice", url.Values{"upto": {"9"}})
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if w := s.do(r); w.Code != http.StatusForbidden {
			s.Errorf("from another site: %d, want 403", w.Code)
		}
		if w := s.post("/job/app/cancelAllForm?upto=5", "alice", nil); w.Code != http.StatusBadRequest {
			s.Errorf("upto in the address: %d, want 400", w.Code)
		}
		s.post("/job/app/cancelAllForm", "alice", url.Values{"upto": {"5"}})
		s.holds(s.page("/job/app/cancelAll"), "Nothing of this job is queued.")
		s.fill("other", 2, 2)
		for _, path := range []string{"/queue/", "/job/other/"} {
			s.holds(s.page(path), `<a href="/ci/job/other/cancelAll"`)
		}
		for _, path := range []string{"/job/nothing/cancelAll", "/job/other/cancelAll"} {
			if w := s.get(path, "rita"); w.Code != http.StatusForbidden {
				s.Errorf("%s as a reader = %d, want 403", path, w.Code)
			}
		}
		if w := s.get("/job/nothing/cancelAll", "alice"); w.Code != http.StatusNotFound {
			s.Errorf("unknown job = %d, want 404", w.Code)
		}
	})
}
