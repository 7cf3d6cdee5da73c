//go:build unix

package main_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestStatusCommandOnEitherServer runs a build on each of two servers that share a queue, while
// another item waits. Both must show all of it: what they run themselves as their own, the rest
// as that of the other server.
func TestStatusCommandOnEitherServer(t *testing.T) {
	database := pgtest.Start(t)
	servers := map[string]*server{}
	for _, name := range []string{"n1", "n2"} {
		job := func(name, label string) string {
			return "job " + name + " {\n quiet_period 0\n label " + label + "\n token secret {\n grant trigger cancel\n }\n run sleep 60\n}\n"
		}
		s := newServer(t, job("long", "n1")+job("longer", "n2")+job("nowhere", "n3"))
		s.environment = append(s.environment, "DATABASE_URL="+database.URL())
		s.option("executors " + name[1:] + "\n node " + name + "\n queue postgres {env.DATABASE_URL} {\n key " + strings.Repeat("5e", 32) + "\n}")
		s.start()
		servers[name] = s
	}
	for _, job := range []string{"long", "longer", "nowhere"} {
		if status, _, body := servers["n1"].get("/buildByToken/build?job=" + job + "&token=secret"); status != http.StatusCreated {
			t.Fatalf("trigger %s: %d %q", job, status, body)
		}
	}
	status := func(name string, flags ...string) string {
		s := servers[name]
		out, errs, err := s.command("", append([]string{"build-token", "status", "--address", s.admin}, flags...)...)
		if err != nil {
			t.Fatalf("status on %s: %v\n%s", name, err, errs)
		}
		return out
	}
	for name, want := range map[string][]string{
		"n1": {"queued     1\n", "running    1 of 1\n", "\n           long #1, item 1, since ", "elsewhere  1\n", "\n           longer #1, item 2, on n2 since "},
		"n2": {"queued     1\n", "running    1 of 2\n", "\n           longer #1, item 2, since ", "elsewhere  1\n", "\n           long #1, item 1, on n1 since "},
	} {
		servers[name].eventually("both builds run", func() bool { return strings.Count(status(name), " since ") == 2 })
		got := status(name)
		for _, want := range append(want, "/postgres/buildtoken\n", "\nlong     0       1        #1 running\n", "\nlonger   0       1        #1 running\n", "\nnowhere  1       0        none; item 3 waits: ") {
			if !strings.Contains(got, want) {
				t.Errorf("status on %s: %q is missing in\n%s", name, want, got)
			}
		}
	}
	type answer struct{ Queues []map[string]any }
	var one, other answer
	for name, into := range map[string]*answer{"n1": &one, "n2": &other} {
		if err := json.Unmarshal([]byte(status(name, "--json")), into); err != nil || len(into.Queues) != 1 {
			t.Fatalf("status of %s as JSON: %+v, %v", name, into, err)
		}
		if got := into.Queues[0]["node"]; got != name {
			t.Errorf("status of %s is that of %v", name, got)
		}
		delete(into.Queues[0], "node")
		delete(into.Queues[0], "executors")
	}
	if diff := cmp.Diff(one, other); diff != "" {
		t.Errorf("beside name and executors the servers differ (-n1 +n2):\n%s", diff)
	}
	for item, on := range map[string]string{"long&item=1": "n2", "longer&item=2": "n1"} {
		if status := servers[on].post("/buildByToken/cancel?token=secret&job=" + item); status != http.StatusNoContent {
			t.Errorf("cancel %s on %s: %d, want 204", item, on, status)
		}
	}
	for name, s := range servers {
		s.eventually("both builds have ended", func() bool { return !strings.Contains(status(name), " since ") })
		if got := status(name); !strings.Contains(got, "running  0 of "+name[1:]+"\n") || strings.Contains(got, "elsewhere") {
			t.Errorf("status on %s after the builds: %s", name, got)
		}
	}
	if err := database.Crash(); err != nil {
		t.Fatal(err)
	}
	for name, s := range servers {
		if out, errs, err := s.command("", "build-token", "status", "--address", s.admin); err == nil || !strings.Contains(errs, "503") || out != "" {
			t.Errorf("status on %s without the database: %q, %v, %q, want an error", name, out, err, errs)
		}
	}
}
