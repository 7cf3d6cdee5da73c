package caddymodule_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

const explained = `{
	admin off
}
http://127.0.0.1:0 {
	build_token {
		methods POST
		access {
			build ` + "`user == \"alice\"`" + `
		}
		folder site {
			token ci TacoTuesday {
				grant trigger status
			}
			token old Long4go {
				expires 2020-01-01T00:00:00Z
			}
			token look Look4it {
				grant status
			}
			webhook github HubSecret99
			allow ` + "`request.method == \"POST\"`" + `
			job deploy {
				allow ` + "`params.ENV == \"staging\"` `only staging`" + `
				param ENV choice staging production
				param PASS password
				token prod Prod99Secret {
					allow ` + "`now.getHours() < 12`" + `
				}
				on github push {
					when ` + "`event.branch == \"main\"`" + `
					set ENV ` + "`\"staging\"`" + `
				}
				on github issues
				run true
			}
			job off {
				disabled
				run true
			}
		}
	}
}
`

func newExplainer(t *testing.T, text string) caddymodule.Explainer {
	t.Helper()
	home(t)
	config, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := caddymodule.NewExplainer(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestExplainNamesTheCheckThatDecides(t *testing.T) {
	e := newExplainer(t, explained)
	ci, none, prod, old, look, wrong := "ci", "", "prod", "old", "look", "nobody"
	params := func(env ...string) map[string][]string { return map[string][]string{"ENV": env, "PASS": {"Hush77"}} }
	bad, long := "soon", "9000h"
	for _, tt := range []struct {
		name  string
		asked caddymodule.Asked
		want  string // decision, status, check, rule, place
	}{
		{"all is right", caddymodule.Asked{Token: &ci, Params: params("staging")}, "accepted 201"},
		{"the method", caddymodule.Asked{Token: &ci, Method: "GET"}, "refused 405 method"},
		{"no such job", caddymodule.Asked{Token: &ci, Job: "site/nope"}, "refused 404 job"},
		{"no token", caddymodule.Asked{Token: &none}, "refused 403 token"},
		{"a wrong token", caddymodule.Asked{Token: &wrong}, "refused 403 token"},
		{"an expired token", caddymodule.Asked{Token: &old}, "refused 403 token"},
		{"an expired token when it was not", caddymodule.Asked{Token: &old, Now: time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)}, "accepted 201"},
		{"a token without the grant", caddymodule.Asked{Token: &look}, "refused 403 grant"},
		{"a disabled job", caddymodule.Asked{Token: &ci, Job: "site/off"}, "refused 400 enabled"},
		{"the other endpoint", caddymodule.Asked{Token: &ci, Action: "build"}, "refused 400 endpoint"},
		{"polling", caddymodule.Asked{Token: &ci, Action: "polling"}, "refused 400 endpoint"},
		{"a bad delay", caddymodule.Asked{Token: &ci, Delay: &bad}, "refused 400 delay"},
		{"a delay of more than a year", caddymodule.Asked{Token: &ci, Delay: &long}, "refused 400 delay"},
		{"a bad value", caddymodule.Asked{Token: &ci, Params: params("nowhere")}, "refused 400 parameters"},
		{"two values", caddymodule.Asked{Token: &ci, Params: params("staging", "staging")}, "refused 400 parameters"},
		{"a rule of the job", caddymodule.Asked{Token: &ci, Params: params("production")}, "refused 403 rule site/deploy allow 1 Caddyfile:23"},
		{"a rule of the token", caddymodule.Asked{Token: &prod, Now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}, "refused 403 rule site/deploy token prod allow 1 Caddyfile:27"},
		{"before noon", caddymodule.Asked{Token: &prod, Now: time.Date(2026, 1, 1, 11, 0, 0, 0, time.UTC)}, "accepted 201"},
		{"a user", caddymodule.Asked{User: "alice"}, "accepted 201"},
		{"another user", caddymodule.Asked{User: "bob"}, "refused 403 token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.asked.Job == "" {
				tt.asked.Job = "site/deploy"
			}
			if tt.asked.Method == "" {
				tt.asked.Method = "POST"
			}
			x := e.Trigger(t.Context(), tt.asked)
			got := strings.Join(strings.Fields(fmt.Sprint(x.Decision, " ", x.Status, " ", x.Check, " ", x.Rule, " ", x.At)), " ")
			if got != tt.want {
				t.Errorf("explain = %s, want %s\n%+v", got, tt.want, x)
			}
			var text strings.Builder
			if err := x.Print(&text); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text.String(), "Hush77") {
				t.Errorf("a password is shown:\n%s", &text)
			}
		})
	}
}

func TestExplainSuggestsTheJob(t *testing.T) {
	e := newExplainer(t, explained)
	for given, want := range map[string]string{
		"deploy": " (did you mean site/deploy?)", "site/job/deploy/": " (did you mean site/deploy?)", "job/site/job/deploy": " (did you mean site/deploy?)",
		"site/deplyo": " (did you mean site/deploy?)", "eploy": "", "nowhere": "", "site": "",
	} {
		x := e.Trigger(t.Context(), caddymodule.Asked{Job: given, Method: "POST"})
		if last := x.Steps[len(x.Steps)-1]; last.Check != "job" || last.Found != "unknown job"+want {
			t.Errorf("explain of job %q: %q, want %q", given, last.Found, "unknown job"+want)
		}
	}
}

func TestExplainPrintsEachCheck(t *testing.T) {
	e := newExplainer(t, explained)
	x := e.Trigger(t.Context(), caddymodule.Asked{Job: "site/deploy", Method: "POST", Params: map[string][]string{"ENV": {"production"}, "NOPE": {"x"}, "PASS": {"Hush77"}}})
	var got strings.Builder
	if err := x.Print(&got); err != nil {
		t.Fatal(err)
	}
	want := `✓ method: POST
✓ job: site/deploy
✓ token: prod of site/deploy (the first that may trigger; --token chooses another)
✓ grant: trigger
✓ enabled
✓ endpoint: buildWithParameters
✓ delay: 5s
✓ parameters: ENV=production PASS=**** (ignored: NOPE)
✓ rule site allow 1 (Caddyfile:21): true; request.method = "POST"
    request.method == "POST"
✗ rule site/deploy allow 1 (Caddyfile:23): false; params.ENV = "production"
    params.ENV == "staging"

refused: 403 not allowed: only staging, by site/deploy allow 1 (Caddyfile:23)
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("explain (-want +got):\n%s", diff)
	}
}

// saved returns a delivery as raw HTTP, signed with a secret.
func saved(branch, secret string, more string) string {
	body := fmt.Sprintf(`{"ref":"refs/heads/%s","after":"a1","repository":{"full_name":"shop/api"},"sender":{"login":"octavia"}%s}`, branch, more)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return fmt.Sprintf("POST /buildByToken/webhook?job=site HTTP/1.1\r\nHost: ci.example.com\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: sha256=%s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", hex.EncodeToString(mac.Sum(nil)), len(body), body)
}

func TestExplainOfADelivery(t *testing.T) {
	e := newExplainer(t, explained)
	for _, tt := range []struct{ name, job, raw, want string }{
		{"it queues", "site/deploy", saved("main", "HubSecret99", ""), "accepted 201"},
		{"to a folder", "site", saved("main", "HubSecret99", ""), "accepted 201"},
		{"a large one", "site", saved("main", "HubSecret99", `,"x":"`+strings.Repeat("x", 200_000)+`"`), "accepted 201"},
		{"another branch", "site/deploy", saved("x", "HubSecret99", ""), "ignored 200 on github push when Caddyfile:29"},
		{"a ping", "site/deploy", strings.Replace(saved("main", "HubSecret99", ""), "Event: push", "Event: ping", 1), "accepted 200"},
		{"another secret", "site/deploy", saved("main", "another", ""), "refused 403 signature"},
		{"no such job", "nope", saved("main", "HubSecret99", ""), "refused 404 job"},
		{"a job that takes none", "site/off", saved("main", "HubSecret99", ""), "refused 404 job"},
		{"by GET", "site", strings.Replace(saved("main", "HubSecret99", ""), "POST", "GET", 1), "refused 405 method"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := e.Delivery(t.Context(), tt.job, strings.NewReader(tt.raw), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(strings.Fields(fmt.Sprint(x.Decision, " ", x.Status, " ", x.Check, " ", x.Rule, " ", x.At)), " ")
			if got != tt.want {
				t.Errorf("explain = %s, want %s\n%+v", got, tt.want, x)
			}
		})
	}
	x, err := e.Delivery(t.Context(), "site/deploy", strings.NewReader(saved("x", "HubSecret99", "")), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	if err := x.Print(&printed); err != nil {
		t.Fatal(err)
	}
	if want := "✗ on github push when (Caddyfile:29): false\n    event.branch == \"main\"\n"; !strings.Contains(printed.String(), want) {
		t.Errorf("explain = %s, want it to have %s", printed.String(), want)
	}
	if _, err := e.Delivery(t.Context(), "site", strings.NewReader("no request"), time.Now()); err == nil {
		t.Error("a text that is no request is explained")
	}
}

// A signed time is compared with the time for which a delivery is explained.
func TestExplainOfADeliveryOfAnotherTime(t *testing.T) {
	const key = "0123456789abcdefghijklmn"
	e := newExplainer(t, `{
	admin off
}
http://127.0.0.1:0 {
	build_token {
		job other {
			token ci TacoTuesday
			run true
		}
	}
}
http://127.0.0.2:0 {
	build_token {
		folder f {
			webhook standard whsec_`+base64.StdEncoding.EncodeToString([]byte(key))+`
			job a {
				on standard
				run true
			}
		}
	}
}
`)
	sent := time.Now().Add(-24 * time.Hour)
	const body = `{"type":"x"}`
	signed := fmt.Sprintf("id.%d.%s", sent.Unix(), body)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	raw := fmt.Sprintf("POST /buildByToken/webhook?job=a HTTP/1.1\r\nHost: ci.example.com\r\nWebhook-Id: id\r\nWebhook-Timestamp: %d\r\nWebhook-Signature: v1,%s\r\nContent-Length: %d\r\n\r\n%s",
		sent.Unix(), base64.StdEncoding.EncodeToString(mac.Sum(nil)), len(body), body)
	for now, want := range map[time.Time]string{sent: "accepted", time.Now(): "refused"} {
		for _, to := range []string{"f/a", "f"} { // in the second site
			if x, err := e.Delivery(t.Context(), to, strings.NewReader(raw), now); err != nil || x.Decision != want {
				t.Errorf("explain to %s for %v = %+v, %v; want it %s", to, now, x, err, want)
			}
		}
	}
}
