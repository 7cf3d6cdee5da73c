package pages_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// dictated is a runner whose build writes the texts that it receives, until an empty one
// arrives or it is stopped.
func dictated(texts <-chan string) run {
	return func(ctx context.Context, _ runner.Build, log io.Writer) runner.Result {
		for {
			select {
			case text := <-texts:
				if text == "" {
					return runner.Result{Outcome: runner.Success}
				}
				_, _ = io.WriteString(log, text)
			case <-ctx.Done():
				return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
			}
		}
	}
}

// peer is one of several servers that share a queue, as seen by alice's browser.
type peer struct {
	*site
	url string
}

// peers starts servers of these names, which share a queue.
func peers(t *testing.T, spec definition.Spec, names ...string) (all []*peer) {
	t.Helper()
	pg := pgtest.Start(t)
	schema, key := pgtest.Schema(t, pg.URL()), vault.NewKey()
	def, err := definition.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		q, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: pg.URL(), Schema: schema, Server: name})
		if err != nil {
			t.Fatal(err)
		}
		ctl, err := buildtoken.Open(t.Context(), buildtoken.Options{Queue: q, Dir: t.TempDir(), SealKey: key, Node: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := ctl.Close(); err != nil {
				t.Errorf("Close of %s = %v", name, err)
			}
		})
		if _, err := ctl.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{def}, ShutdownTimeout: -1}); err != nil {
			t.Fatal(err)
		}
		s := &site{T: t, ctl: ctl, def: def, pages: pagesOf(ctl, def, nil)}
		server := httptest.NewServer(http.StripPrefix("/ci", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !s.pages.Serve(w, r) { //nolint:contextcheck // Serve takes the request's
				http.NotFound(w, r)
			}
		})))
		t.Cleanup(server.Close)
		all = append(all, &peer{site: s, url: server.URL})
	}
	return all
}

// answer is the response to a browser. Its body can be read until the test ends.
type answer struct {
	status int
	header http.Header
	body   io.Reader
}

// ask sends a request as a browser does, from a page of another site if foreign.
func (p *peer) ask(method, path string, form url.Values, foreign bool) answer {
	p.Helper()
	from := request(method, "/ci"+path, "alice", form)
	r, err := http.NewRequestWithContext(p.Context(), method, p.url+"/ci"+path, from.Body)
	if err != nil {
		p.Fatal(err)
	}
	r.Header = from.Header
	if foreign {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		p.Fatalf("%s %s: %v", method, path, err)
	}
	p.Cleanup(func() { got.Body.Close() })
	return answer{got.StatusCode, got.Header, got.Body}
}

// page returns a page, which alice must be able to read.
func (p *peer) page(path string) string {
	p.Helper()
	got := p.ask(http.MethodGet, path, nil, false)
	text, err := io.ReadAll(got.body)
	if err != nil || got.status != http.StatusOK {
		p.Fatalf("GET %s = %d %s, %v", path, got.status, text, err)
	}
	return string(text)
}

// submit sends a form, which must redirect to this place.
func (p *peer) submit(path string, form url.Values, to string) {
	p.Helper()
	got := p.ask(http.MethodPost, path, form, false)
	if at := got.header.Get("Location"); got.status != http.StatusSeeOther || at != "/ci"+to {
		p.Errorf("POST %s = %d to %q, want 303 to /ci%s", path, got.status, at, to)
	}
}

// live is the stream of a page.
type live struct {
	t      *testing.T
	events <-chan event
	log    string // the part of the console received so far
}

// live opens the stream to which the page refers.
func (p *peer) live(path string) *live {
	p.Helper()
	page := p.page(path)
	named := regexp.MustCompile(`<body[^>]* data-events="/ci([^"]+)"`).FindStringSubmatch(page)
	if named == nil {
		p.Fatalf("%s has no stream:\n%s", path, page)
	}
	got := p.ask(http.MethodGet, named[1], nil, false)
	if kind := got.header.Get("Content-Type"); got.status != http.StatusOK || kind != "text/event-stream" {
		p.Fatalf("GET %s = %d, %s", named[1], got.status, kind)
	}
	events := make(chan event)
	go func() { // ends with the stream or the test
		defer close(events)
		var e event
		for lines := bufio.NewScanner(got.body); lines.Scan(); {
			if lines.Text() != "" {
				e.add(p.T, lines.Text())
				continue
			}
			if e.name != "" {
				select {
				case events <- e:
				case <-p.Context().Done():
					return
				}
			}
			e = event{}
		}
	}()
	return &live{t: p.T, events: events}
}

// until reads events up to one whose short form ends with this text, or that completes a log
// which does. How regions are combined in events depends on timing.
func (l *live) until(want string) {
	l.t.Helper()
	var seen []string
	for e := range l.events {
		if e.name == "log" {
			var log logEvent
			if err := json.Unmarshal([]byte(e.data), &log); err != nil {
				l.t.Fatal(err)
			}
			if log.From != int64(len(l.log)) {
				l.t.Errorf("a piece of the log from %d, want %d", log.From, len(l.log))
			}
			l.log += textOf(l.t, log.HTML)
			if strings.HasSuffix(l.log+textOf(l.t, log.Rest), want) {
				return
			}
		}
		short := names(l.t, []event{e})[0]
		if strings.HasSuffix(short, want) {
			return
		}
		seen = append(seen, short)
	}
	l.t.Fatalf("the stream ended without %q; it had\n%s", want, strings.Join(seen, "\n"))
}

// ended fails if there are events left.
func (l *live) ended() {
	l.t.Helper()
	for e := range l.events {
		l.t.Errorf("event %v after the last one", e)
	}
}

// TestPagesShowWhatAnotherServerDoes triggers and builds on one server. On another one, a user
// watches, stops and cancels.
func TestPagesShowWhatAnotherServerDoes(t *testing.T) {
	texts := make(chan string)
	app := at("app", dictated(texts))
	app.Settings.Label = new("a")
	all := peers(t, jobs(app), "a", "b")
	a, b := all[0], all[1]

	queue := b.live("/queue/")
	queue.until("queue: 0 items queued")
	a.submit("/job/app/buildForm", url.Values{"delay": {"1h"}, "cause": {"push"}}, "/queue/item/1/")
	queue.until("queue: 1 item queued")
	b.holds(b.page("/queue/"), `href="/ci/queue/item/1/"`)
	b.holds(b.page("/queue/item/1/"), "In the quiet period", "Place 1 in the queue", "<bdi>push</bdi> <span class=\"quiet\">· Started by user <a ")
	item, job := b.live("/queue/item/1/"), b.live("/job/app/")
	job.until("app: Never built, 1 item queued")

	a.submit("/job/app/buildForm", nil, "/queue/item/1/") // joins, and is due now
	texts <- "one\n"
	item.until(`go "/ci/job/app/1/"`)
	item.ended()
	queue.until("queue: 0 items queued")
	job.until("app: Running, 0 items queued")
	build := b.live("/job/app/1/")
	build.until("one\n")
	texts <- "gr\xc3" // half of a character
	texts <- "\xbc\xc3\x9fe\n"
	build.until("\ngrüße\n")
	for _, path := range []string{"/job/app/1/", "/job/app/1/console"} {
		b.holds(b.page(path), "Running", "one\n</span>", "grüße\n</span>", `action="/ci/job/app/1/stopForm"`)
	}
	b.holds(b.page("/job/app/1/"), "<bdi>a</bdi>, executor 1", "<bdi>push</bdi>", `<li>Started by user <a href="/ci/job/app/?by=user%3Aalice#history-title"`)
	b.lacks(b.page("/computer/"), "/job/app/1/") // the page shows the executors of its own server
	b.holds(a.page("/computer/"), "/job/app/1/")

	if got := b.ask(http.MethodPost, "/job/app/1/stopForm", nil, true); got.status != http.StatusForbidden {
		t.Errorf("the form of another site = %d, want 403", got.status)
	}
	b.lacks(b.page("/job/app/1/"), "Asked to stop")
	texts <- "still here\n"
	build.until("still here\n")
	b.submit("/job/app/1/stopForm", nil, "/job/app/1/")
	build.until("done null")
	build.ended()
	job.until("app: Aborted, 0 items queued")
	if !strings.HasSuffix(build.log, "\none\ngrüße\nstill here\nstopped by user alice\nFinished: ABORTED\n") {
		t.Errorf("log that was followed: %q", build.log)
	}
	for _, server := range all {
		page := server.page("/job/app/1/")
		server.holds(page, "Aborted", `<bdi>stopped by user alice</bdi>`, "data-complete", "still here\n", "Finished: ABORTED")
		server.lacks(page, "stopForm", "Running")
		var part struct{ HTML string }
		if err := json.Unmarshal([]byte(server.page("/queue/-/log/job/app/1")), &part); err != nil {
			t.Fatal(err)
		}
		if got := textOf(t, part.HTML); got != build.log {
			t.Errorf("log in the end: %q, want %q", got, build.log)
		}
		server.holds(server.page("/job/app/rssAll"), "app #1 Aborted", "stopped by user alice")
	}

	a.submit("/job/app/buildForm", url.Values{"delay": {"1h"}}, "/queue/item/2/")
	gone := a.live("/queue/item/2/")
	b.submit("/queue/item/2/cancelForm", nil, "/queue/item/2/")
	gone.until("done null")
	gone.ended()
	for _, server := range all {
		server.holds(server.page("/queue/item/2/"), "Cancelled by <bdi>user alice</bdi>", "There will be no build.")
	}

	b.submit("/job/app/buildForm", nil, "/queue/item/3/")
	texts <- "of its own accord\n"
	build = b.live("/job/app/2/")
	build.until("of its own accord\n")
	texts <- ""
	build.until("Finished: SUCCESS\n")
	build.until("done null")
	build.ended()
	job.until("app: Success, 0 items queued")
	b.holds(b.page("/job/app/2/"), "Success", "Finished: SUCCESS", "<bdi>a</bdi>, executor 1", `href="/ci/job/app/1/" rel="prev"`)
}
