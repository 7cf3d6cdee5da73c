package jenkinsrunner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
	"github.com/buildtoken/buildtoken/internal/runnertest"
)

// clocked is a Jenkins in a bubble. It records when it gets which requests.
type clocked struct {
	*jenkinstest.Server
	began time.Time
	// open is how many connections are open.
	open atomic.Int64

	// mu guards the following.
	mu    sync.Mutex
	times map[string][]time.Duration
}

// inBubble runs a test with a Jenkins, and the configuration of a runner for its job, in a bubble.
func inBubble(t *testing.T, job jenkinstest.Job, test func(t *testing.T, j *clocked, c jenkinsrunner.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		job.Name = "x"
		j := &clocked{
			Server: jenkinstest.New(jenkinstest.Options{User: user, APIToken: apiToken, Jobs: []jenkinstest.Job{job}}),
			began:  time.Now(), times: map[string][]time.Duration{},
		}
		pipes := make(runnertest.Pipes)
		server := http.Server{ReadHeaderTimeout: time.Hour, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			synctest.Wait() // builds have done what they do at this instant
			j.note(r)
			j.ServeHTTP(w, r)
		})}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(pipes) })
		transport := pipes.Transport()
		transport.MaxConnsPerHost = 1 // an answer that is not closed holds up the next request
		dial := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			j.open.Add(1)
			return &counted{Conn: conn, open: &j.open}, err
		}
		test(t, j, jenkinsrunner.Config{URL: "http://jenkins.internal", Job: "x", User: user, APIToken: apiToken, Transport: transport})
		close(pipes)
		_ = server.Close()
		j.Close()
		serving.Wait()
	})
}

// counted is an open connection until it is closed for the first time.
type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func (j *clocked) note(r *http.Request) {
	what := strings.TrimPrefix(strings.TrimSuffix(r.URL.Path, "/api/json"), "/job/x")
	switch {
	case strings.HasPrefix(what, "/queue/item/"):
		what = "item"
	case strings.HasPrefix(what, "/build"):
		what = "trigger"
	case strings.HasSuffix(what, "/progressiveText"):
		what = "log"
	case what == "" && strings.Contains(r.URL.RawQuery, "builds"):
		what = "builds"
	case what == "":
		what = "job"
	case what == "/1":
		what = "build"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.times[what] = append(j.times[what], time.Since(j.began).Truncate(time.Millisecond))
}

// at returns when requests came, in seconds.
func (j *clocked) at(what string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for _, d := range j.times[what] {
		all = append(all, fmt.Sprint(d.Seconds()))
	}
	return strings.Join(all, " ")
}

// lasts returns the work of a build that takes some time, whatever it is told.
func lasts(d time.Duration, lines ...string) func(*jenkinstest.Build) string {
	return func(b *jenkinstest.Build) string {
		for _, line := range lines {
			fmt.Fprintln(b, line)
		}
		time.Sleep(d)
		return "SUCCESS"
	}
}

// at returns an interceptor that answers requests for which match is true, at some times.
func at(match func(r *http.Request) bool, status int, when func(since time.Duration) bool) func(http.ResponseWriter, *http.Request) bool {
	began := time.Now()
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !match(r) || !when(time.Since(began)) {
			return false
		}
		w.WriteHeader(status)
		return true
	}
}

// hang returns an interceptor that does not answer requests for which match is true.
func hang(match func(r *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if match(r) {
			<-r.Context().Done()
		}
		return match(r)
	}
}

// tells returns an interceptor that answers requests for which match is true with an object of the API.
func tells(match func(r *http.Request) bool, object string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if match(r) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Jenkins", jenkinstest.Version)
			fmt.Fprint(w, object)
		}
		return match(r)
	}
}

// during returns an interceptor that does what another one does for some time.
func during(from, to time.Duration, intercept func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	began := time.Now()
	return func(w http.ResponseWriter, r *http.Request) bool {
		since := time.Since(began)
		return since >= from && since < to && intercept(w, r)
	}
}

// either returns an interceptor that does what the first of some does.
func either(some ...func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return slices.ContainsFunc(some, func(intercept func(http.ResponseWriter, *http.Request) bool) bool { return intercept(w, r) })
	}
}

func looks(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "nextBuildNumber") }
func lists(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, "builds") }

// TestRequestsOverTime checks how often Jenkins is asked, and when the runner gives up.
func TestRequestsOverTime(t *testing.T) {
	const silence = "nothing was heard for"
	success := runner.Result{Outcome: runner.Success}
	for _, tt := range []struct {
		name   string
		work   func(*jenkinstest.Build) string
		change func(c *jenkinsrunner.Config)
		faults func(f *jenkinstest.Faults) // set in the bubble
		heal   time.Duration               // when faults end; 0 for never
		stop   time.Duration               // when the build is stopped; 0 for never
		want   runner.Result               // a part of the reason is enough
		ends   time.Duration
		at     map[string]string
		log    []string // lines that are in the log, as often as here
	}{
		{
			name: "a build that writes nothing", work: lasts(time.Minute), want: success, ends: 62 * time.Second,
			at: map[string]string{"job": "0", "trigger": "0", "item": "0", "builds": "", "log": "0 1 3 7 12 17 22 27 32 37 42 47 52 57 62", "build": "1 17 32 47 62"},
		},
		{
			name: "a build that writes after a while", want: success, ends: 49 * time.Second,
			work: func(b *jenkinstest.Build) string {
				time.Sleep(25 * time.Second)
				fmt.Fprintln(b, "here")
				time.Sleep(20 * time.Second)
				return "SUCCESS"
			},
			at: map[string]string{"log": "0 1 3 7 12 17 22 27 28 30 34 39 44 49"},
		},
		{
			name: "a log that cannot be read", work: lasts(20 * time.Second), want: success, ends: 27 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if !path("/progressiveText")(r) {
						return false
					}
					w.Header().Set("X-Text-Size", "9")
					w.Header().Set("X-More-Data", "true")
					w.Header().Set("Content-Length", "9") // which do not come
					return true
				}
			},
			at: map[string]string{"log": "0 1 3 7 12 17 22 27", "build": "0 1 3 7 12 17 22 27"},
		},
		{
			name: "a build that is missing now and then", work: lasts(time.Minute), want: success, ends: 62 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = at(path("/job/x/1/"), 404, func(since time.Duration) bool {
					return since%(20*time.Second) > 5*time.Second && since%(20*time.Second) < 15*time.Second
				})
			},
			at: map[string]string{"log": "0 1 3 7 12 17 22 27 32 37 42 47 52 57 62", "build": "1 7 12 27 32 47 52 62"},
		},
		{
			name: "two silences", work: lasts(250 * time.Second), want: success, ends: 252 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = at(path("/job/x/1/"), 503, func(since time.Duration) bool { return since%(100*time.Second) > 55*time.Second })
			},
			log: slices.Repeat([]string{"Jenkins: nothing was heard for 35s, waiting for 15m0s: the answer is 503 Service Unavailable"}, 2),
		},
		{
			name: "an item that cannot be cancelled", work: lasts(time.Hour), stop: 10 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Hold, f.Intercept = true, answer(always, path("/queue/cancelItem"), 500)
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it may go on in Jenkins: it did not stop"}, ends: 55 * time.Second,
			at: map[string]string{"item": "0 1 3 7 10 11 13 17 22 27 32 37 42 47 52", "/queue/cancelItem": "10 11 13 17 22 27 32 37 42 47 52"},
		},
		{
			name: "a stop just after the build has started", work: waits(nil), faults: func(f *jenkinstest.Faults) { f.Hold = true }, heal: 20 * time.Second, stop: 21 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}, ends: 21 * time.Second,
			at: map[string]string{"item": "0 1 3 7 12 17 21", "/queue/cancelItem": "", "/1/stop": "21"},
		},
		{
			name: "a result before the end", work: lasts(30 * time.Second), want: success, ends: 32 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				began := time.Now()
				f.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if !path("/job/x/1/api/")(r) || time.Since(began) > 30*time.Second {
						return false
					}
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("X-Jenkins", jenkinstest.Version)
					fmt.Fprint(w, `{"number": 1, "building": false, "inProgress": true, "result": "SUCCESS"}`)
					return true
				}
			},
		},
		{
			name: "an item that waits", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.Hold = true }, heal: 30 * time.Second, want: success, ends: 32 * time.Second,
			at:  map[string]string{"item": "0 1 3 7 12 17 22 27 32", "builds": ""},
			log: []string{"Jenkins: Waiting for next available executor"},
		},
		{
			name: "an item whose reason to wait changes", work: lasts(0), heal: 20 * time.Second, want: success, ends: 22 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				item := path("/queue/item/")
				f.Hold, f.Intercept = true, either(
					during(0, 5*time.Second, tells(item, `{"why": "Build #1 is already in progress (ETA: 10 min)"}`)),
					during(0, 10*time.Second, tells(item, `{"why": "Build #1 is already in progress (ETA: 9 min)"}`)),
					during(0, 15*time.Second, tells(item, `{"why": "In the quiet period. Expires in 5 sec"}`)),
					tells(item, `{"why": "In the quiet period. Expires in 900 ms"}`),
				)
			},
			log: []string{"Jenkins: Build #1 is already in progress", "Jenkins: In the quiet period."},
		},
		{
			name: "a log that does not come", work: lasts(15*time.Minute, "here"), faults: func(f *jenkinstest.Faults) { f.Intercept = hang(path("/progressiveText")) },
			want: success, ends: 1803 * time.Second,
			at: map[string]string{"log": "0 601 1203"}, log: []string{"here"},
		},
		{
			name: "a log that never ends", work: lasts(20 * time.Second), want: success, ends: 39 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
					w.Header().Set("X-More-Data", "true")
					return false
				}
			},
			at: map[string]string{"log": "0 1 3 7 12 17 22 23 25 29 34 39", "build": "1 17 34 39"},
		},
		{
			name: "a log behind a login page", work: lasts(20 * time.Second), want: success, ends: 24 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = during(0, 10*time.Second, answer(always, path("/progressiveText"), 200))
			},
			at: map[string]string{"log": "0 1 3 7 12 13 15 19 24", "build": "0 1 3 7 24"},
		},
		{
			name: "a job that is away while its build is followed", work: lasts(time.Minute), want: success, ends: 62 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = during(5*time.Second, 40*time.Second, answer(always, path("/job/x/"), 404))
			},
			log: []string{"Jenkins: nothing was heard for 34s, waiting for 15m0s: the answer is 404 Not Found"},
		},
		{
			name: "a Jenkins that is away", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, everything, 503) }, heal: 5 * time.Minute, want: success, ends: 303 * time.Second,
			at:  map[string]string{"job": "0 1 3 7 15 31 63 123 183 243 303", "trigger": "303"},
			log: []string{"Jenkins: not reached, trying again for 1h0m0s: jenkins cannot be reached: the answer is 503 Service Unavailable"},
		},
		{
			name: "a Jenkins that does not answer", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.Intercept = hang(reads) },
			change: func(c *jenkinsrunner.Config) { c.RetryFor = 90 * time.Second },
			want:   runner.Result{Outcome: runner.NotBuilt, Reason: "jenkins cannot be reached: no answer within 1m0s"}, ends: 121 * time.Second,
			at: map[string]string{"job": "0 61", "trigger": ""},
		},
		{
			name: "a trigger that is looked for in vain", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.ResetBeforeTrigger = 1 }, change: withJobToken,
			want: runner.Result{Outcome: runner.Aborted, Reason: "but it is neither in the queue nor among the builds since then"}, ends: 42 * time.Second,
			at: map[string]string{"/queue": "0 1 3 7 12 17 22 27 32 37", "builds": "0 1 3 7 12 17 22 27 32 37"},
		},
		{
			name: "a trigger that a proxy did not send on", work: lasts(0), want: success, ends: 32 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				lost, away := answer(1, isTrigger, 502), answer(4, reads, 503) // the first one is the check
				began := time.Now()
				f.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					return lost(w, r) || time.Since(began) > 0 && away(w, r)
				}
			},
			at: map[string]string{"job": "0 1 3 7 15 31 32", "trigger": "0 32"},
		},
		{
			name: "a trigger without an answer", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.Intercept = hang(isTrigger) },
			want: runner.Result{Outcome: runner.Aborted, Reason: "no answer within 10m0s; Jenkins may have got it"}, ends: 10 * time.Minute,
		},
		{
			name: "a stop before the answer to the trigger", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.Intercept = hang(isTrigger) }, stop: 5 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; Jenkins may have got the trigger"}, ends: 15 * time.Second,
		},
		{
			name: "a stop that the build obeys", work: waits(nil), stop: 10 * time.Second, want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}, ends: 10 * time.Second,
			at: map[string]string{"/1/stop": "10", "/1/term": "", "/1/kill": ""},
		},
		{
			name: "a stop that the build ignores", work: lasts(5 * time.Minute), stop: 10 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it may go on in Jenkins: it did not stop"}, ends: 55 * time.Second,
			at: map[string]string{"/1/stop": "10", "/1/term": "15", "/1/kill": "20"},
		},
		{
			name: "a stop that a build which is no pipeline ignores", work: lasts(5 * time.Minute), stop: 10 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = either(answer(always, path("/1/term"), 404), answer(always, path("/1/kill"), 404))
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it may go on in Jenkins: it did not stop"}, ends: 55 * time.Second,
			at: map[string]string{"/1/stop": "10", "/1/term": "15", "/1/kill": "20"},
		},
		{
			name: "a stop with much time", work: lasts(5 * time.Minute), change: func(c *jenkinsrunner.Config) { c.KillDelay = 40 * time.Second }, stop: 10 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it may go on in Jenkins: it did not stop"}, ends: 150 * time.Second,
			at: map[string]string{"/1/stop": "10", "/1/term": "50", "/1/kill": "90"},
		},
		{
			name: "a stop that fails", work: lasts(5 * time.Minute), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/1/term"), 500) }, stop: 10 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it may go on in Jenkins: the answer is 500 Internal Server Error"}, ends: 15 * time.Second,
			at: map[string]string{"/1/stop": "10", "/1/term": "15", "/1/kill": ""},
		},
		{
			name: "a stop of a build that is gone", work: lasts(5 * time.Minute), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/1/stop"), 404) }, stop: 10 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it may go on in Jenkins: the answer is 404 Not Found"}, ends: 10 * time.Second,
		},
		{
			name: "a stop that is answered by a page", work: waits(nil), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/1/stop"), 200) }, stop: 10 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}, ends: 15 * time.Second,
			at: map[string]string{"/1/stop": "10", "/1/term": "15", "/1/kill": ""},
		},
		{
			name: "a stop of a build that has just ended", work: lasts(8 * time.Second), stop: 10 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}, ends: 10 * time.Second,
			at: map[string]string{"/1/stop": ""},
		},
		{
			name: "a stop of a build that others wait for", work: lasts(5 * time.Minute), stop: 10 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = tells(path("/job/x/1/api/"), `{"number": 1, "building": true, "actions": [{"causes": [{}, {}]}]}`)
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it goes on in Jenkins, where others wait for it too"}, ends: 10 * time.Second,
			at: map[string]string{"/1/stop": ""},
		},
		{
			name: "a stop of a build that was found by its mark", work: waits(nil), faults: func(f *jenkinstest.Faults) { f.ResetAfterTrigger = 1 }, change: withJobToken, stop: 10 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}, ends: 10 * time.Second,
			at: map[string]string{"/1/stop": "10"},
		},
		{
			name: "a stop while the trigger is looked for", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.ResetBeforeTrigger = 1 }, change: withJobToken, stop: 5 * time.Second,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; Jenkins may have got the trigger"}, ends: 5 * time.Second,
			at: map[string]string{"/queue": "0 1 3", "item": ""},
		},
		{
			name: "a stop while it is unknown whether a proxy sent the trigger on", work: lasts(0), stop: 10 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = either(answer(1, isTrigger, 502), during(1, time.Hour, answer(always, reads, 503)))
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; Jenkins may have got the trigger"}, ends: 10 * time.Second,
			at: map[string]string{"job": "0 1 3 7", "trigger": "0"},
		},
		{
			name: "a stop before the answer to the trigger, which comes", work: waits(nil), stop: 5 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
					if isTrigger(r) {
						time.Sleep(8 * time.Second)
					}
					return false
				}
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}, ends: 8 * time.Second,
			at: map[string]string{"/1/stop": "8"},
		},
		{
			name: "a trigger answered by a page", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, isTrigger, 200) },
			want: runner.Result{Outcome: runner.NotBuilt, Reason: "does not come from Jenkins"},
		},
		{
			name: "a trigger that a proxy answers for a job that may not be read any more", work: lasts(0),
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = either(answer(1, isTrigger, 502), during(1, time.Hour, answer(always, reads, 403)))
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "502 Bad Gateway; Jenkins may have got it"}, ends: time.Second,
			at: map[string]string{"job": "0 1", "trigger": "0"},
		},
		{
			name: "a trigger that a proxy answers for a Jenkins that is away", work: lasts(0), change: func(c *jenkinsrunner.Config) { c.RetryFor = 63 * time.Second },
			faults: func(f *jenkinstest.Faults) {
				f.Intercept = either(answer(1, isTrigger, 502), during(1, time.Hour, answer(always, reads, 503)))
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "502 Bad Gateway; Jenkins may have got it"}, ends: 123 * time.Second,
			at: map[string]string{"job": "0 1 3 7 15 31 63 123", "trigger": "0"},
		},
		{
			name: "a trigger that is found in the queue", work: lasts(0), faults: func(f *jenkinstest.Faults) { f.Hold, f.ResetAfterTrigger = true, 1 }, change: withJobToken, heal: 10 * time.Second,
			want: success, ends: 12 * time.Second,
			at: map[string]string{"/queue": "0", "item": "0 1 3 7 12"},
		},
		{
			name: "an item that is gone, of a job that is not shown", work: lasts(time.Hour),
			faults: func(f *jenkinstest.Faults) {
				f.Forget, f.Intercept = true, either(answer(always, looks, 404), tells(lists, `{"builds": []}`))
			},
			want: runner.Result{Outcome: runner.Aborted, Reason: "is gone from the queue of Jenkins without a build"}, ends: 37 * time.Second,
			at: map[string]string{"builds": "0 1 3 7 12 17 22 27 32 37", "/0": ""},
		},
		{
			name: "an item that is gone, and whose build is listed late", work: lasts(0), want: success, ends: 37 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Forget, f.Intercept = true, during(0, 35*time.Second, tells(lists, `{"builds": []}`))
			},
		},
		{
			name: "an item that is gone, and whose build cannot be read for a while", work: lasts(0), want: success, ends: 62 * time.Second,
			faults: func(f *jenkinstest.Faults) {
				f.Forget, f.Intercept = true, either(
					tells(lists, `{"builds": [{"number": 5, "queueId": 9}]}`),
					during(0, time.Minute, answer(always, path("/job/x/1/api/"), 503)),
				)
			},
			log: []string{"Jenkins: nothing was heard for 32s, waiting for 15m0s: the answer is 503 Service Unavailable"},
		},
		{
			name: "a build that is gone", work: lasts(time.Hour), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/job/x/1/"), 404) },
			want: runner.Result{Outcome: runner.Aborted, Reason: "x #1 was deleted or discarded in Jenkins"}, ends: 3 * time.Second,
			at: map[string]string{"build": "0 1 3"},
		},
		{
			name: "an item that is gone", work: lasts(time.Hour), faults: func(f *jenkinstest.Faults) { f.Hold, f.Intercept = true, answer(always, path("/queue/item/"), 404) },
			want: runner.Result{Outcome: runner.Aborted, Reason: "is gone from the queue of Jenkins without a build"}, ends: 37 * time.Second,
			at: map[string]string{"item": "0 1 3 7 12 17 22 27 32 37"},
		},
		{
			name: "a silence that ends", work: lasts(time.Hour), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/job/x/1/"), 503) }, heal: time.Minute,
			stop: 2 * time.Minute,
			want: runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice"}, ends: 165 * time.Second,
			log: []string{"Jenkins: nothing was heard for 32s, waiting for 15m0s: the answer is 503 Service Unavailable"},
		},
		{
			name: "a long silence", work: lasts(time.Hour), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/job/x/1/"), 503) },
			want: runner.Result{Outcome: runner.Failure, Reason: "nothing was heard of the build in Jenkins for 15m0s; it may still run: the answer is 503 Service Unavailable"}, ends: 902 * time.Second,
			log: []string{"Jenkins: nothing was heard for 32s, waiting for 15m0s: the answer is 503 Service Unavailable"},
		},
		{
			name: "a silence that need not be long", work: lasts(time.Hour), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/job/x/1/"), 503) },
			change: func(c *jenkinsrunner.Config) { c.LostAfter = 34 * time.Second },
			want:   runner.Result{Outcome: runner.Failure, Reason: "nothing was heard of the build in Jenkins for 34s"}, ends: 37 * time.Second,
			log: []string{"Jenkins: nothing was heard for 22s, waiting for 34s: the answer is 503 Service Unavailable"},
		},
		{
			name: "a silence that is just not too long", work: lasts(time.Hour), faults: func(f *jenkinstest.Faults) { f.Intercept = answer(always, path("/job/x/1/"), 503) },
			change: func(c *jenkinsrunner.Config) { c.LostAfter = 37 * time.Second },
			want:   runner.Result{Outcome: runner.Failure, Reason: "nothing was heard of the build in Jenkins for 37s"}, ends: 42 * time.Second,
			log: []string{"Jenkins: nothing was heard for 22s, waiting for 37s: the answer is 503 Service Unavailable"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, jenkinstest.Job{Run: tt.work, Token: jobToken, Pipeline: true}, func(t *testing.T, j *clocked, c jenkinsrunner.Config) {
				if tt.change != nil {
					tt.change(&c)
				}
				if tt.faults != nil {
					j.Set(tt.faults)
				}
				if tt.heal > 0 {
					time.AfterFunc(tt.heal, func() { j.Set(func(f *jenkinstest.Faults) { *f = jenkinstest.Faults{} }) })
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if tt.stop > 0 {
					time.AfterFunc(tt.stop, func() { cancel(errors.New("stopped by alice")) })
				}
				var log strings.Builder
				res := newRunner(t, c).Run(ctx, runner.Build{}, &log)
				if res.Outcome != tt.want.Outcome || !strings.Contains(res.Reason, tt.want.Reason) {
					t.Errorf("Run = %+v, want %+v", res, tt.want)
				}
				if took := time.Since(j.began).Truncate(time.Millisecond); took != tt.ends {
					t.Errorf("Run ended after %v, want %v", took, tt.ends)
				}
				time.Sleep(time.Nanosecond) // everything is done by then
				if n := j.open.Load(); n != 0 {
					t.Errorf("Run left %d connections open", n)
				}
				var got map[string]string
				if tt.at != nil {
					got = map[string]string{}
				}
				for what := range tt.at {
					got[what] = j.at(what)
				}
				if diff := cmp.Diff(tt.at, got); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				lines := strings.Join(tt.log, "\n")
				for _, part := range append(tt.log, silence) {
					if got, want := strings.Count(log.String(), part), strings.Count(lines, part); got != want {
						t.Errorf("log = %q has %d times %q, want %d", log.String(), got, part, want)
					}
				}
			})
		})
	}
}

// TestProgressIsSavedOverTime checks when the progress of a build is saved while its log grows,
// and what of the log.
func TestProgressIsSavedOverTime(t *testing.T) {
	work := func(b *jenkinstest.Build) string {
		for range 25 {
			fmt.Fprintln(b, "grows")
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		return "SUCCESS"
	}
	inBubble(t, jenkinstest.Job{Run: work}, func(t *testing.T, j *clocked, c jenkinsrunner.Config) {
		var log strings.Builder
		var saved []string
		save := func(handle []byte) error {
			var at struct {
				Log struct {
					Length int
					Sum    uint64
				}
			}
			if err := json.Unmarshal(handle, &at); err != nil {
				t.Error(err)
			}
			_, copied, _ := strings.Cut(log.String(), "/job/x/1/\n")
			sum := fnv.New64a()
			_, _ = sum.Write([]byte(copied))
			if at.Log.Length != len(copied) || len(copied) > 0 && at.Log.Sum != sum.Sum64() {
				t.Errorf("saved as %+v, want length %d and sum %d", at.Log, len(copied), sum.Sum64())
			}
			saved = append(saved, fmt.Sprint(time.Since(j.began).Truncate(time.Millisecond).Seconds()))
			return nil
		}
		newRunner(t, c).Run(t.Context(), runner.Build{Save: save}, &log)
		// The build, the trigger, its item and its number; then the log, as long as it grows.
		if got, want := strings.Join(saved, " "), "0 0 0 0 10 20 31"; got != want {
			t.Errorf("saved at %s, want %s", got, want)
		}
	})
}
