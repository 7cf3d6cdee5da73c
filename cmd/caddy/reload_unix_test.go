//go:build unix

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// seen is the last status of an item.
type seen struct {
	State  string  `json:"state"`
	Due    string  `json:"due"`
	Build  *int64  `json:"build"`
	Result *string `json:"result"`
}

// rank orders the states of an item; it must only increase.
func rank(state string) int {
	return map[string]int{"waiting": 1, "blocked": 2, "buildable": 2, "running": 3, "ended": 4}[state]
}

// TestReloadsWithAFullQueueAndRunningBuilds reloads again and again while the queue is full,
// builds start and run, and clients trigger and read. All answers must be the same as without
// reloads, no item may return to an earlier state, and no build may be killed.
func TestReloadsWithAFullQueueAndRunningBuilds(t *testing.T) {
	const (
		limit    = 40
		reloads  = 20
		watchers = 3
	)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	body := func(n int) string {
		return fmt.Sprintf(`
	job held {
		description "version %[1]d"
		quiet_period 0
		token secret {
			grant trigger status log
		}
		run cat %[2]s
	}
	job steps {
		quiet_period 0
		token secret {
			grant trigger status log
		}
		param N string
		run sleep 0.02
	}
	job full {
		quiet_period 1h
		token secret {
			grant trigger status
		}
		param N string
		run true
	}`, n, fifo)
	}
	s := newServer(t, body(0))
	s.option(fmt.Sprintf("queue_limit %d", limit))
	s.start()
	trigger := func(target string) string {
		t.Helper()
		status, location, text := s.get(target)
		if status != http.StatusCreated {
			t.Fatalf("%s: got %d %q", target, status, text)
		}
		return filepath.Base(location)
	}
	held := trigger("/buildByToken/build?job=held&token=secret")
	var items []string
	for n := range 25 { // one after the other, during the whole test
		items = append(items, "job=steps&token=secret&item="+trigger(fmt.Sprintf("/buildByToken/buildWithParameters?job=steps&token=secret&N=%d", n)))
	}
	const full = "/buildByToken/buildWithParameters?job=full&token=secret&N="
	n := 0
	for ; ; n++ {
		status, location, text := s.get(fmt.Sprint(full, n))
		if status == http.StatusServiceUnavailable && n > 0 {
			break
		}
		if status != http.StatusCreated {
			t.Fatalf("fill: got %d %q", status, text)
		}
		items = append(items, "job=full&token=secret&item="+filepath.Base(location))
	}

	var asked, reset atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	// until repeats a request until the test ends. A listener of Caddy that is being closed can
	// drop a connection; such a request got no answer at all.
	until := func(ask func(round int)) {
		clients.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
					ask(round)
				}
			}
		})
	}
	answer := func(target string) (status int, location, text string, ok bool) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.site+target, nil)
		if err != nil {
			t.Error(err)
			return 0, "", "", false
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			reset.Add(1)
			return 0, "", "", false
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Errorf("%s: %v", target, err)
		}
		asked.Add(1)
		return resp.StatusCode, resp.Header.Get("Location"), string(raw), true
	}
	until(func(round int) { // an equal item exists: these triggers join it, even if the queue is full
		if status, _, text, ok := answer(fmt.Sprint(full, round%n)); ok && status != http.StatusSeeOther {
			t.Errorf("trigger that joins: got %d %q, want 303", status, text)
		}
	})
	until(func(round int) {
		switch status, _, text, ok := answer(fmt.Sprint(full, "new", round)); {
		case !ok:
		case status == http.StatusCreated: // some items of steps have started
		case status == http.StatusServiceUnavailable && text == "the queue is full, try again later\n":
		default:
			t.Errorf("new trigger: got %d %q, want 201, or 503 because the queue is full", status, text)
		}
	})
	for w := range watchers {
		last := map[string]seen{}
		until(func(round int) {
			about := items[(round*watchers+w)%len(items)]
			status, _, text, ok := answer("/buildByToken/status?" + about)
			if !ok {
				return
			}
			var now seen
			if err := json.Unmarshal([]byte(text), &now); err != nil || status != http.StatusOK {
				t.Errorf("status: got %d %q, %v", status, text, err)
				return
			}
			before := last[about]
			switch {
			case rank(now.State) < rank(before.State):
				t.Errorf("%s went from %s to %s", about, before.State, now.State)
			case before.Due != "" && before.Due != now.Due && strings.HasPrefix(about, "job=steps"): // no trigger joins these items
				t.Errorf("%s was due %s, and now %s", about, before.Due, now.Due)
			case before.Build != nil && (now.Build == nil || *before.Build != *now.Build):
				t.Errorf("%s was build %d, and now %v", about, *before.Build, now.Build)
			case now.Result != nil && *now.Result != "SUCCESS":
				t.Errorf("%s ended %s", about, *now.Result)
			}
			last[about] = now
		})
	}
	for n := range reloads {
		s.write(body(n + 1))
		s.option(fmt.Sprintf("queue_limit %d", limit))
		reload := func() (string, string, error) {
			return s.command("", "reload", "--config", s.file, "--adapter", "caddyfile", "--address", s.admin)
		}
		out, errs, err := reload()
		// Caddy replaces its admin listener with each configuration, which can reset a new
		// connection.
		if err != nil && strings.Contains(errs, "connection reset by peer") {
			out, errs, err = reload()
		}
		if err != nil {
			t.Errorf("reload: %v\n%s%s", err, out, errs)
		}
	}
	close(stop)
	clients.Wait()
	t.Logf("%d answers during %d reloads, %d connections were reset", asked.Load(), reloads, reset.Load())
	if asked.Load() < reloads {
		t.Error("too few answers to prove anything")
	}
	s.eventually("all steps have ended", func() bool {
		_, _, text := s.get("/buildByToken/status?" + items[24])
		return strings.Contains(text, `"ended"`)
	})
	for _, about := range items[:25] {
		if _, _, text := s.get("/buildByToken/status?" + about); !strings.Contains(text, `"SUCCESS"`) {
			t.Errorf("%s: got %s, want SUCCESS", about, text)
		}
	}
	if err := os.WriteFile(fifo, []byte("held all the time\n"), 0o600); err != nil { // waits for the reader
		t.Fatal(err)
	}
	if _, _, log := s.get("/buildByToken/log?job=held&token=secret&item=" + held); !strings.HasSuffix(log, "held all the time\nFinished: SUCCESS\n") {
		t.Errorf("log of the build that ran all the time: got %q", log)
	}
}
