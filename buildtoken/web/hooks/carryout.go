package hooks

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// maxAtOnce is how many jobs of one delivery are queued at a time. They share the commits
// of the queue.
const maxAtOnce = 16

// delivery is a delivery that is being served.
type delivery struct {
	*web.Request

	target     target
	candidates []*definition.Webhook // that could have signed it
	webhooks   []*definition.Webhook // that have signed it
	header     event.Header
	ping       bool
	size       int64
	body       []byte // kept for people, if it is small
	concealed  bool   // it has a secret
	events     []event.Event
	results    []result
	// replays is the delivery that a user plays again, if it is not 0.
	replays int64
	by      string
}

// result is the outcome of one event for one job.
type result struct {
	decision definition.Decision
	trigger  buildtoken.Trigger
	out      buildtoken.Outcome
	err      error
}

// wanted reports whether the job wants a build for the event, with values that it can have.
func (r *result) wanted() bool { return r.decision.Webhook != "" && r.err == nil }

// The outcomes of a delivery and of its jobs.
const (
	queued   = "queued"
	joined   = "joined"
	repeated = "repeated"
	ignored  = "ignored"
	invalid  = "invalid" // a parameter would get an illegal value
	denied   = "denied"  // by a rule
	failed   = "failed"  // could not be queued
)

// outcome returns what became of the job in one word.
func (r *result) outcome() string {
	switch {
	case r.decision.Webhook == "":
		return ignored
	case r.err == nil && r.out.Repeated:
		return repeated
	case r.err == nil && r.out.Created:
		return queued
	case r.err == nil:
		return joined
	case errors.Is(r.err, policy.ErrDenied):
		return denied
	case web.VerdictOf(r.err).Status < 500:
		return invalid
	}
	return failed
}

// carryOut reads a verified delivery, decides about it for each job, and queues the builds.
func (d *delivery) carryOut(jobs []*definition.Compiled, raw *web.Raw) error {
	body, done, err := d.parse(raw)
	if err != nil {
		return err
	}
	defer done()
	if len(body) <= deliveries.MaxBytes {
		d.body = body
	}
	return d.decide(jobs, body)
}

// parse returns the body once there is room for it beside the bodies that are being parsed. The
// caller must call done when it no longer needs the body.
func (d *delivery) parse(raw *web.Raw) (body []byte, done func(), err error) {
	if done, err = d.ReserveParse(d.background(), raw.Size); err != nil {
		return nil, nil, err //nolint:wrapcheck // the verdict is that of the context
	}
	if body, err = raw.Bytes(); err != nil {
		done()
		return nil, nil, err //nolint:wrapcheck // as the verdict wants it
	}
	return body, done, nil
}

// decide reads the events of a delivery, and queues the builds that the jobs start for them.
func (d *delivery) decide(jobs []*definition.Compiled, body []byte) error {
	// Slack sends a token, and an address at which anyone who knows it can answer the command.
	d.concealed = d.slack() || slices.ContainsFunc(jobs, func(j *definition.Compiled) bool { return j.SetsPassword(d.webhooks) })
	if err := d.read(jobs, body); err != nil || d.ping {
		return err
	}
	ctl, err := d.Controller()
	if err != nil {
		return err //nolint:wrapcheck // as the verdict wants it
	}
	d.queue(ctl)
	return nil
}

// read reads the events of a delivery and decides what each job does with them. Webhooks
// of different kinds may have verified it; each kind reads it in its own way.
func (d *delivery) read(jobs []*definition.Compiled, body []byte) error {
	var malformed error
	pings, kinds := 0, 0
	for _, kind := range event.Kinds() {
		if !slices.ContainsFunc(d.webhooks, func(w *definition.Webhook) bool { return w.Kind == kind }) {
			continue
		}
		webhooks := slices.DeleteFunc(slices.Clone(d.webhooks), func(w *definition.Webhook) bool { return w.Kind != kind })
		kinds++
		read, err := event.Read(kind, d.header, body)
		switch {
		case err != nil:
			malformed = err
		case read.Ping:
			pings++
		default:
			d.consider(jobs, webhooks, kind, &read, body)
		}
	}
	switch {
	case len(d.events) > 0:
	case malformed != nil:
		return malformed
	case pings == kinds:
		d.ping = true
	}
	return nil
}

// consider decides about the events for each job that takes one of the webhooks.
func (d *delivery) consider(jobs []*definition.Compiled, webhooks []*definition.Webhook, kind event.Kind, read *event.Delivery, body []byte) {
	d.events = append(d.events, read.Events...)
	parsed := sync.OnceValues(func() (any, error) { return event.Body(kind, d.header, body) })
	seen := d.Caller().PolicyRequest()
	for i := range read.Events {
		in := policy.Delivery{Now: d.Now, Request: seen, Event: &read.Events[i], Body: parsed}
		for _, j := range jobs {
			if !j.Takes(webhooks) {
				continue
			}
			decision := j.Decide(d.background(), webhooks, in)
			r := result{decision: decision, err: decision.Err}
			if r.wanted() {
				r.trigger = d.triggerOf(decision, read.Once(i), seen)
			}
			d.results = append(d.results, r)
		}
	}
}

// triggerOf returns the trigger of a decision.
func (d *delivery) triggerOf(decision definition.Decision, once string, seen policy.Request) buildtoken.Trigger {
	t := buildtoken.Trigger{
		Caller: definition.Caller{Remote: d.Caller().Remote, Post: true, Request: func() policy.Request { return seen }},
		Action: buildtoken.BuildWithParameters, AnyKind: true, Webhook: decision.Webhook,
		Job: decision.Job, Root: d.Root(), Cause: &decision.Cause, Values: decision.Values,
	}
	if decision.Delay != nil {
		delay := strconv.FormatInt(decision.Delay.Milliseconds(), 10)
		t.Delay = &delay
	}
	if once != "" && d.replays == 0 {
		t.IdempotencyKey = &once
	}
	if d.replays != 0 {
		cause := "replayed by " + d.by + ": " + decision.Cause
		t.Cause = &cause
	}
	return t
}

// queue sends the triggers. It returns when all are answered.
func (d *delivery) queue(ctl *buildtoken.Controller) {
	ctx := d.background()
	var all sync.WaitGroup
	room := make(chan struct{}, maxAtOnce)
	for i := range d.results {
		r := &d.results[i]
		if !r.wanted() {
			continue
		}
		send := func() { r.out, r.err = ctl.Trigger(ctx, d.Definition, r.trigger) }
		if len(d.results) == 1 {
			send() // most deliveries are for one job, which needs no other goroutine
			break
		}
		room <- struct{}{}
		all.Go(func() { // queue waits for it
			defer func() { <-room }()
			send()
		})
	}
	all.Wait()
	for i := range d.results {
		if r := &d.results[i]; r.decision.Warning != nil {
			d.Logger().Warn("webhook expression failed", zap.String("job", r.decision.Job), zap.Error(r.decision.Warning))
		}
	}
}

// names returns the names of webhooks.
func names(webhooks []*definition.Webhook) []string {
	var all []string
	for _, w := range webhooks {
		all = append(all, w.Name)
	}
	return all
}

// text returns the summary of an event, as one line.
func text(e *event.Event) string { return queue.OneLine(strings.TrimSpace(definition.Summary(e)), 300) }
