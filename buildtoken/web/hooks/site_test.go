package hooks_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
)

const root = "https://ci.example.com/"

type nothing struct{}

func (nothing) Run(context.Context, runner.Build, io.Writer) runner.Result {
	return runner.Result{Outcome: runner.Success}
}

// flaky is a queue that refuses the items of one job.
type flaky struct {
	buildtoken.Queue

	refuses atomic.Value // a full name
	breaks  atomic.Value // the full name of a job whose items fail with an unexpected error
	full    atomic.Value // the full name of a job of which no more items fit into the queue
}

func (q *flaky) Schedule(ctx context.Context, now time.Time, r queue.Request) (queue.Item, bool, error) {
	if refused, _ := q.refuses.Load().(string); refused == r.Job {
		return queue.Item{}, false, errors.Join(queue.ErrStorage, errors.New("no space left"))
	}
	if broken, _ := q.breaks.Load().(string); broken == r.Job {
		return queue.Item{}, false, errors.New("a bug")
	}
	if full, _ := q.full.Load().(string); full == r.Job {
		return queue.Item{}, false, queue.ErrFull
	}
	return q.Queue.Schedule(ctx, now, r)
}

// site is a site with webhooks whose builds never start, because their quiet period is a day.
type site struct {
	t    testing.TB
	ctl  *buildtoken.Controller
	web  *web.Site
	q    *flaky
	logs *observer.ObservedLogs
	// audit has the lines for audits.
	audit *observer.ObservedLogs
}

func secret(t testing.TB, kind event.Kind, text string) []hook.Secret {
	t.Helper()
	s, err := hook.ParseSecret(kind, text)
	if err != nil {
		t.Fatal(err)
	}
	return []hook.Secret{s}
}

const (
	key       = "It's a Secret to Everybody"
	signedKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// long is the longest name of a folder.
var long = strings.Repeat("n", job.MaxName)

func spec(t testing.TB) definition.Spec {
	t.Helper()
	day, soon := 24*time.Hour, 83*time.Minute
	of := func(kind event.Kind, text string) definition.WebhookSpec {
		return definition.WebhookSpec{Config: hook.Config{Kind: kind, Secrets: secret(t, kind, text)}}
	}
	large := of(event.GitHub, key)
	large.MaxSize = 25 << 20
	branch := []job.Param{{Name: "BRANCH", Kind: job.KindString, Default: "main"}, {Name: "ENV", Kind: job.KindChoice, Choices: []string{"staging", "production"}}}
	jobNamed := func(name string, on ...definition.OnSpec) definition.Job {
		return definition.Job{Name: name, Runner: nothing{}, Params: branch, On: on}
	}
	push := definition.OnSpec{Webhook: "github", Events: []string{"push"}, When: `event.branch == "main"`, Set: []definition.SetSpec{{Param: "BRANCH", Value: "event.branch"}}}
	denied := jobNamed("denied", definition.OnSpec{Webhook: "github"})
	denied.Allow = []policy.Rule{{Source: `params.BRANCH != "main"`}}
	pushed := jobNamed("push", push)
	pushed.Tokens = []definition.Token{{Digest: token.Digest{1}}}
	password := jobNamed("password", definition.OnSpec{Webhook: "github", When: `event.branch == "main"`, Set: []definition.SetSpec{{Param: "PASSWORD", Value: `body.?secret`}}})
	password.Params = []job.Param{{Name: "PASSWORD", Kind: job.KindPassword}}
	plain := jobNamed("c#", definition.OnSpec{Webhook: "github", Events: []string{"release"}})
	plain.Params = nil
	off := jobNamed("off", definition.OnSpec{Webhook: "github"})
	off.Disabled = true
	crowd := []definition.Job{jobNamed("lab", definition.OnSpec{Webhook: "gitlab"})}
	for n := range 101 {
		crowd = append(crowd, jobNamed(fmt.Sprintf("ignores%03d", n), definition.OnSpec{Webhook: "hmac", When: "body.?all"}))
	}
	crowd = append(crowd, jobNamed("takes", definition.OnSpec{Webhook: "hmac"}))
	return definition.Spec{
		Root: definition.Folder{
			Settings: job.Settings{QuietPeriod: &day},
			Webhooks: []definition.WebhookSpec{
				of(event.GitHub, key), of(event.GitLab, key), of(event.Gitea, key), of(event.Bitbucket, key), of(event.Slack, key),
				of(event.Standard, signedKey), of(event.Stripe, key), of(event.Token, key),
				{Config: hook.Config{Kind: event.HMAC, Header: "X-Sig", Secrets: secret(t, event.HMAC, key)}},
			},
			Jobs: []definition.Job{
				pushed, denied, off, password, plain, jobNamed("none"),
				jobNamed("env", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{Param: "ENV", Value: `body.?env`}}}),
				jobNamed("broken", definition.OnSpec{Webhook: "github", When: `body.missing`}),
				jobNamed("missing", definition.OnSpec{Webhook: "github", Set: []definition.SetSpec{{Param: "ENV", Value: `body.missing`}}}),
				jobNamed("gitlab", definition.OnSpec{Webhook: "gitlab"}), jobNamed("gitea", definition.OnSpec{Webhook: "gitea"}),
				jobNamed("bitbucket", definition.OnSpec{Webhook: "bitbucket", Set: []definition.SetSpec{{Param: "BRANCH", Value: `event.branch`}}}),
				jobNamed("slack", definition.OnSpec{Webhook: "slack", Events: []string{"/deploy"}}),
				jobNamed("standard", definition.OnSpec{Webhook: "standard"}), jobNamed("stripe", definition.OnSpec{Webhook: "stripe"}),
				jobNamed("token", definition.OnSpec{Webhook: "token"}), jobNamed("hmac", definition.OnSpec{Webhook: "hmac"}),
				jobNamed("clock", definition.OnSpec{Webhook: "token", Set: []definition.SetSpec{{Param: "BRANCH", Value: `string(now)`}}}),
			},
			Folders: []definition.Folder{
				{Name: "mono", Jobs: []definition.Job{
					jobNamed("api", definition.OnSpec{Webhook: "github", When: `event.files.exists(f, f.startsWith("api/"))`}),
					jobNamed("all", definition.OnSpec{Webhook: "github"}),
					jobNamed("web", definition.OnSpec{Webhook: "github", When: `event.files.exists(f, f.startsWith("web/"))`}),
				}},
				{Name: "pair", Jobs: []definition.Job{jobNamed("a", definition.OnSpec{Webhook: "github"}), jobNamed("b", definition.OnSpec{Webhook: "github"})}},
				{Name: "large", Webhooks: []definition.WebhookSpec{large}, Jobs: []definition.Job{jobNamed("job", definition.OnSpec{Webhook: "github"})}},
				{Name: "crowd", Jobs: crowd},
				{Name: long, Folders: []definition.Folder{{Name: long, Jobs: []definition.Job{jobNamed("job", definition.OnSpec{Webhook: "github"})}}}},
				{Name: "soon", Jobs: []definition.Job{jobNamed("job", definition.OnSpec{Webhook: "github", Delay: &soon})}},
				{Name: "empty", Jobs: []definition.Job{jobNamed("none")}},
			},
		},
		Access: definition.Access{Build: `user == "alice"`},
	}
}

func newSite(t testing.TB) *site {
	t.Helper()
	dir := t.TempDir()
	db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	audit, audited := observer.New(zapcore.InfoLevel)
	s := &site{t: t, q: &flaky{Queue: db}, logs: logs, audit: audited}
	s.ctl, err = buildtoken.Open(t.Context(), buildtoken.Options{Queue: s.q, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.ctl.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := definition.Compile(spec(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ctl.Attach(t.Context(), buildtoken.Config{Sites: []*definition.Site{d}, Log: zap.New(core), Audit: zap.New(audit)}); err != nil {
		t.Fatal(err)
	}
	s.web = &web.Site{
		Open: func() (*buildtoken.Controller, error) { return s.ctl, nil }, Definition: d, Log: zap.New(core),
		Root:   func(*http.Request) string { return root },
		Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
		User:   func(r *http.Request) string { return r.Header.Get("X-User") },
	}
	return s
}

// send sends a request. It fails the test if the request is not for webhooks.
func (s *site) send(r *http.Request) *httptest.ResponseRecorder {
	s.t.Helper()
	w := httptest.NewRecorder()
	if !hooks.Serve(s.web.Request(w, r)) {
		s.t.Fatalf("%s %s was not handled", r.Method, r.URL)
	}
	return w
}

func post(t testing.TB, path, body string, namesAndValues ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(namesAndValues); i += 2 {
		r.Header.Add(namesAndValues[i], namesAndValues[i+1])
	}
	return r
}

func sign(message string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	return hex.EncodeToString(mac.Sum(nil))
}

// github returns a signed delivery of GitHub.
func github(t testing.TB, path, name, id, body string) *http.Request {
	t.Helper()
	return post(t, path, body, "Content-Type", "application/json", "X-GitHub-Event", name, "X-GitHub-Delivery", id, "X-Hub-Signature-256", "sha256="+sign(body))
}

// push returns a push to a branch that changes these files.
func push(branch string, files ...string) string {
	return `{"ref":"refs/heads/` + branch + `","before":"a1","after":"b2","commits":[{"id":"b2","message":"Change","modified":["` +
		strings.Join(files, `","`) + `"]}],"head_commit":{"id":"b2","message":"Change"},"repository":{"full_name":"shop/api"},"sender":{"login":"octavia"}}`
}

// items returns the queued items of a job.
func (s *site) items(full string) []queue.Item {
	s.t.Helper()
	entries, err := s.ctl.Items(s.t.Context(), s.web.Definition, full, 100)
	if err != nil {
		s.t.Fatal(err)
	}
	all := make([]queue.Item, len(entries))
	for i := range entries {
		all[i] = entries[i].Item
	}
	return all
}

func signWith(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}
