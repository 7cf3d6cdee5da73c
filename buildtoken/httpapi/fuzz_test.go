package httpapi_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/httpapi"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// FuzzRequest sends anything to the trigger endpoints, with and without the
// right token in the place of TOKEN. Nothing triggers without it, and nothing is an
// error that nobody expected.
func FuzzRequest(f *testing.F) {
	const form, multi = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	for _, seed := range [][4]string{
		{"/buildByToken/build", "job=fuzzed&token=TOKEN", "", ""},
		{"/buildByToken/build/", "job=fuzzed&token=wrong&token=TOKEN", "", ""},
		{"/buildByToken/buildWithParameters", "job=fuzzed", form, "token=TOKEN&A=1&delay=5sec"},
		{"/buildByToken/buildWithParameters", "token=wrong", form, "token=TOKEN&job=fuzzed"},
		{"/buildByToken/build", "", multi, "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nTOKEN\r\n--x\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\nfuzzed\r\n--x--\r\n"},
		{"/buildByToken/build", "job=fuzzed&token=TOKEN", multi, "--x\r\nContent-Disposition: form-data; name=\"F\"; filename=\"a\"\r\n\r\ncontent\r\n--x--"},
		{"/buildByToken/build", "job=fuzzed;token=TOKEN&%zz&cause=%00", form, "%"},
		{"/job/fuzzed/build", "token=TOKEN", "application/json", "{}"},
		{"/job/a%2Fb/build", "job=fuzzed&token=TOKEN", "", ""},
		{"/buildByToken/status", "job=fuzzed&token=TOKEN&item=1", "", ""},
		{"//queue/item/1/api/json", "tree=a[b{1}]", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	secret := rand.Text()
	s := newScenario(f, f.TempDir(), 0, buildtoken.Throttle{Max: -1})
	f.Cleanup(s.close)
	d, err := buildtoken.Define(buildtoken.Spec{Root: buildtoken.Folder{Jobs: []buildtoken.Job{{
		Name: "fuzzed", Runner: s.runner, Disabled: true, // disabled: a right token is 400, and nothing is stored
		Tokens: []buildtoken.Token{{Digest: token.NewSecret(secret).Digest()}},
		Params: []job.Param{{Name: "A", Kind: job.KindString}, {Name: "F", Kind: job.KindFile}},
	}}}})
	if err != nil {
		f.Fatal(err)
	}
	s.api.Definition = d
	send := func(ctx context.Context, path, query, contentType, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
		r.URL = &url.URL{Path: path, RawQuery: query}
		if unescaped, err := url.PathUnescape(path); err == nil {
			r.URL.Path, r.URL.RawPath = unescaped, path
		}
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		s.api.Serve(w, r)
		return w
	}
	passed := func(w *httptest.ResponseRecorder) bool {
		return w.Code < 400 || strings.Contains(w.Body.String(), "is not buildable")
	}
	f.Fuzz(func(t *testing.T, path, query, contentType, body string) {
		if w := send(t.Context(), path, query, contentType, body); passed(w) && w.Code != http.StatusOK || w.Code == http.StatusInternalServerError {
			t.Fatalf("without the token: %d %s", w.Code, w.Body)
		}
		right := func(text string) string { return strings.ReplaceAll(text, "TOKEN", secret) }
		w := send(t.Context(), path, right(query), contentType, right(body))
		if w.Code == http.StatusInternalServerError {
			t.Fatal(w.Body)
		}
		if strings.Contains(w.Body.String(), secret) {
			t.Fatalf("the answer shows the token: %s", w.Body)
		}
		if values, err := url.ParseQuery(right(query)); err == nil && values.Has("token") && values["token"][0] != secret && passed(w) && w.Code != http.StatusOK {
			t.Fatalf("a token behind a wrong one: %d %s", w.Code, w.Body)
		}
	})
}

// FuzzTree selects by anything; what is left is JSON.
func FuzzTree(f *testing.F) {
	for _, seed := range []string{"a", "list[n]{1,2},one[*]", "*[*[*]]", "hidden{,1}", "a[b[c[d]]]{3}", "texts{1,}", "a{1", "[", "{}", "jobs[name,color,url]", "builds[number,url]{0,10}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tree string) {
		text, err := httpapi.Prune(tree, false)
		if err == nil && !json.Valid([]byte(text)) {
			t.Errorf("Prune(%q) = %s", tree, text)
		}
	})
}
