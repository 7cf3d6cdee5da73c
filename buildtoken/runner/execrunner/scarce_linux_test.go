package execrunner_test

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// A build waits while this process cannot open more files, and its log has the reason once.
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
	var once sync.Once
	log := &watch{on: "Waiting", call: func() {
		once.Do(func() { // between the first retry and the second
			time.AfterFunc(runner.ScarceRetry+runner.ScarceRetry/2, func() { set(limit.Cur) })
		})
	}}
	r := newRunner(t, shell("echo output"))
	b := newBuild(t)
	set(3) // those that are open stay so
	res := r.Run(t.Context(), b, log)
	want(t, res, runner.Success, "")
	if got := log.String(); strings.Count(got, "Waiting for system resources: ") != 1 || !strings.HasSuffix(got, "\noutput\n") {
		t.Errorf("log = %q, want the reason once before the output", got)
	}
}
