package jenkinsrunner_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
	"github.com/buildtoken/buildtoken/internal/runnertest"
)

func TestContract(t *testing.T) {
	runnertest.Run(t, func(t *testing.T, s runnertest.Script) (runner.Runner, func() int) {
		work := func(b *jenkinstest.Build) string {
			stop := b.Context()
			if s.Deaf {
				stop = b.Killed()
			}
			script := s
			script.Deaf = false
			if script.Play(stop, b, b) != 0 {
				return "exit 3" // an unknown result
			}
			return "SUCCESS"
		}
		j, c := jenkins(t, jenkinstest.Job{Name: "app/deploy", Concurrent: true, Pipeline: true, Run: work})
		if s.Broken {
			c.URL, c.RetryFor = closedAddress(t), time.Nanosecond
		}
		return lines{newRunner(t, c)}, j.Running
	})
}

// lines removes what the runner and Jenkins write into the log besides the output of the build.
type lines struct{ runner.Remote }

func (l lines) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	return l.Remote.Run(ctx, b, &outputOnly{to: log})
}

type outputOnly struct {
	to   io.Writer
	rest []byte
	err  error
}

func (o *outputOnly) Write(p []byte) (int, error) {
	if o.err != nil {
		return o.to.Write(p) // which the test counts
	}
	o.rest = append(o.rest, p...)
	for {
		line, rest, ok := bytes.Cut(o.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		o.rest = rest
		if text := string(line); strings.HasPrefix(text, "Jenkins: ") || strings.HasPrefix(text, "Started by ") || strings.HasPrefix(text, "Finished: ") {
			continue
		}
		n, err := o.to.Write(append(line[:len(line):len(line)], '\n'))
		if err != nil || n <= len(line) {
			o.err = io.ErrShortWrite
			return 0, o.err
		}
	}
}

const (
	user     = "edge"
	apiToken = "11aabbccdd"
	jobToken = "TacoTuesday"
)

// jenkins returns a Jenkins that lives as long as the test, and the configuration of a runner for its first job.
func jenkins(t *testing.T, jobs ...jenkinstest.Job) (*jenkinstest.Server, jenkinsrunner.Config) {
	t.Helper()
	j := jenkinstest.New(jenkinstest.Options{User: user, APIToken: apiToken, Prefix: "/ci", Jobs: jobs})
	s := httptest.NewServer(j)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		j.Close()
	})
	return j, jenkinsrunner.Config{
		URL: s.URL + "/ci/", Job: jobs[0].Name, User: user, APIToken: apiToken,
		Every: time.Millisecond, KillDelay: 50 * time.Millisecond,
	}
}

func newRunner(t *testing.T, c jenkinsrunner.Config) *jenkinsrunner.Runner {
	t.Helper()
	r, err := jenkinsrunner.New(c)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	return r
}

// closedAddress returns a URL at which nothing listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String() + "/"
}
