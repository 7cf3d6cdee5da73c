package caddymodule

import (
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// swappableLog is the log of components that outlive a configuration. Without it they
// would keep writing to the log file of an old configuration, which may be closed. The
// zero value discards everything. It is safe for concurrent use.
type swappableLog struct {
	current atomic.Pointer[zap.Logger]
}

// swap makes all loggers returned by logger write to l from now on.
func (s *swappableLog) swap(l *zap.Logger) { s.current.Store(l) }

// logger returns a logger that writes to the current log.
func (s *swappableLog) logger() *zap.Logger { return zap.New(swappableCore{log: s}) }

// swappableCore is the core of such a logger, with its fields.
type swappableCore struct {
	log    *swappableLog
	fields []zapcore.Field
}

func (c swappableCore) core() zapcore.Core {
	if l := c.log.current.Load(); l != nil {
		return l.Core()
	}
	return zapcore.NewNopCore()
}

// Enabled implements [zapcore.LevelEnabler].
func (c swappableCore) Enabled(level zapcore.Level) bool { return c.core().Enabled(level) }

// With implements [zapcore.Core].
func (c swappableCore) With(fields []zapcore.Field) zapcore.Core {
	return swappableCore{log: c.log, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements [zapcore.Core].
func (c swappableCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l := c.log.current.Load(); l != nil {
		e.LoggerName = l.Name()
	}
	return c.core().With(c.fields).Check(e, checked)
}

// Write implements [zapcore.Core].
func (c swappableCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.core().With(c.fields).Write(e, fields)
}

// Sync implements [zapcore.Core].
func (c swappableCore) Sync() error { return c.core().Sync() }

var _ zapcore.Core = swappableCore{}
