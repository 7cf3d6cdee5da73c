package hooks_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
)

// A user with the right to build can replay a delivery. That does not count as a repetition.
func TestReplay(t *testing.T) {
	s := newSite(t)
	s.send(github(t, path+"?job=push", "push", "1", push("main", "a")))
	s.send(post(t, path+"?job=push", "unsigned"))
	form := func(id int, user string, more ...string) *http.Request {
		return post(t, fmt.Sprintf("/queue/deliveries/%d/replayForm", id), "", append([]string{"X-User", user}, more...)...)
	}
	for _, tt := range []struct {
		name string
		r    *http.Request
		want int
	}{
		{"nobody", form(1, ""), 403},
		{"a user who may not build", form(1, "bob"), 403},
		{"a page of another site", form(1, "alice", "Origin", "https://evil.example.com", "Sec-Fetch-Site", "cross-site"), 403},
		{"a delivery that was not verified", form(2, "alice"), 404},
		{"a delivery that is not there", form(3, "alice"), 404},
		{"the same, for a user who may not build", form(3, "bob"), 403},
		{"GET", httptest.NewRequest(http.MethodGet, "/queue/deliveries/1/replayForm", http.NoBody), 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if w := s.send(tt.r); w.Code != tt.want {
				t.Errorf("got %d %q, want %d", w.Code, w.Body, tt.want)
			}
		})
	}
	if n := s.items("push")[0].Triggers(); n != 1 {
		t.Fatalf("%d triggers before the replay, want 1", n)
	}
	if w := s.send(form(1, "alice")); w.Code != 303 || w.Header().Get("Location") != root+"queue/deliveries/" {
		t.Errorf("got %d %q, want 303 to the page", w.Code, w.Body)
	}
	it := s.items("push")[0]
	if it.Triggers() != 2 || !strings.Contains(it.Causes[1].String(), "replayed by user alice: push to main") {
		t.Errorf("the item has the causes %v", it.Causes)
	}
	if d := s.ctl.Deliveries().List()[0]; d.Replays != 1 || d.By != "user alice" || d.Outcome != "joined" {
		t.Errorf("delivery %+v", d)
	}
	if before, d := s.ctl.Deliveries().List()[2], s.ctl.Deliveries().List()[0]; d.Target != "push" || d.Size != before.Size || !bytes.Equal(d.Body, before.Body) || d.Sender != "1" {
		t.Errorf("the replay is kept as %+v", d)
	}
	// A site with other secrets does not play it, whatever the names of its webhooks and jobs are.
	other := spec(t)
	for i := range other.Root.Webhooks {
		if w := &other.Root.Webhooks[i]; w.Kind == event.GitHub {
			w.Secrets = secret(t, event.GitHub, "another")
		}
	}
	d, err := definition.Compile(other)
	if err != nil {
		t.Fatal(err)
	}
	mine := s.web.Definition
	s.web.Definition = d
	if w := s.send(form(1, "alice")); w.Code != 404 {
		t.Errorf("by another site: got %d %q, want 404", w.Code, w.Body)
	}
	other.Root.Jobs = other.Root.Jobs[1:]
	if s.web.Definition, err = definition.Compile(other); err != nil {
		t.Fatal(err)
	}
	if w := s.send(form(1, "alice")); w.Code != 404 {
		t.Errorf("by a site without the job: got %d %q, want 404", w.Code, w.Body)
	}
	s.web.Definition = mine
	for _, other := range []string{
		"/queue/deliveries", "/queue/deliveries/x/replayForm", "/queue/deliveries/1", "/queue/deliveries/1/replay", "/queue/deliveries/1/replayForm/x",
		"/queue/item/1/replayForm", "/view/deliveries/1/replayForm",
	} {
		if hooks.Serve(s.web.Request(httptest.NewRecorder(), post(t, other, ""))) {
			t.Errorf("%s was handled", other)
		}
	}
}

// A program receives the answer to a replay that the sender would receive.
func TestReplayAsJSON(t *testing.T) {
	s := newSite(t)
	s.send(github(t, path+"?job=push", "push", "1", push("main", "a")))
	w := s.send(post(t, "/queue/deliveries/1/replayForm", "", "X-User", "alice", "Accept", "application/json"))
	id := s.items("push")[0].ID
	want := fmt.Sprintf(`{"jobs":[{"job":"push","outcome":"joined","id":%d,"url":"%squeue/item/%d/"}]}`, id, root, id)
	if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != want || w.Header().Get("Location") != fmt.Sprintf("%squeue/item/%d/", root, id) {
		t.Errorf("got %d %s, want 200 %s", w.Code, got, want)
	}
}

// What cannot be replayed queues nothing.
func TestReplayThatFails(t *testing.T) {
	s := newSite(t)
	for i, body := range []string{"{", push("main", strings.Repeat("x", deliveries.MaxBytes)), push("main", "a")} {
		s.send(github(t, path+"?job=env", "push", fmt.Sprint(i), body))
	}
	before := s.items("env")[0].Triggers()
	for _, tt := range []struct {
		name      string
		id, want  int
		available bool
	}{
		{"a malformed delivery", 1, 400, true},
		{"a delivery whose body was too large to be kept", 2, 404, true},
		{"without a queue", 3, 503, false},
	} {
		open := s.web.Open
		if !tt.available {
			s.web.Open = func() (*buildtoken.Controller, error) { return nil, errors.New("the file is locked") }
		}
		if w := s.send(post(t, fmt.Sprintf("/queue/deliveries/%d/replayForm", tt.id), "", "X-User", "alice")); w.Code != tt.want {
			t.Errorf("%s: got %d %q, want %d", tt.name, w.Code, w.Body, tt.want)
		}
		s.web.Open = open
	}
	if n := s.items("env")[0].Triggers(); n != before {
		t.Errorf("%d triggers, %d before", n, before)
	}
}

// Any delivery to a job with a body of at most 1 MiB can be replayed, whatever the name of the job is.
func TestReplayOfLongNamesAndBodies(t *testing.T) {
	s := newSite(t)
	body := push("main", "a")
	body += strings.Repeat(" ", deliveries.MaxBytes-len(body))
	full := long + "/" + long + "/job"
	s.send(github(t, path+"?job="+full, "push", "1", body))
	if w := s.send(post(t, "/queue/deliveries/1/replayForm", "", "X-User", "alice")); w.Code != 303 || s.items(full)[0].Triggers() != 2 {
		t.Errorf("got %d %q, with %d triggers, want 303 and 2", w.Code, w.Body, s.items(full)[0].Triggers())
	}
}
