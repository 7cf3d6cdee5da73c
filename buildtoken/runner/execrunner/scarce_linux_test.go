package execrunner_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// A build waits while this process cannot open more files, whatever it needs them for, and its log has the reason once.
func TestBuildWaitsForSystemResources(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set := func(soft uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: limit.Max}); err != nil {
			t.Error(err)
		}
	}
	defer set(limit.Cur)
	for left := range 3 { // for the workspace, the pipe of the output, and the start
		var once sync.Once
		log := &watch{on: "Waiting", call: func() {
			once.Do(func() { // between the first retry and the second
				time.AfterFunc(runner.ScarceRetry+runner.ScarceRetry/2, func() { set(limit.Cur) })
			})
		}}
		r := newRunner(t, shell("echo output"))
		b := newBuild(t)
		set(roomFor(t, left)) // those that are open stay so
		res := r.Run(t.Context(), b, log)
		want(t, res, runner.Success, "")
		if got := log.String(); strings.Count(got, "Waiting for system resources: ") != 1 || !strings.HasSuffix(got, "\noutput\n") {
			t.Errorf("room for %d files: log = %q, want the reason once before the output", left, got)
		}
	}
}

// roomFor returns the limit under which so many files can be opened.
func roomFor(t *testing.T, files int) (limit uint64) {
	t.Helper()
	for limit = 3; files > 0; limit++ {
		if _, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", limit)); errors.Is(err, os.ErrNotExist) {
			files--
		}
	}
	return limit
}
