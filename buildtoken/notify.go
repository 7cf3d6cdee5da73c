package buildtoken

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/outbox"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// receivers returns the receivers of a configuration by their targets.
func receivers(sites []*definition.Site) map[string]notify.Receiver {
	all := map[string]notify.Receiver{}
	for _, d := range sites {
		for _, j := range d.Jobs() {
			for _, n := range j.Notify {
				if all[n.Target] == nil {
					all[n.Target] = n.To
				}
			}
		}
	}
	return all
}

// settled counts an attempt to send a notification, and notifies the pages that show it.
func (c *Controller) settled(n queue.Notification) {
	c.stats.Notified(n)
	c.changes.any.Notify()
}

// event returns the content of a notification. If the records of its build were dropped
// meanwhile, it has only what the notification itself contains.
func (c *Controller) event(ctx context.Context, n queue.Notification, withLog bool) (notify.Event, error) {
	e := notify.Event{
		ID: c.notificationID(n), Sequence: n.ID, Target: n.Target, At: n.At, Kind: n.Event,
		Job: n.Job, Item: n.Item, Number: n.Build, Result: n.Result, Turn: n.Turn,
	}
	entry, err := c.queue.Entry(ctx, time.Now(), n.Item)
	if errors.Is(err, queue.ErrNotFound) {
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("buildtoken: item of a notification: %w", err)
	}
	describeItem(&e, entry.Item)
	if x := entry.Cancelled; x != nil && n.Event == queue.EventCancelled {
		e.By = x.By
	}
	if b := entry.Build; b != nil && n.Build == b.Number {
		e.Node, e.Started = b.Node, b.Started
		if n.Event == queue.EventEnded {
			e.Reason, e.Ended = b.Reason, b.Ended
		}
	}
	if withLog && n.Event == queue.EventEnded {
		e.Log = c.logEnd(ctx, n.Job, n.Build)
	}
	return e, nil
}

// describeItem adds the data of an item. Passwords are left out.
func describeItem(e *notify.Event, it queue.Item) {
	e.Queued = it.Since
	for _, cause := range it.Causes {
		e.Causes = append(e.Causes, cause.String())
	}
	for _, v := range it.Values {
		if v.Kind != string(job.KindPassword) {
			e.Params = append(e.Params, notify.Param{Name: v.Name, Value: v.Text})
		}
	}
	if it.Root == "" {
		return
	}
	e.JobURL = job.URL(it.Root, it.Job)
	e.ItemURL = it.Root + "queue/item/" + strconv.FormatInt(it.ID, 10) + "/"
	if e.Number != 0 {
		e.BuildURL = e.JobURL + strconv.FormatInt(e.Number, 10) + "/"
	}
}

// notificationID returns the same text for each attempt and on each server. Notifications
// of another queue, or of a queue that was restored from a backup, have others.
func (c *Controller) notificationID(n queue.Notification) string {
	d := c.vault.DigestIdempotencyKey(strconv.FormatInt(n.ID, 10), "notification", n.Target, n.Job, strconv.FormatInt(n.At.UnixNano(), 10))
	return "msg_" + base64.RawURLEncoding.EncodeToString(d[:])
}

// maxLogEnd is how much of the end of a log a notification can show, in bytes.
const maxLogEnd = 8 << 10

// escapes are sequences for terminals, which other readers do not understand.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[@-Z\\\\-_])")

// logEnd returns the end of a log as plain text, or "" if it cannot be read.
func (c *Controller) logEnd(ctx context.Context, full string, number int64) string {
	r, err := c.Log(ctx, full, number)
	if err != nil {
		return ""
	}
	defer func() { _ = r.Close() }() // only read
	size := r.Size()
	from := max(0, size-maxLogEnd)
	raw, err := io.ReadAll(r.Part(from, size))
	if err != nil {
		return ""
	}
	text := string(raw)
	if _, rest, cut := strings.Cut(text, "\n"); cut && from > 0 {
		text = rest // the first line is incomplete
	}
	text = escapes.ReplaceAllString(strings.ReplaceAll(text, "\r\n", "\n"), "")
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString(queue.OneLine(line[strings.LastIndexByte(line, '\r')+1:], maxLogEnd) + "\n")
	}
	return b.String()
}

// Notifications returns the notifications that a filter selects, newest first.
func (c *Controller) Notifications(ctx context.Context, f queue.NotificationFilter) ([]queue.Notification, error) {
	all, err := c.queue.Notifications(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: notifications: %w", err)
	}
	return all, nil
}

// RetryNotification makes a notification due that waits, was skipped or was given up.
func (c *Controller) RetryNotification(ctx context.Context, id int64) error {
	if err := c.queue.RetryNotification(ctx, time.Now(), id); err != nil {
		return fmt.Errorf("buildtoken: retry a notification: %w", err)
	}
	return nil
}

// Backlogs returns how much waits for each target that something waits for or was given up
// for, by target.
func (c *Controller) Backlogs(ctx context.Context) ([]queue.Backlog, error) {
	all, err := c.queue.Backlogs(ctx)
	if err != nil {
		return nil, fmt.Errorf("buildtoken: backlogs: %w", err)
	}
	return all, nil
}

// ErrNoTarget is returned for a target that the configuration does not have.
var ErrNoTarget = errors.New("buildtoken: no such target of notifications")

// TestNotification sends a sample to a target and returns what became of it. Nothing is
// recorded, and it is not repeated. params take the place of the sample's parameters.
func (c *Controller) TestNotification(ctx context.Context, target string, params []notify.Param) (notify.Outcome, error) {
	e := c.effective.Load()
	to := e.receivers[target]
	if to == nil {
		return notify.Outcome{}, fmt.Errorf("%w: %q", ErrNoTarget, target)
	}
	sample := notify.Sample()
	now := time.Now()
	at := now.Sub(sample.At)
	sample.At, sample.Queued, sample.Started, sample.Ended = now, sample.Queued.Add(at), sample.Started.Add(at), sample.Ended.Add(at)
	sample.Target, sample.Reason, sample.Params = target, "this is a test", params
	sample.ID = c.notificationID(queue.Notification{Target: target, At: now})
	sample.JobURL, sample.ItemURL, sample.BuildURL, sample.Node = "", "", "", c.opts.Node
	for _, full := range slices.Sorted(maps.Keys(e.jobs)) {
		j := e.jobs[full]
		if !slices.ContainsFunc(j.Notify, func(n definition.Notify) bool { return n.Target == target }) {
			continue
		}
		if sample.Job = full; j.URL != "" {
			sample.JobURL = job.URL(j.URL, full)
		}
		break
	}
	ctx, cancel := context.WithTimeout(ctx, outbox.Timeout)
	defer cancel()
	return to.Send(ctx, &sample, func() bool { return false }), nil
}

// Targets returns the targets that the configuration has, and for each whether it answered
// 410 Gone and so gets nothing until the next configuration.
func (c *Controller) Targets() map[string]bool {
	all := map[string]bool{}
	for target := range c.effective.Load().receivers {
		all[target] = c.outbox.Gone(target)
	}
	return all
}
