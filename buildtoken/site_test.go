package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// runs is a runner made of a function.
type runs func(ctx context.Context, b runner.Build, log io.Writer) runner.Result

func (f runs) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return f(ctx, b, log)
}

// looks is a poller made of a function.
type looks func(ctx context.Context, b runner.Build, log io.Writer) (bool, error)

func (f looks) Poll(ctx context.Context, b runner.Build, log io.Writer) (bool, error) {
	return f(ctx, b, log)
}

// succeeds returns a runner whose builds succeed at once.
func succeeds() runs {
	return func(context.Context, runner.Build, io.Writer) runner.Result {
		return runner.Result{Outcome: runner.Success}
	}
}

// lasts returns a runner whose builds take that long, unless they are stopped.
func lasts(d time.Duration) runs {
	return func(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
		select {
		case <-time.After(d):
			return runner.Result{Outcome: runner.Success}
		case <-ctx.Done():
			return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
		}
	}
}

const secret = "TacoTuesday"

// opens returns a token with the secret that all tests use.
func opens(grants ...token.Grant) []definition.Token {
	t := definition.Token{Digest: token.NewSecret(secret).Digest()}
	for _, g := range grants {
		t.Grants |= g
	}
	return []definition.Token{t}
}

// site is a controller with one definition.
type site struct {
	*buildtoken.Controller
	t      testing.TB
	def    *definition.Site
	dir    string
	key    vault.Key
	cfg    buildtoken.Config
	logs   *observer.ObservedLogs
	detach func()
}

// openSite opens a controller in a temporary directory and attaches a definition of the jobs.
// The end of the test closes it.
func openSite(t testing.TB, cfg buildtoken.Config, jobs ...definition.Job) *site {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	s := &site{t: t, dir: t.TempDir(), key: vault.NewKey(), cfg: cfg, logs: logs}
	s.cfg.Log = zap.New(core)
	s.open()
	s.attach(definition.Spec{Root: definition.Folder{Jobs: jobs}})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

// wantEndLogged requires that the end of a build was logged once.
func (s *site) wantEndLogged(full string, number int64, result queue.Result) {
	s.t.Helper()
	lines := s.logs.FilterMessage("build ended").FilterField(zap.String("job", full)).FilterField(zap.Int64("number", number)).All()
	if len(lines) != 1 || lines[0].ContextMap()["result"] != string(result) {
		s.t.Errorf("the end of %s #%d was logged as %v, want %s once", full, number, lines, result)
	}
}

func (s *site) open() {
	s.t.Helper()
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(s.dir, "queue.db"), Commit: commitFast})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Controller, err = buildtoken.Open(context.Background(), buildtoken.Options{Queue: q, Dir: s.dir, SealKey: s.key, Log: s.cfg.Log})
	if err != nil {
		s.t.Fatal(err)
	}
}

// commitFast commits without fsync: what is written is visible to a process that opens the
// file, but not safe from a power failure.
func commitFast(tx *bolt.Tx) error {
	tx.DB().NoSync = true
	return tx.Commit()
}

// attach puts a definition into force and returns a function that takes it out of force.
func (s *site) attach(spec definition.Spec) (detach func()) {
	s.t.Helper()
	s.def = define(s.t, spec)
	cfg := s.cfg
	cfg.Sites = append(cfg.Sites[:len(cfg.Sites):len(cfg.Sites)], s.def)
	detach, err := s.Attach(context.Background(), cfg)
	if err != nil {
		s.t.Fatalf("Attach = %v", err)
	}
	s.detach = detach
	return detach
}

func define(t testing.TB, spec definition.Spec) *definition.Site {
	t.Helper()
	d, err := definition.Compile(spec)
	if err != nil {
		t.Fatalf("Define = %v", err)
	}
	return d
}

// ask returns a trigger with the right token and no delay.
func ask(full string, change ...func(*buildtoken.Trigger)) buildtoken.Trigger {
	t := buildtoken.Trigger{
		Caller: definition.Caller{Secret: token.NewSecret(secret), Presented: true},
		Action: buildtoken.Build, Job: full, Root: "http://ci.example.com/", Delay: new("0"),
	}
	for _, f := range change {
		f(&t)
	}
	return t
}

// values sets the parameters of a trigger, given as alternating names and values.
func values(pairs ...string) func(*buildtoken.Trigger) {
	return func(t *buildtoken.Trigger) {
		t.Action = buildtoken.BuildWithParameters
		t.Values = map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			t.Values[pairs[i]] = append(t.Values[pairs[i]], pairs[i+1])
		}
	}
}

func delayed(text string) func(*buildtoken.Trigger) {
	return func(t *buildtoken.Trigger) { t.Delay = &text }
}

// trigger sends a trigger, which must be accepted.
func (s *site) trigger(full string, change ...func(*buildtoken.Trigger)) buildtoken.Outcome {
	s.t.Helper()
	out, err := s.Trigger(context.Background(), s.def, ask(full, change...))
	if err != nil {
		s.t.Fatalf("Trigger(%s) = %v", full, err)
	}
	return out
}

// refused sends a trigger, which must be refused with this error.
func (s *site) refused(want error, t buildtoken.Trigger) {
	s.t.Helper()
	if _, err := s.Trigger(context.Background(), s.def, t); !errors.Is(err, want) {
		s.t.Errorf("Trigger(%s) = %v, want %v", t.Job, err, want)
	}
}

// build returns the record of a build.
func (s *site) build(full string, number int64) queue.Build {
	s.t.Helper()
	b, err := s.Build(context.Background(), full, number)
	if err != nil {
		s.t.Fatalf("Build(%s, %d) = %v", full, number, err)
	}
	return b
}

// log returns the lines of a build's log.
func (s *site) log(full string, number int64) []string {
	s.t.Helper()
	r, err := s.Log(context.Background(), full, number)
	if err != nil {
		s.t.Fatalf("Log(%s, %d) = %v", full, number, err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// wantResult waits until all goroutines are idle. The build must have ended with this result,
// on record and in the last lines of its log.
func (s *site) wantResult(full string, number int64, want queue.Result, reason string) {
	s.t.Helper()
	synctest.Wait()
	b := s.build(full, number)
	if b.Result != want || b.Reason != reason {
		s.t.Errorf("%s #%d ended %s, %q, want %s, %q", full, number, b.Result, b.Reason, want, reason)
	}
	lines := s.log(full, number)
	last := []string{"Finished: " + string(want)}
	if reason != "" {
		last = []string{reason, last[0]}
	}
	if got := lines[max(0, len(lines)-len(last)):]; fmt.Sprint(got) != fmt.Sprint(last) {
		s.t.Errorf("log of %s #%d ends %q, want %q", full, number, got, last)
	}
}

// params returns definitions of string parameters.
func stringParams(names ...string) []job.Param {
	var all []job.Param
	for _, name := range names {
		all = append(all, job.Param{Name: name, Kind: job.KindString})
	}
	return all
}

// rulesOf returns rules with these expressions.
func rulesOf(sources ...string) []policy.Rule {
	rules := make([]policy.Rule, len(sources))
	for i, source := range sources {
		rules[i].Source = source
	}
	return rules
}
