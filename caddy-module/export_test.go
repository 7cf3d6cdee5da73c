package caddymodule

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/definition"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// References returns how many configurations refer to the controller of a place.
func References(place string) int {
	n, _ := slots.References(place)
	return n
}

// RedactURI returns a URI as access log entries of triggers show it.
func RedactURI(uri string) string { return RedactURIAt("/buildByToken/build", uri) }

// RedactURIAt is [RedactURI] for a request that the handler sees at a path.
func RedactURIAt(path, uri string) string { return redactURI(uri, isClear(path)) }

// Nearest returns the suggestion of errors for an unknown word.
func Nearest(name string, candidates []string) string { return nearest(name, candidates) }

// SwappableLogger returns a logger that writes to the newest logger that was passed to swap.
func SwappableLogger() (log *zap.Logger, swap func(*zap.Logger)) {
	s := &swappableLog{}
	return s.logger(), s.swap
}

// RootOf returns the root URL of a request at a handler that configures none.
func RootOf(r *http.Request) string { return rootURL{}.of(r) }

// Warnings returns the warnings about a configuration in JSON.
func Warnings(config []byte) ([]Warning, error) {
	app, err := inspect(config)
	if err != nil {
		return nil, err
	}
	return app.warnings(), app.Cleanup()
}

// PrintDeliveries prints deliveries as the command does.
func PrintDeliveries(to io.Writer, all []deliveries.Delivery) error {
	return printTable(to, formatDeliveries(all, time.Time{}))
}

// Restore restores a backup as the command does.
func Restore(from, place string) error {
	return restore(io.Discard, from, place, false, time.Time{})
}

// RestoreAside restores a backup as the command does with --move-aside.
func RestoreAside(out io.Writer, from, place string) error {
	return restore(out, from, place, true, time.Time{})
}

// Asked is a trigger to explain.
type Asked struct {
	Job, Method, Action, User, Remote string
	Token, Cause, Delay               *string
	Params                            map[string][]string
	Now                               time.Time
}

// Explainer explains triggers under a configuration in JSON. It must be closed.
type Explainer struct{ *App }

// NewExplainer loads a configuration without starting it.
func NewExplainer(config []byte) (Explainer, error) {
	app, err := inspect(config)
	return Explainer{app}, err
}

// Trigger explains a trigger.
func (e Explainer) Trigger(ctx context.Context, a Asked) Explained {
	q := question{
		job: a.Job, method: a.Method, action: definition.Action(a.Action), token: a.Token, user: a.User, cause: a.Cause, delay: a.Delay,
		params: a.Params, now: a.Now,
	}
	q.remote, _ = netip.ParseAddr(a.Remote)
	if q.now.IsZero() {
		q.now = time.Now()
	}
	return e.explain(ctx, &q)
}

// Delivery explains a webhook delivery.
func (e Explainer) Delivery(ctx context.Context, job string, raw io.Reader, now time.Time) (Explained, error) {
	return e.explainDelivery(ctx, job, raw, netip.Addr{}, now)
}

// Replay repeats decisions.
func (e Explainer) Replay(ctx context.Context, past []audit.Trigger) Replayed {
	return e.replay(ctx, past)
}

// Print prints an explanation for people.
func (e *Explained) Print(to io.Writer) error { return e.print(to) }

// Print prints changes for people.
func (r *Replayed) Print(to io.Writer, now time.Time) error { return r.print(to, now) }

// FormatStatus returns a status for people.
var FormatStatus = formatStatus

// MetricNames returns the names of all metrics, sorted.
func MetricNames() (names []string) {
	for _, m := range metrics {
		names = append(names, m.name)
	}
	slices.Sort(names)
	return names
}

// ErrUnreachable is the error of a server that does not answer.
var ErrUnreachable = errUnreachable

// ErrCutOff is the error of an answer that has begun, and broke off.
var ErrCutOff = errCutOff

// Beside returns the user as whom a poller runs beside a runner.
func (e *ExecPoller) Beside(r runner.Runner) (user string, err error) {
	err = e.beside(r)
	return e.config.User, err
}

// SpecOf returns a schedule as the server keeps it.
func SpecOf(s Schedule) definition.ScheduleSpec { return s.spec() }

// Status returns what the admin API shows of the queue.
func (a *App) Status(ctx context.Context) (QueueStatus, error) { return a.status(ctx) }

// Refused returns the error of an answer with a status.
func Refused(status int) error { return &refusedError{status, "refused"} }

// Retry repeats a request of a command.
var Retry = retry

// Wait waits for item 7 of job a as commands do, over a transport.
func Wait(ctx context.Context, over http.RoundTripper) error {
	_, err := (&client{http: &http.Client{Transport: over}, base: "http://x/"}).wait(ctx, "a", 7)
	return err
}

// Follow follows item 7 of job a as commands do, over a transport.
func Follow(ctx context.Context, over http.RoundTripper) error {
	_, err := (&client{http: &http.Client{Transport: over}, base: "http://x/"}).follow(ctx, "a", 7, io.Discard)
	return err
}

// Trigger triggers job a as commands do, over a transport.
func Trigger(ctx context.Context, over http.RoundTripper) error {
	_, err := (&client{http: &http.Client{Transport: over}, base: "http://x/"}).trigger(ctx, url.Values{"job": {"a"}}, nil)
	return err
}

// Addresses returns the URLs of the handlers of a configuration in JSON.
func Addresses(config []byte) ([]string, error) {
	app, err := inspect(config)
	if err != nil {
		return nil, err
	}
	return app.addresses(), app.Cleanup()
}
