package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/stats"
)

// collector shows the counts of the controller that a configuration uses. The
// counts live in the controller, so they survive reloads, while Caddy has a
// new registry for each configuration. Labels come from the configuration only.
type collector struct {
	app   *App
	descs map[string]*prometheus.Desc
}

// metrics describes what the collector shows. docs/operations.md has the same names.
var metrics = []struct {
	name, help string
	labels     []string
}{
	{"caddy_build_token_queue_up", "Whether the queue can be read and written: 1 or 0.", nil},
	{"caddy_build_token_triggers_total", "Triggers of a job by what became of them: created, joined, repeated or refused.", []string{"job", "outcome"}},
	{"caddy_build_token_refused_total", "Refused triggers by reason.", []string{"reason"}},
	{"caddy_build_token_builds_total", "Ended builds of a job by result.", []string{"job", "result"}},
	{"caddy_build_token_build_duration_seconds", "How long ended builds of a job ran.", []string{"job"}},
	{"caddy_build_token_start_delay_seconds", "How long after they were due builds of this server started.", nil},
	{"caddy_build_token_lost_builds_total", "Builds that were recorded as lost with the process or server that ran them.", nil},
	{"caddy_build_token_last_success_timestamp_seconds", "When the last successful build of a job ended; 0 if there was none.", []string{"job"}},
	{"caddy_build_token_polls_total", "Polls of a job by what became of them: changes, none or failed.", []string{"job", "outcome"}},
	{"caddy_build_token_webhook_deliveries_total", "Deliveries of a webhook by what became of them. The webhook is empty if it is not known.", []string{"webhook", "outcome"}},
	{"caddy_build_token_dead_token_uses_total", "Requests with a token that had expired or that the last reload had removed, by where the token is defined and its name.", []string{"place", "token"}},
	{"caddy_build_token_notifications_total", "Attempts of this server to send a notification, by what became of them: sent, failed, skipped or given up.", []string{"target", "outcome"}},
	{"caddy_build_token_notifications_waiting", "Notifications that wait to be sent to a target.", []string{"target"}},
	{"caddy_build_token_notifications_oldest_seconds", "How long ago the oldest notification happened that waits to be sent to a target; 0 if none waits.", []string{"target"}},
	{"caddy_build_token_notifications_given_up", "Notifications to a target on record that were given up.", []string{"target"}},
	{"caddy_build_token_queued_items", "Items that wait, over all jobs.", nil},
	{"caddy_build_token_job_queued_items", "Items of a job that wait.", []string{"job"}},
	{"caddy_build_token_orphaned_items", "Queued items of jobs that no server has any more.", nil},
	{"caddy_build_token_oldest_due_item_age_seconds", "For how long the item has been due that waits longest for an executor; 0 if none does.", nil},
	{"caddy_build_token_running_builds", "Builds that run on the executors of this server.", nil},
	{"caddy_build_token_executors", "How many builds may run at once on this server.", nil},
	{"caddy_build_token_running_remote_builds", "Builds that only follow another system on this server, and take no executor.", nil},
	{"caddy_build_token_remote_builds", "How many builds that only follow another system may run at once on this server; 0 if no job has such builds.", nil},
	{"caddy_build_token_clock_offset_seconds", "How far the clock of this server is ahead of that of the queue's database.", nil},
	{"caddy_build_token_lease_remaining_seconds", "For how long this server may still run builds without contact to the queue's database.", nil},
}

// clocked is a queue whose due times are compared with another clock than this
// server's. ClockOffset returns how far this one is ahead.
type clocked interface {
	ClockOffset() time.Duration
}

// leased is a queue in which this server holds a lease.
type leased interface {
	LeaseRemaining() time.Duration
}

// refuser is a queue that can be readable and not writable. Refuses returns why.
type refuser interface {
	Refuses() error
}

// scrapeTime bounds how long one look at the metrics waits for the queue.
const scrapeTime = 2 * time.Second

// registerMetrics has a configuration's registry show the counts.
func registerMetrics(registry *prometheus.Registry, app *App) error {
	c := &collector{app: app, descs: map[string]*prometheus.Desc{}}
	for _, m := range metrics {
		c.descs[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
	}
	err := registry.Register(c)
	if err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return fmt.Errorf("build_token: register metrics: %w", err)
	}
	return nil
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range metrics {
		to <- c.descs[m.name]
	}
}

// scrape is one look at the metrics.
type scrape struct {
	*collector
	to chan<- prometheus.Metric
}

func (s scrape) count(name string, n uint64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(s.descs[name], prometheus.CounterValue, float64(n), labels...)
}

func (s scrape) gauge(name string, v float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(s.descs[name], prometheus.GaugeValue, v, labels...)
}

func (s scrape) durations(name string, d stats.Durations, labels ...string) {
	buckets := map[float64]uint64{}
	for i, bound := range stats.DurationBounds() {
		buckets[bound] = d.Counts[i]
	}
	s.to <- prometheus.MustNewConstHistogram(s.descs[name], d.N, d.Sum, buckets, labels...)
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	s := scrape{c, to}
	ctl := c.app.opened()
	if ctl == nil {
		s.gauge("caddy_build_token_queue_up", 0)
		return
	}
	counted := ctl.Stats()
	for i := range counted.Jobs {
		s.job(&counted.Jobs[i])
	}
	for _, reason := range slices.Sorted(maps.Keys(counted.Refused)) {
		s.count("caddy_build_token_refused_total", counted.Refused[reason], string(reason))
	}
	s.durations("caddy_build_token_start_delay_seconds", counted.Waited)
	s.count("caddy_build_token_lost_builds_total", counted.Lost)
	for _, d := range ctl.Deliveries().Counts() {
		s.count("caddy_build_token_webhook_deliveries_total", d.N, d.Webhook, d.Outcome)
	}
	for _, n := range counted.Notifications {
		s.count("caddy_build_token_notifications_total", n.N, n.Target, n.Outcome)
	}
	for _, t := range ctl.TokenUses() {
		if t.Dead > 0 {
			s.count("caddy_build_token_dead_token_uses_total", t.Dead, t.Place, t.Name)
		}
	}
	s.gauge("caddy_build_token_running_builds", float64(len(ctl.Running())))
	s.gauge("caddy_build_token_executors", float64(ctl.Executors()))
	s.gauge("caddy_build_token_running_remote_builds", float64(len(ctl.RunningRemote())))
	s.gauge("caddy_build_token_remote_builds", float64(ctl.RemoteBuilds()))
	q := c.app.slot.openQueue()
	if q, ok := q.(clocked); ok {
		s.gauge("caddy_build_token_clock_offset_seconds", q.ClockOffset().Seconds())
	}
	if q, ok := q.(leased); ok {
		s.gauge("caddy_build_token_lease_remaining_seconds", q.LeaseRemaining().Seconds())
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	s.backlogs(ctx, ctl)
	up := 1.0
	if q, ok := q.(refuser); ok && q.Refuses() != nil {
		up = 0
	}
	if err := s.queue(ctx, ctl); err != nil {
		up = 0
	}
	s.gauge("caddy_build_token_queue_up", up)
}

// job shows what happened to a job. Durations are shown once there are some: a histogram for
// each of thousands of jobs would be large.
func (s scrape) job(j *stats.Job) {
	s.count("caddy_build_token_triggers_total", j.Created, j.Name, "created")
	s.count("caddy_build_token_triggers_total", j.Joined, j.Name, "joined")
	s.count("caddy_build_token_triggers_total", j.Repeated, j.Name, "repeated")
	s.count("caddy_build_token_triggers_total", j.Refused, j.Name, "refused")
	for _, result := range slices.Sorted(maps.Keys(j.Results)) {
		s.count("caddy_build_token_builds_total", j.Results[result], j.Name, string(result))
	}
	for _, outcome := range slices.Sorted(maps.Keys(j.Polls)) {
		s.count("caddy_build_token_polls_total", j.Polls[outcome], j.Name, outcome)
	}
	if j.Took.N > 0 {
		s.durations("caddy_build_token_build_duration_seconds", j.Took, j.Name)
	}
}

// queue shows how things stand in the queue. If it cannot be asked, these metrics are missing.
func (s scrape) queue(ctx context.Context, ctl *buildtoken.Controller) error {
	names := slices.Sorted(maps.Keys(s.app.jobs()))
	overviews, err := ctl.Overviews(ctx, names...)
	if err != nil {
		return err
	}
	gone, err := ctl.Gone(ctx)
	if err != nil {
		return err
	}
	oldest, err := ctl.OldestDue(ctx)
	if err != nil {
		return err
	}
	queued, orphans := 0, 0
	for i, o := range overviews {
		queued += o.Lane.Queued
		s.gauge("caddy_build_token_job_queued_items", float64(o.Lane.Queued), names[i])
		var success float64
		if last, ok := o.Summary.LastWith(queue.Success); ok {
			success = float64(last.Started.Add(last.Took).UnixMilli()) / 1000
		}
		s.gauge("caddy_build_token_last_success_timestamp_seconds", success, names[i])
	}
	for _, lane := range gone {
		orphans += lane.Queued
	}
	s.gauge("caddy_build_token_queued_items", float64(queued+orphans))
	s.gauge("caddy_build_token_orphaned_items", float64(orphans))
	age := 0.0
	if !oldest.IsZero() {
		age = max(time.Since(oldest).Seconds(), 0)
	}
	s.gauge("caddy_build_token_oldest_due_item_age_seconds", age)
	return nil
}

// backlogs shows what waits for each target of the configuration.
func (s scrape) backlogs(ctx context.Context, ctl *buildtoken.Controller) {
	targets := ctl.Targets()
	if len(targets) == 0 {
		return
	}
	backlogs, err := ctl.Backlogs(ctx)
	if err != nil {
		return
	}
	of := map[string]queue.Backlog{}
	for _, b := range backlogs {
		of[b.Target] = b
	}
	for target := range targets {
		b, age := of[target], 0.0
		if b.Waiting > 0 {
			age = max(time.Since(b.Oldest).Seconds(), 0)
		}
		s.gauge("caddy_build_token_notifications_waiting", float64(b.Waiting), target)
		s.gauge("caddy_build_token_notifications_oldest_seconds", age, target)
		s.gauge("caddy_build_token_notifications_given_up", float64(b.GivenUp), target)
	}
}

var _ prometheus.Collector = (*collector)(nil)
