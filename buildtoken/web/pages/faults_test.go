package pages_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// faulty is a queue of which one call fails.
type faulty struct {
	buildtoken.Queue
	// calls counts the calls of which one fails, and bad is which.
	calls, bad atomic.Int64
}

func (f *faulty) fault() error {
	if f.calls.Add(1) == f.bad.Load() {
		return errors.New("the disk is <broken>")
	}
	return nil
}

func (f *faulty) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	if err := f.fault(); err != nil {
		return queue.Item{}, false, err
	}
	return f.Queue.Schedule(ctx, now, r)
}

func (f *faulty) Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.Queue.Cancel(ctx, now, job, id, by)
}

func (f *faulty) Abort(ctx context.Context, job string, number int64, by string) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.Queue.Abort(ctx, job, number, by)
}

func (f *faulty) Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Queue.Lanes(ctx, jobs)
}

func (f *faulty) AllLanes(ctx context.Context) ([]queue.Lane, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Queue.AllLanes(ctx)
}

func (f *faulty) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Queue.Overviews(ctx, jobs)
}

func (f *faulty) Notifications(ctx context.Context, filter queue.NotificationFilter) ([]queue.Notification, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Queue.Notifications(ctx, filter)
}

func (f *faulty) Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error) {
	if err := f.fault(); err != nil {
		return queue.Entry{}, err
	}
	return f.Queue.Entry(ctx, now, id)
}

func (f *faulty) Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Queue.Items(ctx, now, job, limit)
}

func (f *faulty) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	if err := f.fault(); err != nil {
		return queue.Build{}, err
	}
	return f.Queue.Build(ctx, job, number)
}

func (f *faulty) Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Queue.Builds(ctx, job, before, limit)
}

// elsewhere has another server take the builds of the label far that are due.
func (s *site) elsewhere(q buildtoken.Queue) {
	s.Helper()
	builds, _, err := q.Claim(s.Context(), time.Now(), queue.Node{Name: "b", Labels: []string{"far"}}, []int{0})
	if err != nil || len(builds) != 1 {
		s.Fatalf("Claim = %v, %v; want one build", builds, err)
	}
}

// far returns a job whose builds only another server can run.
func far(params ...job.Param) definition.Job {
	j := at("far", writes(""), params...)
	label := "far"
	j.Settings.Label = &label
	return j
}

// farBuilds makes a site on which a build of the job far has ended after a minute, another one
// runs on another server, and a further one waits for that.
func (s *site) farBuilds(q buildtoken.Queue) {
	s.Helper()
	s.trigger("far", nil)
	s.elsewhere(q)
	time.Sleep(time.Minute)
	if _, err := q.Finish(s.Context(), time.Now(), "far", 1, queue.Success, ""); err != nil {
		s.Fatal(err)
	}
	s.trigger("far", nil)
	s.elsewhere(q)
	s.trigger("far", nil)
}

// A page is complete or an error: it never hides what could not be read.
func TestNoPageHidesThatTheQueueFails(t *testing.T) {
	var f faulty
	small := at("small", brief{writes("")}, job.Param{Name: "N", Kind: job.KindString})
	small.Allow = []policy.Rule{{Source: `params["N"] != "no"`}}
	spec := jobs(at("hello", writes("hello\n")), far(), at("busy", hangs("busy\n")), waits("later"), small)
	spec.Root.Folders = []definition.Folder{{Name: "app", Jobs: []definition.Job{at("deploy", writes(""))}}}
	onQueue(t, spec, func(q buildtoken.Queue) buildtoken.Queue { f.Queue = q; return &f }, func(s *site) {
		s.farBuilds(f.Queue) // items 1 to 3
		for _, full := range []string{"hello", "hello", "busy", "app/deploy"} {
			s.trigger(full, nil) // items 4 to 7
		}
		s.fill("later", 1, 4) // items 8 to 11
		for _, tt := range []struct {
			method, path string
			form         url.Values
			status       int
		}{
			{http.MethodGet, "/", nil, 200},
			{http.MethodGet, "/job/app/", nil, 200},
			{http.MethodGet, "/?by=", nil, 200},
			{http.MethodGet, "/?by=user:alice", nil, 200},
			{http.MethodGet, "/job/far/", nil, 200},
			{http.MethodGet, "/job/hello/?like=1", nil, 200},
			{http.MethodGet, "/job/hello/?state=success", nil, 200},
			{http.MethodGet, "/job/hello/1/", nil, 200},
			{http.MethodGet, "/job/far/1/", nil, 200},
			{http.MethodGet, "/job/far/2/console", nil, 200},
			{http.MethodGet, "/job/hello/lastBuild/", nil, 303},
			{http.MethodGet, "/queue/", nil, 200},
			{http.MethodGet, "/queue/item/3/", nil, 200},
			{http.MethodGet, "/queue/item/4/", nil, 303},
			{http.MethodGet, "/computer/", nil, 200},
			{http.MethodGet, "/rssAll", nil, 200},
			{http.MethodGet, "/job/hello/rssAll", nil, 200},
			{http.MethodGet, "/job/hello/badge/icon", nil, 200},
			{http.MethodGet, "/job/later/cancelAll", nil, 200},
			{http.MethodGet, "/queue/-/log/job/hello/1", nil, 200},
			{http.MethodPost, "/job/later/buildForm", url.Values{"N": {"5"}}, 303},
			{http.MethodPost, "/job/later/buildForm", url.Values{"delay": {"soon"}}, 400},
			{http.MethodPost, "/job/small/buildForm", url.Values{"N": {"no"}}, 403},
			{http.MethodPost, "/job/small/buildForm", url.Values{"N": {"long"}}, 400},
			{http.MethodPost, "/queue/item/8/cancelForm", nil, 303},
			{http.MethodPost, "/job/later/cancelAllForm", url.Values{"upto": {"11"}}, 303},
		} {
			for bad := int64(1); ; bad++ {
				f.calls.Store(0)
				f.bad.Store(bad)
				w := s.do(request(tt.method, tt.path, "alice", tt.form))
				if f.calls.Load() < bad { // none failed
					if w.Code != tt.status || bad == 1 {
						s.Errorf("%s %s = %d after %d calls, want %d", tt.method, tt.path, w.Code, f.calls.Load(), tt.status)
					}
					break
				}
				if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "broken") {
					s.Errorf("%s %s with a failure of call %d = %d, want 500 and nothing of the error:\n%s", tt.method, tt.path, bad, w.Code, main(w.Body.String()))
				}
				s.logged("the disk is <broken>")
			}
		}
		f.calls.Store(0)
		f.bad.Store(1)
		if w := s.post("/job/far/2/stopForm", "alice", nil); w.Code != http.StatusInternalServerError {
			s.Errorf("a stop that fails = %d, want 500", w.Code)
		}
	})
}

// brief is a runner that only takes short values.
type brief struct{ run }

func (brief) Fits(_ []string, params []runner.Param) error {
	for _, p := range params {
		if len(p.Value) > 2 {
			return fmt.Errorf("parameter %s is long: %w", p.Name, runner.ErrTooLarge)
		}
	}
	return nil
}

// logged takes the entries of the log, one of which must be about an error with this text.
func (s *site) logged(text string) {
	s.Helper()
	all := s.logs.TakeAll()
	for _, e := range all {
		if cause, _ := e.ContextMap()["error"].(string); strings.Contains(cause, text) {
			return
		}
	}
	s.Errorf("the log has %v, want an error with %q", all, text)
}

// A stream is complete or the browser connects again: it never ends as if there were no more.
func TestNoStreamHidesThatTheQueueFails(t *testing.T) {
	var f faulty
	onQueue(t, jobs(at("hello", writes("hello\n"))), func(q buildtoken.Queue) buildtoken.Queue { f.Queue = q; return &f }, func(s *site) {
		s.trigger("hello", nil)
		for bad := int64(1); ; bad++ {
			f.calls.Store(0)
			f.bad.Store(bad)
			out, ended, stop := s.open("/queue/-/events/job/hello/1/", "alice")
			<-ended
			stop()
			complete := strings.Contains(out.drain(), "event: done")
			if complete != (f.calls.Load() < bad) {
				s.Errorf("with a failure of call %d of %d, the stream is complete: %v", bad, f.calls.Load(), complete)
			}
			if f.calls.Load() < bad {
				if bad < 4 {
					s.Errorf("a stream makes %d calls, want more", f.calls.Load())
				}
				break
			}
			s.logged("the disk is <broken>")
		}
	})
}

// Builds of other servers are on the pages like those of this one.
func TestPagesShowBuildsOfOtherServers(t *testing.T) {
	var f faulty
	onQueue(t, jobs(far()), func(q buildtoken.Queue) buildtoken.Queue { f.Queue = q; return &f }, func(s *site) {
		s.farBuilds(f.Queue)
		s.holds(s.page("/"), `<a href="/ci/job/far/2/">`, ">Running</span>", "usually 1 min")
		for _, path := range []string{"/queue/", "/job/far/", "/queue/item/3/"} {
			s.holds(s.page(path), `<a href="/ci/job/far/2/">Build #2 is already in progress</a>, <time`, " data-left>until about ")
		}
		if got, want := rowKeys(s.page("/?by=")), "far/2/ far/1/"; got != want {
			s.Errorf("the builds are %s, want %s", got, want)
		}
		if got, want := rowKeys(s.page("/?by=&state=running")), "far/2/"; got != want {
			s.Errorf("the running builds are %s, want %s", got, want)
		}
		s.lacks(main(s.page("/computer/")), "far") // it shows the executors of this server
		s.holds(s.page("/job/far/2/"), `action="/ci/job/far/2/stopForm"`)
		s.post("/job/far/2/stopForm", "alice", nil)
		page := s.page("/job/far/2/") // until the other server has seen it
		s.holds(page, "Stopping</span>", "Asked to stop by <bdi>user alice</bdi>")
		s.lacks(page, "stopForm")
	})
}

// The clock of another server can be ahead.
func TestPageShowsABuildThatStartsInTheFuture(t *testing.T) {
	var f faulty
	onQueue(t, jobs(far()), func(q buildtoken.Queue) buildtoken.Queue { f.Queue = q; return &f }, func(s *site) {
		s.farBuilds(f.Queue)
		if _, err := f.Finish(s.Context(), time.Now().Add(2*time.Minute), "far", 2, queue.Success, ""); err != nil {
			s.Fatal(err)
		}
		if builds, _, err := f.Claim(s.Context(), time.Now().Add(time.Minute), queue.Node{Name: "b", Labels: []string{"far"}}, []int{0}); err != nil || len(builds) != 1 {
			s.Fatalf("Claim = %v, %v; want one build", builds, err)
		}
		s.holds(s.page("/"), `<progress value="0" max="100"`)
	})
}

// A build can be dropped between two reads of a page, which shows the rest then.
func TestPagesDoWithoutABuildThatIsGone(t *testing.T) {
	var q gone
	onQueue(t, jobs(far(), at("hello", writes(""))), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		s.trigger("hello", nil)
		s.trigger("hello", nil)
		s.farBuilds(q.Queue)
		s.holds(s.page("/"), `<a href="/ci/job/hello/2/">`)
		s.lacks(s.page("/"), `<td><span class="state state-running">`)
		for _, path := range []string{"/queue/", "/job/far/", "/queue/item/5/"} {
			s.lacks(s.page(path), "until about ")
		}
		for _, path := range []string{"/?by=", "/?by=user:alice"} {
			if got, want := rowKeys(s.page(path)), "hello/2/"; got != want {
				s.Errorf("%s lists %s, want %s", path, got, want)
			}
		}
		if got := strings.Count(s.get("/rssAll", "alice").Body.String(), "<entry>"); got != 1 {
			s.Errorf("the feed has %d builds, want one", got)
		}
	})
}

// dropped is a queue of whose builds only the summaries are left.
type dropped struct{ counted }

func (d *dropped) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	all, err := d.counted.Overviews(ctx, jobs)
	for i := range all {
		all[i].Oldest = 0
	}
	return all, err
}

func TestPagesOfAJobWhoseBuildsAreAllGone(t *testing.T) {
	var d dropped
	onQueue(t, jobs(at("app", writes(""))), func(q buildtoken.Queue) buildtoken.Queue { d.Queue = q; return &d }, func(s *site) {
		s.trigger("app", nil)
		d.builds.Store(0)
		if got := rowKeys(s.page("/?by=")); got != "" || d.builds.Load() != 0 {
			s.Errorf("the builds are %s, after %d reads; want none", got, d.builds.Load())
		}
		s.holds(s.page("/job/app/"), `<g class="state-success"><title>#1 Success`)
	})
}

// gone is a queue whose builds of the job far, and the first ones of all jobs, are dropped
// as soon as they are listed.
type gone struct{ buildtoken.Queue }

func (g *gone) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	if job == "far" || number == 1 {
		return queue.Build{}, fmt.Errorf("%w: build %d", queue.ErrNotFound, number)
	}
	return g.Queue.Build(ctx, job, number)
}

// causeless is a queue whose builds have no causes.
type causeless struct{ buildtoken.Queue }

func (c *causeless) Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	all, err := c.Queue.Builds(ctx, job, before, limit)
	for i := range all {
		all[i].Item.Causes = nil
	}
	return all, err
}

func (c *causeless) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	b, err := c.Queue.Build(ctx, job, number)
	b.Item.Causes = nil
	return b, err
}

func TestPagesOfABuildWithoutCauses(t *testing.T) {
	var q causeless
	onQueue(t, jobs(at("hello", writes("hello\n"))), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		s.trigger("hello", nil)
		for _, path := range []string{"/job/hello/", "/job/hello/1/", "/?by=", "/rssAll", "/job/hello/rssAll"} {
			page := s.page(path)
			s.holds(page, "Success")
			s.lacks(page, "Started by user <a", "<summary>Started")
		}
	})
}

// Items can start between two reads of the page of the queue.
func TestQueuePageShowsHowManyItemsItHas(t *testing.T) {
	for _, tt := range []struct {
		left int // of the items
		want string
	}{{120, "1–100 of 120 items"}, {1, "1–1 of 120 items"}} {
		q := started{left: tt.left}
		onQueue(t, jobs(waits("app")), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
			s.fill("app", 1, 120)
			s.holds(s.page("/queue/"), "<li>"+tt.want+"</li>")
		})
	}
	q := copies{times: 50}
	onQueue(t, jobs(waits("app")), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		s.fill("app", 1, 2)
		s.lacks(s.page("/queue/"), "of 100 items", "Next page") // they fit on one page
		q.times = 100
		page := s.page("/queue/?page=2")
		s.holds(page, "101–200 of 200 items")
		s.lacks(page, "Next page")
	})
}

// started is a queue whose items have started when they are listed, all but some.
type started struct {
	buildtoken.Queue
	left int
}

func (q *started) Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error) {
	all, err := q.Queue.Items(ctx, now, job, limit)
	return all[:min(len(all), q.left)], err
}

// A template that cannot be executed is a bug. The reader gets an error, and none of the details.
func TestPageThatCannotBeRenderedIsAnError(t *testing.T) {
	for template, paths := range map[string][]string{
		"layout":    {"/", "/job/nothing/"},
		"nav":       {"/"},
		"jobs":      {"/", "/queue/-/events/"},
		"buildhead": {"/job/hello/1/", "/queue/-/events/job/hello/1/"},
		"badge":     {"/job/hello/badge/icon"},
		"failure":   {"/job/nothing/"},
	} {
		onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
			s.trigger("hello", nil)
			s.pages.pages.WithoutTemplate(template)
			for _, path := range paths {
				w := s.get(path, "alice")
				if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "template") {
					s.Errorf("GET %s without the template %s = %d %q, want 500", path, template, w.Code, w.Body)
				}
			}
			if s.logs.Len() < len(paths) {
				s.Errorf("%d errors in the log, want at least %d", s.logs.Len(), len(paths))
			}
		})
	}
	onSite(t, jobs(), func(s *site) {
		s.pages.pages.WithoutTemplate("nav")
		out, ended, stop := s.open("/queue/-/events/", "alice")
		defer stop()
		select {
		case <-ended: // the browser connects again
		default:
			s.Error("the stream goes on without the navigation")
		}
		s.lacks(out.drain(), "event:")
		s.logged(`"nav"`)
	})
}
