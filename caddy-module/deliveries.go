package caddymodule

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
)

func deliveriesCommand() *cobra.Command {
	return showCommand(&cobra.Command{
		Use:   "deliveries " + adminFlags,
		Short: "Shows the last webhook deliveries of a running Caddy and what became of them",
		Long: `
Shows the last 200 deliveries, newest first, with one line for each job that
considered it. --json adds the headers without secrets, and each check.`,
		Example: `  caddy build-token deliveries
  caddy build-token deliveries --address unix//run/caddy/admin.sock --json`,
	}, "deliveries", formatDeliveries)
}

// formatDeliveries returns deliveries for people.
func formatDeliveries(all []deliveries.Delivery, _ time.Time) string {
	if len(all) == 0 {
		return "no webhook deliveries since the start\n"
	}
	var b strings.Builder
	b.WriteString("TIME\tWEBHOOK\tSTATUS\tOUTCOME\tEVENT\n")
	for i := range all {
		d := &all[i]
		what := strings.Join(d.Events, "; ")
		if d.Reason != "" {
			what = d.Reason
		}
		fmt.Fprintf(&b, "%s\t%s\t%d\t%s\t%s\n", d.At.Local().Format(time.DateTime), strings.Join(d.Webhooks, ","), d.Status, d.Outcome, what)
		for _, j := range d.Jobs {
			line := j.Outcome
			if j.Item != 0 {
				line += fmt.Sprintf(" as item %d", j.Item)
			}
			if j.Reason != "" {
				line += ": " + j.Reason
			}
			fmt.Fprintf(&b, "\t\t\t\t  %s: %s\n", j.Job, line)
		}
	}
	return b.String()
}
