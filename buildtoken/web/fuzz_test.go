package web_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/throttle"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// FuzzRequest sends any requests to the trigger endpoints, with and without the right token in
// the place of TOKEN. Without it no build may be triggered, and no answer may be an internal
// error.
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
	s := newScenario(f, f.TempDir(), 0, throttle.Limit{Max: -1})
	f.Cleanup(s.close)
	d, err := definition.Compile(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{
		Name: "fuzzed", Runner: s.runner, Disabled: true, // disabled: a right token gets 400, and nothing is stored
		Tokens: []definition.Token{{Digest: token.NewSecret(secret).Digest()}},
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
		s.api.Serve(w, r) //nolint:contextcheck // Serve takes the request's
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

// FuzzHeaders sends any header fields that are read to triggers and to readers. Without a token
// and an account, no request may change or reveal anything.
func FuzzHeaders(f *testing.F) {
	for _, seed := range [][5]string{
		{"/buildByToken/build?job=plain", "*/*", "Bearer x", "", ""},
		{"/buildByToken/build?job=plain", "application/json;q=0.5, text/plain", "bearer", "x", "https://evil.example"},
		{"/buildByToken/log?job=plain&item=1", "text/event-stream", "Basic YTpi", "TacoTuesday\x00", "null"},
		{"/job/plain/api/json", "text/html;q=,*;q=9", "Bearer  TacoTuesday ", "end", ""},
		{"/job/notoken/build", ";;;,,,", "Digest", "-1", "http://ci.example.com"},
		{"/buildByToken/build?job=plain", "wait=30, respond-async", "Bearer x", "wait=99999999999999999999;x", ""},
		{"/queue/api/json?tree=*", "a/b/c;q=1e999", "Bearer\tx", "99999999999999999999", "::"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	s := newScenario(f, f.TempDir(), 0, throttle.Limit{Max: -1})
	f.Cleanup(s.close)
	f.Fuzz(func(t *testing.T, target, accept, authorization, other, origin string) {
		for _, known := range []string{"TacoTuesday", "LookAtMe", "AppToken", "Hush"} {
			if strings.Contains(target+authorization+other, known) {
				return
			}
		}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := httptest.NewRequestWithContext(t.Context(), method, "/", nil)
			r.URL = u
			r.Header = http.Header{
				"Accept": {accept}, "Authorization": {authorization}, "X-Build-Token": {other},
				"Last-Event-Id": {other}, "Origin": {origin}, "Sec-Fetch-Site": {other}, "If-None-Match": {other}, "Jenkins-Crumb": {other}, "Prefer": {accept, other}, "Idempotency-Key": {other},
			}
			w := httptest.NewRecorder()
			if !s.api.Serve(w, r) {
				continue
			}
			if w.Code >= 500 || w.Code == http.StatusCreated || w.Code == http.StatusSeeOther {
				t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
			}
			if text := w.Body.String(); w.Code == http.StatusOK && (strings.Contains(text, "says hello") || strings.Contains(text, "the first")) {
				t.Fatalf("%s %s shows a job without a token and an account: %s", method, target, text)
			}
		}
	})
}
