package hooks_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
)

// FuzzServe sends any deliveries to the addresses of webhooks. Unsigned, none may queue anything.
// Signed, none may be an internal error, a repetition may queue nothing more, and no answer may
// show the secret.
func FuzzServe(f *testing.F) {
	good := push("main", "api/x.go")
	for _, seed := range [][4]string{
		{path + "?job=push", "push", "application/json", good},
		{path + "?job=mono", "push", "application/x-www-form-urlencoded", "payload=" + url.QueryEscape(good)},
		{path + "?job=env", "push", "application/json; charset=utf-16", `{"env":"staging","env":"moon","env":1e999}`},
		{path + "?job=password", "push", "", `{"ref":"refs/heads/main","after":"b2","secret":{"a":[null,true,{}]}}`},
		{path + "?job=gitlab", "Push Hook", "application/json", `{"object_kind":"push","ref":"refs/heads/x","checkout_sha":"b2","commits":[{}]}`},
		{path + "?job=gitea", "pull_request", "application/json", `{"action":"opened","pull_request":{"head":{"repo":{"fork":true}}}}`},
		{path + "?job=bitbucket", "repo:push", "application/json", `{"push":{"changes":[{"new":{"type":"branch","name":"a"}},{"new":null}]}}`},
		{path + "?job=token&token=x", "", "text/plain", "\xff\x00"},
		{"/github-webhook/", "push", "application/json", good},
		{"/project/mono/api", "push", "application/json", good},
		{"/project/push%2f..%2fx", "ping", "application/json", strings.Repeat("[", 10_000)},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	all := newSite(f)
	f.Fuzz(func(t *testing.T, target, name, contentType, body string) {
		s := &site{t: t, ctl: all.ctl, web: all.web}
		all.logs.TakeAll()
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.Contains(target, url.QueryEscape(key)) {
			return
		}
		deliver := func(signature string) (w *httptest.ResponseRecorder, served bool) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
			id := sha256.Sum256([]byte(target + "\x00" + name + "\x00" + contentType + "\x00" + body))
			r.URL = u
			r.Header = http.Header{"Content-Type": {contentType}, "X-Hub-Signature-256": {"sha256=" + signature}, "X-Gitea-Signature": {signature}}
			for _, forge := range []string{"X-Github-", "X-Gitea-"} {
				r.Header.Set(forge+"Event", name)
				r.Header.Set(forge+"Delivery", hex.EncodeToString(id[:]))
			}
			r.Header.Set("X-Gitlab-Event", name)
			r.Header.Set("X-Event-Key", name)
			if signature == sign(body) {
				r.Header.Set("X-Hub-Signature", "sha256="+signature) // Bitbucket
				r.Header.Set("X-Gitlab-Token", key)
				r.Header.Set("Authorization", "Bearer "+key)
			}
			w = httptest.NewRecorder()
			return w, hooks.Serve(s.web.Request(w, r))
		}
		w, served := deliver(sign(body + "x"))
		if !served {
			return
		}
		if n := len(s.items("")); n > 0 || w.Code < 400 || w.Code >= 500 {
			t.Fatalf("unsigned: %d %s; %d items", w.Code, w.Body, n)
		}
		w, _ = deliver(sign(body))
		if w.Code >= 500 || strings.Contains(w.Body.String(), key) {
			t.Fatalf("signed: %d %s", w.Code, w.Body)
		}
		items := s.items("")
		if len(items) > 0 && w.Code != http.StatusCreated && w.Code != http.StatusOK { // Slack wants 200
			t.Errorf("%d %s, and %d items", w.Code, w.Body, len(items))
		}
		clock := func(it queue.Item) bool { return it.Job == "clock" } // its parameter differs each time
		if deliver(sign(body)); !slices.ContainsFunc(items, clock) && len(s.items("")) != len(items) {
			t.Errorf("%d items after a repetition, %d before", len(s.items("")), len(items))
		}
		for _, it := range s.items("") {
			if err := s.ctl.Cancel(t.Context(), it.Job, it.ID, "user alice"); err != nil {
				t.Error(err)
			}
		}
	})
}
