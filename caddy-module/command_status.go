package caddymodule

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	return showCommand(&cobra.Command{
		Use:   "status " + adminFlags,
		Short: "Shows queue, executors, running builds and jobs of a running Caddy",
		Long: `
Shows where the queue is, what runs, and for each job how its last completed
build ended, how long ago, and why its next item waits. It asks the admin API.`,
		Example: `  caddy build-token status
  caddy build-token status --address unix//run/caddy/admin.sock --json`,
	}, "", formatStatus)
}

// formatStatus returns a status for people.
func formatStatus(status Status, now time.Time) string {
	if len(status.Queues) == 0 {
		return "build_token is not configured\n"
	}
	var b strings.Builder
	for _, q := range status.Queues {
		fmt.Fprintf(&b, "queue\t%s\n", q.Path)
		fmt.Fprintf(&b, "queued\t%d\n", q.Queued)
		formatRunning(&b, q)
		b.WriteString("\nJOB\tQUEUED\tRUNNING\tLAST BUILD\n")
		for _, j := range q.Jobs {
			last := "none"
			switch {
			case j.LastResult != "":
				last = fmt.Sprintf("#%d %s", j.LastCompleted, j.LastResult)
			case j.LastNumber > 0:
				last = fmt.Sprintf("#%d running", j.LastNumber)
			}
			if !j.LastEnded.IsZero() {
				last += fmt.Sprintf(" %s ago, took %s", rough(now.Sub(j.LastEnded)), rough(j.LastEnded.Sub(j.LastStarted)))
			}
			if j.Disabled {
				last += " (disabled)"
			}
			if j.Why != "" {
				last += fmt.Sprintf("; item %d waits: %s", j.NextItem, j.Why)
			}
			fmt.Fprintf(&b, "%s\t%d\t%d\t%s\n", j.Name, j.Queued, j.Running, last)
		}
		for _, j := range q.Gone {
			next := ""
			if j.NextItem != 0 {
				next = fmt.Sprintf("; the first is item %d", j.NextItem)
			}
			fmt.Fprintf(&b, "%s\t%d\t\tno server has this job; its items wait for it until %s%s\n", j.Name, j.Queued, j.Until.Local().Format(time.DateTime), next)
		}
	}
	return b.String()
}

// rough returns a duration in at most two units.
func rough(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Hour).String(), "0m0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// formatRunning writes what runs on the server that answers, and then what runs on others.
func formatRunning(to *strings.Builder, q QueueStatus) {
	var here, remote, elsewhere strings.Builder
	n, far := 0, 0
	for _, r := range q.Running {
		since := r.Started.Local().Format(time.DateTime)
		switch {
		case r.Node == q.Node && r.Remote:
			far++
			fmt.Fprintf(&remote, "\t%s #%d, item %d, since %s\n", r.Job, r.Number, r.Item, since)
		case r.Node == q.Node:
			n++
			fmt.Fprintf(&here, "\t%s #%d, item %d, since %s\n", r.Job, r.Number, r.Item, since)
		default:
			fmt.Fprintf(&elsewhere, "\t%s #%d, item %d, on %s since %s\n", r.Job, r.Number, r.Item, r.Node, since)
		}
	}
	fmt.Fprintf(to, "running\t%d of %d\n%s", n, q.Executors, &here)
	if q.RemoteBuilds > 0 || far > 0 {
		fmt.Fprintf(to, "remote\t%d of %d\n%s", far, q.RemoteBuilds, &remote)
	}
	if elsewhere.Len() > 0 {
		fmt.Fprintf(to, "elsewhere\t%d\n%s", len(q.Running)-n-far, &elsewhere)
	}
}
