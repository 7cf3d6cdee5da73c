package hooks_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A repeated delivery must not queue the same item again.
func TestRepetitions(t *testing.T) {
	body := push("main", "api/x.go")
	t.Run("the same delivery", func(t *testing.T) {
		s := newSite(t)
		first := s.send(github(t, path+"?job=push", "push", "1", body))
		second := s.send(github(t, path+"?job=push", "push", "1", body))
		id := s.items("push")[0].ID
		if want := fmt.Sprintf("push: delivered before, item %d\n", id); first.Code != 201 || second.Code != 200 || second.Body.String() != want {
			t.Errorf("got %d and %d %q, want 201 and 200 %q", first.Code, second.Code, second.Body, want)
		}
		if n := s.items("push")[0].Triggers(); n != 1 {
			t.Errorf("the item stands for %d triggers, want 1", n)
		}
	})
	t.Run("a copy under another ID, which is not signed", func(t *testing.T) {
		s := newSite(t)
		s.send(github(t, path+"?job=push", "push", "1", body))
		if w := s.send(github(t, path+"?job=push", "push", "2", body)); !strings.Contains(w.Body.String(), "delivered before") {
			t.Errorf("got %d %q, want it to be a repetition", w.Code, w.Body)
		}
	})
	t.Run("copies under other names, which are not signed either", func(t *testing.T) {
		s := newSite(t)
		s.send(github(t, path+"?job=env", "push", "1", body))
		for i, name := range []string{"PUSH", "issue_comment", "pull_request", "anything", ""} {
			if w := s.send(github(t, path+"?job=env", name, fmt.Sprint("other ", i), body)); !strings.Contains(w.Body.String(), "delivered before") {
				t.Errorf("as %q: got %d %q, want it to be a repetition", name, w.Code, w.Body)
			}
		}
		pull := `{"action":"opened","pull_request":{"number":1,"head":{"ref":"a","repo":{"id":1,"full_name":"a/b"}},"base":{"repo":{"id":1,"full_name":"a/b"}}}}`
		s.send(github(t, path+"?job=env", "pull_request", "2", pull))
		for i, name := range []string{"Pull_Request", "pull_request_review", "anything"} {
			if w := s.send(github(t, path+"?job=env", name, fmt.Sprint("pull ", i), pull)); !strings.Contains(w.Body.String(), "delivered before") {
				t.Errorf("as %q: got %d %q, want it to be a repetition", name, w.Code, w.Body)
			}
		}
		if w := s.send(github(t, path+"?job=push", "push", "3", pull)); w.Code != 400 {
			t.Errorf("a pull request as a push: got %d %q, want 400", w.Code, w.Body)
		}
		for i, key := range []string{"pullrequest:created", "pullrequest:approved", "anything"} {
			pull := `{"pullrequest":{"id":1,"source":{"branch":{"name":"a"},"repository":{"full_name":"a/b"}},"destination":{"repository":{"full_name":"a/b"}}}}`
			w := s.send(post(t, path+"?job=bitbucket", pull, "X-Event-Key", key, "X-Request-UUID", fmt.Sprint(i), "X-Hub-Signature", "sha256="+sign(pull)))
			if repeated := strings.Contains(w.Body.String(), "delivered before"); repeated != (i > 0) {
				t.Errorf("as %q: got %d %q", key, w.Code, w.Body)
			}
		}
	})
	t.Run("a form with another field, which Gitea does not sign", func(t *testing.T) {
		s := newSite(t)
		for i, more := range []string{"", "&x=1", "&y"} {
			w := s.send(post(t, path+"?job=gitea", "payload="+url.QueryEscape(body)+more, "Content-Type", "application/x-www-form-urlencoded",
				"X-Gitea-Event", "push", "X-Gitea-Delivery", fmt.Sprint(i), "X-Gitea-Signature", sign(body)))
			if repeated := strings.Contains(w.Body.String(), "delivered before"); repeated != (i > 0) {
				t.Errorf("with %q: got %d %q", more, w.Code, w.Body)
			}
		}
	})
	t.Run("another push joins", func(t *testing.T) {
		s := newSite(t)
		s.send(github(t, path+"?job=push", "push", "1", body))
		if w := s.send(github(t, path+"?job=push", "push", "1", push("main", "b"))); w.Code != 200 || !strings.Contains(w.Body.String(), "joined item") {
			t.Errorf("got %d %q, want 200 and joined, never a redirection", w.Code, w.Body)
		}
	})
	t.Run("equal bodies without an ID are two deliveries", func(t *testing.T) {
		s := newSite(t)
		r := func() *http.Request { return post(t, path+"?job=token", `{}`, "Authorization", key) }
		s.send(r())
		if w := s.send(r()); w.Code != 200 || !strings.Contains(w.Body.String(), "joined item") {
			t.Errorf("got %d %q, want it to join", w.Code, w.Body)
		}
	})
	t.Run("a repetition whose values depend on the clock", func(t *testing.T) {
		s := newSite(t)
		r := func() *http.Request {
			return post(t, path+"?job=clock", `{}`, "Authorization", key, "Idempotency-Key", "7")
		}
		s.send(r())
		if w := s.send(r()); w.Code != 200 || !strings.Contains(w.Body.String(), "delivered before") {
			t.Errorf("got %d %q, want a repetition", w.Code, w.Body)
		}
	})
	t.Run("a delivery that failed for one of three jobs", func(t *testing.T) {
		s := newSite(t)
		s.q.refuses.Store("mono/api")
		r := func() *http.Request { return github(t, path+"?job=mono", "push", "1", push("main", "api/x", "web/x")) }
		w := s.send(r())
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "mono/api: the queue is not available now") || !strings.Contains(w.Body.String(), "mono/all: queued") {
			t.Errorf("got %d %q, want 503", w.Code, w.Body)
		}
		s.q.refuses.Store("")
		w = s.send(r())
		if w.Code != 201 || strings.Count(w.Body.String(), "delivered before") != 2 || !strings.Contains(w.Body.String(), "mono/api: queued") {
			t.Errorf("got %d %q, want only mono/api to be queued now", w.Code, w.Body)
		}
		if len(s.items("mono/all")) != 1 || s.items("mono/all")[0].Triggers() != 1 {
			t.Error("a job was queued twice")
		}
	})
	t.Run("one that was ignored counts once it is not", func(t *testing.T) {
		s := newSite(t)
		s.q.refuses.Store("push")
		s.send(github(t, path+"?job=push", "push", "1", body))
		s.q.refuses.Store("")
		if w := s.send(github(t, path+"?job=push", "push", "1", body)); w.Code != 201 {
			t.Errorf("got %d %q, want 201", w.Code, w.Body)
		}
	})
	t.Run("three refs in one delivery are three events", func(t *testing.T) {
		s := newSite(t)
		body := `{"push":{"changes":[{"new":{"name":"a"}},{"new":{"name":"b"}},{"new":null,"old":{"name":"c"}}]}}`
		r := func() *http.Request {
			return post(t, path+"?job=bitbucket", body, "X-Event-Key", "repo:push", "X-Hub-Signature", "sha256="+sign(body))
		}
		if w := s.send(r()); w.Code != 201 || len(s.items("bitbucket")) != 2 {
			t.Errorf("got %d %q, with %d items, want 2", w.Code, w.Body, len(s.items("bitbucket")))
		}
		if w := s.send(r()); w.Code != 200 || strings.Count(w.Body.String(), "delivered before") != 2 {
			t.Errorf("got %d %q, want two repetitions", w.Code, w.Body)
		}
	})
}

// What is left out of a job is so by the body, which is signed, and not by a name in a header.
func TestOtherNamesIncludeNothing(t *testing.T) {
	fork := `{"action":"opened","pull_request":{"number":1,"head":{"ref":"a","repo":{"id":2,"full_name":"x/b"}},"base":{"repo":{"id":1,"full_name":"a/b"}}}}`
	for body, want := range map[string]string{
		strings.ReplaceAll(push("main", "a"), "Change", "Change [skip ci]"):                 "skip",
		strings.ReplaceAll(push("main", "a"), `"after":"b2"`, `"after":"000000"`):           "deletion",
		strings.ReplaceAll(push("main", "a"), `"after":"b2"`, `"after":"0","deleted":true`): "deletion",
		fork: "fork",
	} {
		for _, name := range []string{"push", "PUSH", "Push", "pull_request", "PULL_REQUEST", "status", "anything", ""} {
			s := newSite(t)
			w := s.send(github(t, path+"?job=env", name, "1", body))
			if got := s.items("env"); len(got) != 0 || w.Code >= 300 && (want != "fork" || w.Code != 400) {
				t.Errorf("%s as %q: got %d %q, with %d items, want it to be left out", want, name, w.Code, w.Body, len(got))
			}
		}
	}
}
