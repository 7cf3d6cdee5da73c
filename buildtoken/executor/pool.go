package executor

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// ErrShutdown is the cause with which builds are stopped when the process
// stops and their time is up.
var ErrShutdown = errors.New("the server was shut down")

// StoppedError is the cause with which a build is stopped that somebody asked
// to stop.
type StoppedError struct {
	// By says who asked, as "user alice".
	By string
}

// Error says who asked.
func (e *StoppedError) Error() string { return "stopped by " + e.By }

// Queue is what the executors need of the queue. Its contract is that of
// queuetest.
type Queue interface {
	Claim(ctx context.Context, now time.Time, node string, executors []int) ([]queue.Build, time.Time, error)
	Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error)
	Aborts(ctx context.Context) ([]queue.Build, error)
	Changed() <-chan struct{}
}

// Run runs one build to its end. When ctx ends, it stops the build and returns
// Aborted; the cause of ctx says why. It must return only when nothing of the
// build is left.
type Run func(ctx context.Context, b queue.Build) (queue.Result, string)

// Options say how to start a pool.
type Options struct {
	// Node is the name of this server in the builds' records.
	Node string
	// Executors is how many builds run at once; 0 runs none until [Pool.Resize].
	Executors int
	// Ended, if set, is called after a build's end was recorded, by the
	// goroutine of that build.
	Ended func(ctx context.Context, b queue.Build)
	// Log hears of what could not be recorded. Nil is silent.
	Log *zap.Logger
}

// retryAfter is how long the pool waits after the queue answered an error.
const retryAfter = time.Second

// Pool is a number of executors at work. Its methods may be called concurrently.
type Pool struct {
	queue Queue
	run   Run
	opts  Options

	resize  chan int
	ended   chan key
	stop    chan struct{} // closed: claim nothing more
	stopped chan struct{} // closed by dispatch when it returned
	builds  sync.WaitGroup
	once    sync.Once

	// abort ends the contexts of all builds.
	abort context.CancelCauseFunc
}

type key struct {
	job    string
	number int64
}

// running is a build on one of the executors.
type running struct {
	executor int
	cancel   context.CancelCauseFunc
}

// Start starts the executors. Stop ends them.
func Start(q Queue, run Run, opts Options) *Pool {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	ctx, abort := context.WithCancelCause(context.Background())
	p := &Pool{
		queue: q, run: run, opts: opts,
		resize: make(chan int), ended: make(chan key),
		stop: make(chan struct{}), stopped: make(chan struct{}),
		abort: abort,
	}
	go p.dispatch(ctx) // Stop waits for stopped
	return p
}

// Resize changes how many builds may run at once. Builds that run are not
// touched: with fewer executors, the surplus ends when its builds end.
func (p *Pool) Resize(executors int) {
	select {
	case p.resize <- executors:
	case <-p.stopped:
	}
}

// Stop starts no more builds and waits for the running ones. Those that run
// after grace are stopped with [ErrShutdown]. It returns when all builds are
// gone and their ends are recorded; an end that can't be recorded is tried
// [recordTries] times more. Stop may be called more than once.
func (p *Pool) Stop(grace time.Duration) {
	p.once.Do(func() {
		close(p.stop)
		timer := time.NewTimer(max(grace, 0))
		defer timer.Stop()
		select {
		case <-p.stopped:
		case <-timer.C:
			p.abort(ErrShutdown)
			<-p.stopped
		}
		p.builds.Wait()
		p.abort(ErrShutdown)
	})
	<-p.stopped
}

// dispatch gives due builds to free executors. It owns free, busy and the
// timer, and ends when stop is closed and no build is left.
func (p *Pool) dispatch(ctx context.Context) {
	defer close(p.stopped)
	d := dispatcher{Pool: p, size: p.opts.Executors, busy: map[key]running{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := p.stop
	for stop != nil || len(d.busy) > 0 {
		select {
		case <-p.queue.Changed():
			d.abortWished(ctx)
		case <-timer.C:
		case k := <-p.ended:
			delete(d.busy, k)
		case d.size = <-p.resize:
		case <-stop:
			stop = nil
			d.size = 0
		}
		if wait, ok := d.claim(ctx); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// dispatcher is what the dispatch goroutine owns.
type dispatcher struct {
	*Pool
	size int
	busy map[key]running
}

// free are the executors without a build, lowest first.
func (d *dispatcher) free() []int {
	taken := map[int]bool{}
	for _, r := range d.busy {
		taken[r.executor] = true
	}
	var free []int
	for i := range d.size {
		if !taken[i] && len(free)+len(d.busy) < d.size {
			free = append(free, i)
		}
	}
	return free
}

// claim starts what may start, and says after what time to try again; false
// means that only an event can change anything.
func (d *dispatcher) claim(ctx context.Context) (time.Duration, bool) {
	free := d.free()
	if len(free) == 0 {
		return 0, false
	}
	builds, next, err := d.queue.Claim(ctx, time.Now(), d.opts.Node, free)
	if err != nil {
		if errors.Is(err, queue.ErrClosed) {
			return 0, false
		}
		d.opts.Log.Error("due builds could not be started; trying again", zap.Error(err))
		return retryAfter, true
	}
	for _, b := range builds {
		buildCtx, cancel := context.WithCancelCause(ctx)
		d.busy[key{b.Item.Job, b.Number}] = running{b.Executor, cancel}
		d.builds.Go(func() {
			defer cancel(nil)
			d.build(buildCtx, b)
		})
	}
	if next.IsZero() {
		return 0, false
	}
	return max(0, time.Until(next)), true
}

// abortWished ends the builds of this pool that somebody asked to stop.
func (d *dispatcher) abortWished(ctx context.Context) {
	if len(d.busy) == 0 {
		return
	}
	wished, err := d.queue.Aborts(ctx)
	if err != nil {
		d.opts.Log.Error("wishes to stop builds could not be read", zap.Error(err))
		return
	}
	for _, b := range wished {
		if r, ok := d.busy[key{b.Item.Job, b.Number}]; ok {
			r.cancel(&StoppedError{By: b.Abort})
		}
	}
}

// build runs one build, records its end, and frees its executor.
func (p *Pool) build(ctx context.Context, b queue.Build) {
	result, reason := p.run(ctx, b)
	p.record(ctx, b, result, reason)
	p.ended <- key{b.Item.Job, b.Number} // dispatch is there as long as builds are
}

// recordTries is how often an end is tried to record after the pool gave up
// its builds.
const recordTries = 5

// record makes the end durable. An end that was recorded by someone else
// (the server was taken for dead) stands.
func (p *Pool) record(ctx context.Context, b queue.Build, result queue.Result, reason string) {
	withoutCancel := context.WithoutCancel(ctx)
	for tries := 0; tries < recordTries; {
		ended, err := p.queue.Finish(withoutCancel, time.Now(), b.Item.Job, b.Number, result, reason)
		if err == nil {
			if p.opts.Ended != nil {
				p.opts.Ended(withoutCancel, ended)
			}
			return
		}
		log := p.opts.Log.With(zap.String("job", b.Item.Job), zap.Int64("number", b.Number), zap.Error(err))
		if errors.Is(err, queue.ErrNotRunning) || errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrClosed) {
			log.Error("end of build could not be recorded")
			return
		}
		log.Error("end of build could not be recorded; trying again")
		if errors.Is(context.Cause(ctx), ErrShutdown) {
			tries++
		}
		time.Sleep(retryAfter)
	}
}
