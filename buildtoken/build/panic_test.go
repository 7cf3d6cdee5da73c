package build_test

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// broken is a guest module with a bug in each method.
type broken struct{}

func (broken) Run(context.Context, runner.Build, io.Writer) runner.Result  { panic("run") }
func (broken) Poll(context.Context, runner.Build, io.Writer) (bool, error) { panic("poll") }
func (broken) Reap(context.Context, runner.Build) (found int, err error)   { panic("reap") }

// A panic in a guest module leads to a failed build, a failed poll, or processes that are not
// ended. It must not end the server.
func TestPanicsOfGuestModulesAreContained(t *testing.T) {
	synctest.Test(t, panics)
}

func panics(t *testing.T) {
	dir := t.TempDir()
	core, logged := observer.New(zap.ErrorLevel)
	h := openHost(t, build.Options{Dir: dir, Log: func() *zap.Logger { return zap.New(core) }})
	app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: broken{}, Poller: broken{}}
	b := queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1}

	result, reason := h.Run(t.Context(), app, b)
	if want := "the runner panicked; see the server's log"; result != queue.Failure || reason != want {
		t.Errorf("Run = %v, %q, want FAILURE, %q", result, reason, want)
	}

	var outcomes []string
	polls := h.NewPolls(func(string) *build.Job { return app }, func(context.Context, string, string) error {
		t.Error("a poll that panicked found changes")
		return nil
	}, func(full, outcome string) { outcomes = append(outcomes, full+" "+outcome) })
	if !polls.Request("app", "https://ci.example.com/") {
		t.Error("Request = false before Close")
	}
	synctest.Wait()
	log, err := h.PollLog("app")
	if want := "Failed: the poller panicked; see the server's log\n"; err != nil || !strings.HasSuffix(string(log), want) {
		t.Errorf("PollLog = %q, %v, want it to end with %q", log, err, want)
	}
	if len(outcomes) != 1 || outcomes[0] != "app failed" {
		t.Errorf("outcomes = %q, want one of app that failed", outcomes)
	}
	polls.Close(context.Canceled)

	if dirs, err := filepath.Glob(filepath.Join(dir, "workspaces", "*")); err != nil || len(dirs) != 1 {
		t.Errorf("workspaces %q, %v, want one, or nothing is reaped", dirs, err)
	}
	h.Reap(t.Context(), zap.New(core), []queue.Build{b}, func(string) *build.Job { return app })
	if runners, pollers := logged.FilterMessage("runner panicked").Len(), logged.FilterMessage("poller panicked").Len(); runners != 2 || pollers != 1 {
		t.Errorf("logged %v, want three panics", logged.All())
	}
}
