package pages_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// allKinds is a job with a parameter of each kind but file.
func allKinds(r runner.Runner) definition.Job {
	return at("deploy", r,
		job.Param{Name: "BRANCH", Kind: job.KindString, Default: "main", Description: "What to build."},
		job.Param{Name: "NOTES", Kind: job.KindText, Default: "\none\ntwo"},
		job.Param{Name: "STAGE", Kind: job.KindChoice, Choices: []string{"dev", "prod"}},
		job.Param{Name: "DRY", Kind: job.KindBoolean, Default: "true"},
		job.Param{Name: "KEY", Kind: job.KindPassword, Default: "hunter2"},
	)
}

// seen returns the values of the job's parameters in the environment of its builds.
func seen(all *[]string) run {
	return func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
		for _, p := range b.Params {
			*all = append(*all, p.Name+"="+p.Value)
		}
		return runner.Result{Outcome: runner.Success}
	}
}

func TestFormShowsParameters(t *testing.T) {
	j := allKinds(writes(""))
	j.Params = append(j.Params, job.Param{Name: "WET", Kind: job.KindBoolean})
	onSite(t, jobs(j), func(s *site) {
		s.holds(s.page("/job/deploy/"),
			`<form method="post" action="/ci/job/deploy/buildForm">`,
			`<label for="param-BRANCH">BRANCH</label>`,
			`<input type="text" id="param-BRANCH" name="BRANCH" value="main" autocomplete="off" spellcheck="false" aria-describedby="param-BRANCH-help">`,
			"\">\n\none\ntwo</textarea>", // the parser removes the first line break
			`<option value="dev" selected>dev</option><option value="prod">prod</option>`,
			`<input type="checkbox" id="param-DRY" name="DRY" value="true" checked>`,
			`<input type="checkbox" id="param-WET" name="WET" value="true">`,
			`<input type="password" id="param-KEY" name="KEY" autocomplete="new-password" aria-describedby="param-KEY-help">`,
			"Leave it empty for the default.",
		)
	})
}

func TestFormStartsBuild(t *testing.T) {
	for _, tt := range []struct {
		name string
		form url.Values
		want []string
	}{
		{
			"as it comes",
			url.Values{"BRANCH": {"main"}, "NOTES": {"\r\none\r\ntwo"}, "STAGE": {"dev"}, "DRY": {"true"}, "KEY": {""}},
			[]string{"BRANCH=main", "NOTES=\none\ntwo", "STAGE=dev", "DRY=true", "KEY=hunter2"},
		},
		{
			"a box without a tick is false, whatever the default",
			url.Values{"BRANCH": {""}, "NOTES": {""}, "STAGE": {"prod"}, "KEY": {"other"}},
			[]string{"BRANCH=", "NOTES=", "STAGE=prod", "DRY=false", "KEY=other"},
		},
		{
			"what is no parameter is ignored",
			url.Values{"NOTES": {"x"}, "DRY": {"true"}, "PATH": {"/evil"}, "token": {"x"}},
			[]string{"BRANCH=main", "NOTES=x", "STAGE=dev", "DRY=true", "KEY=hunter2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			onSite(t, jobs(allKinds(seen(&got))), func(s *site) {
				w := s.post("/job/deploy/buildForm", "alice", tt.form)
				if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ci/queue/item/1/" {
					s.Fatalf("form = %d to %q, want 303 to the item\n%s", w.Code, w.Header().Get("Location"), main(w.Body.String()))
				}
				s.settle()
				if diff := cmp.Diff(tt.want, got); diff != "" {
					s.Errorf("parameters (-want +got):\n%s", diff)
				}
				if w := s.get("/queue/item/1/", "alice"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ci/job/deploy/1/" {
					s.Errorf("item = %d to %q, want 303 to the build", w.Code, w.Header().Get("Location"))
				}
				s.holds(s.page("/job/deploy/1/"), `Started by user <a href="/ci/job/deploy/?by=user%3Aalice#history-title"`)
			})
		})
	}
}

func TestFormTakesDelayAndNote(t *testing.T) {
	onSite(t, jobs(at("hello", writes(""))), func(s *site) {
		w := s.post("/job/hello/buildForm", "alice", url.Values{"delay": {" 1h "}, "cause": {"for the demo"}})
		if w.Code != http.StatusSeeOther {
			s.Fatalf("form = %d, want 303", w.Code)
		}
		s.settle()
		s.holds(s.page("/queue/item/1/"), "<bdi>for the demo</bdi> <span class=\"quiet\">· Started by user <a ", "In the quiet period", "data-due", "Place 1 in the queue")
		if w := s.post("/queue/item/1/cancelForm", "alice", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ci/queue/item/1/" {
			s.Errorf("cancel = %d to %q, want 303 to the item", w.Code, w.Header().Get("Location"))
		}
		page := s.page("/queue/item/1/")
		s.holds(page, "Cancelled by <bdi>user alice</bdi>", "There will be no build.")
		s.lacks(page, "data-events", "cancelForm")
		if w := s.post("/queue/item/1/cancelForm", "alice", nil); w.Code != http.StatusSeeOther {
			s.Errorf("a second cancel = %d, want 303", w.Code)
		}
		// What stands in the address is no part of the form.
		s.post("/job/hello/buildForm?delay=1h&cause=elsewhere", "alice", nil)
		s.settle()
		s.lacks(s.page("/job/hello/1/"), "elsewhere")
	})
}

func TestJobPageNamesItsItemsByNumberOnly(t *testing.T) {
	onSite(t, jobs(at("first", writes("")), at("second", writes(""))), func(s *site) {
		s.triggerIn("first", "1h")
		s.triggerIn("second", "2h")
		s.settle()
		s.holds(s.page("/queue/"), `<a href="/ci/job/second/"><bdi>second</bdi></a> <a href="/ci/queue/item/2/"`, `<td data-label="Place" class="number">2</td>`)
		page := s.page("/job/second/")
		s.holds(page, `<a href="/ci/queue/item/2/" class="whole">Item 2</a>`)
		// Its position is 2 in the queue, but 1 among the items of the job.
		s.lacks(page, "Place", `<a href="/ci/job/second/"><bdi>second</bdi></a> <a href="/ci/queue/item/2/"`)
	})
}

func TestFormShowsErrorsBesideTheirFields(t *testing.T) {
	onSite(t, jobs(allKinds(writes(""))), func(s *site) {
		w := s.post("/job/deploy/buildForm", "alice", url.Values{
			"BRANCH": {"feature"}, "NOTES": {strings.Repeat("n", job.MaxText+1)}, "STAGE": {"moon"}, "KEY": {"typed"}, "delay": {"soon"}, "cause": {"why not"},
		})
		if w.Code != http.StatusBadRequest {
			s.Fatalf("form = %d, want 400", w.Code)
		}
		s.holds(w.Body.String(),
			"Nothing was queued. Look at the fields that are marked.",
			`name="BRANCH" value="feature"`,
			`aria-describedby=" param-STAGE-problem" aria-invalid="true"`,
			`<p class="problem" id="param-STAGE-problem">Illegal choice for parameter STAGE, choose one of: dev, prod.</p>`,
			`id="param-NOTES-problem"`,
			`<p class="problem" id="start-delay-problem">`,
			`name="delay" value="soon"`, `name="cause" value="why not"`, "<details open>",
			`name="DRY" value="true">`, // the check mark was removed
			`data-events="/ci/queue/-/events/job/deploy/"`,
		)
		s.holds(w.Body.String(),
			`Passwords and files are not kept. Enter again: <bdi>KEY</bdi>.`,
			`name="KEY" autocomplete="new-password" required aria-describedby="param-KEY-help param-KEY-problem" aria-invalid="true">`,
			`<p class="problem" id="param-KEY-problem">Enter it again: passwords are not kept.</p>`,
		)
		s.lacks(w.Body.String(), "typed", "param-BRANCH-problem")
		for _, tt := range []struct{ delay, cause, details string }{{"", "", "<details>"}, {"5m", "", "<details open>"}, {"", "why not", "<details open>"}} {
			w := s.post("/job/deploy/buildForm", "alice", url.Values{"STAGE": {"moon"}, "delay": {tt.delay}, "cause": {tt.cause}})
			s.holds(w.Body.String(), tt.details+"\n<summary>Options</summary>")
		}
		again := s.post("/job/deploy/buildForm", "alice", url.Values{"BRANCH": {"one\r\ntwo"}, "delay": {"soon"}}).Body.String()
		s.holds(again, `<textarea id="param-BRANCH" name="BRANCH"`, "\none\ntwo</textarea>")
		if items, err := s.ctl.Items(s.Context(), s.def, "", 9); err != nil || len(items) > 0 {
			s.Errorf("%d items, %v, want none", len(items), err)
		}
	})
}

func TestFormShowsWhyItWasRefused(t *testing.T) {
	spec := jobs(at("hello", writes(""), job.Param{Name: "N", Kind: job.KindString}))
	spec.Root.Allow = []policy.Rule{{Source: `params["N"] != "no"`}}
	onSite(t, spec, func(s *site) {
		w := s.post("/job/hello/buildForm", "alice", url.Values{"N": {"no"}})
		if w.Code != http.StatusForbidden {
			s.Errorf("form = %d, want 403", w.Code)
		}
		s.holds(w.Body.String(), "A rule does not allow a build with these values now.", `value="no"`)
		s.lacks(w.Body.String(), `params[`)
		w = s.post("/job/hello/buildForm", "blind", url.Values{"N": {"no"}})
		s.holds(w.Body.String(), "A rule does not allow a build with these values now.")
		s.lacks(main(w.Body.String()), "hello", "<form")
		s.lacks(w.Body.String(), "data-events") // nothing on it changes
	})
	spec.Root.Allow[0].Message = "no is not an answer"
	spec.Root.Jobs = append(spec.Root.Jobs, definition.Job{Name: "old", Disabled: true, Runner: writes("")})
	onSite(t, spec, func(s *site) {
		w := s.post("/job/hello/buildForm", "alice", url.Values{"N": {"no"}})
		s.holds(w.Body.String(), `<p class="problem" role="alert">Not allowed: no is not an answer. Nothing was queued.</p>`)
		w = s.post("/job/old/buildForm", "blind", nil)
		s.holds(w.Body.String(), "Old is not buildable. Nothing was queued.")
	})
}

func TestFormTakesFiles(t *testing.T) {
	content := ""
	r := run(func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
		for _, p := range b.Params {
			raw, err := os.ReadFile(p.File)
			content += p.Name + "=" + p.Value + ":" + string(raw)
			if p.File == "" && err != nil {
				content += "no file"
			}
		}
		return runner.Result{Outcome: runner.Success}
	})
	onSite(t, jobs(at("up", r, job.Param{Name: "F", Kind: job.KindFile}, job.Param{Name: "S", Kind: job.KindString})), func(s *site) {
		s.holds(s.page("/job/up/"), `enctype="multipart/form-data"`, `<input type="file" id="param-F" name="F">`)
		if w := s.upload(map[string]string{"S": "x"}, file{"F", `C:\dir\a.txt`, "hello"}); w.Code != http.StatusSeeOther {
			s.Fatalf("form = %d, want 303\n%s", w.Code, main(w.Body.String()))
		}
		s.settle()
		if content != "F=a.txt:helloS=x:no file" {
			s.Errorf("the build found %q", content)
		}
		s.holds(s.page("/job/up/1/"), "a.txt", "(file)")
		if w := s.upload(map[string]string{"S": "x"}, file{"F", "", ""}); w.Code != http.StatusSeeOther {
			s.Errorf("form without a file = %d, want 303", w.Code)
		}
		if w := s.upload(map[string]string{"S": "x"}, file{"F", "big", strings.Repeat("x", 33<<20)}); w.Code != http.StatusRequestEntityTooLarge {
			s.Errorf("a file of 33 MiB = %d, want 413", w.Code)
		}
	})
}

func TestFormThatCannotBeRead(t *testing.T) {
	onSite(t, jobs(at("hello", writes(""))), func(s *site) {
		for _, tt := range []struct {
			name, contentType, body string
			want                    int
		}{
			{"too large", "application/x-www-form-urlencoded", "a=" + strings.Repeat("x", 1<<20), 413},
			{"no form", "application/json", "{}", 400},
			{"half an escape", "application/x-www-form-urlencoded", "a=%", 400},
			{"a boundary that never comes", "multipart/form-data; boundary=x", "--y", 400},
			{"no type", "", "x", 400},
		} {
			for _, path := range []string{"/job/hello/buildForm", "/job/hello/cancelAllForm"} {
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(tt.body))
				r.SetBasicAuth("alice", "secret")
				r.Header.Set("Content-Type", tt.contentType)
				if w := s.do(r); w.Code != tt.want {
					s.Errorf("POST %s, %s = %d, want %d", path, tt.name, w.Code, tt.want)
				}
			}
		}
		// The job takes no files, so nothing of a large body is read.
		r := httptest.NewRequest(http.MethodPost, "/job/hello/buildForm", iotest.ErrReader(errors.New("read")))
		r.SetBasicAuth("alice", "secret")
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		r.Header.Set("Expect", "100-continue")
		r.ContentLength = 2 << 20
		if w := s.do(r); w.Code != http.StatusRequestEntityTooLarge {
			s.Errorf("an announced body of 2 MiB = %d, want 413", w.Code)
		}
	})
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("app/deploy", nil)
		s.trigger("app/deploy", nil)
		for _, path := range []string{"/job/hello/buildForm", "/job/app/job/deploy/1/stopForm", "/queue/item/2/cancelForm"} {
			for _, tt := range []struct {
				name   string
				header http.Header
				want   int
			}{
				{"another site", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}, 403},
				{"another host of this site", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://www.example.com"}}, 403},
				{"an older browser on another site", http.Header{"Origin": {"https://evil.example"}}, 403},
				{"a sandbox", http.Header{"Origin": {"null"}}, 403},
			} {
				r := httptest.NewRequest(http.MethodPost, "http://inside:8080"+path, nil)
				r.SetBasicAuth("alice", "secret")
				for name, values := range tt.header {
					r.Header[name] = values
				}
				if w := s.do(r); w.Code != tt.want {
					s.Errorf("POST %s from %s = %d, want %d", path, tt.name, w.Code, tt.want)
				}
			}
		}
		if items, _ := s.ctl.Items(s.Context(), s.def, "", 9); len(items) != 1 {
			s.Errorf("%d items, want the one that was there", len(items))
		}
		for _, header := range []http.Header{
			{"Sec-Fetch-Site": {"same-origin"}},
			{"Sec-Fetch-Site": {"none"}},
			{"Origin": {"https://ci.example.com"}}, // as the browser sees it; Host is set by the proxy
			{"Origin": {"http://inside:8080"}},
			{}, // not a browser
		} {
			r := httptest.NewRequest(http.MethodPost, "http://inside:8080/job/hello/buildForm", nil)
			r.SetBasicAuth("alice", "secret")
			r.Header = mergeHeaders(r.Header, header)
			if w := s.do(r); w.Code != http.StatusSeeOther {
				s.Errorf("POST with %v = %d, want 303", header, w.Code)
			}
		}
	})
}

// Anyone who has recorded early data can send it again.
func TestFormsInEarlyDataAreRefused(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("app/deploy", nil)
		s.trigger("app/deploy", nil)
		for _, path := range []string{"/job/hello/buildForm", "/job/app/job/deploy/1/stopForm", "/queue/item/2/cancelForm"} {
			r := httptest.NewRequest(http.MethodPost, "https://ci.example.com"+path, nil)
			r.TLS.HandshakeComplete = false
			r.SetBasicAuth("alice", "secret")
			if w := s.do(r); w.Code != http.StatusTooEarly {
				s.Errorf("POST %s = %d, want 425", path, w.Code)
			}
		}
		if items, _ := s.ctl.Items(s.Context(), s.def, "", 9); len(items) != 1 {
			s.Errorf("%d items, want the one that was there", len(items))
		}
	})
}

// A rule can admit a browser by its address, without an account. A page of another site must
// not be able to use that.
func TestFormOfAnotherSiteIsRefusedByAddress(t *testing.T) {
	spec := tree()
	spec.Access.Build = `request.remote_ip == "192.0.2.7"`
	onSite(t, spec, func(s *site) {
		for from, want := range map[string]int{"cross-site": http.StatusForbidden, "same-origin": http.StatusSeeOther} {
			r := httptest.NewRequest(http.MethodPost, "http://inside:8080/job/hello/buildForm", nil)
			r.Header.Set("Sec-Fetch-Site", from)
			if w := s.do(r); w.Code != want {
				s.Errorf("POST without an account, Sec-Fetch-Site %s = %d, want %d", from, w.Code, want)
			}
		}
	})
}

func mergeHeaders(a, b http.Header) http.Header {
	for name, values := range b {
		a[name] = values
	}
	return a
}

func TestStop(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.trigger("app/deploy", nil)
		s.holds(s.page("/job/app/job/deploy/1/"), `action="/ci/job/app/job/deploy/1/stopForm"`, "Running", `data-since="for ">since 20`)
		for range 2 { // the second stop finds that the build has ended
			w := s.post("/job/app/job/deploy/1/stopForm", "alice", nil)
			if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/ci/job/app/job/deploy/1/" {
				s.Errorf("stop = %d to %q, want 303 to the build", w.Code, w.Header().Get("Location"))
			}
			s.settle()
		}
		b, err := s.ctl.Build(s.Context(), "app/deploy", 1)
		if err != nil || b.Result != queue.Aborted {
			s.Errorf("build = %v, %v, want ABORTED", b.Result, err)
		}
		page := s.page("/job/app/job/deploy/1/")
		s.holds(page, "Aborted", "user alice")
		s.lacks(page, "stopForm", "data-events=\"/ci/queue/-/events/job/app/job/deploy/1/\" data-say")
	})
}

func TestReadersMayNotCancelOrStop(t *testing.T) {
	onSite(t, jobs(at("busy", hangs(""))), func(s *site) {
		s.trigger("busy", nil)
		s.trigger("busy", nil) // item 2 waits
		core, lines := observer.New(zapcore.InfoLevel)
		if _, err := s.ctl.Attach(s.Context(), buildtoken.Config{Sites: []*definition.Site{s.def}, Executors: 3, ShutdownTimeout: -1, Audit: zap.New(core)}); err != nil {
			s.Fatal(err)
		}
		for _, tt := range []struct {
			path, action string
			item, number any
		}{
			{"/queue/item/2/cancelForm", "cancel", int64(2), nil},
			{"/job/busy/1/stopForm", "stop", int64(1), int64(1)},
			{"/job/busy/cancelAllForm", "cancel", nil, nil},
		} {
			if w := s.post(tt.path, "rita", nil); w.Code != http.StatusForbidden {
				s.Errorf("POST %s of a reader = %d, want 403", tt.path, w.Code)
			}
			all := lines.TakeAll()
			if len(all) != 1 {
				s.Fatalf("POST %s: %d lines for audits, want one", tt.path, len(all))
			}
			if got := all[0].ContextMap(); got["action"] != tt.action || got["item"] != tt.item || got["number"] != tt.number || got["who"] != "user rita" || got["job"] != "busy" {
				s.Errorf("POST %s: the line for audits has %v", tt.path, got)
			}
		}
		s.settle()
		s.holds(s.page("/job/busy/1/"), "Running")
		s.lacks(s.page("/job/busy/1/"), "Asked to stop")
		s.holds(s.page("/queue/item/2/"), "Build #1 is already in progress")
	})
}

func TestPermalinksAndHistory(t *testing.T) {
	n := 0
	r := run(func(context.Context, runner.Build, io.Writer) runner.Result {
		if n++; n%2 == 0 {
			return runner.Result{Outcome: runner.Failure, Reason: "exit status 1"}
		}
		return runner.Result{Outcome: runner.Success}
	})
	onSite(t, jobs(at("hello", r)), func(s *site) {
		for range 25 {
			s.trigger("hello", nil)
		}
		s.lacks(s.page("/job/hello/"), "Older builds")
		for range 5 {
			s.trigger("hello", nil)
		}
		for name, want := range map[string]string{
			"lastBuild": "30", "lastCompletedBuild": "30", "lastSuccessfulBuild": "29", "lastStableBuild": "29",
			"lastFailedBuild": "30", "lastUnsuccessfulBuild": "30",
		} {
			if got := s.get("/job/hello/"+name+"/", "alice").Header().Get("Location"); got != "/ci/job/hello/"+want+"/" {
				s.Errorf("%s goes to %q, want build %s", name, got, want)
			}
		}
		if got := s.get("/job/hello/lastFailedBuild/console", "alice").Header().Get("Location"); got != "/ci/job/hello/30/console" {
			s.Errorf("the console goes to %q", got)
		}
		newest := s.page("/job/hello/")
		s.holds(newest, ">#30<", ">#6<", `href="/ci/job/hello/?before=6#history-title"`)
		s.lacks(newest, ">#5<", "Newest builds")
		older := s.page("/job/hello/?before=6")
		s.holds(older, ">#5<", ">#1<", "Newest builds")
		s.lacks(older, ">#6<", "Older builds")
		s.holds(s.page("/job/hello/?before=x"), ">#30<")
		s.holds(s.page("/job/hello/8/"), `href="/ci/job/hello/7/" rel="prev"`, `href="/ci/job/hello/9/" rel="next"`, "exit status 1", "took")
		s.lacks(s.page("/job/hello/30/"), `rel="next"`)
	})
}

// deadlines is a response that records the read deadlines of the connection.
type deadlines struct {
	*httptest.ResponseRecorder
	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

// The time limit for a body ends with the body. It must not cut off what the handler does
// afterwards.
func TestFormLiftsTheDeadlineOfItsBody(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		s.pages.Serve(w, request(http.MethodPost, "/job/hello/buildForm", "alice", url.Values{"cause": {"slow line"}}))
		if w.Code != http.StatusSeeOther || len(w.read) < 2 || w.read[0].IsZero() || !w.read[len(w.read)-1].IsZero() {
			t.Errorf("status %d, read deadlines %v; want 303, one deadline and then none", w.Code, w.read)
		}
	})
}

// Browsers send Sec-Fetch-Site only to https and localhost, and just the origin elsewhere.
func TestFormsWorkOnAnyHost(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		for _, tt := range []struct {
			name, host, root, origin string
			want                     int
		}{
			{"plain HTTP on a host inside", "ci.internal:8080", "http://ci.internal:8080/", "http://ci.internal:8080", 303},
			{"behind a proxy that ends TLS", "ci.example.com", "http://ci.example.com/", "https://ci.example.com", 303},
			{"behind a proxy that changes the host", "backend:8080", "https://ci.example.com/", "https://ci.example.com", 303},
			{"a browser that says nothing", "ci.internal", "http://ci.internal/", "", 303},
			{"another site", "ci.internal:8080", "http://ci.internal:8080/", "http://evil.example", 403},
			{"another port", "ci.internal:8080", "http://ci.internal:8080/", "http://ci.internal:8081", 403},
			{"a page without an origin", "ci.internal:8080", "http://ci.internal:8080/", "null", 403},
		} {
			s.pages.site.Root = func(*http.Request) string { return tt.root }
			for _, path := range []string{"/job/hello/buildForm", "/job/hello/1/stopForm", "/queue/item/1/cancelForm"} {
				s.trigger("hello", nil)
				r := request(http.MethodPost, path, "alice", nil)
				r.Host = tt.host
				r.Header.Del("Sec-Fetch-Site")
				if tt.origin != "" {
					r.Header.Set("Origin", tt.origin)
				}
				if w := s.do(r); w.Code != tt.want {
					t.Errorf("%s: POST %s = %d, want %d", tt.name, path, w.Code, tt.want)
				}
			}
		}
	})
}

// The browser shows the address of a refused form. Loading it again must lead to a page.
func TestAddressOfAFormLeadsToItsPage(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		for path, want := range map[string]string{
			"/job/app/job/deploy/buildForm": "/ci/job/app/job/deploy/",
			"/job/hello/7/stopForm":         "/ci/job/hello/7/",
			"/queue/item/3/cancelForm":      "/ci/queue/item/3/",
		} {
			if w := s.get(path, "alice"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
				t.Errorf("GET %s = %d, Location %q, want 303 to %q", path, w.Code, w.Header().Get("Location"), want)
			}
		}
	})
}

// Whatever the reason of a refusal is, the next click must not send the form without its
// passwords and files.
func TestRefusedFormRequiresPasswordsAndFilesAgain(t *testing.T) {
	spec := jobs(at("up", writes(""), job.Param{Name: "F", Kind: job.KindFile}, job.Param{Name: "PW", Kind: job.KindPassword},
		job.Param{Name: "EMPTY", Kind: job.KindPassword}, job.Param{Name: "OTHER", Kind: job.KindFile}))
	spec.Root.Allow = []policy.Rule{{Source: "false"}}
	onSite(t, spec, func(s *site) {
		s.lacks(s.page("/job/up/"), "required", "again")
		w := s.upload(map[string]string{"PW": "hunter2!", "EMPTY": ""}, file{"F", "a.txt", "content"}, file{"OTHER", "", "content"})
		if w.Code != http.StatusForbidden {
			t.Errorf("status %d, want 403", w.Code)
		}
		s.holds(w.Body.String(), "Enter again: <bdi>F</bdi>, <bdi>PW</bdi>.", `<input type="file" id="param-F" name="F" required`,
			`name="PW" autocomplete="new-password" required`, "Choose it again: files are not kept.")
		if n := strings.Count(w.Body.String(), " required"); n != 2 {
			t.Errorf("%d fields are required, want 2", n)
		}
	})
}

// Dots for a password that was empty would hide that the build had none.
func TestEmptyPasswordIsShownAsEmpty(t *testing.T) {
	params := []job.Param{{Name: "PW", Kind: job.KindPassword}}
	onSite(t, jobs(at("hello", writes(""), params...)), func(s *site) {
		s.trigger("hello", map[string][]string{"PW": {""}})
		s.trigger("hello", map[string][]string{"PW": {"x"}})
		s.holds(s.page("/job/hello/1/"), `<dt><code>PW</code></dt>
<dd><span class="quiet">empty</span>`)
		s.lacks(s.page("/job/hello/1/"), "••••")
		s.holds(s.page("/job/hello/2/"), "••••")
	})
}

// A form takes memory from a limit for all requests only while it is used.
func TestFormsGiveBackTheirMemory(t *testing.T) {
	onSite(t, jobs(at("hello", writes(""))), func(s *site) {
		large := strings.Repeat("x", 1_000_000)
		for _, path := range []string{"/job/hello/buildForm", "/job/hello/cancelAllForm"} {
			for range 150 {
				if w := s.post(path, "alice", url.Values{"delay": {"soon"}, "other": {large}}); w.Code != http.StatusBadRequest {
					s.Fatalf("POST %s = %d, want 400", path, w.Code)
				}
			}
		}
	})
}
