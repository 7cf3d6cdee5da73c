package pages_test

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// counted is a queue that counts the queries of a page.
type counted struct {
	buildtoken.Queue
	overviews, builds atomic.Int64
}

func (c *counted) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	c.overviews.Add(1)
	return c.Queue.Overviews(ctx, jobs)
}

func (c *counted) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	c.builds.Add(1)
	return c.Queue.Build(ctx, job, number)
}

func (c *counted) Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	c.builds.Add(1)
	return c.Queue.Builds(ctx, job, before, limit)
}

// The page of the jobs runs one query, however many jobs there are.
func TestJobsPageAsksOnce(t *testing.T) {
	var all []definition.Job
	for n := range 50 {
		all = append(all, at(fmt.Sprintf("job%d", n), writes("x\n")))
	}
	c := &counted{}
	onQueue(t, jobs(all...), func(q buildtoken.Queue) buildtoken.Queue { c.Queue = q; return c }, func(s *site) {
		s.trigger("job7", nil)
		s.trigger("job8", nil)
		c.overviews.Store(0)
		c.builds.Store(0)
		s.holds(s.page("/"), "job49", `/job/job7/1/`, `/job/job8/1/`)
		if o, b := c.overviews.Load(), c.builds.Load(); o != 1 || b != 0 {
			t.Errorf("%d queries for overviews and %d for builds of one job, want 1 and 0", o, b)
		}
	})
}

// Items that no server can run are shown as stuck on every page as soon as they are due.
func TestStuckItemsAreShownAsStuck(t *testing.T) {
	gpu := at("gpu", writes("x\n"))
	label := "gpu"
	gpu.Settings.Label = &label
	onSite(t, jobs(gpu, at("hello", writes("x\n")), at("busy", hangs("x\n"))), func(s *site) {
		id := s.trigger("gpu", nil)
		time.Sleep(time.Minute)
		const stuck, why = `<span class="state state-stuck">`, "There are no nodes with the label ‘gpu’"
		for _, path := range []string{"/", "/queue/", "/job/gpu/", fmt.Sprintf("/queue/item/%d/", id)} {
			body := s.page(path)
			s.holds(body, stuck)
			s.lacks(body, ">Ready<")
			if path != "/" {
				s.holds(body, why)
			}
		}
		const remedy = "Give a server this label, with node in its global options, or change the label of the job."
		s.holds(s.page("/job/gpu/"), remedy+" Otherwise, cancel what is queued.")
		item := fmt.Sprintf("/queue/item/%d/", id)
		s.holds(s.page(item), remedy+" Otherwise, cancel it.")
		for _, path := range []string{"/job/gpu/", item} { // rita may not cancel
			body := s.get(path, "rita").Body.String()
			s.holds(body, remedy)
			s.lacks(body, "Otherwise")
		}
		s.trigger("hello", nil)
		for range 3 { // one queued item can run
			s.trigger("busy", nil)
		}
		s.lacks(s.page("/job/hello/")+s.page("/job/busy/"), stuck)
		if n := strings.Count(s.page("/"), stuck); n != 1 {
			t.Errorf("%d jobs are stuck on the list, want 1", n)
		}
	})
}

// order returns the paths of the jobs on a page, in its order.
func order(page string) []string {
	var all []string
	for _, part := range strings.Split(page, `<tr data-key="/ci/`)[1:] {
		key, _, _ := strings.Cut(part, `"`)
		all = append(all, key)
	}
	return all
}

// found is a site with jobs in all states, in folders.
func found() definition.Spec {
	label, gpu := "gpu", at("gpu", writes("x\n"))
	gpu.Settings.Label = &label
	old := at("old", writes("x\n"))
	old.Disabled = true
	shaky := at("shaky", fails(runner.Unstable, "odd"))
	shaky.Description = "Sometimes Breaks"
	spec := jobs(at("alpha", writes("x\n")), gpu, old, at("zeta", fails(runner.Failure, "no")))
	spec.Root.Folders = []definition.Folder{{
		Name: "app", Jobs: []definition.Job{at("deploy", hangs("")), at("never", writes("x\n")), shaky},
		Folders: []definition.Folder{{Name: "Mobile", Jobs: []definition.Job{at("ios", writes("x\n"))}}},
	}}
	return spec
}

func TestJobsAreFound(t *testing.T) {
	onSite(t, found(), func(s *site) {
		for _, full := range []string{"alpha", "gpu", "zeta", "app/deploy", "app/deploy", "app/shaky", "app/Mobile/ios"} {
			s.trigger(full, nil)
		}
		for _, tt := range []struct{ path, want string }{
			{"/", "job/zeta/ job/app/job/shaky/ job/alpha/ job/gpu/ job/old/ job/app/job/deploy/ job/app/job/never/ job/app/job/Mobile/job/ios/"},
			{"/job/app/", "job/app/job/shaky/ job/app/job/deploy/ job/app/job/never/ job/app/job/Mobile/job/ios/"},
			{"/?q=deploy", "job/app/job/deploy/"},
			{"/?q=mobile+IOS", "job/app/job/Mobile/job/ios/"},
			{"/?q=app/", "job/app/job/shaky/ job/app/job/deploy/ job/app/job/never/ job/app/job/Mobile/job/ios/"},
			{"/?q=breaks", "job/app/job/shaky/"},
			{"/?q=nothing", ""},
			{"/?state=failing", "job/zeta/ job/app/job/shaky/"},
			{"/?state=failed", "job/zeta/ job/app/job/shaky/"},
			{"/?state=FAILURE&q=z", "job/zeta/"},
			{"/?state=unstable", "job/app/job/shaky/"},
			{"/?state=running", "job/app/job/deploy/"},
			{"/?state=queued", "job/gpu/ job/app/job/deploy/"},
			{"/?state=stuck", "job/gpu/"},
			{"/?state=success", "job/alpha/ job/app/job/Mobile/job/ios/"},
			{"/?state=aborted", ""},
			{"/?state=never", "job/gpu/ job/old/ job/app/job/never/"},
			{"/?state=disabled", "job/old/"},
			{"/job/app/?state=success", "job/app/job/Mobile/job/ios/"},
			{"/?state=evil%22", "job/zeta/ job/app/job/shaky/ job/alpha/ job/gpu/ job/old/ job/app/job/deploy/ job/app/job/never/ job/app/job/Mobile/job/ios/"},
		} {
			if got := strings.Join(order(s.page(tt.path)), " "); got != tt.want {
				s.Errorf("%s lists %q, want %q", tt.path, got, tt.want)
			}
		}
		page := s.page("/?q=%3Cb%3E&state=stuck")
		s.holds(page, ` value="&lt;b&gt;"`, `<option value="stuck" selected>Stuck</option>`, "No job fits.", `<a href="/ci/">Show all jobs</a>`)
		s.holds(page, `data-events="/ci/queue/-/events/?q=%3Cb%3E&amp;state=stuck"`)
		s.holds(s.page("/?state=aborted"), "No job fits.", `<div class="folders filtered">`)
		s.lacks(s.page("/?state=stuck"), "No job fits.")
		page = s.page("/")
		s.lacks(page, "No job fits.")
		s.holds(page, `<a href="/ci/?state=failing" class="state state-failure">`, "<b>2</b> failing", "<b>1</b> running", "<b>2</b> queued", "<b>1</b> stuck", `data-say="2 jobs are failing"`)
		s.holds(page, `<td><span class="state state-failure">`, `<p class="help">since <a href="/ci/job/app/job/shaky/1/">#1</a>, <span data-ago>2000-01-01 00:0`, `<a href="/ci/job/app/" class="above"><bdi>app</bdi></a>`)
		s.holds(page, `There are no nodes with the label ‘gpu’</p>`, ">3 jobs · 1 failing, listed above · 1 running · 1 queued<", ` title="1 of the last 1 build succeeded"`)
		s.lacks(page, `<option value="" selected`, "Show all")
		// Counts are about the jobs that were searched for, and lead to those.
		page = s.page("/?q=shaky")
		s.holds(page, `<a href="/ci/?q=shaky&amp;state=failing" class="state state-failure">`, "<b>1</b> failing", `data-say="2 jobs are failing"`)
		s.lacks(page, "</b> running", "</b> queued", "</b> stuck")
		s.holds(s.page("/?state=running"), ">1 of 3 jobs · 1 failing · 1 running · 1 queued<", "<b>2</b> failing")
	})
}

func TestFoldersFold(t *testing.T) {
	spec := found()
	onSite(t, spec, func(s *site) {
		s.trigger("app/deploy", nil)
		s.holds(s.page("/"), `<details class="folder" data-fold="app" open>`, `<details class="folder" data-fold="app/Mobile" open>`)
		s.holds(s.page("/job/app/job/Mobile/job/ios/"), `<ol><li><a href="/ci/"><bdi>Jobs</bdi></a></li><li><a href="/ci/job/app/"><bdi>app</bdi></a></li>`+
			`<li><a href="/ci/job/app/job/Mobile/"><bdi>Mobile</bdi></a></li><li><a href="/ci/job/app/job/Mobile/job/ios/" aria-current="page"><bdi>ios</bdi></a></li></ol>`)
		page := s.page("/?fold=app")
		s.holds(page, `<details class="folder" data-fold="app">`, `<details class="folder" data-fold="app/Mobile" open>`, `events/?fold=app"`, `<a href="/ci/?state=running"`)
		s.holds(s.page("/?fold=app&q=deploy"), `<details class="folder" data-fold="app" open>`) // otherwise the match would be hidden
	})
	for i := range 141 {
		spec.Root.Folders[0].Jobs = append(spec.Root.Folders[0].Jobs, at(fmt.Sprintf("many-%d", i), writes("x\n")))
	}
	onSite(t, spec, func(s *site) { s.lacks(s.page("/"), "data-closed") })
	spec.Root.Folders[0].Jobs = append(spec.Root.Folders[0].Jobs, at("one-more", writes("x\n")))
	onSite(t, spec, func(s *site) {
		page := s.page("/")
		s.holds(page, ` data-closed>`, `<details class="folder" data-fold="app">`, `<details class="folder" data-fold="app/Mobile">`)
		if n := len(order(page)); n != 150 {
			s.Errorf("%d jobs are on the page, want all 150, though folded", n)
		}
		s.holds(s.page("/?open=app"), `<details class="folder" data-fold="app" open>`, `<details class="folder" data-fold="app/Mobile">`)
		s.holds(s.page("/?q=ios"), `<details class="folder" data-fold="app/Mobile" open>`)
	})
}

// trail returns the names of the pages that lead to a page.
func trail(page string) string {
	_, nav, _ := strings.Cut(page, `<nav class="crumbs"`)
	nav, _, _ = strings.Cut(nav, "</nav>")
	var all []string
	for _, part := range strings.Split(nav, "<bdi>")[1:] {
		name, _, _ := strings.Cut(part, "</bdi>")
		all = append(all, name)
	}
	return strings.Join(all, " » ")
}

func TestEveryPageLeadsUp(t *testing.T) {
	onSite(t, found(), func(s *site) {
		s.trigger("app/Mobile/ios", nil)
		s.trigger("gpu", nil)
		for path, want := range map[string]string{
			"/":                                     "",
			"/queue/":                               "",
			"/job/app/":                             "Jobs » app",
			"/job/app/job/Mobile/":                  "Jobs » app » Mobile",
			"/job/app/job/Mobile/job/ios/":          "Jobs » app » Mobile » ios",
			"/job/app/job/Mobile/job/ios/1/":        "Jobs » app » Mobile » ios » #1",
			"/job/app/job/Mobile/job/ios/1/console": "Jobs » app » Mobile » ios » #1",
			"/?by=":                                 "Jobs » Builds",
			"/job/app/?by=":                         "Jobs » app » Builds",
			"/queue/item/2/":                        "Jobs » gpu » Item 2",
			"/job/gpu/cancelAll":                    "Jobs » gpu",
		} {
			if got := trail(s.page(path)); got != want {
				s.Errorf("the way to %s is %q, want %q", path, got, want)
			}
		}
	})
}

// A job that begins to fail moves to the top; open pages receive only its row.
func TestStreamMovesAJobThatFails(t *testing.T) {
	n := 0
	spec := found()
	spec.Root.Folders[0].Jobs = append(spec.Root.Folders[0].Jobs, at("turns", run(func(context.Context, runner.Build, io.Writer) runner.Result {
		n++
		return runner.Result{Outcome: []runner.Outcome{runner.Success, runner.Failure}[n%2]}
	})))
	for i := range 200 {
		spec.Root.Folders[0].Jobs = append(spec.Root.Folders[0].Jobs, at(fmt.Sprintf("many-%d", i), writes("x\n")))
	}
	onSite(t, spec, func(s *site) {
		out, _, stop := s.open("/queue/-/events/", "alice")
		defer stop()
		s.holds(out.drain(), `"html":`)
		for _, want := range []string{`"at":{"table":0,"after":""}`, `"at":{"table":2,"after":"/ci/job/app/job/shaky/"}`} {
			s.trigger("app/turns", nil)
			time.Sleep(2 * time.Second)
			sent := out.drain()
			s.holds(sent, want, `"key":"counts"`, `"key":"fold:app"`)
			if len(sent) > 8<<10 || strings.Contains(sent, `"keys":`) {
				s.Errorf("%d bytes were sent:\n%.4000s", len(sent), sent)
			}
		}
	})
}

func TestEmptySiteExplainsHowToAddAJob(t *testing.T) {
	spec := jobs()
	onSite(t, spec, func(s *site) {
		s.holds(s.page("/"), "There are no jobs yet", "build_token {", "reload Caddy", root+"buildByToken/build?job=hello")
		s.lacks(s.page("/"), "data-find")
	})
}

func TestJobsAreSortedByTheirSuccess(t *testing.T) {
	const good, bad, shaky, stopped = runner.Success, runner.Failure, runner.Unstable, runner.Aborted
	spec := jobs(at("good", ends(good)), at("never", ends(good)), at("aborted", ends(stopped)), at("once", ends(bad)), at("late", ends(good, good, bad, bad)))
	spec.Root.Folders = []definition.Folder{{Name: "app", Jobs: []definition.Job{
		at("half", ends(bad, good, shaky, stopped, good)), at("worst", ends(bad)),
	}}}
	onSite(t, spec, func(s *site) {
		for full, n := range map[string]int{"good": 3, "aborted": 2, "once": 1, "late": 2, "app/half": 5, "app/worst": 3} {
			for range n {
				s.trigger(full, nil)
				time.Sleep(time.Minute)
			}
		}
		page := s.page("/?sort=fails")
		const want = "job/app/job/worst/ job/once/ job/app/job/half/ job/good/ job/late/ job/never/ job/aborted/"
		if got := strings.Join(order(page), " "); strings.ReplaceAll(got, "job/aborted/ job/never/", "job/never/ job/aborted/") != want {
			s.Errorf("the jobs are %s, want %s", got, want)
		}
		s.holds(page, `<option value="fails" selected>Fails most</option>`, `data-events="/ci/queue/-/events/?sort=fails"`,
			`<p class="help">Succeeded: 0 % of 3</p>`, `<p class="help">Succeeded: 50 % of 4</p>`, `<p class="help">Succeeded: 100 % of 2</p>`, `<p class="help">Succeeded: 0 % of 1</p>`,
			`<a href="/ci/job/app/" class="above"><bdi>app</bdi></a>`, `<a href="/ci/?sort=fails&amp;state=failing"`)
		s.lacks(page, "<details", "listed above")
		if got := strings.Join(order(s.page("/?sort=fails&state=failing")), " "); got != "job/app/job/worst/ job/once/" {
			s.Errorf("failing jobs are %s", got)
		}
		if got := strings.Join(order(s.page("/job/app/?sort=fails&q=h")), " "); got != "job/app/job/half/" {
			s.Errorf("jobs of app with an h are %s", got)
		}
		if got := order(s.page("/?sort=fails&q=nothing")); len(got) > 0 {
			s.Errorf("jobs with such a name are %s", got)
		}
		page = s.page("/?sort=evil%22")
		s.holds(page, "<details", `data-events="/ci/queue/-/events/"`)
		s.lacks(page, "evil", "Succeeded:", `<option value="fails" selected>`)

		out, _, stop := s.open("/queue/-/events/?sort=fails", "alice")
		defer stop()
		s.holds(out.drain(), "Succeeded: 0 % of 3")
		for range 2 { // then 2 of 4 have succeeded, as of app/half
			s.trigger("late", nil)
			time.Sleep(time.Minute)
		}
		got := out.drain()
		s.holds(got, `Succeeded: 67 % of 3`, `Succeeded: 50 % of 4`, `"at":{"table":1,"after":"/ci/job/app/job/half/"}`)
	})
}

// Numbers with several digits are the same on all pages.
func TestNumbersOnAllPages(t *testing.T) {
	n := 0
	last := run(func(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
		if n++; n == 12 {
			<-ctx.Done()
		}
		return runner.Result{Outcome: runner.Success}
	})
	onSite(t, jobs(at("app", last), at("other", hangs("")), waits("later")), func(s *site) {
		for range 12 {
			s.trigger("app", nil)
		}
		s.trigger("app", nil) // item 13 waits for build #12
		s.fill("later", 1, 2) // items 14 and 15
		for path, wanted := range map[string][]string{
			"/":                    {`<a href="/ci/job/app/12/">`, "#12<"},
			"/job/app/":            {`<a href="/ci/job/app/12/">#12</a>`, `<a href="/ci/job/app/11/">#11</a>`, `<a href="/ci/job/app/12/">Build #12 is already in progress</a>`, "Item 13<", `id="cancel-13"`, `action="/ci/queue/item/13/cancelForm"`},
			"/job/app/12/":         {"<title>Running · app #12</title>", `href="/ci/job/app/11/" rel="prev"`, `action="/ci/job/app/12/stopForm"`, `href="/ci/job/app/?like=12"`, "Queue item</dt><dd>12<", `data-events="/ci/queue/-/events/job/app/12/"`},
			"/job/app/11/":         {"<title>Success · app #11</title>", `href="/ci/job/app/12/" rel="next"`, `href="/ci/job/app/10/" rel="prev"`, "Queue item</dt><dd>11<"},
			"/job/app/?like=11":    {"With the values of build #11.", `name="again-of" value="11"`},
			"/job/app/?like=99":    {"Build #99 is not on record"},
			"/queue/":              {`<tr data-key="13">`, "item 13<", `<a href="/ci/queue/item/14/"`, `id="cancel-15"`},
			"/queue/item/13/":      {"Queue item 13 of app", "item 13<", `<a href="/ci/job/app/12/">Build #12`},
			"/computer/":           {`<a href="/ci/job/app/12/">`, "app #12<"},
			"/?by=":                {`<tr data-key="/ci/job/app/12/">`, "#12<"},
			"/rssAll":              {"<title>app #12 Running</title>", root + "job/app/12/"},
			"/job/app/rssAll":      {"<title>app #12 Running</title>", root + "job/app/11/"},
			"/job/later/cancelAll": {`name="upto" value="15"`, "Item 14"},
		} {
			s.holds(s.page(path), wanted...)
		}
		s.fill("later", 3, 12) // items 16 to 25
		s.post("/queue/item/14/cancelForm", "alice", nil)
		w := s.post("/job/later/cancelAllForm", "alice", url.Values{"upto": {"25"}, "listed": {"12"}})
		if got, want := w.Header().Get("Location"), "/ci/job/later/?cancelled=11&of=12"; got != want {
			s.Errorf("cancelling all leads to %q, want %q", got, want)
		}
	})
}
