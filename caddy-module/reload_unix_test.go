//go:build unix

package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// eventually repeats a check until it succeeds: the start of an item is an event that no
// request waits for.
func (s *site) eventually(what string, so func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so after a minute: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// view returns what the holder of the token can see of an item.
func (s *site) view(job, token, item string) string {
	s.t.Helper()
	a := s.get("/buildByToken/status?job=" + job + "&token=" + token + "&item=" + item)
	if a.status != http.StatusOK {
		s.t.Fatalf("status of item %s: got %d %s", item, a.status, a.body)
	}
	return a.body
}

func (s *site) wantView(job, token, item string, parts ...string) {
	s.t.Helper()
	body := s.view(job, token, item)
	for _, part := range parts {
		if !strings.Contains(body, part) {
			s.t.Errorf("item %s of %s: got %s, want %s in it", item, job, strings.TrimSpace(body), part)
		}
	}
}

// reloading is a job with one running build, which ends when it is released, and one waiting
// item.
type reloading struct {
	*site

	running, queued string // items
	// release lets the first build end; releaseOther the second one, if it runs the first
	// command.
	release, releaseOther func()
}

// app returns the job with more lines, and with a different command.
func app(name, rest, run string) string {
	return "job " + name + " {\n coalesce never\n token secret {\n grant trigger status log cancel\n }\n" + rest + "\n run " + run + "\n}\n"
}

// bothEnd waits for the end of two builds whose job is not in the configuration in force.
func (r *reloading) bothEnd() {
	r.t.Helper()
	r.eventually("two builds have ended", func() bool {
		text, err := os.ReadFile(r.logs)
		if err != nil {
			r.t.Fatal(err)
		}
		return strings.Count(string(text), `"msg":"build ended"`) == 2
	})
}

// reload loads a configuration with other jobs.
func (r *reloading) reload(option string, text ...string) {
	r.t.Helper()
	r.load(r.caddyfile(option, jobs(strings.Join(text, ""))))
}

// TestReloadRules tests the table of docs/queue.md, row by row.
func TestReloadRules(t *testing.T) {
	const stays = "job other {\n token secret\n run true\n}\n"
	for _, tt := range []struct {
		name string
		// rest are more lines of the job, query more parameters of its triggers.
		rest, query string
		// option are the lines of the global option at first.
		option string
		do     func(t *testing.T, r *reloading)
	}{
		{name: "the items of a renamed job are of the old name, and end NOT_BUILT without an orphan_timeout", do: func(t *testing.T, r *reloading) {
			r.reload("orphan_timeout 0s", app("new", "", "true"))
			r.release()
			r.bothEnd()
			if a := r.get("/buildByToken/status?job=new&token=secret&item=" + r.queued); a.status != http.StatusNotFound {
				t.Errorf("the item under the new name: got %d, want 404", a.status)
			}
			r.reload("", app("app", "", "true"))
			r.wantView("app", "secret", r.running, `"result":"SUCCESS"`)
			r.wantView("app", "secret", r.queued, `"result":"NOT_BUILT"`)
			if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "the job is not in the configuration any more\nFinished: NOT_BUILT\n") {
				t.Errorf("log: got %q", log)
			}
		}},
		{name: "the items of a removed job end NOT_BUILT without an orphan_timeout, and its running build goes on", do: func(t *testing.T, r *reloading) {
			r.reload("orphan_timeout 0s", stays)
			if a := r.get("/buildByToken/build?job=app&token=secret"); a.status != http.StatusNotFound {
				t.Errorf("trigger of a removed job: got %d, want 404", a.status)
			}
			r.release()
			r.bothEnd()
			r.reload("", app("app", "", "true"))
			r.wantView("app", "secret", r.running, `"result":"SUCCESS"`)
			r.wantView("app", "secret", r.queued, `"result":"NOT_BUILT"`)
		}},
		{name: "the items of a job that was removed and came back build", do: func(t *testing.T, r *reloading) {
			r.reload("", stays)
			r.reload("", app("app", "", "echo back"))
			r.wantView("app", "secret", r.running, `"state":"running"`)
			r.wantView("app", "secret", r.queued, `"state":"blocked"`)
			r.release()
			if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "back\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
		}},
		{name: "the items of a disabled job wait until it is enabled again", do: func(t *testing.T, r *reloading) {
			r.reload("", app("app", "disabled", "echo disabled"))
			if a := r.get("/buildByToken/build?job=app&token=secret"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "is not buildable") {
				t.Errorf("trigger of a disabled job: got %d %q", a.status, a.body)
			}
			r.release()
			if log := r.follow("app", "secret", r.running); !strings.Contains(log, "Finished: SUCCESS") {
				t.Errorf("log of the build that ran: got %q", log)
			}
			r.wantView("app", "secret", r.queued, `"state":"blocked"`, "disabled")
			r.reload("", app("app", "", "echo enabled"))
			if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "enabled\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
		}},
		{name: "the items of a job that was made concurrent start at once", do: func(t *testing.T, r *reloading) {
			r.reload("", app("app", "concurrent", "echo beside"))
			if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "beside\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
			r.wantView("app", "secret", r.running, `"state":"running"`)
			r.release()
		}},
		{name: "the items of a job that is no longer concurrent wait for all that run", rest: "concurrent", do: func(t *testing.T, r *reloading) {
			// Both builds are running.
			r.eventually("both run", func() bool { return strings.Contains(r.view("app", "secret", r.queued), `"running"`) })
			r.reload("", app("app", "", "echo after"))
			third := r.trigger("app", "secret")
			r.wantView("app", "secret", third, `"state":"blocked"`)
			r.wantView("app", "secret", r.queued, `"state":"running"`)
			r.release()
			r.releaseOther()
			if log := r.follow("app", "secret", third); !strings.Contains(log, "after\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
		}},
		{name: "items build as the new configuration says, running builds go on as they began", do: func(t *testing.T, r *reloading) {
			r.reload("", app("app", "env COLOUR green", "sh -c `echo new $COLOUR`"))
			r.release()
			if log := r.follow("app", "secret", r.running); !strings.Contains(log, "go on\nFinished: SUCCESS\n") {
				t.Errorf("log of the build that ran: got %q", log)
			}
			if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "new green\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
		}},
		{
			name: "items keep the values with which they were queued", rest: "param OLD string\nparam BOTH string", query: "&OLD=one&BOTH=two",
			do: func(t *testing.T, r *reloading) {
				r.reload("", app("app", "param BOTH choice three four\nparam NEW string five", "sh -c `echo \"$OLD, $BOTH, ${NEW-no new one}\"`"))
				r.release()
				if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "one, two, no new one\nFinished: SUCCESS\n") {
					t.Errorf("log: got %q", log)
				}
			},
		},
		{
			name: "items that lack a parameter of the command end NOT_BUILT", rest: "param OLD string", query: "&OLD=one",
			do: func(t *testing.T, r *reloading) {
				r.reload("", app("app", "param NEW string five", "echo {param.NEW}"))
				r.release()
				if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "NEW") || !strings.HasSuffix(log, "Finished: NOT_BUILT\n") {
					t.Errorf("log: got %q", log)
				}
			},
		},
		{name: "items stay when their token is rotated, and are the new token's to see", do: func(t *testing.T, r *reloading) {
			r.reload("", strings.Replace(app("app", "", "echo built"), "token secret", "token rotated", 1))
			if a := r.get("/buildByToken/build?job=app&token=secret"); a.status != http.StatusForbidden {
				t.Errorf("trigger with the old token: got %d, want 403", a.status)
			}
			if a := r.get("/buildByToken/status?job=app&token=secret&item=" + r.queued); a.status != http.StatusForbidden {
				t.Errorf("status with the old token: got %d, want 403", a.status)
			}
			r.release()
			if log := r.follow("app", "rotated", r.queued); !strings.Contains(log, "built\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
		}},
		{name: "items stay when a policy would refuse them now", do: func(t *testing.T, r *reloading) {
			r.reload("", app("app", "allow `false`", "echo built"))
			if a := r.get("/buildByToken/build?job=app&token=secret"); a.status != http.StatusForbidden {
				t.Errorf("trigger: got %d, want 403", a.status)
			}
			r.release()
			if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "built\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
		}},
		{name: "items keep their due time when the quiet period changes", do: func(t *testing.T, r *reloading) {
			before := r.view("app", "secret", r.queued)
			r.reload("", app("app", "quiet_period 10h", "true"))
			_, due, _ := strings.Cut(before, `"due":`)
			due, _, _ = strings.Cut(due, ",")
			r.wantView("app", "secret", r.queued, `"due":`+due)
			r.release()
		}},
		{name: "fewer executors end no build", rest: "concurrent", do: func(t *testing.T, r *reloading) {
			r.eventually("both run", func() bool { return strings.Contains(r.view("app", "secret", r.queued), `"running"`) })
			r.reload("executors 1", app("app", "concurrent", "true"))
			third := r.trigger("app", "secret")
			r.release()
			r.eventually("one of them has ended", func() bool { return len(status(t).Queues[0].Running) == 1 })
			r.wantView("app", "secret", third, `"state":"buildable"`)
			r.releaseOther()
			r.follow("app", "secret", third)
			r.wantView("app", "secret", r.running, `"result":"SUCCESS"`)
			r.wantView("app", "secret", r.queued, `"result":"SUCCESS"`)
		}},
		{name: "a lower queue_limit drops nothing", do: func(t *testing.T, r *reloading) {
			third := r.trigger("app", "secret")
			r.reload("queue_limit 1", app("app", "", "true"))
			if a := r.get("/buildByToken/build?job=app&token=secret"); a.status != http.StatusServiceUnavailable {
				t.Errorf("trigger: got %d, want 503", a.status)
			}
			r.release()
			r.follow("app", "secret", third)
			r.wantView("app", "secret", r.queued, `"result":"SUCCESS"`)
		}},
		{name: "items stay in the queue file of old, and are back when it is named again", option: "shutdown_timeout 0", do: func(t *testing.T, r *reloading) {
			path := r.path
			r.path = filepath.Join(filepath.Dir(path), "another.db")
			r.reload("", app("app", "", "true"))
			if a := r.get("/buildByToken/status?job=app&token=secret&item=" + r.queued); a.status != http.StatusNotFound {
				t.Errorf("the item in another file: got %d %s, want 404", a.status, a.body)
			}
			r.path = path
			r.reload("", app("app", "", "echo back"))
			if log := r.follow("app", "secret", r.queued); !strings.Contains(log, "back\nFinished: SUCCESS\n") {
				t.Errorf("log: got %q", log)
			}
			r.wantView("app", "secret", r.running, `"result":"ABORTED"`)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			first, release := fifo(t)
			second, releaseOther := fifo(t)
			r := &reloading{site: s, release: release, releaseOther: releaseOther}
			before := app("app", tt.rest, fmt.Sprintf("sh -c `if [ $BUILD_NUMBER = 1 ]; then exec cat %s; fi; exec cat %s`", first, second))
			r.reload(tt.option, before)
			build := "build"
			if tt.query != "" {
				build = "buildWithParameters"
			}
			for _, item := range []*string{&r.running, &r.queued} {
				a := r.get(fmt.Sprintf("/buildByToken/%s?job=app&token=secret%s", build, tt.query))
				if a.status != http.StatusCreated {
					t.Fatalf("trigger: got %d %q", a.status, a.body)
				}
				*item = filepath.Base(a.header.Get("Location"))
			}
			r.eventually("the first build runs", func() bool { return strings.Contains(r.view("app", "secret", r.running), `"running"`) })
			tt.do(t, r)
		})
	}
}
