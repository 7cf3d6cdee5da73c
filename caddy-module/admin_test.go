package caddymodule_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

func TestAdminShowsTheQueue(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("executors 3", jobs("folder a {\n job later {\n quiet_period 1h\n token SECRET\n run true\n}\n}\njob off {\n disabled\n token SECRET\n run true\n}\njob done {\n token SECRET {\n grant trigger log\n }\n run echo hello\n}\n")))
	s.follow("done", "SECRET", s.trigger("done", "SECRET"))
	s.trigger("a/later", "SECRET")
	got := status(t).Queues[0]
	if got.Path != s.path || got.Executors != 3 || got.Queued != 1 || len(got.Running) != 0 {
		t.Errorf("got %+v", got)
	}
	want := []caddymodule.JobStatus{{Name: "a/later", Queued: 1, NextItem: 2}, {Name: "done", LastNumber: 1, LastCompleted: 1, LastResult: "SUCCESS"}, {Name: "off", Disabled: true}}
	if len(got.Jobs) != len(want) {
		t.Fatalf("jobs: got %+v", got.Jobs)
	}
	if done := &got.Jobs[1]; done.LastStarted.IsZero() || done.LastEnded.Before(done.LastStarted) {
		t.Errorf("done started at %v and ended at %v", done.LastStarted, done.LastEnded)
	}
	if later := &got.Jobs[0]; !strings.HasPrefix(later.Why, "In the quiet period. Expires in ") {
		t.Errorf("later waits: got %q", later.Why)
	}
	for i := range want {
		got.Jobs[i].LastStarted, got.Jobs[i].LastEnded, got.Jobs[i].Why = time.Time{}, time.Time{}, ""
		if got.Jobs[i] != want[i] {
			t.Errorf("job: got %+v, want %+v", got.Jobs[i], want[i])
		}
	}
}

// The times of last builds are looked up for up to 200 jobs.
func TestAdminShowsTimesOfSomeJobs(t *testing.T) {
	s := newSite(t)
	many := func(n int) string {
		text := named("SECRET")
		for i := range n - 1 {
			text += fmt.Sprintf("job j%d {\n run true\n}\n", i)
		}
		return s.caddyfile("", jobs(text))
	}
	s.load(many(200))
	s.follow("echo", "SECRET", s.trigger("echo", "SECRET"))
	for n, want := range map[int]bool{200: true, 201: false} {
		s.load(many(n))
		if echo := status(t).Queues[0].Jobs[0]; echo.Name != "echo" || echo.LastCompleted != 1 || echo.LastEnded.IsZero() == want {
			t.Errorf("with %d jobs: %+v, want its times: %t", n, echo, want)
		}
	}
}

// TestItemsOfARemovedJob shows and cancels items whose job the configuration does not have.
func TestItemsOfARemovedJob(t *testing.T) {
	s := newSite(t)
	const stays = "job stays {\n token SECRET\n run true\n}\n"
	s.load(s.caddyfile("", jobs("job old {\n quiet_period 1h\n token SECRET\n run true\n}\n"+stays)))
	item := s.trigger("old", "SECRET")
	s.load(s.caddyfile("audit", jobs(stays)))
	warned := 0
	for _, line := range s.logged("build_token") {
		if line["msg"] == "items of jobs that no server has are queued" && line["level"] == "warn" && line["items"] == 1.0 {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("the reload warned %d times, want once", warned)
	}
	got := status(t)
	if q := got.Queues[0]; q.Queued != 1 || len(q.Gone) != 1 || q.Gone[0].Name != "old" || q.Gone[0].Queued != 1 {
		t.Errorf("status: got %+v", q)
	}
	if text := caddymodule.FormatStatus(got, time.Now()); !strings.Contains(text, "\nold\t1\t\tno server has this job; its items wait for it until ") ||
		!strings.Contains(text, "; the first is item "+item+"\n") {
		t.Errorf("the status is shown as %q", text)
	}
	for _, tt := range []struct {
		method, query string
		want          int
	}{
		{http.MethodGet, "job=old&item=" + item, http.StatusMethodNotAllowed},
		{http.MethodPost, "job=older&item=" + item, http.StatusNotFound},
		{http.MethodPost, "job=old&item=first", http.StatusBadRequest},
		{http.MethodPost, "job=old&item=" + item, http.StatusNoContent},
		{http.MethodPost, "job=old&item=" + item, http.StatusConflict},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), tt.method, "/build_token/buildByToken/cancel?"+tt.query, nil)
		err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, r)
		if refused, ok := errors.AsType[caddy.APIError](err); ok {
			w.Code = refused.HTTPStatus
		}
		if w.Code != tt.want {
			t.Errorf("%s %s: got %d, %v; want %d", tt.method, tt.query, w.Code, err, tt.want)
		}
	}
	if q := status(t).Queues[0]; q.Queued != 0 || len(q.Gone) != 0 {
		t.Errorf("status at the end: got %+v", q)
	}
	audited := ""
	for _, line := range s.logged("build_token.audit") {
		audited += fmt.Sprintln(line["msg"], line["job"], line["item"], line["who"], line["rule"])
	}
	for _, want := range []string{
		"refused older " + item + " user of the admin API <nil>\n", "cancelled old " + item + " user of the admin API <nil>\n",
	} {
		if strings.Count(audited, want) != 1 {
			t.Errorf("audit: got\n%swant the line %s", audited, want)
		}
	}
}

// The warning about removed jobs names ten of them.
func TestManyRemovedJobs(t *testing.T) {
	s := newSite(t)
	const stays = "job stays {\n run true\n}\n"
	text := stays
	for i := range 11 {
		text += fmt.Sprintf("job j%d {\n quiet_period 1h\n token SECRET\n run true\n}\n", i)
	}
	s.load(s.caddyfile("", jobs(text)))
	for i := range 11 {
		s.trigger(fmt.Sprint("j", i), "SECRET")
	}
	began := time.Now()
	s.load(s.caddyfile("orphan_timeout 2h", jobs(stays)))
	if gone := status(t).Queues[0].Gone; len(gone) != 11 || gone[0].Until.Before(began.Add(2*time.Hour)) || gone[0].Until.After(time.Now().Add(2*time.Hour)) {
		t.Errorf("removed jobs: %+v, want 11 that wait for two hours", gone)
	}
	for _, line := range s.logged("build_token") {
		if line["msg"] == "items of jobs that no server has are queued" {
			if named, _ := line["such_as"].([]any); line["jobs"] != 11.0 || line["items"] != 11.0 || len(named) != 10 {
				t.Errorf("logged %v, want ten of 11 jobs", line)
			}
			return
		}
	}
	t.Error("there was no warning")
}

func TestAdminRefuses(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodPost, "/build_token/", http.StatusMethodNotAllowed},
		{http.MethodDelete, "/build_token/", http.StatusMethodNotAllowed},
		{http.MethodGet, "/build_token/jobs", http.StatusNotFound},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil)
		err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(httptest.NewRecorder(), r)
		var refused caddy.APIError
		if !errors.As(err, &refused) || refused.HTTPStatus != tt.want {
			t.Errorf("%s %s: got %v, want %d", tt.method, tt.path, err, tt.want)
		}
	}
}

// Each endpoint of the admin API answers with JSON, refuses other methods, and names what it does not find.
func TestAdminEndpoints(t *testing.T) {
	s := newSite(t)
	targets := ""
	for _, name := range []string{"ops", "e", "d", "c", "b", "a"} {
		targets += "notify " + name + " http://127.0.0.1:1/ {\n on aborted\n}\n"
	}
	s.load(s.caddyfile("", jobs(targets+named("SECRET"))))
	s.follow("echo", "SECRET", s.trigger("echo", "SECRET"))
	for _, tt := range []struct {
		request string
		status  int
		body    string // in the answer or the error
	}{
		{"GET tokens", http.StatusOK, `"name":"default"`},
		{"GET deliveries", http.StatusOK, `[]`},
		{"GET decisions", http.StatusOK, `"job":"echo"`},
		{"GET notifications", http.StatusOK, `{`},
		{"GET leftovers", http.StatusOK, `[]`},
		{"GET build?job=echo&number=1", http.StatusOK, `"SUCCESS"`},
		{"GET build?job=echo&number=2", http.StatusNotFound, "2"},
		{"GET build?job=echo&number=10", http.StatusNotFound, "it has no build #10"},
		{"GET build?job=echo&number=9223372036854775807", http.StatusNotFound, "it has no build #9223372036854775807"},
		{"GET build?job=none&number=1", http.StatusNotFound, "none"},
		{"GET console?job=echo&number=1", http.StatusOK, "Started by remote host 127.0.0.1\nhello\nFinished: SUCCESS\n"},
		{"GET console?job=echo&number=2", http.StatusNotFound, "2"},
		{"POST tokens", http.StatusMethodNotAllowed, "POST"},
		{"GET build?job=echo", http.StatusOK, `"number":1`},
		{"GET build?job=echo&number=x", http.StatusBadRequest, `"x" is not the number of a build`},
		{"POST build?job=echo", http.StatusMethodNotAllowed, "POST"},
		{"POST deliveries", http.StatusMethodNotAllowed, "POST"},
		{"POST decisions", http.StatusMethodNotAllowed, "POST"},
		{"POST notifications", http.StatusMethodNotAllowed, "POST"},
		{"POST leftovers", http.StatusMethodNotAllowed, "POST"},
		{"GET notifications/test?target=ops", http.StatusMethodNotAllowed, "GET"},
		{"POST notifications/test?target=ops&param=A=1", http.StatusOK, "connection refused"},
		{"GET backup", http.StatusMethodNotAllowed, "GET"},
		{"GET prune", http.StatusMethodNotAllowed, "GET"},
		{"POST prune", http.StatusOK, `[]`},
		{"GET notifications/retry?id=1", http.StatusMethodNotAllowed, "GET"},
		{"POST notifications/retry?id=x", http.StatusBadRequest, "a number"},
		{"POST notifications/retry?id=10", http.StatusNotFound, "notification 10 "},
		{"POST notifications/retry?id=9223372036854775807", http.StatusNotFound, "notification 9223372036854775807 "},
		{"POST notifications/test?target=none", http.StatusNotFound, "no notify 'none'; there are: a, b, c, d, e, ops"},
		{"POST notifications/test?target=ops", http.StatusOK, "connection refused"},
		{"POST notifications/test?target=none&param=x", http.StatusBadRequest, `"x" is not NAME=VALUE`},
		{"GET buildByToken/nothing?job=echo", http.StatusNotFound, ""},
		{"POST buildByToken/build?job=none", http.StatusNotFound, ""},
		{"POST buildByToken/cancel?job=none&item=1", http.StatusNotFound, ""},
		{"POST buildByToken/cancel?job=echo&item=1", http.StatusConflict, ""},
	} {
		status, body := adminAnswer(t, tt.request)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s: got %d, %s; want %d with %q", tt.request, status, body, tt.status, tt.body)
		}
	}
}

// A server without jobs has nothing to trigger or to show.
func TestAdminWithoutJobs(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", ""))
	for _, request := range []string{
		"POST buildByToken/build?job=echo", "POST buildByToken/cancel?job=echo&item=1", "GET buildByToken/status?job=echo&item=1", "GET build?job=echo", "GET console?job=echo",
	} {
		if status, body := adminAnswer(t, request); status != http.StatusNotFound {
			t.Errorf("%s: got %d, %s; want 404", request, status, body)
		}
	}
}

// adminAnswer sends a request such as "GET tokens" to the admin API in this process, and returns the answer or the error.
func adminAnswer(t *testing.T, request string) (status int, body string) {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	w := httptest.NewRecorder()
	err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/build_token/"+path, nil))
	if refused, ok := errors.AsType[caddy.APIError](err); ok {
		if allow := w.Header().Get("Allow"); (allow != "") != (refused.HTTPStatus == http.StatusMethodNotAllowed) || allow == method {
			t.Errorf("%s: %d with Allow %q", request, refused.HTTPStatus, allow)
		}
		return refused.HTTPStatus, refused.Err.Error()
	}
	if kind := w.Header().Get("Content-Type"); json.Valid(w.Body.Bytes()) != (kind == "application/json") {
		t.Errorf("%s: the Content-Type of %s is %q", request, w.Body, kind)
	}
	if err != nil {
		t.Errorf("%s: %v, which is no caddy.APIError", request, err)
	}
	return w.Code, w.Body.String()
}

// TestMetricsSurviveReloads reads the metrics from the site itself.
func TestMetricsSurviveReloads(t *testing.T) {
	s := newSite(t)
	body := "handle /metrics {\n metrics\n}\n" + jobs(named("SECRET")+"job later {\n token SECRET\n run true\n}\njob polled {\n token SECRET\n run true\n poll true\n}\n")
	s.load(s.caddyfile("executors 3", body))
	s.follow("echo", "SECRET", s.trigger("echo", "SECRET"))
	s.get("/buildByToken/build?job=echo&token=wrong")
	s.get("/buildByToken/build?job=unknown&token=SECRET")
	s.get("/buildByToken/build?job=later&token=SECRET&delay=1h")
	want := []string{
		`caddy_build_token_triggers_total{job="echo",outcome="created"} 1`,
		`caddy_build_token_triggers_total{job="echo",outcome="joined"} 0`,
		`caddy_build_token_triggers_total{job="echo",outcome="refused"} 1`,
		`caddy_build_token_refused_total{reason="token"} 1`,
		`caddy_build_token_refused_total{reason="unknown"} 1`,
		`caddy_build_token_builds_total{job="echo",result="SUCCESS"} 1`,
		`caddy_build_token_queued_items 1`,
		`caddy_build_token_orphaned_items 0`,
		`caddy_build_token_running_builds 0`,
		`caddy_build_token_executors 3`,
		`caddy_build_token_queue_up 1`,
		`caddy_build_token_lost_builds_total 0`,
		`caddy_build_token_job_queued_items{job="later"} 1`,
		`caddy_build_token_oldest_due_item_age_seconds 0`,
		`caddy_build_token_build_duration_seconds_count{job="echo"} 1`,
		`caddy_build_token_start_delay_seconds_count 1`,
		// Counters of events that have not happened are 0 rather than missing, so that the
		// first event is an increase.
		`caddy_build_token_builds_total{job="later",result="FAILURE"} 0`,
		`caddy_build_token_triggers_total{job="later",outcome="refused"} 0`,
		`caddy_build_token_last_success_timestamp_seconds{job="later"} 0`,
		`caddy_build_token_polls_total{job="polled",outcome="failed"} 0`,
		`caddy_build_token_refused_total{reason="storage"} 0`,
	}
	for _, when := range []string{"before the reload", "after it", "after another"} {
		got := s.get("/metrics").body
		for _, line := range want {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("%s: no line %s", when, line)
			}
		}
		if strings.Contains(got, `last_success_timestamp_seconds{job="echo"} 0`) || strings.Contains(got, `polls_total{job="echo"`) {
			t.Errorf("%s: echo has succeeded, and has no poll:\n%s", when, got)
		}
		if strings.Contains(got, `job="unknown"`) {
			t.Errorf("%s: a request made a label", when)
		}
		s.load(s.caddyfile("executors 3", body))
	}
}

// TestTwoHandlersShareTheMetrics: registering the metrics twice must not fail.
func TestTwoHandlersShareTheMetrics(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", "handle /metrics {\n metrics\n}\nhandle_path /a/* {\n"+jobs(named("SECRET"))+"}\nhandle_path /b/* {\n"+jobs(named("SECRET"))+"}\n"))
	a := s.get("/a/buildByToken/build?job=echo&token=SECRET&delay=1h")
	b := s.get("/b/buildByToken/build?job=echo&token=SECRET&delay=1h")
	if a.status != http.StatusCreated || b.status != http.StatusSeeOther {
		t.Errorf("the same job by two ways: got %d and %d, want 201 and 303", a.status, b.status)
	}
	if got := s.get("/metrics"); got.status != http.StatusOK || strings.Count(got.body, "# TYPE caddy_build_token_triggers_total") != 1 {
		t.Errorf("metrics: got %d %s", got.status, got.body)
	}
}

// TestBodyIsCountedAndRead sends a body through the recorder and the counting body.
func TestBodyIsCountedAndRead(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", jobs(logged)))
	body := "job=y&token=SECRET"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+"/buildByToken/build?cause=x&z=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("got %d %q, %v, want 201", resp.StatusCode, text, err)
	}
	entries := s.logged("http.log.access")
	if len(entries) != 1 || entries[0]["bytes_read"] != float64(len(body)) {
		t.Errorf("got %v, want one entry with bytes_read %d", entries, len(body))
	}
	s.mustNotLog("SECRET")
}
