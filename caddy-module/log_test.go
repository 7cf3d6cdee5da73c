package caddymodule_test

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
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

// failing is a core whose output cannot be written.
type failing struct{ zapcore.Core }

var errFull = errors.New("the disk is full")

func (f failing) With([]zapcore.Field) zapcore.Core { return f }

func (failing) Sync() error { return errFull }

func (failing) Write(zapcore.Entry, []zapcore.Field) error { return errFull }

func TestLoggerReportsErrorsOfTheNewestConfiguration(t *testing.T) {
	log, swap := caddymodule.SwappableLogger()
	if err := errors.Join(log.Sync(), log.Core().Write(zapcore.Entry{}, nil)); err != nil {
		t.Errorf("no logger is set yet: %v", err)
	}
	swap(zap.New(failing{zapcore.NewNopCore()}))
	if err := log.Sync(); !errors.Is(err, errFull) {
		t.Errorf("Sync: %v, want %v", err, errFull)
	}
	if err := log.Core().Write(zapcore.Entry{}, nil); !errors.Is(err, errFull) {
		t.Errorf("Write: %v, want %v", err, errFull)
	}
}
