// Package outbox delivers the notifications that a queue has on record.
//
// Delivery is at least once: an attempt whose outcome is not recorded, because the process
// was killed, is repeated. Notifications of one target and one job are sent one after the
// other, in their order. Attempts never hold up anything else: each has its own goroutine
// and a time limit, and the queue bounds how many of one target it hands out.
package outbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Queue is what deliveries need of a queue. Its contract is that of package queuetest.
type Queue interface {
	TakeNotifications(ctx context.Context, now time.Time, targets []string, limit int) ([]queue.Notification, time.Time, error)
	MaySend(id int64) bool
	SettleNotification(ctx context.Context, now time.Time, id int64, a queue.Attempt) (queue.Notification, error)
	NotificationsChanged() <-chan struct{}
}

// Options configure an [Outbox].
type Options struct {
	// Event returns the content of a notification, with the end of the log if withLog is true.
	Event func(ctx context.Context, n queue.Notification, withLog bool) (notify.Event, error)
	// Settled is called after each attempt with the state of the notification after it, and
	// how long it took.
	Settled func(n queue.Notification)
	// Log returns the logger to use now. It is called for each message, because an outbox
	// lives longer than a configuration.
	Log func() *zap.Logger
}

// Timeout bounds one attempt.
const Timeout = 15 * time.Second

const (
	// maxSending is how many attempts are made at once.
	maxSending = 200
	// pace is the shortest time between two looks at the queue. Finding what is due takes
	// longer the more waits, and triggers must not wait for it.
	pace = 20 * time.Millisecond
	// maxSleep bounds the time until the queue is read again: the clock can be set, and
	// another server can have left notifications.
	maxSleep = time.Minute
	// retryAfter is the pause after an error of the queue.
	retryAfter = time.Second
	// refusals is how many attempts are made if the receiver refuses a notification.
	refusals = 3
	// firstPause and longestPause bound how long a receiver is left alone that is down.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	// lastWords is how long attempts can go on when the outbox is closed.
	lastWords = 2 * time.Second
)

// Outbox delivers notifications. Its methods are safe for concurrent use.
type Outbox struct {
	queue Queue
	opts  Options

	// stop ends the loop, abort the attempts.
	stop, abort context.CancelFunc
	loop, sends sync.WaitGroup
	// wake has room for one notice that the receivers changed, or that an attempt ended.
	wake chan struct{}
	// free has a value for each attempt that can be made.
	free chan struct{}
	// failed limits the lines about errors of the queue.
	failed rate.Sometimes

	// mu guards the following.
	mu        sync.Mutex
	receivers map[string]notify.Receiver
	// gone are receivers that want no notifications any more. It is forgotten with the
	// configuration. paused are those that asked to be left alone until a time.
	gone   map[notify.Receiver]bool
	paused map[notify.Receiver]time.Time
	// failures counts failed attempts since the last success, each group that was made at the
	// same time once.
	failures map[notify.Receiver]int
}

// Start starts deliveries, without any receivers. Close ends them.
func Start(q Queue, opts Options) *Outbox {
	loop, stop := context.WithCancel(context.Background())
	sends, abort := context.WithCancel(context.Background())
	o := &Outbox{
		queue: q, opts: opts, stop: stop, abort: abort, wake: make(chan struct{}, 1), free: make(chan struct{}, maxSending),
		failed: rate.Sometimes{Interval: time.Second},
	}
	for range maxSending {
		o.free <- struct{}{}
	}
	o.loop.Go(func() { o.run(loop, sends) }) // ends with loop; Close waits
	return o
}

// Set replaces the receivers, by the names of their targets. Those that were gone are
// tried again. The caller must not change the map.
func (o *Outbox) Set(receivers map[string]notify.Receiver) {
	o.mu.Lock()
	o.receivers, o.gone, o.paused, o.failures = receivers, map[notify.Receiver]bool{}, map[notify.Receiver]time.Time{}, map[notify.Receiver]int{}
	o.mu.Unlock()
	o.notify()
}

// Close ends deliveries. What is due is tried once more, and attempts can go on for a moment;
// what is not settled then is sent again after the next start. Close returns when all goroutines
// are gone.
func (o *Outbox) Close() {
	o.stop()
	late := time.AfterFunc(lastWords, o.abort)
	o.loop.Wait()
	o.sends.Wait()
	late.Stop()
	o.abort()
}

// Gone reports whether the receiver of a target wants no notifications until the next
// configuration.
func (o *Outbox) Gone(target string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gone[o.receivers[target]]
}

func (o *Outbox) notify() {
	select {
	case o.wake <- struct{}{}:
	default: // the loop has not seen the last one yet
	}
}

// open returns the targets that can be sent to now, and when another one can.
func (o *Outbox) open(now time.Time) (targets []string, next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for target, r := range o.receivers {
		switch until := o.paused[r]; {
		case o.gone[r]:
		case until.After(now):
			if next.IsZero() || until.Before(next) {
				next = until
			}
		default:
			targets = append(targets, target)
		}
	}
	return targets, next
}

func (o *Outbox) run(ctx, sends context.Context) {
	for last := false; !last; {
		last = ctx.Err() != nil
		now := time.Now()
		sleep := maxSleep
		targets, until := o.open(now)
		due, next, err := o.queue.TakeNotifications(sends, now, targets, len(o.free))
		switch {
		case errors.Is(err, queue.ErrClosed) || sends.Err() != nil:
			return
		case err != nil:
			if len(targets) > 0 { // otherwise none is late
				o.failed.Do(func() { o.opts.Log().Error("cannot read notifications", zap.Error(err)) })
			}
			sleep = retryAfter
		}
		for _, n := range due {
			<-o.free            // there are as many as were asked for
			o.sends.Go(func() { // ends with sends at the latest; Close waits
				o.send(sends, n)
				o.free <- struct{}{}
				o.notify()
			})
		}
		for _, at := range []time.Time{next, until} {
			if !at.IsZero() {
				sleep = min(sleep, at.Sub(now))
			}
		}
		o.sleep(ctx, max(sleep, time.Millisecond))
		if rest := pace - time.Since(now); rest > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(rest):
			}
		}
	}
}

func (o *Outbox) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-o.wake:
	case <-o.queue.NotificationsChanged():
	case <-time.After(d):
	}
}

// send makes one attempt and records its outcome.
func (o *Outbox) send(ctx context.Context, n queue.Notification) {
	began := time.Now()
	attempt := o.attempt(ctx, n)
	if ctx.Err() != nil && attempt.Error != "" {
		return // it is not a failure of the receiver
	}
	attempt.Jitter = rand.Float64() //nolint:gosec // it only spreads the retries
	after, ok := o.settle(ctx, n.ID, attempt)
	if !ok {
		return
	}
	o.report(after, time.Since(began))
	if o.opts.Settled != nil {
		o.opts.Settled(after)
	}
}

// attempt sends a notification.
func (o *Outbox) attempt(ctx context.Context, n queue.Notification) queue.Attempt {
	o.mu.Lock()
	r, known := o.receivers[n.Target]
	gone := o.gone[r]
	o.mu.Unlock()
	switch {
	case !known: // it expired, or the configuration has changed since it was taken
		return queue.Attempt{Error: "the configuration has no notify of this name", GiveUp: !n.Until.After(time.Now())}
	case gone:
		return queue.Attempt{Error: "410 Gone", GiveUp: !n.Until.After(time.Now())}
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	e, err := o.opts.Event(ctx, n, r.UsesLog())
	if err != nil {
		return queue.Attempt{Error: "the record of the build cannot be read"}
	}
	var late atomic.Bool
	out := r.Send(ctx, &e, func() bool {
		if !o.queue.MaySend(n.ID) {
			late.Store(true)
		}
		return late.Load()
	})
	if late.Load() { // it is not a failure of the receiver
		return queue.Attempt{Error: "not sent, because another server may be sending it"}
	}
	o.learn(r, out)
	return queue.Attempt{Error: out.Error, After: out.After, Skip: out.Skip, GiveUp: out.Final || out.Refused && n.Tries+1 >= refusals}
}

// learn decides from the outcome of an attempt when the receiver is tried again. While it
// is down, only a few of what waits for it are tried, at growing intervals: each attempt
// costs a commit, and ten thousand may wait.
func (o *Outbox) learn(r notify.Receiver, out notify.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	switch {
	case out.Gone:
		o.gone[r] = true
	case out.Error == "":
		delete(o.failures, r)
	case !out.Refused && !out.Skip && !o.paused[r].After(now):
		o.failures[r]++
		out.After = max(out.After, min(firstPause<<min(o.failures[r]-1, 10), longestPause))
	}
	if until := now.Add(out.After); until.After(o.paused[r]) {
		o.paused[r] = until
	}
}

// settle records an outcome, as often as it takes: as long as it is not recorded, nothing
// else of the channel is sent.
func (o *Outbox) settle(ctx context.Context, id int64, a queue.Attempt) (queue.Notification, bool) {
	for {
		after, err := o.queue.SettleNotification(ctx, time.Now(), id, a)
		if err == nil {
			return after, true
		}
		if errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrClosed) || ctx.Err() != nil {
			return queue.Notification{}, false
		}
		o.failed.Do(func() { o.opts.Log().Error("cannot record a notification", zap.Error(err)) })
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// report writes a line about an attempt.
func (o *Outbox) report(n queue.Notification, took time.Duration) {
	fields := []zap.Field{
		zap.String("target", n.Target), zap.String("job", n.Job), zap.Int64("item", n.Item), zap.String("event", string(n.Event)),
		zap.Int64("id", n.ID), zap.Int("tries", n.Tries), zap.Duration("took", took),
	}
	if n.Build != 0 {
		fields = append(fields, zap.Int64("number", n.Build))
	}
	if n.Error != "" {
		fields = append(fields, zap.String("reason", n.Error))
	}
	log := o.opts.Log()
	switch n.State {
	case queue.DeliverySent:
		log.Info("notification sent", fields...)
	case queue.DeliverySkipped:
		log.Info("notification skipped", fields...)
	case queue.DeliveryReplaced:
		log.Info("notification failed and is replaced by a later one", fields...)
	case queue.DeliveryGivenUp:
		log.Error("notification given up", fields...)
	case queue.DeliveryWaiting:
		log.Warn("notification failed", append(fields, zap.Time("next", n.Next))...)
	}
	if o.Gone(n.Target) && n.State != queue.DeliverySent {
		log.Error("receiver wants no notifications any more; they wait until the configuration is loaded again", zap.String("target", n.Target))
	}
}
