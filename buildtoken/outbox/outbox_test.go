package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/outbox"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// memory is a queue of notifications that are each the only one of their channel.
type memory struct {
	changed chan struct{}

	// mu guards the following.
	mu     sync.Mutex
	all    []*queue.Notification
	leased map[int64]bool
	looks  int
	// take, settle and mayNot are how the next calls fail.
	take, settle []error
	mayNot       bool
	// resends makes each notification due again at once, without the pauses of the queue.
	resends bool
	// replaces makes what fails obsolete.
	replaces bool
}

// add adds a notification for each job, all at once.
func (m *memory) add(target string, jobs ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, job := range jobs {
		m.all = append(m.all, &queue.Notification{
			ID: int64(len(m.all) + 1), Target: target, Job: job, Item: 7, Build: 1, Event: queue.EventEnded, Result: queue.Failure,
			At: now, State: queue.DeliveryWaiting, Next: now, Until: now.Add(queue.KeepTrying),
		})
	}
	m.announce()
}

// apps returns the names of n jobs.
func apps(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("app", i)
	}
	return names
}

func (m *memory) announce() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func pop(errs *[]error) (err error) {
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

func (m *memory) TakeNotifications(_ context.Context, now time.Time, targets []string, limit int) ([]queue.Notification, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	if err := pop(&m.take); err != nil {
		return nil, time.Time{}, err
	}
	due, next := queue.Deliverable(now, func(yield func(*queue.Notification) bool) {
		for _, n := range m.all {
			if n.State == queue.DeliveryWaiting && !yield(n) {
				return
			}
		}
	}, func(id int64) bool { return m.leased[id] }, func(target string) bool { return slices.Contains(targets, target) }, limit)
	for _, n := range due {
		m.leased[n.ID] = true
	}
	return due, next, nil
}

func (m *memory) MaySend(int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.mayNot
}

func (m *memory) SettleNotification(_ context.Context, now time.Time, id int64, a queue.Attempt) (queue.Notification, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := pop(&m.settle); err != nil {
		return queue.Notification{}, err
	}
	n := m.all[id-1]
	*n = n.Settle(now, a)
	if m.replaces && n.State == queue.DeliveryWaiting {
		n.State = queue.DeliveryReplaced
	}
	if m.resends && n.State == queue.DeliveryWaiting {
		n.Next = now
	}
	delete(m.leased, id)
	return *n, nil
}

func (m *memory) NotificationsChanged() <-chan struct{} { return m.changed }

// state returns the notification with an ID.
func (m *memory) state(id int64) queue.Notification {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.all[id-1]
}

// answers is a receiver that gives an answer to each attempt, the last one again and again, and
// records when it was called.
type answers struct {
	begin time.Time
	lasts time.Duration
	log   bool

	// mu guards the following.
	mu      sync.Mutex
	out     []notify.Outcome
	at      []time.Duration
	running int
	most    int
}

func (a *answers) UsesLog() bool { return a.log }

func (a *answers) Send(ctx context.Context, _ *notify.Event, late func() bool) notify.Outcome {
	a.mu.Lock()
	a.at = append(a.at, time.Since(a.begin))
	out := a.out[0]
	if len(a.out) > 1 {
		a.out = a.out[1:]
	}
	a.running++
	a.most = max(a.most, a.running)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.running--
	}()
	if a.lasts > 0 { // a timer that has expired already can crash Go 1.26 with the race detector
		select {
		case <-time.After(a.lasts):
		case <-ctx.Done():
			return notify.Outcome{Error: "no answer in time"}
		}
	}
	if late() {
		return notify.Outcome{Error: "too late"}
	}
	return out
}

func (a *answers) times() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.at)
}

// post is an outbox with its queue.
type post struct {
	*outbox.Outbox
	*memory

	log *observer.ObservedLogs
	// mu guards the following.
	mu sync.Mutex
	// event is how the content of the next notifications fails.
	event error
	// logs are the notifications whose log was read, settled those that were reported.
	logs    []bool
	settled []queue.Notification
}

// inBubble runs a test with an outbox whose only target is "ops" with receiver a.
func inBubble(t *testing.T, a *answers, test func(t *testing.T, p *post)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zap.DebugLevel)
		p := &post{memory: &memory{changed: make(chan struct{}, 1), leased: map[int64]bool{}}, log: logged}
		p.Outbox = outbox.Start(p.memory, outbox.Options{
			Event: func(_ context.Context, _ queue.Notification, withLog bool) (notify.Event, error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.logs = append(p.logs, withLog)
				return notify.Sample(), p.event
			},
			Settled: func(n queue.Notification) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.settled = append(p.settled, n)
			},
			Log: func() *zap.Logger { return zap.New(core) },
		})
		defer p.Close()
		p.Set(map[string]notify.Receiver{"ops": a})
		time.Sleep(time.Second) // it looks at the queue after that, and waits
		a.begin = time.Now()
		test(t, p)
	})
}

func (p *post) wantLog(t *testing.T, level zapcore.Level, message string, n int) {
	t.Helper()
	if got := p.log.FilterMessage(message).FilterLevelExact(level).Len(); got != n {
		t.Errorf("%d lines %q, want %d; logged %v", got, message, n, p.log.All())
	}
}

func seconds(n ...float64) (all []time.Duration) {
	for _, s := range n {
		all = append(all, time.Duration(s*float64(time.Second)))
	}
	return all
}

func TestNotificationIsSentAtOnce(t *testing.T) {
	for _, log := range []bool{false, true} {
		a := &answers{out: []notify.Outcome{{}}, lasts: 250 * time.Millisecond, log: log}
		inBubble(t, a, func(t *testing.T, p *post) {
			time.Sleep(10 * time.Second)
			p.add("ops", "app")
			time.Sleep(time.Second)
			synctest.Wait()
			if diff := cmp.Diff(seconds(10), a.times()); diff != "" || p.state(1).State != queue.DeliverySent {
				t.Errorf("sent %v, state %s", a.times(), p.state(1).State)
			}
			if len(p.settled) != 1 || p.settled[0].State != queue.DeliverySent || !slices.Equal(p.logs, []bool{log}) {
				t.Errorf("settled %v, with the log %v", p.settled, p.logs)
			}
			lines := p.log.FilterMessage("notification sent").FilterLevelExact(zap.InfoLevel).All()
			want := map[string]any{
				"target": "ops", "job": "app", "item": int64(7), "event": "ended", "id": int64(1), "tries": int64(1), "took": 250 * time.Millisecond, "number": int64(1),
			}
			if len(lines) != 1 || cmp.Diff(want, lines[0].ContextMap()) != "" {
				t.Errorf("logged %v, want %v", p.log.All(), want)
			}
		})
	}
}

// A receiver that is down is tried again after 1, 2, 4, 8, 16 and then 30 s, however many
// notifications wait, and after a success from the start.
func TestReceiverThatIsDown(t *testing.T) {
	down := notify.Outcome{Error: "503 Service Unavailable"}
	a := &answers{out: []notify.Outcome{down, down, down, down, down, down, down, {}, down, {}}}
	inBubble(t, a, func(t *testing.T, p *post) {
		p.resends = true
		p.add("ops", "app")
		time.Sleep(5 * time.Minute)
		p.add("ops", "other")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(seconds(0, 1, 3, 7, 15, 31, 61, 91, 300, 301), a.times()); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
		p.wantLog(t, zap.WarnLevel, "notification failed", 8)
		if lines := p.log.FilterMessage("notification failed").All(); lines[0].ContextMap()["reason"] != "503 Service Unavailable" || lines[0].ContextMap()["next"] == nil {
			t.Errorf("logged %v, want the reason and the next attempt", lines[0].ContextMap())
		}
		p.wantLog(t, zap.InfoLevel, "notification sent", 2)
		p.wantLog(t, zap.ErrorLevel, "receiver wants no notifications any more; they wait until the configuration is loaded again", 0)
	})
}

func TestNotificationThatIsReplaced(t *testing.T) {
	inBubble(t, &answers{out: []notify.Outcome{{Error: "503 Service Unavailable"}}}, func(t *testing.T, p *post) {
		p.replaces = true
		p.add("ops", "app")
		synctest.Wait()
		p.wantLog(t, zap.InfoLevel, "notification failed and is replaced by a later one", 1)
	})
}

// Attempts of many servers that fail at the same time are not repeated at the same time.
func TestRetriesAreSpread(t *testing.T) {
	inBubble(t, &answers{out: []notify.Outcome{{Error: "503 Service Unavailable"}}}, func(t *testing.T, p *post) {
		next := map[time.Time]bool{}
		p.add("ops", apps(4)...)
		synctest.Wait()
		for n := range 4 {
			next[p.state(int64(n+1)).Next] = true
		}
		if len(next) < 2 {
			t.Errorf("all are tried again at %v", next)
		}
	})
}

// A configuration is in force at once, also for what waits, and attempts never run out. The outbox has
// just looked at the queue in vain when the configuration is loaded.
func TestThousandNotifications(t *testing.T) {
	a := &answers{out: []notify.Outcome{{}}}
	inBubble(t, a, func(t *testing.T, p *post) {
		p.add("dev", apps(1000)...)
		synctest.Wait()
		p.Set(map[string]notify.Receiver{"dev": a})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(a.times()); n != 1000 || a.times()[0] > time.Second {
			t.Errorf("sent %d, the first after %v; want all, at once", n, a.times()[:min(n, 1)])
		}
	})
}

// Attempts that fail at the same time are one failure of the receiver.
func TestFailuresAtTheSameTimeCountOnce(t *testing.T) {
	down := notify.Outcome{Error: "connection refused"}
	a := &answers{out: []notify.Outcome{down}, lasts: 100 * time.Millisecond}
	inBubble(t, a, func(t *testing.T, p *post) {
		p.resends = true
		p.add("ops", apps(9)...)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		want := slices.Concat(seconds(0, 0, 0, 0), seconds(1.1, 1.1, 1.1, 1.1), seconds(3.2, 3.2, 3.2, 3.2))
		if diff := cmp.Diff(want, a.times()); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
	})
}

func TestReceiverThatWantsToBeLeftAlone(t *testing.T) {
	a := &answers{out: []notify.Outcome{{Error: "429 Too Many Requests", After: time.Hour}, {}}}
	inBubble(t, a, func(t *testing.T, p *post) {
		p.resends = true
		p.add("ops", "app")
		time.Sleep(time.Second)
		p.add("ops", "other")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if diff := cmp.Diff(seconds(0, 3600, 3600), a.times()); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
	})
}

func TestWhatCannotBeSentIsGivenUp(t *testing.T) {
	for _, tt := range []struct {
		name  string
		out   notify.Outcome
		tries int
		state queue.Delivery
		level zapcore.Level
		line  string
	}{
		{"a receiver that refuses it three times", notify.Outcome{Error: "400 Bad Request", Refused: true}, 3, queue.DeliveryGivenUp, zap.ErrorLevel, "notification given up"},
		{"no message can be made", notify.Outcome{Error: "body: no", Final: true}, 1, queue.DeliveryGivenUp, zap.ErrorLevel, "notification given up"},
		{"there is nothing to send", notify.Outcome{Error: "the commit is empty", Skip: true}, 1, queue.DeliverySkipped, zap.InfoLevel, "notification skipped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &answers{out: []notify.Outcome{tt.out}}
			inBubble(t, a, func(t *testing.T, p *post) {
				p.resends = true
				p.add("ops", "app")
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := p.state(1); n.State != tt.state || n.Tries != tt.tries || len(a.times()) != tt.tries || n.Error != tt.out.Error {
					t.Errorf("%+v after %v, want it %s after %d attempts", n, a.times(), tt.state, tt.tries)
				}
				p.wantLog(t, tt.level, tt.line, 1)
			})
		})
	}
	t.Run("the receiver is not down", func(t *testing.T) {
		refused := notify.Outcome{Error: "400 Bad Request", Refused: true}
		a := &answers{out: []notify.Outcome{refused, refused, refused, {}}}
		inBubble(t, a, func(t *testing.T, p *post) {
			p.resends = true
			p.add("ops", "app", "other")
			time.Sleep(900 * time.Millisecond)
			synctest.Wait()
			if len(a.times()) < 4 || p.state(2).State != queue.DeliverySent {
				t.Errorf("attempts %v, the second is %+v; want no pause", a.times(), p.state(2))
			}
		})
	})
}

// A receiver that is gone gets nothing until the configuration is loaded again.
func TestReceiverThatIsGone(t *testing.T) {
	a := &answers{out: []notify.Outcome{{Error: "410 Gone", Gone: true}, {}}}
	inBubble(t, a, func(t *testing.T, p *post) {
		p.add("ops", "app")
		time.Sleep(time.Hour)
		p.add("ops", "other")
		time.Sleep(time.Hour)
		synctest.Wait()
		if !p.Gone("ops") || p.Gone("dev") || len(a.times()) != 1 {
			t.Errorf("Gone = %v, %v after %v", p.Gone("ops"), p.Gone("dev"), a.times())
		}
		p.wantLog(t, zap.ErrorLevel, "receiver wants no notifications any more; they wait until the configuration is loaded again", 1)
		p.Set(map[string]notify.Receiver{"ops": a})
		time.Sleep(time.Second)
		synctest.Wait()
		if p.Gone("ops") || p.state(1).State != queue.DeliverySent || p.state(2).State != queue.DeliverySent {
			t.Errorf("after the configuration was loaded: %+v, %+v", p.state(1), p.state(2))
		}
	})
}

// What waited for a receiver that is gone, or for a target that the configuration does not have, is
// given up after three days.
func TestNotificationsExpire(t *testing.T) {
	for target, want := range map[string]string{"ops": "410 Gone", "dev": "the configuration has no notify of this name"} {
		a := &answers{out: []notify.Outcome{{Error: "410 Gone", Gone: true}}}
		inBubble(t, a, func(t *testing.T, p *post) {
			p.add("ops", "app")
			synctest.Wait()
			p.add(target, "other")
			time.Sleep(queue.KeepTrying - time.Second)
			synctest.Wait()
			if n := p.state(2); n.State != queue.DeliveryWaiting || n.Tries != 0 {
				t.Errorf("%s: %+v, want it to wait", target, n)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := p.state(2); n.State != queue.DeliveryGivenUp || n.Error != want || n.Tries != 1 || len(a.times()) != 1 {
				t.Errorf("%s: %+v, want it given up, %q", target, n, want)
			}
		})
	}
}

// What is wrong here is not a failure of the receiver, and pauses nothing.
func TestAttemptsThatAreNotTheReceivers(t *testing.T) {
	for name, want := range map[string]string{
		"the record": "the record of the build cannot be read", "the lease": "not sent, because another server may be sending it",
	} {
		t.Run(name, func(t *testing.T) {
			a := &answers{out: []notify.Outcome{{}}}
			inBubble(t, a, func(t *testing.T, p *post) {
				if name == "the record" {
					p.event = errors.New("input/output error")
				}
				p.mayNot = name == "the lease"
				p.add("ops", "app")
				synctest.Wait()
				if n := p.state(1); n.State != queue.DeliveryWaiting || n.Error != want {
					t.Errorf("%+v, want it to wait: %s", n, want)
				}
				time.Sleep(100 * time.Millisecond)
				p.event, p.mayNot = nil, false
				p.add("ops", "other")
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if n := p.state(2); n.State != queue.DeliverySent {
					t.Errorf("the next one: %+v, want it sent", n)
				}
			})
		})
	}
}

// The queue is asked for no more than can be sent: 200 at once, each for 15 s at most.
func TestAttemptsAreBounded(t *testing.T) {
	a := &answers{out: []notify.Outcome{{}}, lasts: time.Hour}
	inBubble(t, a, func(t *testing.T, p *post) {
		receivers := map[string]notify.Receiver{}
		for n := range 80 {
			receivers[fmt.Sprint("target", n)] = a
			p.add(fmt.Sprint("target", n), apps(4)...)
		}
		p.Set(receivers)
		time.Sleep(time.Second)
		time.Sleep(a.times()[0] + 15*time.Second - 1 - time.Since(a.begin))
		synctest.Wait()
		if a.most != 200 || len(a.times()) != 200 {
			t.Errorf("%d attempts at once, %d in all; want 200", a.most, len(a.times()))
		}
		p.mu.Lock()
		before := len(p.settled)
		p.mu.Unlock()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		ended := 0
		p.mu.Lock()
		defer p.mu.Unlock()
		if before != 0 {
			t.Errorf("%d attempts ended before their time", before)
		}
		for _, n := range p.settled {
			if n.Error == "no answer in time" {
				ended++
			}
		}
		if ended != 200 {
			t.Errorf("%d of 200 attempts ended after 15s", ended)
		}
	})
}

// Errors of the queue are logged once a second, and tried again every second.
func TestQueueThatFails(t *testing.T) {
	a := &answers{out: []notify.Outcome{{}}}
	inBubble(t, a, func(t *testing.T, p *post) {
		time.Sleep(time.Second)
		p.memory.mu.Lock()
		p.take = []error{queue.ErrStorage, queue.ErrStorage}
		p.settle = []error{queue.ErrStorage, queue.ErrStorage, queue.ErrStorage}
		p.memory.mu.Unlock()
		p.add("ops", "app")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := p.state(1); !slices.Equal(a.times(), seconds(3)) || n.State != queue.DeliverySent || n.Settled.Sub(a.begin) != 6*time.Second {
			t.Errorf("sent %v, settled after %v: %+v", a.times(), n.Settled.Sub(a.begin), n)
		}
		p.wantLog(t, zap.ErrorLevel, "cannot read notifications", 2)
		p.wantLog(t, zap.ErrorLevel, "cannot record a notification", 3)
		if len(p.settled) != 1 {
			t.Errorf("settled %v, want once", p.settled)
		}
	})
}

// If no receiver could be sent to, no notification is late, so errors of the queue are not logged.
func TestQueueThatFailsWithoutReceivers(t *testing.T) {
	inBubble(t, &answers{}, func(t *testing.T, p *post) {
		p.Set(nil)
		p.memory.mu.Lock()
		p.take = []error{queue.ErrStorage, queue.ErrStorage}
		p.memory.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		p.memory.mu.Lock()
		left := len(p.take)
		p.memory.mu.Unlock()
		if left != 0 {
			t.Errorf("%d errors were not met", left)
		}
		p.wantLog(t, zap.ErrorLevel, "cannot read notifications", 0)
	})
}

// A notification that is not on record any more, or in a queue that is closed, is forgotten.
func TestNotificationThatIsGone(t *testing.T) {
	for _, err := range []error{queue.ErrNotFound, queue.ErrClosed} {
		a := &answers{out: []notify.Outcome{{}}}
		inBubble(t, a, func(t *testing.T, p *post) {
			p.settle = []error{err}
			p.add("ops", "app")
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(a.times()) != 1 || len(p.settled) != 0 || p.log.Len() != 0 {
				t.Errorf("%v: sent %v, settled %v, logged %v", err, a.times(), p.settled, p.log.All())
			}
		})
	}
}

// A closed queue ends the deliveries.
func TestClosedQueueIsNotReadAgain(t *testing.T) {
	inBubble(t, &answers{out: []notify.Outcome{{}}}, func(t *testing.T, p *post) {
		synctest.Wait()
		p.memory.mu.Lock()
		p.take = []error{queue.ErrClosed}
		p.memory.mu.Unlock()
		p.add("ops", "app")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(p.take) != 0 || p.state(1).Tries != 0 || p.log.Len() != 0 {
			t.Errorf("%+v, logged %v; want nothing after the queue was closed", p.state(1), p.log.All())
		}
	})
}

// An idle outbox looks once a minute, because the clock can be set. One with a lot of news looks 50
// times a second at most.
func TestLooksAtTheQueue(t *testing.T) {
	inBubble(t, &answers{out: []notify.Outcome{{}}}, func(t *testing.T, p *post) {
		looks := func(d time.Duration) int {
			time.Sleep(d)
			synctest.Wait()
			p.memory.mu.Lock()
			defer p.memory.mu.Unlock()
			n := p.looks
			p.looks = 0
			return n
		}
		looks(5 * time.Minute)
		if n := looks(10 * time.Minute); n != 10 {
			t.Errorf("%d looks in ten minutes without news, want 10", n)
		}
		n := 0
		for range 1000 {
			p.announce()
			n += looks(time.Millisecond)
		}
		if n < 49 || n > 51 {
			t.Errorf("%d looks in a second of news, want 50", n)
		}
	})
}

// Attempts have two seconds to end when the server stops. What is not settled then stays as it was.
func TestClose(t *testing.T) {
	for lasts, want := range map[time.Duration]queue.Delivery{1900 * time.Millisecond: queue.DeliverySent, time.Minute: queue.DeliveryWaiting} {
		a := &answers{out: []notify.Outcome{{}}, lasts: lasts}
		inBubble(t, a, func(t *testing.T, p *post) {
			p.add("ops", "app")
			synctest.Wait()
			begin := time.Now()
			p.Close()
			n := p.state(1)
			if took := time.Since(begin); took != min(lasts, 2*time.Second) || n.State != want || n.Error != "" || n.Tries > 0 != (want == queue.DeliverySent) {
				t.Errorf("Close took %v, %+v; want it %s", took, n, want)
			}
			p.add("ops", "other")
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(a.times()) != 1 {
				t.Errorf("sent %v after Close", a.times())
			}
		})
	}
}

// A receiver that was replaced meanwhile is not paused, nor is its successor.
func TestOutcomeOfAReplacedReceiver(t *testing.T) {
	old := &answers{out: []notify.Outcome{{Error: "410 Gone", Gone: true}}, lasts: time.Second}
	inBubble(t, old, func(t *testing.T, p *post) {
		p.add("ops", "app")
		synctest.Wait()
		successor := &answers{out: []notify.Outcome{{}}, begin: old.begin}
		p.Set(map[string]notify.Receiver{"ops": successor})
		time.Sleep(2 * time.Second)
		p.add("ops", "other")
		synctest.Wait()
		if p.Gone("ops") || !slices.Equal(successor.times(), seconds(2)) {
			t.Errorf("Gone = %v, the successor got it after %v", p.Gone("ops"), successor.times())
		}
	})
}
