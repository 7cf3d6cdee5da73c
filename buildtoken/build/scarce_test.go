package build_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// away keeps files in a database that is unreachable for a while.
type away struct {
	build.FileKeeper

	until time.Time
}

func (a away) GetFile(context.Context, string, io.Writer) error {
	if time.Now().Before(a.until) {
		return queue.ErrStorage
	}
	return nil
}

// Many builds that wait for the same resource log one line a second together, and all of them
// continue when it is available again.
func TestWaitingBuildsDoNotFloodTheLog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const builds, seconds = 20, 10
		core, logged := observer.New(zap.WarnLevel)
		h := openHost(t, build.Options{
			Dir: dir, Files: away{until: time.Now().Add(seconds * time.Second)},
			Log: func() *zap.Logger { return zap.New(core) },
		})
		app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
		var running sync.WaitGroup
		for n := range builds {
			running.Go(func() {
				it := queue.Item{ID: int64(n + 1), Job: "app", Values: []queue.Value{{Name: "F", Kind: "file", Ref: "ref"}}}
				if result, reason := h.Run(t.Context(), app, queue.Build{Item: it, Number: int64(n + 1)}); result != queue.Success {
					t.Errorf("build %d ended %s: %s", n+1, result, reason)
				}
			})
		}
		running.Wait()
		if lines := logged.FilterMessage("build waits for system resources").Len(); lines < seconds-1 || lines > seconds+1 {
			t.Errorf("%d builds logged %d lines in %d s, want one a second", builds, lines, seconds)
		}
	})
}

// A build that waits for what it needs can be stopped, and is not run.
func TestWaitingBuildCanBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHost(t, build.Options{Files: away{until: time.Now().Add(time.Hour)}})
		app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: runner.Success}}
		ctx, stop := context.WithCancelCause(t.Context())
		go func() {
			time.Sleep(time.Minute + 300*time.Millisecond) // between two tries
			stop(errors.New("stopped by user alice"))
		}()
		begin := time.Now()
		it := queue.Item{ID: 1, Job: "app", Values: []queue.Value{{Name: "F", Kind: "file", Ref: "ref"}}}
		result, reason := h.Run(ctx, app, queue.Build{Item: it, Number: 1})
		if took := time.Since(begin); result != queue.Aborted || reason != "stopped by user alice" || took != time.Minute+300*time.Millisecond {
			t.Errorf("Run = %s, %q after %v", result, reason, took)
		}
	})
}
