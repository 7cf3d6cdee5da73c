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
)

// collector shows the counts of the controller that a configuration uses. The
// counts live in the controller, so they survive reloads, while Caddy has a
// new registry for each configuration. Labels come from the configuration only.
type collector struct {
	app                       *App
	triggers, refused, builds *prometheus.Desc
	deliveries, dead          *prometheus.Desc
	queued, orphans           *prometheus.Desc
	running, executors        *prometheus.Desc
	remote, remoteBuilds      *prometheus.Desc
	offset                    *prometheus.Desc

	notifications, notificationsWaiting, notificationsAge, notificationsGivenUp *prometheus.Desc
}

// clocked is a queue whose due times are compared with another clock than this
// server's. ClockOffset returns how far this one is ahead.
type clocked interface {
	ClockOffset() time.Duration
}

// scrapeTime bounds how long one look at the metrics waits for the queue.
const scrapeTime = 2 * time.Second

// registerMetrics has a configuration's registry show the counts.
func registerMetrics(registry *prometheus.Registry, app *App) error {
	err := registry.Register(&collector{
		app: app,
		triggers: prometheus.NewDesc("caddy_build_token_triggers_total",
			"Triggers of a job by what became of them: created, joined, repeated or refused.", []string{"job", "outcome"}, nil),
		refused: prometheus.NewDesc("caddy_build_token_refused_total",
			"Refused triggers by reason.", []string{"reason"}, nil),
		builds: prometheus.NewDesc("caddy_build_token_builds_total",
			"Ended builds of a job by result.", []string{"job", "result"}, nil),
		deliveries: prometheus.NewDesc("caddy_build_token_webhook_deliveries_total",
			"Deliveries of a webhook by what became of them. The webhook is empty if it is not known.", []string{"webhook", "outcome"}, nil),
		dead: prometheus.NewDesc("caddy_build_token_dead_token_uses_total",
			"Requests with a token that had expired or that the last reload had removed, by where the token is defined and its name.", []string{"place", "token"}, nil),
		notifications: prometheus.NewDesc("caddy_build_token_notifications_total",
			"Attempts of this server to send a notification, by what became of them: sent, failed, skipped or given up.", []string{"target", "outcome"}, nil),
		notificationsWaiting: prometheus.NewDesc("caddy_build_token_notifications_waiting",
			"Notifications that wait to be sent to a target.", []string{"target"}, nil),
		notificationsGivenUp: prometheus.NewDesc("caddy_build_token_notifications_given_up",
			"Notifications to a target on record that were given up.", []string{"target"}, nil),
		notificationsAge: prometheus.NewDesc("caddy_build_token_notifications_oldest_seconds",
			"How long ago the oldest notification happened that waits to be sent to a target; 0 if none waits.", []string{"target"}, nil),
		orphans: prometheus.NewDesc("caddy_build_token_orphaned_items",
			"Queued items of jobs that no server has any more.", nil, nil),
		queued: prometheus.NewDesc("caddy_build_token_queued_items",
			"Items of the jobs of this configuration that wait.", nil, nil),
		running: prometheus.NewDesc("caddy_build_token_running_builds",
			"Builds that run on the executors of this server.", nil, nil),
		executors: prometheus.NewDesc("caddy_build_token_executors",
			"How many builds may run at once on this server.", nil, nil),
		remote: prometheus.NewDesc("caddy_build_token_running_remote_builds",
			"Builds that only follow another system on this server, and take no executor.", nil, nil),
		remoteBuilds: prometheus.NewDesc("caddy_build_token_remote_builds",
			"How many builds that only follow another system may run at once on this server; 0 if no job has such builds.", nil, nil),
		offset: prometheus.NewDesc("caddy_build_token_clock_offset_seconds",
			"How far the clock of this server is ahead of that of the queue's database.", nil, nil),
	})
	if err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return fmt.Errorf("build_token: register metrics: %w", err)
	}
	return nil
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.triggers
	to <- c.refused
	to <- c.builds
	to <- c.deliveries
	to <- c.dead
	to <- c.queued
	to <- c.orphans
	to <- c.running
	to <- c.executors
	to <- c.remote
	to <- c.remoteBuilds
	to <- c.offset
	to <- c.notifications
	to <- c.notificationsWaiting
	to <- c.notificationsAge
	to <- c.notificationsGivenUp
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctl := c.app.opened()
	if ctl == nil {
		return
	}
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	stats := ctl.Stats()
	for _, j := range stats.Jobs {
		count(c.triggers, j.Created, j.Job, "created")
		count(c.triggers, j.Joined, j.Job, "joined")
		count(c.triggers, j.Repeated, j.Job, "repeated")
		count(c.triggers, j.Refused, j.Job, "refused")
		for _, result := range slices.Sorted(maps.Keys(j.Results)) {
			count(c.builds, j.Results[result], j.Job, string(result))
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(stats.Refused)) {
		count(c.refused, stats.Refused[reason], reason)
	}
	for _, d := range ctl.Deliveries().Counts() {
		count(c.deliveries, d.N, d.Webhook, d.Outcome)
	}
	for _, n := range stats.Notifications {
		count(c.notifications, n.N, n.Target, n.Outcome)
	}
	for _, t := range ctl.Tokens() {
		if t.After > 0 {
			count(c.dead, t.After, t.Place, t.Token.Name)
		}
	}
	c.collectNow(ctl, to)
}

// collectNow shows how things stand. If the queue can't be asked, its metric is missing.
func (c *collector) collectNow(ctl *buildtoken.Controller, to chan<- prometheus.Metric) {
	now := func(desc *prometheus.Desc, n int) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n))
	}
	now(c.running, len(ctl.Running()))
	now(c.executors, ctl.Executors())
	now(c.remote, len(ctl.RunningRemote()))
	now(c.remoteBuilds, ctl.RemoteBuilds())
	if q, ok := c.app.slot.openQueue().(clocked); ok {
		to <- prometheus.MustNewConstMetric(c.offset, prometheus.GaugeValue, q.ClockOffset().Seconds())
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	c.collectBacklogs(ctx, ctl, to)
	lanes, err := ctl.Lanes(ctx, slices.Collect(maps.Keys(c.app.jobs()))...)
	if err != nil {
		return
	}
	queued := 0
	for _, lane := range lanes {
		queued += lane.Queued
	}
	gone, err := ctl.Gone(ctx)
	if err != nil {
		return
	}
	orphans := 0
	for _, lane := range gone {
		orphans += lane.Queued
	}
	now(c.queued, queued+orphans)
	now(c.orphans, orphans)
}

// collectBacklogs shows what waits for each target of the configuration.
func (c *collector) collectBacklogs(ctx context.Context, ctl *buildtoken.Controller, to chan<- prometheus.Metric) {
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
		to <- prometheus.MustNewConstMetric(c.notificationsWaiting, prometheus.GaugeValue, float64(b.Waiting), target)
		to <- prometheus.MustNewConstMetric(c.notificationsAge, prometheus.GaugeValue, age, target)
		to <- prometheus.MustNewConstMetric(c.notificationsGivenUp, prometheus.GaugeValue, float64(b.GivenUp), target)
	}
}

var _ prometheus.Collector = (*collector)(nil)
