package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestStatesOfTokens shows tokens before and after they expire or a reload removes them. Only those
// that are shown afterwards are dead.
func TestStatesOfTokens(t *testing.T) {
	s := newSite(t)
	token := func(name, more string) string { return fmt.Sprintf("token %s %s-SECRET {\n %s\n}\n", name, name, more) }
	job := func(tokens string) string {
		return jobs("token top top-SECRET\njob app {\n quiet_period 1h\n run true\n" + tokens + "}\n")
	}
	past := "expires 2020-01-01T00:00:00Z"
	stay := token("valid", "") + token("expired", past) + token("shown", past)
	s.load(s.caddyfile("", job(stay+token("removed", "")+token("dead", ""))))
	show := func(name string, want int) {
		t.Helper()
		if a := s.get("/buildByToken/build?job=app&token=" + name + "-SECRET"); a.status != want {
			t.Errorf("%s: got %d %q, want %d", name, a.status, a.body, want)
		}
	}
	show("valid", 201)
	show("shown", 403)
	show("removed", 303)
	show("dead", 303)
	s.load(s.caddyfile("", job(stay)))
	show("dead", 403)
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/build_token/tokens", nil)
	if err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, r); err != nil {
		t.Fatal(err)
	}
	var all []caddymodule.TokenStatus
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	var got []string
	for i := range all {
		got = append(got, fmt.Sprintf("%q %s %s %d+%d", all[i].Place, all[i].Name, all[i].State, all[i].Uses, all[i].UsesDead))
	}
	want := []string{
		`"" top valid 0+0`, `"app" dead dead 1+1`, `"app" expired expired 0+0`, `"app" removed removed 1+0`,
		`"app" shown dead 0+1`, `"app" valid valid 1+0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}
