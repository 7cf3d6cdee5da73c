package caddymodule_test

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

func TestLoggerFollowsTheNewestConfiguration(t *testing.T) {
	log, swap := caddymodule.SwappableLogger()
	log.Error("no logger is set yet")
	log = log.With(zap.String("with", "a field"))
	for _, level := range []zap.AtomicLevel{zap.NewAtomicLevelAt(zap.InfoLevel), zap.NewAtomicLevelAt(zap.ErrorLevel)} {
		core, seen := observer.New(level)
		swap(zap.New(core).Named("newest"))
		log.Info("information")
		log.Error("error", zap.Int("number", 1))
		want := 1
		if level.Enabled(zap.InfoLevel) {
			want = 2
		}
		entries := seen.All()
		if len(entries) != want {
			t.Fatalf("at level %s: got %d entries, want %d", level, len(entries), want)
		}
		last := entries[want-1]
		if last.LoggerName != "newest" || last.Message != "error" || last.ContextMap()["with"] != "a field" || last.ContextMap()["number"] != int64(1) {
			t.Errorf("got %q of %q with %v", last.Message, last.LoggerName, last.ContextMap())
		}
	}
}
