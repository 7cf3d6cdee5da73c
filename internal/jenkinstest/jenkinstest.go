// Package jenkinstest is a program that behaves like Jenkins towards a client that triggers jobs and follows their builds,
// faults included. It was written from a description of Jenkins' remote API and shares no code with the rest of this module.
//
// IDs of queue items are random 63-bit numbers, as on Jenkins with high availability. An item that has left the queue is
// found for five minutes. The progressive log of a running build has only complete lines, at most 10,000 of them, ends its
// lines with CRLF, and announces more text than it sends.
package jenkinstest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Version is what the X-Jenkins header announces.
const Version = "2.578"

// leftFor is how long an item is found after it has left the queue.
const leftFor = 5 * time.Minute

// Job is a job of the server.
type Job struct {
	// Name is the full name, with slashes between folders.
	Name string
	// Token triggers the job without an account. Empty means that there is none.
	Token string
	// Params are the names of its parameters and their defaults. Nil means that the job takes none.
	Params map[string]string
	// Files are the names of its file parameters.
	Files []string
	// QuietPeriod delays builds of triggers without delay.
	QuietPeriod time.Duration
	// Concurrent allows several builds at once.
	Concurrent bool
	// Pipeline has builds that can be terminated and killed; those of other jobs can only be stopped.
	Pipeline bool
	// Disabled refuses triggers.
	Disabled bool
	// Run does the work of a build and returns its result. It must return when the context of the build ends.
	Run func(b *Build) (result string)
}

// Faults are what goes wrong. The zero value is a Jenkins in good health.
type Faults struct {
	// Intercept, if it is not nil, is called with each request first. It reports whether it has answered.
	Intercept func(w http.ResponseWriter, r *http.Request) bool
	// ResetAfterTrigger breaks the connection of that many triggers after they were queued.
	ResetAfterTrigger int
	// ResetBeforeTrigger breaks the connection of that many triggers after they were read, before they are queued.
	ResetBeforeTrigger int
	// Forget makes items be gone as soon as they have left the queue.
	Forget bool
	// NoExecutable hides the build of an item that has left the queue.
	NoExecutable bool
	// ExactSize makes the progressive log announce what it sends, as Jenkins did before 2.509.
	ExactSize bool
	// Hold keeps items in the queue.
	Hold bool
	// HideParameters leaves the parameters of jobs out of the API.
	HideParameters bool
}

// Options configure a [Server].
type Options struct {
	// User and APIToken are the only account. If User is empty, everyone may do everything.
	User, APIToken string
	// Prefix is the context path, such as /ci; empty for none.
	Prefix string
	Jobs   []Job
}

// Server is an [http.Handler]. Its methods are safe for concurrent use. Create one with [New].
type Server struct {
	opts   Options
	ctx    context.Context //nolint:containedctx // the life of the builds, which outlive the requests that start them
	cancel context.CancelFunc
	builds sync.WaitGroup

	// mu guards the following.
	mu       sync.Mutex
	faults   Faults
	jobs     map[string]*job
	items    map[int64]*item
	order    []*item // queued items, oldest first
	triggers int
}

type job struct {
	Job

	builds  []*Build // by number, the first is 1; nil if discarded
	running int
}

func (j *job) parameterized() bool { return j.Params != nil || j.Files != nil }

// item is a trigger, from the queue to its build.
type item struct {
	id        int64
	job       *job
	params    map[string]string
	files     map[string]File
	causes    []Cause
	due       time.Time
	cancelled bool
	left      time.Time // zero while it is queued
	build     *Build
}

// File is an uploaded file.
type File struct{ Name, Content string }

// Cause is why an item was queued.
type Cause struct{ Description, Note string }

// New returns a server without builds. The caller must call Close.
func New(opts Options) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{opts: opts, ctx: ctx, cancel: cancel, jobs: map[string]*job{}, items: map[int64]*item{}}
	for _, j := range opts.Jobs {
		s.jobs[j.Name] = &job{Job: j}
	}
	return s
}

// Close ends all builds and waits for them.
func (s *Server) Close() {
	s.cancel()
	s.builds.Wait()
}

// Set changes the faults.
func (s *Server) Set(change func(f *Faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
	s.maintain()
}

// Restart does to builds and items what a restart of Jenkins does: it forgets the items that have left the queue, and
// aborts the running builds.
func (s *Server) Restart() {
	for _, b := range s.Builds() {
		b.kill()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, it := range s.items {
		if !it.left.IsZero() {
			delete(s.items, id)
		}
	}
}

// Discard removes the record of a build.
func (s *Server) Discard(full string, number int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[full].builds[number-1] = nil
}

// Triggers returns how many triggers were accepted, those that joined an item included.
func (s *Server) Triggers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.triggers
}

// Builds returns the builds of all jobs, in the order of the jobs' names and their numbers.
func (s *Server) Builds() []*Build {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Build
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		for _, b := range s.jobs[name].builds {
			if b != nil {
				all = append(all, b)
			}
		}
	}
	return all
}

// Running returns how many builds run.
func (s *Server) Running() int {
	n := 0
	for _, b := range s.Builds() {
		if b.inProgress() {
			n++
		}
	}
	return n
}

// schedule queues an item, or adds the cause to an equal one. The caller holds mu.
func (s *Server) schedule(j *job, params map[string]string, files map[string]File, cause Cause, delay time.Duration) (it *item, created bool) {
	s.triggers++
	for _, it := range s.order {
		if it.job == j && len(files)+len(it.files) == 0 && maps.Equal(it.params, params) {
			it.causes = append(it.causes, cause)
			return it, false
		}
	}
	it = &item{id: randomID(), job: j, params: params, files: files, causes: []Cause{cause}, due: time.Now().Add(delay)}
	s.items[it.id] = it
	s.order = append(s.order, it)
	s.maintain()
	return it, true
}

// randomID returns a number of 63 bits that a float64 cannot hold.
func randomID() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return int64(binary.BigEndian.Uint64(b[:])>>1 | 1<<62 | 1)
}

// maintain starts the items that can start, and comes back when the next one is due. The caller holds mu.
func (s *Server) maintain() {
	now := time.Now()
	s.order = slices.DeleteFunc(s.order, func(it *item) bool {
		if wait := it.due.Sub(now); wait > 0 {
			time.AfterFunc(wait, func() { s.Set(func(*Faults) {}) })
			return false
		}
		if s.faults.Hold || it.job.running > 0 && !it.job.Concurrent {
			return false
		}
		s.start(it)
		return true
	})
	for id, it := range s.items {
		if !it.left.IsZero() && (s.faults.Forget || now.Sub(it.left) > leftFor) {
			delete(s.items, id)
		}
	}
}

// start makes a build of an item. The caller holds mu.
func (s *Server) start(it *item) {
	j := it.job
	b := newBuild(s.ctx, it, int64(len(j.builds))+1)
	it.left, it.build = time.Now(), b
	j.builds = append(j.builds, b)
	j.running++
	s.builds.Go(func() { // Close waits for it
		b.run(j.Run)
		s.mu.Lock()
		defer s.mu.Unlock()
		j.running--
		s.maintain()
	})
}
