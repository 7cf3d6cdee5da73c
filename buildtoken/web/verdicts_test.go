package web_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// TestVerdicts compares the verdict of each error with testdata/verdicts.txt, also if the error is
// wrapped.
func TestVerdicts(t *testing.T) {
	const file = "../../testdata/verdicts.txt"
	var b strings.Builder
	for _, err := range []error{
		web.ErrSlowBody, web.ErrNoJob, web.ErrNoItem, web.ErrNotFound, web.ErrForbidden, web.ErrCrossSite, web.ErrPrefetch, web.ErrTooEarly,
		web.ErrNoController, web.ErrBusy, web.ErrCrowded, web.ErrSpool,
		&web.MethodError{Allow: []string{"GET", "POST"}}, &web.BadRequestError{Problem: "malformed query"},
		&web.TooLargeError{Limit: 7}, &web.TooLargeError{Limit: 7, NeedsToken: true},
		definition.ErrUnknownJob, definition.ErrNotGranted, definition.ErrNeedsPost, definition.ErrNotBuildable, definition.ErrNotPollable,
		definition.ErrTakesParameters, definition.ErrTakesNoParameters, &definition.ThrottledError{Wait: 90 * time.Second},
		token.ErrMissing, token.ErrMismatch, token.ErrExpired, hook.ErrUnsigned, hook.ErrMismatch, hook.ErrStale, event.ErrMalformed,
		policy.ErrDenied, &policy.Denied{}, &policy.Denied{Rule: policy.Rule{Message: "not on Fridays"}},
		job.ErrDelay, job.ErrValue, runner.ErrTooLarge, runner.ErrBadValue,
		queue.ErrNotFound, queue.ErrLeft, queue.ErrNotRunning, queue.ErrKeyReused, queue.ErrClosed, queue.ErrFull, queue.ErrStorage, console.ErrGone,
		buildtoken.ErrShuttingDown, buildtoken.ErrUpload, context.Canceled, context.DeadlineExceeded, fs.ErrPermission,
	} {
		v := web.VerdictOf(err)
		fmt.Fprintf(&b, "%v\n  %d %s", err, v.Status, v.Title)
		if v.Retry != 0 {
			fmt.Fprintf(&b, ", retry after %v", v.Retry)
		}
		if v.Allow != nil {
			fmt.Fprintf(&b, ", allow %v", v.Allow)
		}
		fmt.Fprintln(&b)
		for _, line := range []string{v.Text, v.Help} {
			if line != "" {
				fmt.Fprintln(&b, "  "+line)
			}
		}
		again := web.VerdictOf(fmt.Errorf("outside: %w", err))
		again.Text = v.Text // some begin with what is outside
		if diff := cmp.Diff(v, again); diff != "" {
			t.Errorf("%v, wrapped (-alone +wrapped):\n%s", err, diff)
		}
	}
	got := b.String()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("verdicts (-want +got); go test -update writes them again:\n%s", diff)
	}
}
