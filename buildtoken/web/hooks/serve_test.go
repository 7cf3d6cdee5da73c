package hooks_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
)

const path = "/buildByToken/webhook"

// The cases are in the order of the checks: each request violates its own row and all rows
// below.
func TestAnswers(t *testing.T) {
	const job = path + "?job=push"
	good := push("main", "api/x.go")
	for _, tt := range []struct {
		name   string
		r      func() *http.Request
		status int
		body   string
		queues bool
	}{
		{"not POST", func() *http.Request { return httptest.NewRequest(http.MethodGet, path+"?job=nothing", http.NoBody) }, 405, "use POST\n", false},
		{"early data", func() *http.Request { return post(t, path+"?job=nothing", "", "Early-Data", "1") }, 425, "sent before the TLS handshake was complete, send it again\n", false},
		{"no such job", func() *http.Request { return post(t, path+"?job=nothing", "") }, 404, "not found\n", false},
		{"a job without on", func() *http.Request { return post(t, path+"?job=none", "") }, 404, "not found\n", false},
		{"a folder without on", func() *http.Request { return post(t, path+"?job=empty", "") }, 404, "not found\n", false},
		{"two jobs", func() *http.Request { return post(t, path+"?job=push&job=env", "") }, 400, "job is given more than once\n", false},
		{"a malformed query", func() *http.Request { return github(t, path+"?job=%zz", "push", "1", good) }, 400, "malformed query\n", false},
		{"no signature", func() *http.Request { return post(t, job, strings.Repeat("x", 6<<20)) }, 403, "invalid signature\n", false},
		{"an empty signature", func() *http.Request { return post(t, job, "{}", "X-Hub-Signature-256", "") }, 403, "invalid signature\n", false},
		{"the prefix alone", func() *http.Request { return post(t, job, "{}", "X-Hub-Signature-256", "sha256=") }, 403, "invalid signature\n", false},
		{"the signature of another kind", func() *http.Request { return post(t, job, "{}", "X-Gitea-Signature", sign("{}")) }, 403, "invalid signature\n", false},
		{"too large", func() *http.Request {
			return post(t, job, strings.Repeat("x", 5<<20+1), "X-Hub-Signature-256", "sha256="+sign("x"))
		}, 413, "the body is larger than 5242880 bytes\n", false},
		{"too large, at a wrong time", func() *http.Request {
			return post(t, path+"?job=slack", strings.Repeat("x", 5<<20+1), "X-Slack-Request-Timestamp", "1700000000", "X-Slack-Signature", "v0="+sign("x"))
		}, 413, "the body is larger than 5242880 bytes\n", false},
		{"as large as it may be, at a wrong time", func() *http.Request {
			return post(t, path+"?job=slack", strings.Repeat("x", 5<<20), "X-Slack-Request-Timestamp", "1700000000", "X-Slack-Signature", "v0="+sign("x"))
		}, 403, "invalid signature\n", false},
		{"a malformed form of a sender that signs what is in it", func() *http.Request {
			return post(t, path+"?job=gitea", "payload=%zz", "X-Gitea-Signature", sign(""), "X-Gitea-Event", "push", "Content-Type", "application/x-www-form-urlencoded")
		}, 403, "invalid signature\n", false},
		{"a wrong signature", func() *http.Request { return post(t, job, good, "X-Hub-Signature-256", "sha256="+sign("x")) }, 403, "invalid signature\n", false},
		{"a ping", func() *http.Request { return github(t, job, "ping", "1", "{}") }, 200, "ok\n", false},
		{"malformed JSON", func() *http.Request { return github(t, job, "push", "1", "{") }, 400, "the body is neither the JSON nor the form of its sender\n", false},
		{"when is false", func() *http.Request { return github(t, job, "push", "1", push("x", "a")) }, 200, "ignored\n", false},
		{"another event", func() *http.Request { return github(t, job, "release", "1", `{"release":{}}`) }, 200, "ignored\n", false},
		{"when fails", func() *http.Request { return github(t, path+"?job=broken", "push", "1", good) }, 200, "ignored\n", false},
		{"a deletion", func() *http.Request {
			return github(t, job, "push", "1", `{"ref":"refs/heads/main","before":"a","after":"000000","deleted":true}`)
		}, 200, "ignored\n", false},
		{"a skip", func() *http.Request {
			return github(t, job, "push", "1", `{"ref":"refs/heads/main","before":"a","after":"b","head_commit":{"id":"b","message":"x [CI skip]"}}`)
		}, 200, "ignored\n", false},
		{"a fork", func() *http.Request {
			return github(t, path+"?job=mono/all", "pull_request", "1", `{"action":"opened","number":1,"pull_request":{"number":1,"head":{"repo":null}}}`)
		}, 200, "ignored\n", false},
		{"a disabled job", func() *http.Request { return github(t, path+"?job=off", "push", "1", good) }, 200, "ignored\n", false},
		{"an illegal value", func() *http.Request { return github(t, path+"?job=env", "push", "1", `{"env":"moon"}`) }, 400, "env: bad value: illegal choice for parameter ENV", false},
		{"a value that fails", func() *http.Request { return github(t, path+"?job=missing", "push", "1", `{}`) }, 400, "missing: bad value: parameter ENV: the expression failed", false},
		{"a rule denies", func() *http.Request { return github(t, path+"?job=denied", "push", "1", good) }, 403, "denied: not allowed\n", false},
		{"queued", func() *http.Request { return github(t, job, "push", "1", good) }, 201, "push: queued as item ", true},
		{"a job without parameters", func() *http.Request { return github(t, path+"?job=c%23", "release", "1", `{"release":{}}`) }, 201, "c#: queued as item ", true},
		{"queued, with a slash", func() *http.Request { return github(t, path+"/?job=push", "push", "1", good) }, 201, "push: queued as item ", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			w := s.send(tt.r())
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
			if got := len(s.items("")) > 0; got != tt.queues {
				t.Errorf("something is queued: %v, want %v", got, tt.queues)
			}
			if w.Code == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow: %q, want POST", w.Header().Get("Allow"))
			}
			if w.Code == 201 && strings.HasPrefix(tt.body, "push") {
				if it := s.items("push")[0]; w.Header().Get("Location") != fmt.Sprintf("%squeue/item/%d/", root, it.ID) || it.Values[0].Text != "main" ||
					it.Causes[0].Kind != queue.CauseWebhook || it.Causes[0].String() != "Started by webhook github with note: push to main of shop/api by octavia" {
					t.Errorf("item %+v, Location %s", it, w.Header().Get("Location"))
				}
			}
		})
	}
}

// Every kind of sender starts a build.
func TestEachKind(t *testing.T) {
	s := newSite(t)
	now := strconv.FormatInt(time.Now().Unix(), 10)
	standard := func(id, body string) []string {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(signedKey, "whsec_"))
		return []string{"Webhook-Id", id, "Webhook-Timestamp", now, "Webhook-Signature", "v1," + base64.StdEncoding.EncodeToString(signWith(key, id+"."+now+"."+body))}
	}
	form := "payload=" + url.QueryEscape(push("main"))
	command := "command=%2Fdeploy&text=api&user_name=octavia&trigger_id=1.2"
	for _, tt := range []struct {
		job, body string
		status    int
		headers   []string
	}{
		{"gitlab", `{"object_kind":"push","ref":"refs/heads/main","after":"b2","before":"a1"}`, 201, []string{"X-Gitlab-Token", key, "X-Gitlab-Event", "Push Hook"}},
		{"gitea", push("main"), 201, []string{"X-Gitea-Signature", sign(push("main")), "X-Gitea-Event", "push"}},
		{"gitea", form, 200, []string{"X-Gitea-Signature", sign(push("main")), "X-Gitea-Event", "push", "Content-Type", "application/x-www-form-urlencoded"}},
		{"bitbucket", `{"push":{"changes":[{"new":{"name":"main"}}]}}`, 201, []string{"X-Hub-Signature", "sha256=" + sign(`{"push":{"changes":[{"new":{"name":"main"}}]}}`), "X-Event-Key", "repo:push"}},
		{"slack", command, 200, []string{"X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0=" + sign("v0:"+now+":"+command), "Content-Type", "application/x-www-form-urlencoded"}},
		{"standard", `{"type":"x"}`, 201, standard("msg_1", `{"type":"x"}`)},
		{"stripe", `{"type":"x","id":"evt_1"}`, 201, []string{"Stripe-Signature", "t=" + now + ",v1=" + sign(now+`.{"type":"x","id":"evt_1"}`)}},
		{"token", `{}`, 201, []string{"Authorization", "Bearer " + key}},
		{"hmac", "", 201, []string{"X-Sig", sign("")}},
	} {
		t.Run(tt.job, func(t *testing.T) {
			w := s.send(post(t, path+"?job="+tt.job, tt.body, tt.headers...))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.job+": ") || len(s.items(tt.job)) != 1 {
				t.Errorf("got %d %q, with %d items, want %d and one item", w.Code, w.Body, len(s.items(tt.job)), tt.status)
			}
		})
	}
	// GitHub signs the form as it is sent, not the JSON inside.
	r := post(t, path+"?job=push", form, "X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+sign(form), "Content-Type", "application/x-www-form-urlencoded")
	if w := s.send(r); w.Code != 201 {
		t.Errorf("form of GitHub: %d %s", w.Code, w.Body)
	}
	r = post(t, path+"?job=push", form, "X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+sign(push("main")), "Content-Type", "application/x-www-form-urlencoded")
	if w := s.send(r); w.Code != 403 {
		t.Errorf("form of GitHub with the signature of its JSON: %d %s", w.Code, w.Body)
	}
}

// One delivery for a whole repository is answered with one line for each job.
func TestOneDeliveryForManyJobs(t *testing.T) {
	s := newSite(t)
	w := s.send(github(t, path+"?job=mono", "push", "1", push("main", "api/x.go")))
	all, api := s.items("mono/all"), s.items("mono/api")
	want := fmt.Sprintf("mono/all: queued as item %d\nmono/api: queued as item %d\nmono/web: ignored\n", all[0].ID, api[0].ID)
	if w.Code != 201 || w.Body.String() != want || w.Header().Get("Location") != "" {
		t.Errorf("got %d %q, Location %q, want 201 %q", w.Code, w.Body, w.Header().Get("Location"), want)
	}
	r := github(t, path+"?job=mono", "push", "2", push("main", "web/x.ts"))
	r.Header.Set("Accept", "application/json")
	w = s.send(r)
	var got struct {
		Jobs []struct {
			Job, Outcome, URL string
			ID                int64
			Created           bool
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, j := range got.Jobs {
		lines = append(lines, fmt.Sprintf("%s %s %v %v", j.Job, j.Outcome, j.Created, j.URL == fmt.Sprintf("%squeue/item/%d/", root, j.ID)))
	}
	if diff := cmp.Diff([]string{"mono/all joined false true", "mono/api ignored false false", "mono/web queued true true"}, lines); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestOneDeliveryForTwoJobs(t *testing.T) {
	s := newSite(t)
	w := s.send(github(t, path+"?job=pair", "push", "1", push("main", "a")))
	if a, b := s.items("pair/a"), s.items("pair/b"); w.Code != 201 || len(a) != 1 || len(b) != 1 {
		t.Errorf("got %d %q and the items %v, %v, want 201 and one of each", w.Code, w.Body, a, b)
	}
}

func TestSlackIsAlwaysAnswered200(t *testing.T) {
	s := newSite(t)
	now := strconv.FormatInt(time.Now().Unix(), 10)
	send := func(body string) *httptest.ResponseRecorder {
		return s.send(post(t, path+"?job=slack", body, "X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0="+sign("v0:"+now+":"+body)))
	}
	for _, tt := range []struct{ body, want string }{
		{"ssl_check=1", "ok\n"},
		{"command=%2Fother", "ignored\n"},
		{"command=%zz", "the body is neither"},
		{"command=%2Fdeploy&trigger_id=1", "slack: queued as item"},
		{"command=%2Fdeploy&trigger_id=2&te=1", "slack: joined item"},
	} {
		if w := send(tt.body); w.Code != 200 || !strings.HasPrefix(w.Body.String(), tt.want) {
			t.Errorf("%s: got %d %q, want 200 %q", tt.body, w.Code, w.Body, tt.want)
		}
	}
	s.q.refuses.Store("slack")
	if w := send("command=%2Fdeploy&trigger_id=9"); w.Code != 200 || !strings.Contains(w.Body.String(), "the queue is not available now") || w.Header().Get("Retry-After") != "" {
		t.Errorf("got %d %q, Retry-After %q, want 200 with the reason alone", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	if w := s.send(post(t, path+"?job=slack", "x", "X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0="+sign("y"))); w.Code != 403 {
		t.Errorf("a wrong signature: got %d, want 403", w.Code)
	}
	counts := map[string]uint64{}
	for _, c := range s.ctl.Deliveries().Counts() {
		counts[c.Outcome] = c.N
	}
	want := map[string]uint64{"ping": 1, "ignored": 1, "malformed": 1, "queued": 1, "joined": 1, "failed": 1, "wrong_signature": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// A sender is told to try again if the queue cannot be opened, however large its delivery is.
func TestDeliveryWhileTheQueueCannotBeOpened(t *testing.T) {
	s := newSite(t)
	s.web.Open = func() (*buildtoken.Controller, error) { return nil, errors.New("no database") }
	for _, size := range []int{1, 100 << 10} {
		w := s.send(github(t, path+"?job=push", "push", "1", push("main", strings.Repeat("a", size))))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("a file name of %d bytes: got %d %q, Retry-After %q, want 503 with it", size, w.Code, w.Body, w.Header().Get("Retry-After"))
		}
	}
}

// A sender is told to try again if one of several jobs could not queue its build; the others know the
// delivery then.
func TestDeliveryThatOneJobCannotQueue(t *testing.T) {
	s := newSite(t)
	s.q.refuses.Store("mono/all")
	w := s.send(github(t, path+"?job=mono", "push", "1", push("main", "api/x.go")))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.HasPrefix(w.Body.String(), "mono/all: the queue is not available now") {
		t.Errorf("got %d %q, Retry-After %q, want 503 with it", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	s.q.refuses.Store("")
	w = s.send(github(t, path+"?job=mono", "push", "1", push("main", "api/x.go")))
	if w.Code != 201 || w.Header().Get("Retry-After") != "" || !strings.Contains(w.Body.String(), "mono/api: delivered before") {
		t.Errorf("got %d %q, Retry-After %q, want 201 without it", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	s.q.full.Store("mono/web")
	w = s.send(github(t, path+"?job=mono", "push", "2", push("main", "api/y.go", "web/y.ts")))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "mono/web: the queue is full") {
		t.Errorf("got %d %q, Retry-After %q, want 503 with it", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	s.q.breaks.Store("push")
	if w := s.send(github(t, path+"?job=push", "push", "3", push("main", "a"))); w.Code != 503 || s.ctl.Deliveries().List()[0].Jobs[0].Outcome != "failed" {
		t.Errorf("got %d, kept as %+v, want 503 and failed", w.Code, s.ctl.Deliveries().List()[0].Jobs)
	}
	var levels []string
	for _, line := range s.logs.FilterMessage("webhook delivery").All() {
		levels = append(levels, line.Level.String())
	}
	if want := []string{"error", "info", "error", "error"}; !slices.Equal(levels, want) {
		t.Errorf("the deliveries are logged as %v, want %v", levels, want)
	}
}

// A refusal of one job does not hide that others were queued, neither by the status nor by a header.
func TestDeliveryThatOneJobRefuses(t *testing.T) {
	s := newSite(t)
	for target, want := range map[string]struct {
		status int
		errs   bool
	}{"": {201, false}, "?job=env": {400, true}} {
		w := s.send(github(t, path+target, "push", "1", `{"ref":"refs/heads/main","after":"b2","env":"moon"}`))
		if w.Code != want.status || !strings.Contains(w.Body.String(), "env: bad value: illegal choice") || w.Header().Get("X-Error") != "" != want.errs {
			t.Errorf("%q: got %d %q, X-Error %q, want %+v", target, w.Code, w.Body, w.Header().Get("X-Error"), want)
		}
	}
}

func TestDelayOfAnOn(t *testing.T) {
	s := newSite(t)
	if w := s.send(github(t, path+"?job=soon/job", "push", "1", push("main", "a"))); w.Code != 201 {
		t.Fatalf("got %d %q", w.Code, w.Body)
	}
	if it := s.items("soon/job")[0]; it.Due.Sub(it.Since) != 83*time.Minute {
		t.Errorf("the item is due after %v, want 1h23m", it.Due.Sub(it.Since))
	}
}

func TestLargestDelivery(t *testing.T) {
	s := newSite(t)
	body := push("main", "a")
	body += strings.Repeat(" ", 5<<20-len(body))
	for more, want := range map[string]int{"": 201, " ": 413} {
		if w := s.send(github(t, path+"?job=push", "push", "1"+more, body+more)); w.Code != want {
			t.Errorf("%d bytes: got %d %q, want %d", len(body+more), w.Code, w.Body, want)
		}
	}
}

// Each webhook has its own limit.
func TestLimitsOfSeveralWebhooks(t *testing.T) {
	s := newSite(t)
	other := spec(t)
	for _, f := range other.Root.Folders {
		if f.Name == "large" {
			f.Webhooks[0].Secrets = secret(t, event.GitHub, "another")
		}
	}
	var err error
	if s.web.Definition, err = definition.Compile(other); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 5<<20+1)
	for _, tt := range []struct {
		name, header, signature string
		want                    int
	}{
		{"signed for the lower limit", "X-Hub-Signature-256", "sha256=" + sign(large), 413},
		{"wrongly signed for both", "X-Hub-Signature-256", "sha256=" + sign("y"), 403},
		{"wrongly signed for the lower limit alone", "X-Sig", sign("y"), 413},
	} {
		if w := s.send(post(t, path, large, tt.header, tt.signature)); w.Code != tt.want {
			t.Errorf("%s: got %d %q, want %d", tt.name, w.Code, w.Body, tt.want)
		}
	}
}

// Senders of different kinds may have signed a delivery. What one of them cannot have sent is still an
// event of the other one.
func TestDeliveryOfTwoKinds(t *testing.T) {
	for name, body := range map[string]string{"malformed for GitHub": `{"pull_request":{}}`, "a ping of GitHub": `{"hook_id":1}`} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			event := map[bool]string{true: "ping", false: "push"}[strings.Contains(name, "ping")]
			r := github(t, path, event, "1", body)
			if w := s.send(r); w.Code != map[string]int{"push": 400, "ping": 200}[event] {
				t.Errorf("for GitHub alone: got %d %q", w.Code, w.Body)
			}
			r = github(t, path, event, "1", body)
			r.Header.Set("X-Sig", sign(body))
			if w := s.send(r); w.Code != 201 || !strings.Contains(w.Body.String(), "\nhmac: queued") || len(s.items("hmac")) != 1 {
				t.Errorf("for both: got %d %q, with %d items, want one", w.Code, w.Body, len(s.items("hmac")))
			}
		})
	}
}

// A body that cannot be stored or read again makes the sender repeat the delivery. None leaves its file.
func TestBodiesInFiles(t *testing.T) {
	body := push("main", strings.Repeat("x", 100<<10))
	form := "payload=" + url.QueryEscape(body)
	file := ""
	spool := func(flag int) func() (*os.File, error) {
		return func() (*os.File, error) {
			file = filepath.Join(t.TempDir(), "body")
			return os.OpenFile(file, flag|os.O_CREATE, 0o600) //nolint:wrapcheck // as it is
		}
	}
	signed := func() *http.Request { return github(t, path+"?job=push", "push", "1", body) }
	formed := func() *http.Request {
		return post(t, path+"?job=gitea", form, "X-Gitea-Signature", sign(body), "X-Gitea-Event", "push", "Content-Type", "application/x-www-form-urlencoded")
	}
	for _, tt := range []struct {
		name string
		flag int
		r    func() *http.Request
		want int
	}{
		{"stored", os.O_RDWR, signed, 201},
		{"not read again", os.O_WRONLY, signed, 503},
		{"not stored", os.O_RDONLY, signed, 503},
		{"a form, stored", os.O_RDWR, formed, 201},
		{"a form, not read again", os.O_WRONLY, formed, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.web.Spool = spool(tt.flag)
			gone := func() {
				t.Helper()
				if _, err := os.Stat(file); file == "" || !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the file %q is left: %v", file, err)
				}
				file = ""
			}
			q := s.web.Request(httptest.NewRecorder(), tt.r())
			end := q.Begin().End
			if x := hooks.Explain(q, q.R.URL.Query().Get("job")); x.Status != tt.want {
				t.Errorf("explained as %d, %v, want %d", x.Status, x.Err, tt.want)
			}
			end()
			gone()
			if w := s.send(tt.r()); w.Code != tt.want {
				t.Errorf("got %d %q, want %d", w.Code, w.Body, tt.want)
			}
			gone()
		})
	}
}

// A delivery whose sender is gone before its body can be parsed is neither checked nor queued.
func TestSenderThatIsGone(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	form := "payload=" + url.QueryEscape(push("main"))
	r := post(t, path+"?job=gitea", form, "X-Gitea-Signature", sign(push("main")), "X-Gitea-Event", "push", "Content-Type", "application/x-www-form-urlencoded")
	if w := s.send(r.WithContext(ctx)); w.Code != 503 || len(s.items("gitea")) != 0 {
		t.Errorf("got %d %q, with %d items, want 503 and none", w.Code, w.Body, len(s.items("gitea")))
	}
}

// Sites show the deliveries to their own webhooks: to those that verified it, or to all that could have.
func TestSignersOfADelivery(t *testing.T) {
	s := newSite(t)
	s.send(github(t, path, "push", "1", push("main", "a")))
	s.send(post(t, path, "{}"))
	all := s.ctl.Deliveries().List()
	verified, unsigned := all[1].Signers, all[0].Signers
	if len(verified) != 2 || len(unsigned) < 9 || !slices.Contains(unsigned, verified[1]) || !slices.Contains(unsigned, verified[0]) {
		t.Errorf("the signers are %d of a verified delivery, %d of another one", len(verified), len(unsigned))
	}
}

// A Jenkins behind this server keeps the addresses of its plugins, unless a job here needs them.
func TestAddressesOfJenkinsThatNoJobUses(t *testing.T) {
	s := newSite(t)
	for _, kind := range []event.Kind{event.GitHub, event.GitLab} {
		site, err := definition.Compile(definition.Spec{Root: definition.Folder{
			Webhooks: []definition.WebhookSpec{{Config: hook.Config{Kind: kind, Secrets: secret(t, kind, key)}}},
			Jobs:     []definition.Job{{Name: "app", Runner: nothing{}, On: []definition.OnSpec{{Webhook: string(kind)}}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.web.Definition = site
		for path, of := range map[string]event.Kind{"/github-webhook/": event.GitHub, "/project/app": event.GitLab} {
			if got := hooks.Serve(s.web.Request(httptest.NewRecorder(), post(t, path, "{}"))); got != (of == kind) {
				t.Errorf("%s with a job for %s is handled: %v", path, kind, got)
			}
		}
	}
}

// If there is no queue, the answer makes the sender repeat the delivery.
func TestDeliveryWithoutAQueue(t *testing.T) {
	s := newSite(t)
	s.web.Open = func() (*buildtoken.Controller, error) { return nil, errors.New("the file is locked") }
	if w := s.send(github(t, path+"?job=push", "push", "1", push("main", "a"))); w.Code != 503 {
		t.Errorf("got %d %q, want 503", w.Code, w.Body)
	}
	if lines := s.logs.FilterMessage("webhook delivery").All(); len(lines) != 1 || lines[0].ContextMap()["outcome"] != "failed" {
		t.Errorf("logged %v, want that it failed", lines)
	}
}

func TestDiagnosticOfDataCenterIsNotSigned(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		job  string
		want int
	}{{"bitbucket", 200}, {"", 200}, {"push", 403}} {
		if w := s.send(post(t, path+"?job="+tt.job, `{"test":true}`, "X-Event-Key", "diagnostics:ping")); w.Code != tt.want || len(s.items("")) != 0 {
			t.Errorf("job %q: got %d %q, want %d", tt.job, w.Code, w.Body, tt.want)
		}
	}
	// The exception applies only to this event.
	if w := s.send(post(t, path+"?job=bitbucket", `{}`, "X-Event-Key", "repo:push")); w.Code != 403 {
		t.Errorf("an unsigned push: got %d, want 403", w.Code)
	} else if w.Header().Get("Connection") != "close" {
		t.Error("the refusal waits for the body")
	}
}

func TestAddressesOfJenkins(t *testing.T) {
	s := newSite(t)
	body := push("main", "a")
	gitlab := func(path string) *http.Request {
		return post(t, path, `{"object_kind":"push","ref":"refs/heads/main","after":"b2","before":"a1"}`, "X-Gitlab-Token", key)
	}
	for _, tt := range []struct {
		name string
		r    *http.Request
		want int
		text string
	}{
		{"GitHub", github(t, "/github-webhook/", "push", "1", body), 201, "push: queued"},
		{"GitHub without the slash", github(t, "/github-webhook", "push", "1", body), 200, "push: delivered before"},
		{"GitHub with GET", httptest.NewRequest(http.MethodGet, "/github-webhook/", http.NoBody), 405, ""},
		{"GitLab", gitlab("/project/gitlab"), 201, "gitlab: queued"},
		{"GitLab with a slash", gitlab("/project/gitlab/"), 200, "gitlab: joined"},
		{"GitLab for a job that takes GitHub's", gitlab("/project/push"), 404, "not found"},
		{"GitLab for a job that is not there", gitlab("/project/a/b"), 404, "not found"},
		{"GitLab for a job in a folder", gitlab("/project/crowd/lab"), 201, "crowd/lab: queued"},
		{"GitLab for an escaped slash", gitlab("/project/crowd%2Flab"), 404, "not found"},
		{"a delivery of GitHub there", github(t, "/project/gitlab", "push", "1", body), 403, "invalid signature"},
		{"a delivery of GitLab at GitHub's", gitlab("/github-webhook/"), 403, "invalid signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if w := s.send(tt.r); w.Code != tt.want || !strings.Contains(w.Body.String(), tt.text) {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.want, tt.text)
			}
		})
	}
	s.send(gitlab("/project/crowd/lab"))
	if got := s.ctl.Deliveries().List()[0].Target; got != "crowd/lab" {
		t.Errorf("a delivery to /project/crowd/lab is kept as one to %q", got)
	}
	for _, other := range []string{"/project", "/project/", "/github-webhook/x", "/buildByToken/webhook/x", "/buildByToken/build", "/gitlab/build_now", "/project/../gitlab"} {
		if hooks.Serve(s.web.Request(httptest.NewRecorder(), post(t, other, ""))) {
			t.Errorf("%s was handled, want it to go on", other)
		}
	}
}

// Unless its body is verified, nothing of a delivery is kept, logged or answered.
func TestNothingUnverifiedIsLogged(t *testing.T) {
	s := newSite(t)
	const marker = "ATTACKER"
	for _, r := range []*http.Request{
		post(t, path+"?job=push", marker, "X-GitHub-Event", marker, "X-GitHub-Delivery", marker),
		post(t, path+"?job=push", marker, "X-GitHub-Event", marker, "X-Hub-Signature-256", "sha256="+sign("x"), "User-Agent", marker),
		post(t, path+"?job=push", marker, "X-Hub-Signature-256", marker),
		post(t, path+"?job=gitlab", `{"object_kind":"`+marker+`"}`, "X-Gitlab-Token", marker),
		post(t, path+"?job=token&token="+marker, "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(marker+":"+marker))),
		post(t, path+"?job=slack", marker, "X-Slack-Request-Timestamp", marker, "X-Slack-Signature", "v0="+sign("x")),
	} {
		if w := s.send(r); w.Code != 403 || strings.Contains(w.Body.String(), marker) {
			t.Errorf("got %d %q, want 403", w.Code, w.Body)
		}
	}
	// A client may take what follows for the name of the job.
	for _, separator := range []string{"?", "#", "&token=", "="} {
		if w := s.send(post(t, path+"?job="+url.QueryEscape("push"+separator+marker), "")); w.Code != 404 {
			t.Errorf("job push%s…: got %d, want 404", separator, w.Code)
		}
	}
	kept, err := json.Marshal(s.ctl.Deliveries().List())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(kept), marker) {
		t.Errorf("kept: %s", kept)
	}
	for _, entry := range s.logs.All() {
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, marker) {
			t.Errorf("logged: %s", text)
		}
	}
}

// A body from which a password is set is not shown, and can be played again.
func TestBodiesWithSecretsAreConcealed(t *testing.T) {
	s := newSite(t)
	now := strconv.FormatInt(time.Now().Unix(), 10)
	command := "command=%2Fdeploy&token=legacy"
	for _, tt := range []struct {
		r    *http.Request
		want bool
	}{
		{github(t, path+"?job=push", "push", "1", push("main")), false},
		{github(t, path+"?job=password", "push", "1", push("main")), true},
		{github(t, path+"?job=password", "push", "1", push("other")), true}, // its when is false
		{github(t, path+"?job=password", "push", "1", "{"), true},
		{github(t, path, "push", "1", push("main")), true}, // for all jobs
		{post(t, path+"?job=slack", command, "X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0="+sign("v0:"+now+":"+command)), true},
	} {
		s.send(tt.r)
		d := s.ctl.Deliveries().List()[0]
		if d.Concealed != tt.want || int64(len(d.Body)) != d.Size {
			t.Errorf("%s: concealed %v with %d of %d bytes, want %v with all", tt.r.URL, d.Concealed, len(d.Body), d.Size, tt.want)
		}
	}
	if w := s.send(post(t, "/queue/deliveries/2/replayForm", "", "X-User", "alice")); w.Code != 303 || !s.ctl.Deliveries().List()[0].Concealed {
		t.Errorf("replay: got %d %q, want 303 and a concealed body", w.Code, w.Body)
	}
}

// Forges share addresses, so wrong signatures must not lock out a right one.
func TestValidSignaturesAreNeverThrottled(t *testing.T) {
	s := newSite(t)
	for range 100 {
		s.send(post(t, path+"?job=push", "x", "X-Hub-Signature-256", "sha256="+sign("y")))
		_, err := s.ctl.Trigger(t.Context(), s.web.Definition, buildtoken.Trigger{
			Caller: definition.Caller{Secret: token.NewSecret("wrong"), Presented: true, Remote: netip.MustParseAddr("192.0.2.7")},
			Action: buildtoken.BuildWithParameters, Job: "push",
		})
		if err == nil {
			t.Fatal("a wrong token was taken")
		}
	}
	if w := s.send(github(t, path+"?job=push", "push", "1", push("main"))); w.Code != 201 {
		t.Errorf("got %d %q, want 201", w.Code, w.Body)
	}
}

// Each delivery has one log line, one count and one record.
func TestEachDeliveryIsRecorded(t *testing.T) {
	s := newSite(t)
	s.send(github(t, path+"?job=mono", "push", "id-1", push("main", "api/x.go")))
	s.send(post(t, path+"?job=push", "x"))
	s.send(github(t, path+"?job=broken", "push", "id-2", push("main", "api/x.go")))
	var got []string
	for _, c := range s.ctl.Deliveries().Counts() {
		got = append(got, fmt.Sprintf("%s %s %d", c.Webhook, c.Outcome, c.N))
	}
	if diff := cmp.Diff([]string{"github ignored 1", "github queued 1", "github unsigned 1"}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	all := s.ctl.Deliveries().List()
	if len(all) != 3 || all[1].Reason != "not signed: X-Hub-Signature-256 is missing" || all[1].Header != nil || all[1].Body != nil {
		t.Fatalf("deliveries: %+v", all)
	}
	d := all[2]
	if d.Sender != "id-1" || d.Size != int64(len(push("main", "api/x.go"))) || len(d.Jobs) != 3 || !slices.Equal(d.Events, []string{"push to main of shop/api by octavia"}) ||
		d.Header["X-Github-Event"][0] != "push" || d.Header["X-Hub-Signature-256"] != nil || string(d.Body) != push("main", "api/x.go") || d.Remote != "192.0.2.7" {
		t.Errorf("delivery: %+v", d)
	}
	lines := s.logs.FilterMessage("webhook delivery").All()
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3", len(lines))
	}
	id := s.items("mono/all")[0].ID
	want := []any{fmt.Sprintf("mono/all: queued %d", id), fmt.Sprintf("mono/api: queued %d", s.items("mono/api")[0].ID), "mono/web: ignored, when"}
	if diff := cmp.Diff(want, lines[0].ContextMap()["jobs"]); diff != "" {
		t.Errorf("jobs in the log (-want +got):\n%s", diff)
	}
	if n := s.logs.FilterMessage("webhook expression failed").Len(); n != 1 {
		t.Errorf("%d warnings about an expression that failed, want 1", n)
	}
}

// What a sender chooses is kept in short. The name of a job that is there is kept as it is.
func TestWhatIsKeptIsBounded(t *testing.T) {
	s := newSite(t)
	x := strings.Repeat("x", 400)
	s.send(github(t, path+"?job="+long+"//"+long, "push", x, push(x, "a")))
	s.send(post(t, path+"?job=c%23", "unsigned"))
	s.send(post(t, path+"?job="+x, ""))
	s.send(post(t, path+"?job="+strings.Repeat("a%FF", 100), ""))
	all := s.ctl.Deliveries().List() // the last one first
	if d := all[3]; len(d.Sender) != 200 || len(d.Events[0]) != 300 || d.Target != long+"//"+long {
		t.Errorf("of a verified delivery are kept %d bytes of its ID, %d of its event, and the target %q", len(d.Sender), len(d.Events[0]), d.Target)
	}
	for i, want := range map[int]string{2: "c#", 1: x[:200], 0: strings.Repeat("a\uFFFD", 50)} {
		if got := all[i].Target; got != want {
			t.Errorf("target %d is kept as %q, want %q", i, got, want)
		}
	}
}

// What operators replay with changed rules is what the rules saw.
func TestDecisionsOfDeliveries(t *testing.T) {
	s := newSite(t)
	s.send(github(t, path+"?job=push", "push", "1", push("main", "a")))
	all := s.ctl.Decisions()
	if len(all) != 1 || !all[0].Post || all[0].Webhook != "github" || all[0].Remote.String() != "192.0.2.7" || !all[0].Admitted {
		t.Errorf("decisions: %+v, want one of a POST by the webhook", all)
	}
}

// Whoever audits sees each job that a delivery was for, and what was refused before a job was known.
func TestDeliveriesAreAudited(t *testing.T) {
	s := newSite(t)
	for _, r := range []*http.Request{
		github(t, path+"?job=mono", "push", "1", push("main", "api/x.go")),
		post(t, path+"?job=push", "x"),
		post(t, path+"?job=nowhere", "x"),
		github(t, path+"?job=denied", "push", "2", push("main", "a")),
	} {
		s.send(r)
	}
	var got []string
	for _, line := range s.audit.All() {
		m := line.ContextMap()
		got = append(got, fmt.Sprint(line.Message, " ", m["action"], " ", m["job"], " ", m["who"], " ", m["remote"]))
	}
	slices.Sort(got) // the jobs of a delivery are in no order
	want := []string{
		"accepted webhook mono/all webhook github 192.0.2.7", "accepted webhook mono/api webhook github 192.0.2.7",
		"refused webhook denied webhook github 192.0.2.7", "refused webhook push webhook github 192.0.2.7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	if j := s.ctl.Deliveries().List()[0].Jobs; len(j) != 1 || j[0].Outcome != "denied" || j[0].Reason != "denied by denied allow 1" {
		t.Errorf("the refused job is kept as %+v", j)
	}
}

// Of a delivery for many jobs, a hundred are kept, first those that did not ignore it.
func TestDeliveryForACrowd(t *testing.T) {
	s := newSite(t)
	if w := s.send(post(t, path+"?job=crowd", "{}", "X-Sig", sign("{}"))); w.Code != 201 || strings.Count(w.Body.String(), "\n") != 102 {
		t.Errorf("got %d with %d lines, want all jobs", w.Code, strings.Count(w.Body.String(), "\n"))
	}
	w := s.send(post(t, path+"?job=crowd", `{"all": true}`, "X-Sig", sign(`{"all": true}`)))
	all := s.ctl.Deliveries().List()
	var want []string
	for n := range 101 {
		name := fmt.Sprintf("crowd/ignores%03d", n)
		item := s.items(name)[0].ID
		if n < 100 {
			want = append(want, fmt.Sprintf("%s: queued %d", name, item))
		}
		if line := fmt.Sprintf("%s: queued as item %d\n", name, item); !strings.Contains(w.Body.String(), line) {
			t.Errorf("the answer lacks %q", line)
		}
	}
	logged := s.logs.FilterMessage("webhook delivery").All()
	if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(logged[len(logged)-1].ContextMap()["jobs"])); w.Code != 201 || diff != "" {
		t.Errorf("got %d; logged (-want +got):\n%s", w.Code, diff)
	}
	kept := all[len(all)-1].Jobs
	if len(kept) != 100 || kept[0].Job != "crowd/takes" || kept[0].Outcome != "queued" || kept[1].Job != "crowd/ignores000" || kept[99].Job != "crowd/ignores098" {
		t.Errorf("%d jobs are kept, the first %+v, the last %+v", len(kept), kept[:1], kept[len(kept)-1:])
	}
}
