package jenkinsrunner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// waits returns the work of a build that runs until it is released or stopped.
func waits(release chan struct{}) func(*jenkinstest.Build) string {
	return func(b *jenkinstest.Build) string {
		fmt.Fprintln(b, "started")
		select {
		case <-release:
			fmt.Fprintln(b, "released")
		case <-b.Context().Done():
			fmt.Fprintln(b, "stopping")
		}
		return "SUCCESS"
	}
}

// onLog calls a function when a text is in the log.
type onLog struct {
	text string
	call func()
	log  strings.Builder
}

func (o *onLog) Write(p []byte) (int, error) {
	o.log.Write(p)
	if o.call != nil && strings.Contains(o.log.String(), o.text) {
		call := o.call
		o.call = nil
		call()
	}
	return len(p), nil
}

// TestStop stops a build in each state, with and without others that wait for the same item.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hold   bool // keeps it in the queue
		shared bool
		on     string
		reason string
		left   int // items and builds that continue in Jenkins
	}{
		{"in the queue", true, false, "queued x as item", "stopped by alice", 0},
		{"in the queue, for others too", true, true, "Waiting for next", "stopped by alice; it goes on in Jenkins, where others wait for it too", 1},
		{"running", false, false, "started", "stopped by alice", 0},
		{"running, for others too", true, true, "started", "stopped by alice; it goes on in Jenkins, where others wait for it too", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release := make(chan struct{})
			j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: waits(release), Params: map[string]string{"A": ""}})
			j.Set(func(f *jenkinstest.Faults) { f.Hold = tt.hold })
			if tt.shared {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"job/x/buildWithParameters", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth(user, apiToken)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			log := &onLog{text: tt.on, call: func() { cancel(errors.New("stopped by\nalice")) }}
			if tt.shared && !strings.Contains(tt.on, "Waiting") {
				log = &onLog{text: "Waiting for next", call: func() {
					log.text, log.call = tt.on, func() { cancel(errors.New("stopped by alice")) }
					j.Set(func(f *jenkinstest.Faults) { f.Hold = false })
				}}
			}
			res := newRunner(t, c).Run(ctx, runner.Build{}, log)
			if res != (runner.Result{Outcome: runner.Aborted, Reason: tt.reason}) {
				t.Errorf("Run = %+v, want it aborted: %s", res, tt.reason)
			}
			if tt.on == "started" && !tt.shared && !strings.HasSuffix(log.log.String(), "stopping\nFinished: ABORTED\n") {
				t.Errorf("log = %q, want all of it", log.log.String())
			}
			j.Set(func(f *jenkinstest.Faults) { f.Hold = false })
			if n := j.Running(); n != tt.left {
				t.Errorf("%d builds go on in Jenkins, want %d", n, tt.left)
			}
			close(release)
		})
	}
}

// TestStopThatDoesNotArrive stops a build of a Jenkins that does not answer any more, or that
// refuses it.
func TestStopThatDoesNotArrive(t *testing.T) {
	for _, tt := range []struct {
		name, on string
		hold     bool
		fault    func(http.ResponseWriter, *http.Request) bool
		reason   string
	}{
		{"running", "started", false, answer(always, everything, 503), "the answer is 503 Service Unavailable"},
		{"in the queue", "queued x as item", true, answer(always, everything, 503), "the answer is 503 Service Unavailable"},
		{"running, without the right to", "started", false, answer(always, posts, 403, "X-Required-Permission", "hudson.model.Item.Cancel"), "the answer is 403 Forbidden: it needs the permission hudson.model.Item.Cancel"},
		{"in the queue, without the right to", "queued x as item", true, answer(always, posts, 403), "the answer is 403 Forbidden"},
		{"running, behind a login page", "started", false, answer(always, posts, 301), "the answer is 301 Moved Permanently: redirects are not followed; is there a login page in front of Jenkins?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: waits(nil)})
			j.Set(func(f *jenkinstest.Faults) { f.Hold = tt.hold })
			ctx, cancel := context.WithCancelCause(t.Context())
			log := &onLog{text: tt.on, call: func() {
				j.Set(func(f *jenkinstest.Faults) { f.Intercept = tt.fault })
				cancel(errors.New("stopped by alice"))
			}}
			res := newRunner(t, c).Run(ctx, runner.Build{}, log)
			if want := "stopped by alice; it may go on in Jenkins: " + tt.reason; res != (runner.Result{Outcome: runner.Aborted, Reason: want}) {
				t.Errorf("Run = %+v, want it aborted: %s", res, want)
			}
		})
	}
}

// memory keeps the handle of a build.
type memory struct {
	t *testing.T
	// mu guards the following.
	mu     sync.Mutex
	handle []byte
	err    error
	saves  int
}

func (m *memory) save(handle []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves++
	if m.err != nil {
		return m.err
	}
	m.handle = handle
	if len(handle) > 4<<10 || strings.Contains(string(handle), "hunter2") || strings.Contains(string(handle), jobToken) || strings.Contains(string(handle), apiToken) {
		m.t.Errorf("handle of %d bytes: %s; want at most 4 KiB and no secret", len(handle), handle)
	}
	return nil
}

// TestRestartOfThisServer ends the following of a build in each state, by a stop or a crash,
// and resumes it.
func TestRestartOfThisServer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		on     string // in the log
		faults func(f *jenkinstest.Faults)
		want   runner.Result
	}{
		{"before Jenkins was reached", "not reached", func(f *jenkinstest.Faults) { f.Intercept = answer(3, everything, 503) }, runner.Result{Outcome: runner.Success}},
		{"while it waits", "queued x as item", func(f *jenkinstest.Faults) { f.Hold = true }, runner.Result{Outcome: runner.Success}},
		{"while it runs", "started", nil, runner.Result{Outcome: runner.Success}},
		{"while it is looked for", "looking for the trigger", func(f *jenkinstest.Faults) { f.ResetAfterTrigger = 1 }, runner.Result{Outcome: runner.Success}},
		{"after it was found", "found it as item", func(f *jenkinstest.Faults) { f.Hold, f.ResetAfterTrigger = true, 1 }, runner.Result{Outcome: runner.Success}},
		{"while it is looked for in vain", "looking for the trigger", func(f *jenkinstest.Faults) { f.ResetBeforeTrigger = 1 }, runner.Result{Outcome: runner.Aborted, Reason: "Jenkins may have got it"}},
	} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, crash=%v", tt.name, crash), func(t *testing.T) {
				release := make(chan struct{})
				j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Run: waits(release), Params: map[string]string{"PASS": ""}})
				c.JobToken = jobToken
				if tt.faults != nil {
					j.Set(tt.faults)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				m := &memory{t: t}
				b := runner.Build{Params: []runner.Param{{Name: "PASS", Value: "hunter2", Secret: true}}, Save: m.save}
				log := &onLog{text: tt.on, call: func() {
					if crash {
						m.mu.Lock()
						m.err = errors.New("the process is gone")
						m.mu.Unlock()
					}
					cancel(runner.ErrDetached)
				}}
				if res := newRunner(t, c).Run(ctx, b, log); res.Outcome != runner.Aborted {
					t.Fatalf("Run = %+v, want it to return without a result", res)
				}
				j.Set(func(f *jenkinstest.Faults) { f.Hold = false })
				close(release)
				b.Handle, m.err = m.handle, nil
				var rest strings.Builder
				res := newRunner(t, c).Run(t.Context(), b, &rest)
				if res.Outcome != tt.want.Outcome || !strings.Contains(res.Reason, tt.want.Reason) {
					t.Errorf("Run = %+v, want %+v", res, tt.want)
				}
				want := 1
				if tt.want.Outcome != runner.Success {
					want = 0
				}
				if j.Triggers() != want {
					t.Errorf("%d triggers, want %d", j.Triggers(), want)
				}
				all := log.log.String() + rest.String()
				if n := strings.Count(all, "Jenkins: x #1 is http"); n > 1 {
					t.Errorf("log = %q has %d times where the build is, want it once", all, n)
				}
				if strings.Contains(tt.on, "found it") && strings.Contains(rest.String(), "looking for") {
					t.Errorf("log = %q, want no search for what was found", rest.String())
				}
				if tt.want.Outcome == runner.Success && !strings.HasSuffix(all, "released\nFinished: SUCCESS\n") || !crash && strings.Count(all, "started\n") > 1 {
					t.Errorf("log = %q, want all of it, and only once unless it was a crash", all)
				}
			})
		}
	}
}

// TestBuildIsFoundBehindManyOthers stops this server before it knows the build in Jenkins.
// Until it is back, other clients create so many builds that Jenkins does not list this one any
// more.
func TestBuildIsFoundBehindManyOthers(t *testing.T) {
	const before, queued, since, alike = 120, 30, 420, 3
	success := runner.Result{Outcome: runner.Success}
	for _, tt := range []struct {
		name    string
		lost    bool // the answer to the trigger
		discard bool // the build
		want    runner.Result
	}{
		{"the item is known", false, false, success},
		{"the item is not known", true, false, success},
		{"the item is known, and the build was discarded", false, true, runner.Result{Outcome: runner.Aborted, Reason: "or its build was discarded"}},
		{"the item is not known, and the build was discarded", true, true, runner.Result{Outcome: runner.Aborted, Reason: "neither in the queue nor among the builds since then"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Params: map[string]string{"A": ""}, Concurrent: true, Run: ends("SUCCESS")})
			c.JobToken = jobToken
			others := func(from, to int) {
				for n := from; n < to; n++ {
					r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("/ci/job/x/buildWithParameters?token=%s&A=%d", jobToken, n), nil)
					w := httptest.NewRecorder()
					if j.ServeHTTP(w, r); w.Code != http.StatusCreated {
						t.Fatalf("trigger = %d %s", w.Code, w.Body)
					}
				}
			}
			others(0, before)
			j.Set(func(f *jenkinstest.Faults) { f.Hold = true })
			others(before, before+queued)
			text := "queued x as item"
			if tt.lost {
				text = "looking for the trigger"
				j.Set(func(f *jenkinstest.Faults) { f.ResetAfterTrigger = 1 })
			}
			ctx, stop := context.WithCancelCause(t.Context())
			m := &memory{t: t}
			log := &onLog{text: text, call: func() { stop(runner.ErrDetached) }}
			if res := newRunner(t, c).Run(ctx, runner.Build{Save: m.save}, log); res.Outcome != runner.Aborted {
				t.Fatalf("Run = %+v, want it to return without a result", res)
			}

			j.Set(func(f *jenkinstest.Faults) { f.Hold, f.Forget = false, true })
			others(before+queued, before+queued+since)
			if tt.discard {
				j.Discard("x", before+queued+1)
			}
			j.Discard("x", before+1)
			var reads atomic.Int64
			j.Set(func(f *jenkinstest.Faults) {
				f.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
					if strings.Contains(r.URL.RawQuery, "queueId") && !path("/job/x/api/")(r) {
						reads.Add(1)
					}
					return false
				}
			})
			r, results := newRunner(t, c), make(chan runner.Result, alike)
			for range alike { // which share what they read
				go func() { results <- r.Run(t.Context(), runner.Build{Handle: m.handle, Save: m.save}, io.Discard) }()
			}
			for range alike {
				if res := <-results; res.Outcome != tt.want.Outcome || !strings.Contains(res.Reason, tt.want.Reason) {
					t.Errorf("Run = %+v, want %+v", res, tt.want)
				}
			}
			if want := before + queued + 1 + since; j.Triggers() != want {
				t.Errorf("%d triggers, want %d", j.Triggers(), want)
			}
			most := int64(queued + alike) // one was discarded
			if tt.discard {               // each of the others once, and the two that are discarded in each of ten searches
				most = queued + since - 100 + alike*2*10
			}
			if n := reads.Load(); n > most {
				t.Errorf("%d builds were read one by one, want at most %d", n, most)
			}
		})
	}
}

// TestFirstBuildIsFoundBehindManyOthers is the same for the first build of a job.
func TestFirstBuildIsFoundBehindManyOthers(t *testing.T) {
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Params: map[string]string{"A": ""}, Concurrent: true, Run: ends("SUCCESS")})
	c.JobToken = jobToken
	j.Set(func(f *jenkinstest.Faults) { f.Hold = true })
	ctx, stop := context.WithCancelCause(t.Context())
	m := &memory{t: t}
	newRunner(t, c).Run(ctx, runner.Build{Save: m.save}, &onLog{text: "queued x as item", call: func() { stop(runner.ErrDetached) }})
	j.Set(func(f *jenkinstest.Faults) { f.Hold, f.Forget = false, true })
	for n := range 120 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("/ci/job/x/buildWithParameters?token=%s&A=%d", jobToken, n), nil)
		j.ServeHTTP(httptest.NewRecorder(), r)
	}
	res := newRunner(t, c).Run(t.Context(), runner.Build{Handle: m.handle, Save: m.save}, io.Discard)
	if res != (runner.Result{Outcome: runner.Success}) || j.Triggers() != 121 {
		t.Errorf("Run = %+v after %d triggers, want a success after 121", res, j.Triggers())
	}
}

// TestRefusedTriggerIsSentAfterARestart restarts this server after Jenkins has refused the trigger
// for the moment. Then it can be sent again.
func TestRefusedTriggerIsSentAfterARestart(t *testing.T) {
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: ends("SUCCESS")})
	j.Set(func(f *jenkinstest.Faults) { f.Intercept = answer(1, isTrigger, 503) })
	ctx, stop := context.WithCancelCause(t.Context())
	m := &memory{t: t}
	newRunner(t, c).Run(ctx, runner.Build{Save: m.save}, &onLog{text: "not reached", call: func() { stop(runner.ErrDetached) }})
	res := newRunner(t, c).Run(t.Context(), runner.Build{Handle: m.handle, Save: m.save}, io.Discard)
	if res != (runner.Result{Outcome: runner.Success}) || j.Triggers() != 1 {
		t.Errorf("Run = %+v after %d triggers, want a success after one", res, j.Triggers())
	}
}

// TestTriggerIsNotSentUnlessThatIsRecorded makes the queue fail just before the trigger is
// sent. It must not be sent, because a restart would send it again.
func TestTriggerIsNotSentUnlessThatIsRecorded(t *testing.T) {
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: ends("SUCCESS")})
	m := &memory{t: t}
	b := runner.Build{Save: func(handle []byte) error {
		if m.saves++; m.saves == 2 && j.Triggers() == 0 {
			return errors.New("the disk is full")
		}
		return nil
	}}
	var log strings.Builder
	if res := newRunner(t, c).Run(t.Context(), b, &log); res.Outcome != runner.Success || j.Triggers() != 1 {
		t.Errorf("Run = %+v after %d triggers, want a success after one", res, j.Triggers())
	}
	if !strings.Contains(log.String(), "trying again for 1h0m0s: jenkins cannot be reached: the disk is full\n") {
		t.Errorf("log = %q, want a note about the second try", log.String())
	}
	c.RetryFor = time.Nanosecond
	b.Save = func([]byte) error { return errors.New("the disk is full") }
	if res := newRunner(t, c).Run(t.Context(), b, io.Discard); res.Outcome != runner.NotBuilt || j.Triggers() != 1 {
		t.Errorf("Run = %+v after %d triggers, want it not built", res, j.Triggers()-1)
	}
}

// TestProgressThatIsNotSaved makes the queue fail at other moments. The build goes on, and its
// log reports what that means.
func TestProgressThatIsNotSaved(t *testing.T) {
	for save, want := range map[int]string{
		1: "a restart of the server would end this build: the disk is full", // before the trigger
		3: "the progress of this build was not saved: the disk is full",     // the item
		4: "the progress of this build was not saved: the disk is full",     // the number of the build
	} {
		j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: ends("SUCCESS")})
		saves := 0
		b := runner.Build{Save: func([]byte) error {
			if saves++; saves == save {
				return errors.New("the disk is\nfull")
			}
			return nil
		}}
		var log strings.Builder
		if res := newRunner(t, c).Run(t.Context(), b, &log); res.Outcome != runner.Success || j.Triggers() != 1 {
			t.Errorf("Run = %+v after %d triggers, want a success after one", res, j.Triggers())
		}
		if strings.Count(log.String(), "Jenkins: "+want+"\n") != 1 {
			t.Errorf("log = %q after save %d failed, want once %q", log.String(), save, want)
		}
	}
}

// TestTheLastTryIsAtTheEndOfRetryFor counts the time until a build is given up.
func TestTheLastTryIsAtTheEndOfRetryFor(t *testing.T) {
	url := closedAddress(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := jenkinsrunner.Config{URL: url, Job: "x", User: user, APIToken: apiToken, RetryFor: 4 * time.Second}
		res := newRunner(t, c).Run(t.Context(), runner.Build{Save: func([]byte) error { return nil }}, io.Discard)
		if got := time.Since(began); res.Outcome != runner.NotBuilt || got != c.RetryFor {
			t.Errorf("Run = %+v after %v, want it not built after %v", res, got, c.RetryFor)
		}
	})
}

// TestRestartOfJenkins restarts Jenkins while a build waits and while it runs.
func TestRestartOfJenkins(t *testing.T) {
	release := make(chan struct{})
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: waits(release)})
	j.Set(func(f *jenkinstest.Faults) { f.Hold = true })
	log := &onLog{text: "queued x as item"}
	log.call = func() {
		j.Restart()
		log.text, log.call = "started", j.Restart
		j.Set(func(f *jenkinstest.Faults) { f.Hold, f.Intercept = false, answer(5, everything, 503) })
	}
	res := newRunner(t, c).Run(t.Context(), runner.Build{}, log)
	if res.Outcome != runner.Aborted || !strings.Contains(res.Reason, "x #1 ended as ABORTED") || j.Triggers() != 1 {
		t.Errorf("Run = %+v after %d triggers, want the result that Jenkins gave", res, j.Triggers())
	}
}

func TestItemCancelledInJenkins(t *testing.T) {
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: waits(nil)})
	j.Set(func(f *jenkinstest.Faults) { f.Hold = true })
	log := &onLog{text: "queued x as item"}
	log.call = func() {
		_, id, _ := strings.Cut(log.log.String(), "as item ")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"queue/cancelItem?id="+strings.TrimSpace(id), nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.SetBasicAuth(user, apiToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Errorf("cancel: %v, %v", resp, err)
			return
		}
		resp.Body.Close()
	}
	res := newRunner(t, c).Run(t.Context(), runner.Build{}, log)
	if res.Outcome != runner.Aborted || !strings.Contains(res.Reason, "was cancelled in Jenkins") {
		t.Errorf("Run = %+v, want it aborted", res)
	}
}

func TestHandleOfAnotherJob(t *testing.T) {
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: ends("SUCCESS")}, jenkinstest.Job{Name: "y", Run: ends("SUCCESS")})
	m := &memory{t: t}
	newRunner(t, c).Run(t.Context(), runner.Build{Save: m.save}, io.Discard)
	for _, handle := range [][]byte{m.handle, []byte("{}"), []byte("junk")} {
		other := c
		other.Job = "y"
		res := newRunner(t, other).Run(t.Context(), runner.Build{Handle: handle}, io.Discard)
		if res.Outcome != runner.Failure || !strings.Contains(res.Reason, "the configuration of its runner has changed") || j.Triggers() != 1 {
			t.Errorf("Run with handle %s = %+v after %d triggers, want a failure", handle, res, j.Triggers())
		}
	}
}

// TestBuildsThatShareAnItem runs two builds with equal parameters, which join in Jenkins' queue, and stops one of them.
func TestBuildsThatShareAnItem(t *testing.T) {
	release := make(chan struct{})
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Token: jobToken, Params: map[string]string{"A": ""}, Run: waits(release)})
	c.JobToken = jobToken
	j.Set(func(f *jenkinstest.Faults) { f.Hold = true })
	r := newRunner(t, c)
	results := make(chan runner.Result, 2)
	queued := make(chan struct{}, 2)
	stopped, stop := context.WithCancelCause(t.Context())
	for _, ctx := range []context.Context{t.Context(), stopped} {
		log := &onLog{text: "queued x as item", call: func() { queued <- struct{}{} }}
		go func() { results <- r.Run(ctx, runner.Build{}, log) }()
		<-queued
	}
	stop(errors.New("stopped by alice"))
	if res := <-results; res != (runner.Result{Outcome: runner.Aborted, Reason: "stopped by alice; it goes on in Jenkins, where others wait for it too"}) {
		t.Errorf("the stopped one = %+v", res)
	}
	j.Set(func(f *jenkinstest.Faults) { f.Hold = false })
	close(release)
	if res := <-results; res != (runner.Result{Outcome: runner.Success}) || j.Triggers() != 2 || len(j.Builds()) != 1 {
		t.Errorf("the other one = %+v, with %d triggers and %d builds; want a success, 2 and 1", res, j.Triggers(), len(j.Builds()))
	}
}
