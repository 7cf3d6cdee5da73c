package runner

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Output writes to a build's log until a write fails, and drops the rest: a runner that
// follows work elsewhere goes on without its log. A nil To drops everything. It is not
// safe for concurrent use.
type Output struct {
	To io.Writer

	failed  bool
	midLine bool
}

// Write implements [io.Writer]. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	if len(p) > 0 && o.To != nil && !o.failed {
		n, err := o.To.Write(p)
		o.failed = err != nil || n < len(p)
		o.midLine = p[len(p)-1] != '\n'
	}
	return len(p), nil
}

// EndLine ends the last line, if it is not complete.
func (o *Output) EndLine() {
	if o.midLine {
		_, _ = o.Write([]byte("\n"))
	}
}

// Line writes a formatted text as a separate line.
func (o *Output) Line(format string, args ...any) {
	o.EndLine()
	_, _ = fmt.Fprintf(o, format+"\n", args...)
}

// FailedBy returns the result of a build that an error has ended.
func FailedBy(err error) Result {
	return Result{Outcome: Failure, Reason: OneLine(err.Error())}
}

// AbortedBy returns the result of a build whose context has ended. The reason is its cause.
func AbortedBy(ctx context.Context) Result {
	return Result{Outcome: Aborted, Reason: OneLine(context.Cause(ctx).Error())}
}

// OneLine replaces each run of white space by one space.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Pause waits for d. It reports false if ctx ended before.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d) //nolint:forbidigo // it waits, and returns no time
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
