package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// decisions queries the admin API in this process.
func decisions(t *testing.T) (past []audit.Trigger, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/build_token/decisions", nil)
	if err := new(caddymodule.Admin).Routes()[0].Handler.ServeHTTP(w, r); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &past); err != nil {
		t.Fatal(err)
	}
	return past, w.Body.String()
}

func TestReplayShowsOnlyWhatWouldChange(t *testing.T) {
	s := newSite(t)
	body := func(folder, job string) string {
		return s.caddyfile("", `build_token {
	quiet_period 1h
	access {
		build "job.name == 'open'"
	}
	folder site {
		`+folder+`
		job deploy {
			`+job+`
			param ENV choice staging production
			param PASS password
			run true
		}
	}
	job open {
		token other Other88
		run true
	}
}
`)
	}
	before := body("token ci TacoTuesday\ntoken old Old99Secret", "allow `params.ENV != \"production\" || cause != \"\"`")
	s.load(before)
	const app = "/buildByToken/buildWithParameters?job=site/deploy&PASS=Hush77"
	for _, what := range []string{
		app + "&token=TacoTuesday&ENV=staging", app + "&token=TacoTuesday&ENV=staging", app + "&token=TacoTuesday&ENV=production",
		app + "&token=TacoTuesday&ENV=production&cause=yes", app + "&token=Old99Secret&ENV=staging", app + "&token=Old99Secret&ENV=nowhere",
		app + "&token=WrongGuess77", "/buildByToken/build?job=nope&token=TacoTuesday", app, // these three identify no caller
	} {
		s.get(what)
	}
	s.do(http.MethodPost, "/buildByToken/build?job=open")
	past, text := decisions(t)
	if len(past) != 7 {
		t.Errorf("%d decisions are kept, want 7: %s", len(past), text)
	}
	for _, secret := range []string{"Hush77", "TacoTuesday", "Old99Secret", "WrongGuess77"} {
		if strings.Contains(text, secret) {
			t.Errorf("the admin API shows %s", secret)
		}
	}
	replay := func(file string) (lines []string) {
		t.Helper()
		r := newExplainer(t, file).Replay(t.Context(), past)
		for _, c := range r.Changes {
			lines = append(lines, fmt.Sprintf("%d %s by %s: %s, then %s", c.Count, c.Job, c.From, c.Before, c.After))
		}
		for why, n := range r.Impossible {
			lines = append(lines, fmt.Sprintf("%d impossible: %s", n, why))
		}
		slices.Sort(lines)
		return lines
	}
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"the same", before, nil},
		{"a rule that is stricter", body("token ci TacoTuesday\ntoken old Old99Secret", "allow `params.ENV == \"staging\"`"), []string{
			"1 site/deploy by token ci of site/: accepted, then refused by site/deploy allow 1 (Caddyfile:26)",
		}},
		{"a token less", body("token ci TacoTuesday", "allow `params.ENV != \"production\" || cause != \"\"`"), []string{
			"1 site/deploy by token old of site/: accepted, then refused by the check of: token",
			"1 site/deploy by token old of site/: refused by the check of: parameters, then refused by the check of: token",
		}},
		{"without rules", body("token ci TacoTuesday\ntoken old Old99Secret", ""), []string{
			"1 site/deploy by token ci of site/: refused by site/deploy allow 1, then accepted",
		}},
		{"a token that stands elsewhere", body("token ci TacoTuesday", "token old Old99Secret\nallow `params.ENV != \"production\" || cause != \"\"`"), []string{
			"1 site/deploy by token old of site/: accepted, then refused by the check of: token",
			"1 site/deploy by token old of site/: refused by the check of: parameters, then refused by the check of: token",
		}},
		{"rules over what is not kept", body("token ci TacoTuesday\ntoken old Old99Secret", "allow `request.user_agent != \"x\"`\nallow `params.ENV == \"staging\"`"), []string{
			"1 site/deploy by token ci of site/: accepted, then refused by site/deploy allow 2 (Caddyfile:27)",
			"3 impossible: site/deploy allow 1 (Caddyfile:26) reads request.user_agent, which is not kept",
		}},
		{"a rule over a password", body("token ci TacoTuesday\ntoken old Old99Secret", "allow `params.PASS == \"x\"`"), []string{
			"5 impossible: site/deploy allow 1 (Caddyfile:26) reads params.PASS, which is not kept",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, replay(tt.file)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
	r := newExplainer(t, body("token ci TacoTuesday\ntoken old Old99Secret", "allow `params.ENV == \"staging\"`")).Replay(t.Context(), past)
	var shown strings.Builder
	if err := r.Print(&shown, past[3].Time.Add(3*time.Minute)); err != nil {
		t.Fatal(err)
	}
	want := `site/deploy by token ci of site/: accepted → refused by site/deploy allow 1 (Caddyfile:26)
    once, 3m ago from 127.0.0.1 with ENV=production PASS=****
1 of 7 decisions would change
`
	if diff := cmp.Diff(want, shown.String()); diff != "" {
		t.Errorf("print (-want +got):\n%s", diff)
	}
}

// A file is replayed by its name, which is all that rules see of it.
func TestReplayOfAFile(t *testing.T) {
	e := newExplainer(t, `{
	admin off
}
http://127.0.0.1:0 {
	build_token {
		job patch {
			token ci TacoTuesday
			param FILE file
			allow "params.FILE == 'fix.patch'"
			run true
		}
	}
}
`)
	past := []audit.Trigger{
		{Job: "patch", Action: "buildWithParameters", Token: "ci", Place: "patch", Post: true, Admitted: true, Params: []audit.Param{{Name: "FILE", Value: "fix.patch", File: true}}},
		{Job: "patch", Action: "buildWithParameters", Token: "ci", Place: "patch", Post: true, Check: "rule", Rule: "patch allow 1", Params: []audit.Param{{Name: "FILE", Value: "x", File: true}}},
	}
	if r := e.Replay(t.Context(), past); len(r.Changes) != 0 || len(r.Impossible) != 0 {
		t.Errorf("replay with the same rule: %+v, want no change", r)
	}
}
