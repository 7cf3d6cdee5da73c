package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// collector shows the counts of the controller that a configuration uses. The
// counts live in the controller, so they survive reloads, while Caddy has a
// new registry for each configuration. Labels come from the configuration only.
type collector struct {
	app                       *App
	triggers, refused, builds *prometheus.Desc
}

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
}

var _ prometheus.Collector = (*collector)(nil)
