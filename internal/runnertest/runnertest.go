// Package runnertest has the tests that every [runner.Runner] must pass: outcomes and reasons,
// the order of the output, stopping, slow and broken logs, and that nothing is left behind.
package runnertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// Open returns a runner whose builds follow the script, and a function that returns how many of
// their processes are still running, or nil if there is nothing to count. A build that ignores
// the request to stop must be killed within about a second.
type Open func(t *testing.T, s Script) (r runner.Runner, running func() int)

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	t.Run("success has no reason, and the output is in order", func(t *testing.T) {
		s := Script{}
		for i := range 100 {
			s.Lines = append(s.Lines, fmt.Sprintf("line %d", i))
		}
		var log bytes.Buffer
		check(t, start(t, open, s)(t.Context(), &log), runner.Success, "")
		if want := strings.Join(s.Lines, "\n") + "\n"; log.String() != want {
			t.Errorf("log = %q, want %q", log.String(), want)
		}
	})
	t.Run("another status is a failure with a reason", func(t *testing.T) {
		var log bytes.Buffer
		res := start(t, open, Script{Lines: []string{"no"}, Exit: 3})(t.Context(), &log)
		check(t, res, runner.Failure, "3")
		if log.String() != "no\n" {
			t.Errorf("log = %q, want the output before the failure", log.String())
		}
	})
	t.Run("a build that cannot be started is not built, with a reason", func(t *testing.T) {
		res := start(t, open, Script{Broken: true})(t.Context(), io.Discard)
		check(t, res, runner.NotBuilt, "")
		if res.Reason == "" {
			t.Error("no reason")
		}
	})
	t.Run("a context that has ended starts nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("too late"))
		var log bytes.Buffer
		check(t, start(t, open, Script{Lines: []string{"ran"}})(ctx, &log), runner.Aborted, "too late")
		if log.Len() != 0 {
			t.Errorf("log = %q, want nothing", log.String())
		}
	})
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("the end of the context stops a build that hangs, deaf=%v", deaf), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			log := &trigger{on: "started", call: func() { cancel(errors.New("stopped by\nalice")) }}
			res := start(t, open, Script{Lines: []string{"started"}, Hang: true, Deaf: deaf})(ctx, log)
			check(t, res, runner.Aborted, "stopped by alice")
		})
		t.Run(fmt.Sprintf("the end of the context stops an endless flood, deaf=%v", deaf), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			log := &trigger{on: FloodLine(1000), call: func() { cancel(errors.New("enough")) }}
			check(t, start(t, open, Script{Flood: -1, Deaf: deaf})(ctx, log), runner.Aborted, "enough")
		})
	}
	const lines = 20_000 // more than any pipe or buffer on the way holds
	t.Run("a slow log gets all of a flood in order", func(t *testing.T) {
		log := &slow{}
		check(t, start(t, open, Script{Flood: lines})(t.Context(), log), runner.Success, "")
		var want bytes.Buffer
		for i := range lines {
			want.WriteString(FloodLine(i))
		}
		if !bytes.Equal(log.got.Bytes(), want.Bytes()) {
			t.Errorf("log has %d bytes, want the %d that were written", log.got.Len(), want.Len())
		}
	})
	for name, log := range map[string]*failing{
		"a log that fails at once":     {},
		"a log that fails later":       {after: 5000},
		"a log that takes only a part": {short: true, after: 5000},
	} {
		t.Run(name+" makes no build fail", func(t *testing.T) {
			check(t, start(t, open, Script{Flood: lines})(t.Context(), log), runner.Success, "")
			if log.calls != 1 {
				t.Errorf("%d writes reached the log from its failure on, want 1", log.calls)
			}
		})
	}
	t.Run("a broken log does not keep a build from being stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		log := &failing{call: func() { cancel(errors.New("enough")) }}
		check(t, start(t, open, Script{Flood: -1})(ctx, log), runner.Aborted, "enough")
	})
	t.Run("builds at the same time do not mix", func(t *testing.T) {
		r, _ := open(t, Script{Lines: []string{"a", "b", "c"}})
		var wg sync.WaitGroup
		for n := range int64(6) {
			b := build(t, n+1)
			wg.Go(func() {
				var log bytes.Buffer
				check(t, r.Run(t.Context(), b, &log), runner.Success, "")
				if log.String() != "a\nb\nc\n" {
					t.Errorf("log of build %d = %q", n, log.String())
				}
			})
		}
		wg.Wait()
	})
}

// start opens a runner and returns a function that runs one build and then checks that nothing is left of it.
func start(t *testing.T, open Open, s Script) func(context.Context, io.Writer) runner.Result {
	r, running := open(t, s)
	return func(ctx context.Context, log io.Writer) (res runner.Result) {
		t.Helper()
		l := &logged{to: log}
		b := build(t, 1)
		pprof.Do(ctx, pprof.Labels("runnertest", t.Name()), func(ctx context.Context) { res = r.Run(ctx, b, l) })
		l.ended = true // a data race with a late Write, so that -race sees it even if l.late does not
		if running != nil {
			if n := running(); n != 0 {
				t.Errorf("after Run, %d processes of the build still run", n)
			}
		}
		if left := goroutines(t.Name()); left != "" {
			t.Errorf("after Run, its goroutines still run:\n%s", left)
		}
		if l.late {
			t.Error("Run wrote to the log after it returned")
		}
		return res
	}
}

// build returns the build with this number, with a new workspace.
func build(t *testing.T, number int64) runner.Build {
	ws := t.TempDir()
	return runner.Build{
		Job: "app/deploy", Number: number, QueueID: 100 + number, Workspace: ws,
		Env: []string{
			"CI=true", "JOB_NAME=app/deploy", fmt.Sprintf("BUILD_NUMBER=%d", number),
			fmt.Sprintf("QUEUE_ID=%d", 100+number), "WORKSPACE=" + ws,
		},
	}
}

func check(t *testing.T, got runner.Result, outcome runner.Outcome, reason string) {
	t.Helper()
	if got.Outcome != outcome || !strings.Contains(got.Reason, reason) {
		t.Errorf("Run = %+v, want %s with %q in the reason", got, outcome, reason)
	}
	if outcome == runner.Success && got.Reason != "" {
		t.Errorf("Run = %+v, want no reason after a success", got)
	}
	if strings.ContainsAny(got.Reason, "\r\n") {
		t.Errorf("the reason %q is more than one line", got.Reason)
	}
}

// goroutines returns the stacks of the goroutines that the test's Run started and that have not ended. A goroutine that was
// waited for may still execute its last instructions, so goroutines looks more than once.
func goroutines(test string) string {
	deadline := time.Now().Add(5 * time.Second)
	for {
		var b bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
			return err.Error()
		}
		var left []string
		for g := range strings.SplitSeq(b.String(), "\n\n") {
			if strings.Contains(g, fmt.Sprintf("# labels: {%q:%q", "runnertest", test)) {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n")
		}
		runtime.Gosched()
	}
}

// logged records whether a Write comes after the end.
type logged struct {
	to          io.Writer
	ended, late bool
}

func (l *logged) Write(p []byte) (int, error) {
	if l.ended {
		l.late = true
	}
	return l.to.Write(p)
}

// trigger calls a function once, when its text has been written.
type trigger struct {
	on   string
	call func()
	seen bytes.Buffer
}

func (l *trigger) Write(p []byte) (int, error) {
	if l.call != nil {
		l.seen.Write(p)
		if strings.Contains(l.seen.String(), l.on) {
			l.call()
			l.call = nil
		}
	}
	return len(p), nil
}

// slow yields to other goroutines again and again.
type slow struct{ got bytes.Buffer }

func (l *slow) Write(p []byte) (int, error) {
	for i := range p {
		if i%64 == 0 {
			runtime.Gosched()
		}
		l.got.WriteByte(p[i])
	}
	return len(p), nil
}

// failing accepts some bytes and then fails every Write.
type failing struct {
	after int
	short bool
	call  func()
	calls int // counted from the first that failed
}

func (l *failing) Write(p []byte) (int, error) {
	if l.calls == 0 && l.after >= len(p) {
		l.after -= len(p)
		return len(p), nil
	}
	l.calls++
	n := l.after
	l.after = 0
	if l.call != nil {
		l.call()
	}
	if l.short {
		return n, nil
	}
	return n, errors.New("no space left")
}
