package executor

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// ErrShutdown is the cause with which builds are stopped when the process
// stops and their time is up.
var ErrShutdown = errors.New("the server was shut down")

// ErrCutOff is the cause with which builds are stopped that another server may
// regard as lost. It is a [runner.ErrDetached]: another server can resume a remote
// build.
var ErrCutOff error = cutOff{}

type cutOff struct{}

func (cutOff) Error() string { return "the server was cut off from the queue" }

// Is reports whether target is [runner.ErrDetached].
func (cutOff) Is(target error) bool { return target == runner.ErrDetached }

// StoppedError is the cause with which a build is stopped on request.
type StoppedError struct {
	// By names the person or token that requested it, as "user alice".
	By string
}

// Error returns the reason with that name.
func (e *StoppedError) Error() string { return "stopped by " + e.By }

// Queue is what the executors need of a queue. Its contract is that of package
// queuetest.
type Queue interface {
	Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) ([]queue.Build, time.Time, error)
	Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error)
	Aborts(ctx context.Context) ([]queue.Build, error)
	Changed() <-chan struct{}
}

// Prepare returns the function that runs a build, which was claimed just now. It
// must not block: meanwhile no other build starts and [Pool.Resize] does not
// return. So it can read the configuration under which the build was claimed.
type Prepare func(b queue.Build) Run

// Run runs one build to its end. When ctx ends, it stops the build and returns
// Aborted; the cause of ctx is the reason. It must return only when nothing of
// the build is left. An empty result means that the build goes on elsewhere and is
// resumed after a restart: its end is not recorded.
type Run func(ctx context.Context) (queue.Result, string)

// Options configure a [Pool].
type Options struct {
	// Node returns this server. It is called whenever builds could start, because
	// labels can change. Nil means a node without name and labels.
	Node func() queue.Node
	// Executors is how many builds run at once; 0 runs none until [Pool.Resize].
	Executors int
	// Remote is how many remote builds run at once, which take no executor.
	Remote int
	// Log returns the logger to use now. It is called for each message, because a
	// pool lives longer than a configuration. Nil discards.
	Log func() *zap.Logger
}

// retryAfter is how long the pool waits after an error of the queue.
const retryAfter = time.Second

// maxSleep bounds how long the pool sleeps while an item waits for its due
// instant. Due instants are wall clock times, and the clock can be set, as on a
// machine without a battery some time after its start. A timer does not notice
// that.
const maxSleep = time.Minute

// Pool is a set of executors. Its methods are safe for concurrent use.
type Pool struct {
	queue   Queue
	prepare Prepare
	opts    Options

	resize  chan [2]int
	ended   chan key
	adopt   chan adopted
	stop    chan struct{} // closed: claim nothing more
	stopped chan struct{} // closed by dispatch when it returned
	done    chan struct{} // closed by the first Stop when it returns
	builds  sync.WaitGroup
	once    sync.Once

	// all is the parent of the contexts of all builds; abort ends it.
	all   context.Context
	abort context.CancelCauseFunc

	// mu guards the following.
	mu sync.Mutex
	// uncut is the context of builds that were claimed since the last CutOff, cut ends it.
	uncut context.Context
	cut   context.CancelCauseFunc

	claimFailed, abortsFailed, recordFailed rate.Sometimes // at most one log line a second each
}

type key struct {
	job    string
	number int64
}

// The kinds of slots that builds run in.
const (
	local  = 0 // executors
	remote = 1 // slots of remote builds
)

// running is a build on one of the executors, or in one of the slots of remote builds.
type running struct {
	kind     int
	executor int
	cancel   context.CancelCauseFunc
}

// adopted is a build that was started by an earlier process.
type adopted struct {
	build queue.Build
	run   Run
}

// Start starts the executors. Stop ends them.
func Start(q Queue, prepare Prepare, opts Options) *Pool {
	if opts.Log == nil {
		opts.Log = zap.NewNop
	}
	if opts.Node == nil {
		opts.Node = func() queue.Node { return queue.Node{} }
	}
	ctx, abort := context.WithCancelCause(context.Background())
	p := &Pool{
		queue: q, prepare: prepare, opts: opts,
		resize: make(chan [2]int), ended: make(chan key), adopt: make(chan adopted),
		stop: make(chan struct{}), stopped: make(chan struct{}), done: make(chan struct{}),
		all: ctx, abort: abort,

		claimFailed:  rate.Sometimes{Interval: time.Second},
		abortsFailed: rate.Sometimes{Interval: time.Second},
		recordFailed: rate.Sometimes{Interval: time.Second},
	}
	p.uncut, p.cut = context.WithCancelCause(p.all)
	go p.dispatch(ctx) // Stop waits for stopped
	return p
}

// Resize changes how many builds can run at once, on executors and as remote
// builds; less than 1 means none. Running builds go on: surplus executors end
// with their builds. No build starts under the old size once Resize has returned.
// After Stop it does nothing.
func (p *Pool) Resize(executors, remote int) {
	select {
	case p.resize <- [2]int{executors, remote}:
	case <-p.stopped:
	}
}

// Adopt runs a remote build that an earlier process started, in the slot that
// b.Executor names. Slots that are taken twice, or that are beyond the size of
// the pool, are free again when their builds end. After Stop it does nothing.
func (p *Pool) Adopt(b queue.Build, run Run) {
	select {
	case p.adopt <- adopted{b, run}:
	case <-p.stopped:
	}
}

// CutOff stops all builds that run or are being claimed, with [ErrCutOff]. It
// does not block, not even if the queue does not respond, which is when it is
// called. Builds that are claimed afterwards run.
func (p *Pool) CutOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut(ErrCutOff)
	p.uncut, p.cut = context.WithCancelCause(p.all)
}

// untilCut returns the context of builds that are claimed from now on.
func (p *Pool) untilCut() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.uncut
}

// Stop starts no more builds and waits for the running ones. Builds that still
// run after grace are stopped with [ErrShutdown]. Stop returns when all builds
// are gone and their ends are recorded; after grace, recording an end is tried
// five more times. Stop can be called more than once; every call returns when
// the first is done.
func (p *Pool) Stop(grace time.Duration) {
	first := false
	p.once.Do(func() {
		first = true
		close(p.stop)
	})
	if !first {
		<-p.done
		return
	}
	defer close(p.done)
	timer := time.NewTimer(max(grace, 0))
	defer timer.Stop()
	select {
	case <-p.stopped:
	case <-timer.C:
		p.abort(ErrShutdown)
		<-p.stopped
	}
	p.builds.Wait()
}

// dispatch starts due builds on free executors. It owns the dispatcher and the
// timer, and ends when stop is closed and no build is left.
func (p *Pool) dispatch(ctx context.Context) {
	defer close(p.stopped)
	d := dispatcher{Pool: p, size: [2]int{p.opts.Executors, p.opts.Remote}, busy: map[key]running{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := p.stop
	for stop != nil || len(d.busy) > 0 {
		select {
		case <-p.queue.Changed():
			d.wishes = true
		case <-timer.C:
		case k := <-p.ended:
			delete(d.busy, k)
		case size := <-p.resize:
			if stop != nil {
				d.size = size
			}
		case a := <-p.adopt:
			if stop != nil {
				d.start(ctx, d.untilCut(), remote, a.build, a.run)
				d.wishes = true
			}
		case <-stop:
			stop = nil
			d.size = [2]int{}
		}
		again := min(d.abortWished(ctx), d.claim(ctx, local), d.claim(ctx, remote))
		if again == never {
			timer.Stop()
		} else {
			timer.Reset(again)
		}
	}
}

// dispatcher is what the dispatch goroutine owns.
type dispatcher struct {
	*Pool
	size [2]int // by kind
	busy map[key]running
	// wishes reports that there may be new requests to stop a build.
	wishes bool
	// retryAt is the earliest instant of the next claim after one that failed. Events
	// before that do not cause another attempt.
	retryAt time.Time
}

// never is returned by steps that need not be repeated before the next event.
const never = time.Duration(math.MaxInt64)

// free returns the executors or slots without a build, lowest first.
func (d *dispatcher) free(kind int) []int {
	taken, busy := map[int]bool{}, 0
	for _, r := range d.busy {
		if r.kind == kind {
			taken[r.executor] = true
			busy++
		}
	}
	var free []int
	for i := range d.size[kind] {
		if !taken[i] && len(free)+busy < d.size[kind] {
			free = append(free, i)
		}
	}
	return free
}

// claim starts the builds that can start, and returns after what time to try again.
func (d *dispatcher) claim(ctx context.Context, kind int) time.Duration {
	free := d.free(kind)
	if len(free) == 0 {
		return never
	}
	if rest := time.Until(d.retryAt); rest > 0 {
		return rest
	}
	// Taken before the claim: another server can soon regard these builds as lost too.
	uncut := d.untilCut()
	// Not given up with ctx: a claim that was recorded all the same would be a build that never runs.
	node := d.opts.Node()
	node.Remote = kind == remote
	builds, next, err := d.queue.Claim(context.WithoutCancel(ctx), time.Now(), node, free)
	switch {
	case errors.Is(err, queue.ErrClosed):
		return never
	case err != nil:
		d.claimFailed.Do(func() { d.opts.Log().Error("cannot start due builds; trying again", zap.Error(err)) })
		d.retryAt = time.Now().Add(retryAfter)
		return retryAfter
	}
	for _, b := range builds {
		d.start(ctx, uncut, kind, b, d.prepare(b))
	}
	if next.IsZero() {
		return never
	}
	return min(max(0, time.Until(next)), maxSleep)
}

// start runs a build on a goroutine, which Stop waits for.
func (d *dispatcher) start(ctx, uncut context.Context, kind int, b queue.Build, run Run) {
	buildCtx, cancel := context.WithCancelCause(uncut)
	d.busy[key{b.Item.Job, b.Number}] = running{kind, b.Executor, cancel}
	d.builds.Go(func() {
		defer cancel(nil)
		d.build(buildCtx, ctx, b, run)
	})
}

// abortWished stops the builds of this pool for which that was requested, and
// returns after what time to check again.
func (d *dispatcher) abortWished(ctx context.Context) time.Duration {
	if !d.wishes || len(d.busy) == 0 {
		// A request to stop a build that is not busy yet follows its claim, with a new event.
		d.wishes = false
		return never
	}
	wished, err := d.queue.Aborts(context.WithoutCancel(ctx))
	switch {
	case errors.Is(err, queue.ErrClosed):
		return never
	case err != nil:
		d.abortsFailed.Do(func() { d.opts.Log().Error("cannot read requests to stop builds; trying again", zap.Error(err)) })
		return retryAfter
	}
	d.wishes = false
	for _, b := range wished {
		if r, ok := d.busy[key{b.Item.Job, b.Number}]; ok {
			r.cancel(&StoppedError{By: b.Abort})
		}
	}
	return never
}

// build runs one build, records its end, and frees its executor. pool ends
// when the pool gives up its builds.
func (p *Pool) build(ctx, pool context.Context, b queue.Build, run Run) {
	if result, reason := run(ctx); result != "" {
		p.record(pool, b, result, reason)
	}
	p.ended <- key{b.Item.Job, b.Number} // dispatch is there as long as builds are
}

// recordTries is how often recording an end is tried after the pool has given up
// its builds.
const recordTries = 5

// record makes the end durable. An end that another server has recorded, because
// it regarded this one as gone, stands.
func (p *Pool) record(pool context.Context, b queue.Build, result queue.Result, reason string) {
	ctx := context.WithoutCancel(pool)
	for tries := 0; tries < recordTries; {
		_, err := p.queue.Finish(ctx, time.Now(), b.Item.Job, b.Number, result, reason)
		if err == nil {
			return
		}
		log := p.opts.Log().With(zap.String("job", b.Item.Job), zap.Int64("number", b.Number), zap.Error(err))
		if errors.Is(err, queue.ErrNotRunning) || errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrClosed) {
			log.Error("cannot record the end of a build")
			return
		}
		p.recordFailed.Do(func() { log.Error("cannot record the end of a build; trying again") })
		if pool.Err() != nil {
			tries++
		}
		time.Sleep(retryAfter)
	}
}
