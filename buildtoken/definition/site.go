package definition

import (
	"errors"
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// ErrUnknownJob is returned for a job that does not exist, or that no token opens.
var ErrUnknownJob = errors.New("buildtoken: unknown job")

// Site is the compiled configuration of one site. It is immutable and safe for
// concurrent use.
type Site struct {
	tree   *job.Tree
	jobs   map[string]*Compiled
	access struct{ read, build, cancel *policy.Policy }
	// hooked are the full names of the jobs with an On, sorted.
	hooked []string
}

// Compiled is a job with all that it inherits from its folders.
type Compiled struct {
	*job.Job
	// Tokens open the job. Places are where they are defined, as texts that are
	// the same for all jobs below: the job itself, a folder, the top level.
	Tokens token.Set
	Places []string
	// Rules apply to every caller: those of the folders from the top, then the job's.
	Rules []*policy.Policy
	// Runner runs the builds.
	Runner runner.Runner
	// Poller looks for changes. If it is nil, the job cannot be polled.
	Poller runner.Poller
	// Badge makes the state of the job public, as a picture.
	Badge bool
	// On starts builds for webhook deliveries.
	On []*On
	// Schedules start builds or polls at certain times.
	Schedules []Schedule
	// Notify are notified of the builds.
	Notify []Notify
	// URL is the site's, see [Spec].
	URL string

	// byToken are the rules of the tokens, by level and name.
	byToken map[tokenKey]*policy.Policy
	// fitsSmall reports whether the runner can start builds with any small
	// values. It is computed by the first call.
	fitsSmall func() bool
}

type tokenKey struct {
	level int
	name  string
}

// rulesFor returns the rules for callers with one of the job's tokens, in the
// order in which they are decided.
func (c *Compiled) rulesFor(t token.Token) []*policy.Policy {
	if own := c.byToken[tokenKey{t.Level, t.Name}]; own != nil {
		return append(c.Rules[:len(c.Rules):len(c.Rules)], own)
	}
	return c.Rules
}

// Place returns where one of the job's tokens is defined, as one of Places.
func (c *Compiled) Place(t token.Token) string { return place(c.FullName, t.Level) }

// Tree returns the job tree.
func (s *Site) Tree() *job.Tree { return s.tree }

// Remote reports whether builds of the job only follow another system.
func (c *Compiled) Remote() bool {
	_, ok := c.Runner.(runner.Remote)
	return ok
}

// Jobs returns the jobs by their full names. The caller must not change the map.
func (s *Site) Jobs() map[string]*Compiled { return s.jobs }

// Has reports whether the site has a job with this full name.
func (s *Site) Has(full string) bool { return s.jobs[full] != nil }

// Find returns the job with the name that a request gave, or [ErrUnknownJob].
func (s *Site) Find(given string) (*Compiled, error) {
	full, err := job.ParseFullName(given)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownJob, job.ErrBadName) // without the name, which can hold a token
	}
	if j, ok := s.jobs[full]; ok {
		return j, nil
	}
	return nil, ErrUnknownJob
}

// Job is [Site.Find] for callers that need only the job's names, settings and
// parameters.
func (s *Site) Job(given string) (*job.Job, bool) {
	j, err := s.Find(given)
	if err != nil {
		return nil, false
	}
	return j.Job, true
}

// Pollable reports whether the job can be polled.
func (s *Site) Pollable(full string) bool {
	j, ok := s.jobs[full]
	return ok && j.Poller != nil
}

// Badged reports whether the state of the job is public, as a picture.
func (s *Site) Badged(full string) bool {
	j, ok := s.jobs[full]
	return ok && j.Badge
}
