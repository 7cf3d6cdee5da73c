package build_test

import (
	"context"
	"io"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/build"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// ends is a runner whose builds end at once.
type ends runner.Result

func (e ends) Run(context.Context, runner.Build, io.Writer) runner.Result { return runner.Result(e) }

func TestBuildThatCannotStartIsAWarning(t *testing.T) {
	for _, tt := range []struct {
		outcome runner.Outcome
		want    zapcore.Level
	}{
		{runner.Success, zap.InfoLevel},
		{runner.Failure, zap.InfoLevel},
		{runner.NotBuilt, zap.WarnLevel},
	} {
		t.Run(string(tt.outcome), func(t *testing.T) {
			v, err := vault.New(vault.NewKey())
			if err != nil {
				t.Fatal(err)
			}
			core, logged := observer.New(zap.DebugLevel)
			h := build.NewHost(build.Options{Dir: t.TempDir(), Vault: v, Log: func() *zap.Logger { return zap.New(core) }})
			app := &build.Job{Job: &job.Job{FullName: "app"}, Runner: ends{Outcome: tt.outcome, Reason: "because"}}
			result, _ := h.Run(t.Context(), app, queue.Build{Item: queue.Item{ID: 1, Job: "app"}, Number: 1})
			if string(result) != string(tt.outcome) {
				t.Errorf("Run = %s, want %s", result, tt.outcome)
			}
			entries := logged.FilterMessage("build ended").All()
			if len(entries) != 1 || entries[0].Level != tt.want {
				t.Errorf("logged %+v, want one entry of level %s", entries, tt.want)
			}
		})
	}
}
