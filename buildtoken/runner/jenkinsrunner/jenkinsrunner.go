// Package jenkinsrunner runs a build as a build of a job on a Jenkins server: it triggers the job with the parameters and
// files of the build, waits for the queue item, copies the console log, and ends with the result of the build there.
//
// A build is triggered at most once. The trigger is repeated only as long as Jenkins cannot have got it: after a failed
// connection, or an answer of Jenkins or a proxy that nothing was queued. Otherwise the runner looks for a random mark
// that the trigger carried. Jenkins shows this mark only if the trigger has a job token; without one, the build is aborted.
//
// No URL from Jenkins is used and no redirect is followed: the configuration alone decides which host is contacted.
// Answers that do not come from Jenkins, such as a login page, are recognized.
//
// The progress is saved with [runner.Build.Save], so a build goes on after a restart of this server: after a crash, the last
// ten seconds of the log can be repeated.
package jenkinsrunner

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// The defaults of [Config].
const (
	DefaultRetryFor  = time.Hour
	DefaultLostAfter = 15 * time.Minute
	DefaultEvery     = time.Second
	DefaultKillDelay = 5 * time.Second
)

// maxTarget bounds the URL of a job, which must fit into a handle, in bytes.
const maxTarget = 2000

// Config describes a job on a Jenkins server. URL and Job are required.
type Config struct {
	// URL is the root URL of Jenkins, with http or https.
	URL string
	// Job is the full name of the job there, as in folder/job.
	Job string
	// User and APIToken are an account that may read the job, build it and cancel its builds. Without them, Jenkins must
	// allow that to everyone; or else JobToken only triggers the job, and a build ends when the job is queued.
	User, APIToken string
	// JobToken is the token of the job to trigger builds remotely. Empty means that there is none.
	JobToken string
	// RetryFor is how long a trigger is repeated that Jenkins cannot have got. Zero means [DefaultRetryFor].
	RetryFor time.Duration
	// LostAfter is how long Jenkins may be silent before a build fails. Zero means [DefaultLostAfter].
	LostAfter time.Duration
	// Every is the shortest time between two requests about a build. Zero means [DefaultEvery].
	Every time.Duration
	// KillDelay is how long a stopped build may run on before Jenkins is requested to stop it harder. Zero means
	// [DefaultKillDelay].
	KillDelay time.Duration
	// Transport is used instead of a new [http.Transport]; for tests.
	Transport *http.Transport
}

// Runner runs builds of one job on Jenkins. It is safe for concurrent use. Create one with [New].
type Runner struct {
	jenkins  *client
	job      string // full name
	path     string // path of the job below the root URL
	hasUser  bool
	jobToken func() string // a function, so that no one prints it
	older    *older

	retryFor, lostAfter, every, killDelay time.Duration
}

// New checks the configuration and returns its runner. It contacts no other system.
func New(c Config) (*Runner, error) {
	jenkins, err := newClient(c)
	if err != nil {
		return nil, fmt.Errorf("jenkinsrunner: %w", err)
	}
	path, err := jobPath(c.Job)
	if err == nil && len(jenkins.base+path) > maxTarget {
		err = fmt.Errorf("the URL of the job is longer than %d bytes", maxTarget)
	}
	if err != nil {
		return nil, fmt.Errorf("jenkinsrunner: %w", err)
	}
	return &Runner{
		jenkins: jenkins, job: strings.Trim(c.Job, "/"), path: path, hasUser: c.User != "", older: &older{}, jobToken: func() string { return c.JobToken },
		retryFor: cmp.Or(c.RetryFor, DefaultRetryFor), lostAfter: cmp.Or(c.LostAfter, DefaultLostAfter),
		every: cmp.Or(c.Every, DefaultEvery), killDelay: cmp.Or(c.KillDelay, DefaultKillDelay),
	}, nil
}

// Remote implements [runner.Remote].
func (r *Runner) Remote() {}

// Run implements [runner.Runner].
func (r *Runner) Run(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
	if ctx.Err() != nil {
		return runner.AbortedBy(ctx)
	}
	defer r.jenkins.close()
	l := &relay{Runner: r, build: b, out: &runner.Output{To: log}, heard: time.Now()}
	if b.Handle == nil {
		l.at = progress{Target: r.target(), Mark: rand.Text(), Began: time.Now()}
		if err := l.save(); err != nil {
			l.comment("a restart of the server would end this build: %v", err)
		}
	} else if err := l.restore(b.Handle); err != nil {
		return runner.FailedBy(err)
	}
	return l.run(ctx)
}

// relay is one build.
type relay struct {
	*Runner
	build runner.Build
	out   *runner.Output
	at    progress
	log   follower
	heard time.Time // when Jenkins answered last
	quiet bool      // whether the log has a line about the silence since then
	saved time.Time // when at was saved last
}

// run does what is left to do.
func (l *relay) run(ctx context.Context) runner.Result {
	for _, step := range []func(context.Context) (runner.Result, bool){l.trigger, l.wait, l.follow} {
		if result, ended := step(ctx); ended {
			return result
		}
	}
	return runner.FailedBy(errors.New("the build has no end")) // follow always has one
}

// ended returns the result of a build whose context has ended.
func (l *relay) ended(ctx context.Context) runner.Result {
	if cause := context.Cause(ctx); errors.Is(cause, runner.ErrDetached) {
		if cause == runner.ErrDetached { //nolint:errorlint // another cause means that the queue cannot be reached
			_ = l.save() // only how far the log was copied is lost
		}
		return runner.AbortedBy(ctx)
	}
	return l.stop(ctx)
}

// silent reports whether Jenkins has been silent for too long after err, nil if it has answered.
func (l *relay) silent(err error) bool {
	if err == nil {
		l.heard, l.quiet = time.Now(), false
		return false
	}
	since := time.Since(l.heard)
	if !l.quiet && since > min(quietAfter, l.lostAfter/2) {
		l.quiet = true
		l.comment("nothing was heard for %v, waiting for %v: %v", since.Round(time.Second), l.lostAfter, err)
	}
	return since > l.lostAfter
}

// quietAfter is how long Jenkins must be silent before the log reports it.
const quietAfter = 30 * time.Second

// lost returns the result of a build that nothing is heard of any more.
func (l *relay) lost(err error) (runner.Result, bool) {
	return runner.FailedBy(fmt.Errorf("nothing was heard of the build in Jenkins for %v; it may still run: %w", l.lostAfter, err)), true
}

var _ runner.Remote = (*Runner)(nil)
