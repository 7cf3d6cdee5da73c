package hooks_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
)

// TestExplain explains deliveries to one site and sends them to another one. What is explained
// must be what happens, and nothing may be queued.
func TestExplain(t *testing.T) {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	for _, tt := range []struct {
		name, job string
		r         func(job string) *http.Request
		status    int
		steps     []string
		jobs      []string
	}{
		{
			"it counts for some jobs", "mono", func(job string) *http.Request {
				return github(t, path+"?job="+job, "push", "1", push("main", "api/x.go"))
			}, 201,
			[]string{"method: POST true", "job: mono/all, mono/api, mono/web true", "signature: right for webhook github true", "event: push to main of shop/api by octavia true"},
			[]string{"mono/all queued <nil>", "mono/api queued <nil>", "mono/web ignored <nil>"},
		},
		{
			"a rule denies it", "denied", func(job string) *http.Request { return github(t, path+"?job="+job, "push", "1", push("main", "a")) }, 403,
			[]string{"method: POST true", "job: denied true", "signature: right for webhook github true", "event: push to main of shop/api by octavia true"},
			[]string{"denied denied policy: denied by denied allow 1"},
		},
		{
			"a ping", "push", func(job string) *http.Request { return github(t, path+"?job="+job, "ping", "1", "{}") }, 200,
			[]string{"method: POST true", "job: push true", "signature: right for webhook github true", "event: a ping, which is answered true"},
			nil,
		},
		{
			"a test of Bitbucket, which is not signed", "bitbucket", func(job string) *http.Request {
				return post(t, path+"?job="+job, `{"test": true}`, "X-Event-Key", "diagnostics:ping")
			}, 200, []string{"method: POST true", "job: bitbucket true", "ping: an unsigned test, which is answered true"}, nil,
		},
		{
			"no signature", "push", func(job string) *http.Request { return post(t, path+"?job="+job, "{}") }, 403,
			[]string{"method: POST true", "job: push true", "signature: hook: not signed: X-Hub-Signature-256 is missing false"},
			nil,
		},
		{
			"a wrong signature of Slack", "slack", func(job string) *http.Request {
				return post(t, path+"?job="+job, "x", "X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0="+sign("y"))
			}, 403, []string{"method: POST true", "job: slack true", "signature: hook: wrong signature: none of 1 secrets made it false"}, nil,
		},
		{
			"a command of Slack that is none", "slack", func(job string) *http.Request {
				const body = "command=%zz"
				return post(t, path+"?job="+job, body, "X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0="+sign("v0:"+now+":"+body))
			}, 200, []string{
				"method: POST true", "job: slack true", "signature: right for webhook slack true",
				"event: event: malformed body: form false",
			}, nil,
		},
		{
			"another method", "push", func(job string) *http.Request {
				return httptest.NewRequest(http.MethodGet, path+"?job="+job, http.NoBody)
			}, 405, []string{"method: web: method not allowed false"}, nil,
		},
		{
			"no such job", "nowhere", func(job string) *http.Request { return post(t, path+"?job="+job, "{}") }, 404,
			[]string{"method: POST true", "job: buildtoken: unknown job: no job at or below it has an on for a webhook false"},
			nil,
		},
		{
			"no JSON", "push", func(job string) *http.Request { return github(t, path+"?job="+job, "push", "1", "{") }, 400,
			[]string{"method: POST true", "job: push true", "signature: right for webhook github true", "event: event: malformed body: JSON false"},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			q := s.web.Request(httptest.NewRecorder(), tt.r(tt.job))
			defer q.Begin().End()
			x := hooks.Explain(q, tt.job)
			var steps, jobs []string
			for _, step := range x.Steps {
				steps = append(steps, fmt.Sprint(step.Check, ": ", step.Found, " ", step.OK))
			}
			for _, j := range x.Jobs {
				jobs = append(jobs, fmt.Sprint(j.Job, " ", j.Outcome, " ", j.Err))
				if len(j.Steps) == 0 {
					t.Errorf("no steps of %s", j.Job)
				}
			}
			if diff := cmp.Diff(tt.steps, steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.jobs, jobs); diff != "" {
				t.Errorf("jobs (-want +got):\n%s", diff)
			}
			if failed := !x.Steps[len(x.Steps)-1].OK; failed != (x.Err != nil) {
				t.Errorf("Err = %v after %v", x.Err, steps)
			}
			if n := len(s.items("mono/all")) + len(s.ctl.Deliveries().List()); n != 0 {
				t.Errorf("%d items and deliveries, want nothing done", n)
			}
			if w := s.send(tt.r(tt.job)); x.Status != tt.status || w.Code != tt.status {
				t.Errorf("explained as %d and answered with %d, want %d", x.Status, w.Code, tt.status)
			}
		})
	}
}
