package jenkinsrunner_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// answer returns an interceptor of the first n requests for which match is true.
func answer(n int64, match func(r *http.Request) bool, status int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !match(r) || seen.Add(1) > n {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, "<html>hunter2</html>")
		return true
	}
}

func everything(*http.Request) bool { return true }
func reads(r *http.Request) bool    { return r.Method == http.MethodGet }
func posts(r *http.Request) bool    { return r.Method == http.MethodPost }
func isTrigger(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/build") || strings.HasSuffix(r.URL.Path, "/buildWithParameters")
}

func path(part string) func(r *http.Request) bool {
	return func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }
}

const always = 1 << 60

// TestFaults makes Jenkins, and a proxy in front of it, fail in each way.
func TestFaults(t *testing.T) {
	success := runner.Result{Outcome: runner.Success}
	intercept := func(f func(http.ResponseWriter, *http.Request) bool) func(*jenkinstest.Faults) {
		return func(to *jenkinstest.Faults) { to.Intercept = f }
	}
	for _, tt := range []struct {
		name     string
		change   func(c *jenkinsrunner.Config)
		faults   func(f *jenkinstest.Faults)
		want     runner.Result // a part of the reason is enough
		triggers int           // accepted by Jenkins
		builds   int
	}{
		{"none", nil, nil, success, 1, 1},
		{"none, with a job token", withJobToken, nil, success, 1, 1},
		{"a proxy without Jenkins behind it", nil, intercept(answer(3, everything, 502)), success, 1, 1},
		{"a Jenkins that is getting ready", nil, intercept(answer(3, everything, 503, "X-Jenkins", "2.578")), success, 1, 1},
		{"a Jenkins with too many requests", nil, intercept(answer(3, everything, 429)), success, 1, 1},
		{"a Jenkins with too many requests when it is triggered", nil, intercept(answer(2, isTrigger, 429)), success, 1, 1},
		{"a Jenkins that waited too long for a request", nil, intercept(answer(3, reads, 408)), success, 1, 1},
		{
			"an answer that is no JSON", func(c *jenkinsrunner.Config) { c.RetryFor = time.Nanosecond }, intercept(answer(always, reads, 200, "Content-Type", "application/json", "X-Jenkins", "2.578")),
			runner.Result{Outcome: runner.NotBuilt, Reason: "the answer cannot be read: invalid character '<'"},
			0, 0,
		},
		{"a Jenkins that is getting ready when it is triggered", nil, intercept(answer(2, isTrigger, 503)), success, 1, 1},
		{"a proxy that sends no trigger on", nil, intercept(answer(2, isTrigger, 502)), success, 1, 1},
		{
			"a Jenkins that is never there", func(c *jenkinsrunner.Config) { c.RetryFor = time.Nanosecond }, intercept(answer(always, everything, 503)),
			runner.Result{Outcome: runner.NotBuilt, Reason: "jenkins cannot be reached: the answer is 503 Service Unavailable"},
			0, 0,
		},
		{
			"a wrong account", func(c *jenkinsrunner.Config) { c.APIToken = "hunter2" }, nil,
			runner.Result{Outcome: runner.NotBuilt, Reason: "the answer is 403 Forbidden"},
			0, 0,
		},
		{"no right to read", nil, intercept(answer(always, reads, 401)), runner.Result{Outcome: runner.NotBuilt, Reason: "401 Unauthorized: the user or its API token is wrong"}, 0, 0},
		{"no right to read, with a job token", withJobToken, intercept(answer(always, reads, 403)), runner.Result{Outcome: runner.NotBuilt, Reason: "403 Forbidden"}, 0, 0},
		{"no account", func(c *jenkinsrunner.Config) { c.User, c.APIToken = "", "" }, nil, runner.Result{Outcome: runner.NotBuilt, Reason: "403 Forbidden"}, 0, 0},
		{
			"no right to build", nil, intercept(answer(always, isTrigger, 403, "X-Required-Permission", "hudson.model.Item.Build")),
			runner.Result{Outcome: runner.NotBuilt, Reason: "403 Forbidden: it needs the permission hudson.model.Item.Build"},
			0, 0,
		},
		{"no such job", func(c *jenkinsrunner.Config) { c.Job = "other" }, nil, runner.Result{Outcome: runner.NotBuilt, Reason: "404 Not Found; there is no job other"}, 0, 0},
		{"a job that is disabled", nil, intercept(answer(always, isTrigger, 409)), runner.Result{Outcome: runner.NotBuilt, Reason: "409 Conflict"}, 0, 0},
		{"a value that is illegal", nil, intercept(answer(always, isTrigger, 500)), runner.Result{Outcome: runner.NotBuilt, Reason: "500 Internal Server Error"}, 0, 0},
		{
			"a value that is illegal, in a job without parameters", nil, intercept(either(answer(always, path("/buildWithParameters"), 400), answer(always, isTrigger, 500))),
			runner.Result{Outcome: runner.NotBuilt, Reason: "500 Internal Server Error"},
			0, 0,
		},
		{
			"a gateway's timeout when it is triggered with parameters instead", nil, intercept(either(answer(always, path("/buildWithParameters"), 504), answer(always, isTrigger, 500))),
			runner.Result{Outcome: runner.Aborted, Reason: "504 Gateway Timeout; Jenkins may have got it"},
			0, 0,
		},
		{
			"a Jenkins that is getting ready when it is triggered with parameters instead", func(c *jenkinsrunner.Config) { c.RetryFor = time.Nanosecond },
			intercept(either(answer(always, path("/buildWithParameters"), 503), answer(always, isTrigger, 500))),
			runner.Result{Outcome: runner.NotBuilt, Reason: "jenkins cannot be reached: the answer is 503 Service Unavailable"},
			0, 0,
		},
		{"a login page", nil, intercept(answer(always, reads, 200)), runner.Result{Outcome: runner.NotBuilt, Reason: "is there a login page in front of it?"}, 0, 0},
		{"a login page with the media type of JSON", nil, intercept(answer(always, reads, 200, "Content-Type", "application/json")), runner.Result{Outcome: runner.NotBuilt, Reason: "login page"}, 0, 0},
		{"a redirect to a login page", nil, intercept(answer(always, reads, 302, "Location", "/login")), runner.Result{Outcome: runner.NotBuilt, Reason: "redirects are not followed"}, 0, 0},
		{"a trigger answered by a login page", nil, intercept(answer(always, posts, 200)), runner.Result{Outcome: runner.NotBuilt, Reason: "login page"}, 0, 0},
		{"a trigger answered by a redirect", nil, intercept(answer(always, posts, 302, "Location", "/ci/job/x/")), runner.Result{Outcome: runner.NotBuilt, Reason: "redirects are not followed"}, 0, 0},
		{"a trigger without an item", nil, intercept(answer(always, posts, 201, "Location", "/ci/job/x/7/")), runner.Result{Outcome: runner.NotBuilt, Reason: "does not come from Jenkins"}, 0, 0},
		{
			"a broken connection before it was queued, without a job token", nil, func(f *jenkinstest.Faults) { f.ResetBeforeTrigger = 1 },
			runner.Result{Outcome: runner.Aborted, Reason: "Jenkins may have got it, which could be found out with a job_token"},
			0, 0,
		},
		{
			"a broken connection after it was queued, without a job token", nil, func(f *jenkinstest.Faults) { f.ResetAfterTrigger = 1 },
			runner.Result{Outcome: runner.Aborted, Reason: "Jenkins may have got it"},
			1, 1,
		},
		{
			"a broken connection before it was queued", withJobToken, func(f *jenkinstest.Faults) { f.ResetBeforeTrigger = 1 },
			runner.Result{Outcome: runner.Aborted, Reason: "but it is neither in the queue nor among the builds since then"},
			0, 0,
		},
		{"a broken connection after it was queued", withJobToken, func(f *jenkinstest.Faults) { f.ResetAfterTrigger = 1 }, success, 1, 1},
		{"a gateway's timeout", withJobToken, intercept(answer(always, isTrigger, 504)), runner.Result{Outcome: runner.Aborted, Reason: "504 Gateway Timeout; Jenkins may have got it"}, 0, 0},
		{"a job that is not shown", nil, intercept(answer(always, func(r *http.Request) bool { return r.URL.Path == "/ci/job/x/api/json" }, 404)), success, 1, 1},
		{"items that are forgotten", nil, func(f *jenkinstest.Faults) { f.Forget = true }, success, 1, 1},
		{"items that are forgotten, after a broken connection", withJobToken, func(f *jenkinstest.Faults) { f.Forget, f.ResetAfterTrigger = true, 1 }, success, 1, 1},
		{"items that do not show their build", nil, func(f *jenkinstest.Faults) { f.NoExecutable = true }, success, 1, 1},
		{"items that are gone without a build", lostSoon, intercept(answer(always, func(r *http.Request) bool {
			return path("/queue/item/")(r) || strings.Contains(r.URL.RawQuery, "queueId")
		}, 404)), runner.Result{
			Outcome: runner.Failure, Reason: "nothing was heard of the build in Jenkins for 1s",
		}, 1, 1},
		{"no right to look for it, for a moment", withJobToken, func(f *jenkinstest.Faults) {
			f.ResetAfterTrigger, f.Intercept = 1, answer(2, path("/queue/api/"), 403)
		}, success, 1, 1},
		{"no right to look for it", func(c *jenkinsrunner.Config) { withJobToken(c); lostSoon(c) }, func(f *jenkinstest.Faults) {
			f.ResetAfterTrigger, f.Intercept = 1, answer(always, path("/queue/api/"), 403)
		}, runner.Result{Outcome: runner.Aborted, Reason: "Jenkins may have got it: the answer is 403 Forbidden"}, 1, 1},
		{"a job that is missing for a moment while it is looked for", withJobToken, func(f *jenkinstest.Faults) {
			f.Forget, f.ResetAfterTrigger = true, 1
			f.Intercept = answer(2, func(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "queueId") }, 404)
		}, success, 1, 1},
		{"errors while it waits", nil, intercept(answer(3, path("/queue/item/"), 502)), success, 1, 1},
		{"login pages while it waits", nil, intercept(answer(3, path("/queue/item/"), 200)), success, 1, 1},
		{"errors while it is followed", nil, intercept(answer(6, path("/job/x/1/"), 502)), success, 1, 1},
		{"a build that is missing for a moment", nil, intercept(answer(2, path("/job/x/1/"), 404)), success, 1, 1},
		{"a build that was deleted", nil, intercept(answer(always, path("/job/x/1/"), 404)), runner.Result{Outcome: runner.Aborted, Reason: "x #1 was deleted or discarded"}, 1, 1},
		{"a Jenkins that falls silent", lostSoon, intercept(answer(always, path("/job/x/1/"), 503)), runner.Result{Outcome: runner.Failure, Reason: "nothing was heard of the build in Jenkins for 1s; it may still run"}, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Run: ends("SUCCESS")})
			if tt.change != nil {
				tt.change(&c)
			}
			if tt.faults != nil {
				j.Set(tt.faults)
			}
			var log strings.Builder
			res := newRunner(t, c).Run(t.Context(), runner.Build{}, &log)
			if res.Outcome != tt.want.Outcome || !strings.Contains(res.Reason, tt.want.Reason) || tt.want.Reason == "" && res.Reason != "" {
				t.Errorf("Run = %+v, want %+v", res, tt.want)
			}
			if n := j.Triggers(); n != tt.triggers || len(j.Builds()) != tt.builds {
				t.Errorf("%d triggers and %d builds, want %d and %d", n, len(j.Builds()), tt.triggers, tt.builds)
			}
			if res.Outcome == runner.Success && !strings.HasSuffix(log.String(), "\nworking\nFinished: SUCCESS\n") {
				t.Errorf("log = %q, want the output", log.String())
			}
			if strings.Contains(log.String(), "as item 0\n") || strings.Contains(res.Reason, "://") {
				t.Errorf("log = %q and reason = %q, want the ID of the item and no URL", log.String(), res.Reason)
			}
			if all := log.String() + res.Reason; strings.Contains(all, "hunter2") || strings.Contains(all, jobToken) {
				t.Errorf("a secret or the text of a page is in %q", all)
			}
		})
	}
}

func lostSoon(c *jenkinsrunner.Config) { c.LostAfter = time.Second }

func withJobToken(c *jenkinsrunner.Config) { c.JobToken = jobToken }

// TestAnswerOfTheTriggerIsLost puts a proxy in front of Jenkins that sends the trigger on and
// loses the answer. The trigger must not be repeated.
func TestAnswerOfTheTriggerIsLost(t *testing.T) {
	may := runner.Result{Outcome: runner.Aborted, Reason: "502 Bad Gateway; Jenkins may have got it"}
	for _, tt := range []struct {
		name         string
		hold, hidden bool // the item, the job from then on
		token        bool
		want         runner.Result
	}{
		{"and the item waits", true, false, false, may},
		{"and the build has started", false, false, false, may},
		{"and the job cannot be read any more", true, true, false, may},
		{"and the build is found by its mark", false, false, true, runner.Result{Outcome: runner.Success}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Run: ends("SUCCESS")})
			if tt.token {
				c.JobToken = jobToken
			}
			var sent, inside atomic.Bool
			j.Set(func(f *jenkinstest.Faults) {
				f.Hold = tt.hold
				f.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					switch {
					case isTrigger(r) && !inside.Load():
						inside.Store(true)
						j.ServeHTTP(httptest.NewRecorder(), r)
						inside.Store(false)
						sent.Store(true)
						w.WriteHeader(http.StatusBadGateway)
					case tt.hidden && sent.Load():
						w.WriteHeader(http.StatusNotFound)
					default:
						return false
					}
					return true
				}
			})
			res := newRunner(t, c).Run(t.Context(), runner.Build{}, io.Discard)
			if res.Outcome != tt.want.Outcome || !strings.Contains(res.Reason, tt.want.Reason) || j.Triggers() != 1 {
				t.Errorf("Run = %+v after %d triggers, want %+v after one", res, j.Triggers(), tt.want)
			}
		})
	}
}

// TestPasswordIsNoAPIToken checks that Jenkins' demand for a crumb is explained.
func TestPasswordIsNoAPIToken(t *testing.T) {
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: ends("SUCCESS")})
	j.Set(func(f *jenkinstest.Faults) {
		f.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if posts(r) {
				http.Error(w, "No valid crumb was included in the request", http.StatusForbidden)
			}
			return posts(r)
		}
	})
	res := newRunner(t, c).Run(t.Context(), runner.Build{}, io.Discard)
	if res.Outcome != runner.NotBuilt || !strings.Contains(res.Reason, "this is a password and not an API token") {
		t.Errorf("Run = %+v, want the crumb explained", res)
	}
}

// TestParametersThatAreNotShown triggers jobs when it is unknown whether they have parameters.
func TestParametersThatAreNotShown(t *testing.T) {
	for _, params := range []map[string]string{nil, {"A": "1"}} {
		j, c := jenkins(t, jenkinstest.Job{Name: "x", Params: params, Run: ends("SUCCESS")})
		j.Set(func(f *jenkinstest.Faults) { f.HideParameters = true })
		var log strings.Builder
		res := newRunner(t, c).Run(t.Context(), runner.Build{Params: []runner.Param{{Name: "A", Value: "2"}}}, &log)
		if res.Outcome != runner.Success || j.Triggers() != 1 || params != nil && j.Builds()[0].Params["A"] != "2" {
			t.Errorf("Run = %+v after %d triggers, want a success after one, with the value", res, j.Triggers())
		}
		if warned := strings.Contains(log.String(), "has no parameter A; the value is not used"); warned != (params == nil) {
			t.Errorf("log = %q, want a warning only if the value was not used", log.String())
		}
	}
}

func TestConnectionsAreTriedAgain(t *testing.T) {
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: ends("SUCCESS")})
	var tries atomic.Int64
	c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if n := tries.Add(1); n == 1 || n == 3 { // the first check, and the first trigger
			return nil, errors.New("refused")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}, DisableKeepAlives: true}
	var log strings.Builder
	if res := newRunner(t, c).Run(t.Context(), runner.Build{}, &log); res.Outcome != runner.Success || j.Triggers() != 1 {
		t.Errorf("Run = %+v after %d triggers, want a success after one", res, j.Triggers())
	}
	if want := "Jenkins: not reached, trying again for 1h0m0s: jenkins cannot be reached: refused\n"; !strings.HasPrefix(log.String(), want) {
		t.Errorf("log = %q, want %q first", log.String(), want)
	}
}

// TestJobTokenAlone triggers without an account: then the end of the build is not known.
func TestJobTokenAlone(t *testing.T) {
	for _, params := range []map[string]string{nil, {"A": "1"}} {
		for _, ours := range [][]runner.Param{nil, {{Name: "A", Value: "2"}}} {
			j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Params: params, Run: ends("FAILURE")})
			c.User, c.APIToken, c.JobToken = "", "", jobToken
			var sent atomic.Int64
			j.Set(func(f *jenkinstest.Faults) {
				f.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
					if posts(r) {
						sent.Add(1)
					}
					return false
				}
			})
			var log strings.Builder
			res := newRunner(t, c).Run(t.Context(), runner.Build{Params: ours}, &log)
			if res.Outcome != runner.Success || j.Triggers() != 1 {
				t.Errorf("Run = %+v after %d triggers, want a success after one", res, j.Triggers())
			}
			// Whether the job has parameters is not known, but probably it has if there are some.
			if want := map[bool]int64{true: 1, false: 2}[(params == nil) == (ours == nil)]; sent.Load() != want {
				t.Errorf("%d requests to trigger it, want %d", sent.Load(), want)
			}
			want := regexp.MustCompile(`^Jenkins: queued x as item [0-9]+\nJenkins: without a user, the build is not followed\n$`)
			if !want.MatchString(log.String()) {
				t.Errorf("log = %q, want %s", log.String(), want)
			}
		}
	}
	for _, status := range []int{401, 403, 404} { // of a job that may not be read
		j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Run: ends("FAILURE")})
		j.Set(func(f *jenkinstest.Faults) { f.Intercept = answer(always, reads, status) })
		c.User, c.APIToken, c.JobToken = "", "", jobToken
		if res := newRunner(t, c).Run(t.Context(), runner.Build{}, io.Discard); res.Outcome != runner.Success || j.Triggers() != 1 {
			t.Errorf("Run = %+v after %d triggers, want a success after one although the job is %d", res, j.Triggers(), status)
		}
	}
	_, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Run: ends("SUCCESS")})
	c.User, c.APIToken, c.JobToken = "", "", "wrong"
	if res := newRunner(t, c).Run(t.Context(), runner.Build{}, io.Discard); res.Outcome != runner.NotBuilt {
		t.Errorf("Run with a wrong token = %+v, want it not built", res)
	}
}

// TestTriggersHaveTheirOwnConnections checks that what changes something in Jenkins is sent over a new connection, with
// HTTP/1: net/http repeats requests that fail on a connection that was used before.
func TestTriggersHaveTheirOwnConnections(t *testing.T) {
	var mu sync.Mutex
	used := map[string]bool{}
	posted := 0
	j := jenkinstest.New(jenkinstest.Options{User: user, APIToken: apiToken, Jobs: []jenkinstest.Job{{Name: "x", Run: waits(nil)}}})
	t.Cleanup(j.Close)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if posts(r) {
			posted++
		}
		if r.ProtoMajor != 1 || posts(r) && used[r.RemoteAddr] {
			t.Errorf("%s %s came with %s over a connection that was used before: %v", r.Method, r.URL.Path, r.Proto, used[r.RemoteAddr])
		}
		used[r.RemoteAddr] = true
		mu.Unlock()
		j.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c := jenkinsrunner.Config{URL: s.URL, Job: "x", User: user, APIToken: apiToken, Every: time.Millisecond}
	trusted := x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	c.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}
	ctx, cancel := context.WithCancelCause(t.Context())
	log := &onLog{text: "started", call: func() { cancel(errors.New("stopped by alice")) }}
	if res := newRunner(t, c).Run(ctx, runner.Build{}, log); res != (runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}) || posted != 2 {
		t.Errorf("Run = %+v after %d changes, want it stopped after a trigger and a stop", res, posted)
	}
}
