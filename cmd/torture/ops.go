package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// far is a delay that is too long to wait for at the end: such items are cancelled.
const far = time.Hour

// crowd is how many items may be open before clients stop creating new ones.
const crowd = 150

// user is one client that acts at random.
type user struct {
	lookout
	d    dice
	jobs []*job
	next *atomic.Int64 // numbers causes
	// dying is set when the server is being ended, so that it may not answer.
	dying   func() bool
	configs *configs
}

// act performs one action.
func (u *user) act(ctx context.Context) error {
	d := u.d
	switch n := d.IntN(100); {
	case n < 10:
		return u.again(ctx)
	case n < 55:
		if u.m.open() > crowd {
			return u.queue(ctx)
		}
		return u.trigger(ctx, u.likely())
	case n < 63:
		return u.cancel(ctx)
	case n < 69:
		return u.stopBuild(ctx)
	case n < 77:
		if id, of, _ := u.m.some(d, func(it *item) bool { return !it.dropped }); of != nil {
			return u.status(ctx, of, id)
		}
	case n < 85:
		if id, of, _ := u.m.some(d, func(it *item) bool { return !it.dropped }); of != nil {
			return u.item(ctx, id)
		}
	case n < 89:
		return u.queue(ctx)
	case n < 93:
		return u.builds(ctx, pick(d, u.jobs), 20)
	case n < 95:
		return u.log(ctx)
	case n < 98:
		return u.refused(ctx)
	default:
		return u.poll(ctx)
	}
	return nil
}

// delay returns a delay and its text; "" leaves it to the job.
func (u *user) delay(of *job) (delay time.Duration, text string) {
	d := u.d
	switch n := d.IntN(100); {
	case n < 45:
		return of.quiet, ""
	case n < 65:
		return 0, pick(d, []string{"0", "0sec", "-3", "0s"})
	case n < 85:
		delay = d.within(time.Second).Truncate(time.Millisecond)
	case n < 93:
		seconds := 1 + d.IntN(3)
		return time.Duration(seconds) * time.Second, strconv.Itoa(seconds) + pick(d, []string{"sec", "secs", "s", "000"})
	case n < 99:
		delay = d.within(8 * time.Second).Truncate(time.Millisecond)
	default:
		return far, pick(d, []string{"1h", "3600sec", "60m"})
	}
	if d.chance(50) {
		return delay, strconv.FormatInt(delay.Milliseconds(), 10)
	}
	return delay, delay.String()
}

// trigger triggers a build and records the answer.
func (u *user) trigger(ctx context.Context, of *job) error { return u.triggerAnd(ctx, of, 0) }

// triggerAnd triggers a build, and can wait some seconds for its end.
func (u *user) triggerAnd(ctx context.Context, of *job, wait int) error {
	said, all := of.values(u.d)
	delay, text := u.delay(of)
	t := &trigger{job: of, params: all, delay: delay, cause: fmt.Sprintf("t%d", u.next.Add(1)), said: said, delayText: text, wait: wait}
	switch n := u.d.IntN(100); {
	case n < 5:
		t.cause, t.shared = "again "+of.name, true
	case n < 40:
		t.key = "key of " + t.cause
	}
	// The mark at each end ensures that no cause is a part of another.
	t.cause = "<" + t.cause + ">"
	u.m.send(t)
	a, err := u.lookout.trigger(ctx, u.d, t, said, text)
	at := now()
	if err != nil {
		u.m.count(func(c *counts) { c.unknown++ })
		u.m.keep(t, answer{})
		return err
	}
	if u.unsure(a, t.sent) {
		u.m.count(func(c *counts) { c.unknown++ })
		u.m.keep(t, answer{})
		return nil
	}
	u.m.answer(t, a, at)
	if a.end != nil {
		u.m.endShown(a.id, a.end)
	}
	if a.id != 0 {
		u.m.keep(t, a)
		return nil
	}
	u.mayRefuse(t, a)
	return nil
}

// unsure reports whether a trigger that was refused may be queued nevertheless.
func (u *user) unsure(a answer, sent time.Time) bool {
	if a.id != 0 || a.status != http.StatusServiceUnavailable {
		return false
	}
	if strings.Contains(a.body, "given up") {
		return true
	}
	// A database that does not answer what became of a commit is given ten seconds, and one
	// that has crashed may not know it.
	return u.m.fates != nil && (now().Sub(sent) > 9*time.Second || u.m.fates.databaseDied(sent, now()))
}

// cancel cancels an item in one of the possible ways.
func (u *user) cancel(ctx context.Context) error {
	id, of, _ := u.m.some(u.d, func(it *item) bool { return !it.dropped && it.left.IsZero() && !it.stopped })
	if of == nil {
		return nil
	}
	return u.cancelItem(ctx, of, id)
}

func (u *user) cancelItem(ctx context.Context, of *job, id int64) error {
	text := strconv.FormatInt(id, 10)
	at, done := "/queue/cancelItem?id="+text, http.StatusNoContent
	switch u.d.IntN(3) {
	case 0:
		at, done = "/queue/item/"+text+"/cancelQueue", http.StatusFound
	case 1:
		at = "/buildByToken/cancel?" + url.Values{"job": {of.name}, "token": {secret}, "item": {text}}.Encode()
	}
	u.m.asked(id)
	status, err := u.post(ctx, at)
	if err != nil {
		return err
	}
	u.m.count(func(c *counts) { c.cancels++ })
	if status == done {
		u.m.obeyed(id)
	}
	return nil
}

// stopBuild stops a build that may be running.
func (u *user) stopBuild(ctx context.Context) error {
	id, of, number := u.m.some(u.d, func(it *item) bool { return it.fate == built && it.result == "" && it.end == nil && it.number != 0 })
	if of == nil {
		return nil
	}
	u.m.asked(id)
	status, err := u.post(ctx, of.path()+"/"+strconv.FormatInt(number, 10)+"/stop")
	if err != nil {
		return err
	}
	if status == http.StatusFound {
		u.m.count(func(c *counts) { c.buildStops++ })
	}
	return nil
}

// log reads the log of a build that has ended.
func (u *user) log(ctx context.Context) error {
	_, of, number := u.m.some(u.d, func(it *item) bool { return it.settled && !it.dropped })
	if of == nil {
		return nil
	}
	return u.console(ctx, of, number, u.m.resultOf(of.name, number))
}

// poll requests a poll.
func (u *user) poll(ctx context.Context) error {
	status, err := u.post(ctx, "/buildByToken/polling?"+url.Values{"job": {"polled"}, "token": {secret}}.Encode())
	if err != nil {
		return err
	}
	if status != http.StatusOK && !u.dying() {
		u.m.report("a poll was refused: %d", status)
	}
	return nil
}

// refused sends triggers that must be refused under any configuration.
func (u *user) refused(ctx context.Context) error {
	of := pick(u.d, u.jobs)
	t := &trigger{job: of, cause: fmt.Sprintf("<bad%d>", u.next.Add(1))}
	fields := url.Values{"job": {of.name}, "token": {secret}, "cause": {t.cause}}
	action, want := "build", 400
	if len(of.params) > 0 {
		action = "buildWithParameters"
	}
	switch u.d.IntN(5) {
	case 0:
		fields.Set("token", "wrong")
		want = 403
	case 1:
		fields.Set("job", "nobody")
		want = 404
	case 2:
		fields.Set("delay", "soon")
	case 3:
		fields.Set("delay", "9000h")
	default:
		action = map[string]string{"build": "buildWithParameters", "buildWithParameters": "build"}[action]
	}
	u.m.send(t)
	status, err := u.post(ctx, "/buildByToken/"+action+"?"+fields.Encode())
	if err != nil {
		return err
	}
	u.m.answer(t, answer{status: status}, now())
	if status != want && (!u.dying() || status != http.StatusServiceUnavailable) {
		u.m.report("trigger %v was answered with %d, want %d", fields, status, want)
	}
	return nil
}
