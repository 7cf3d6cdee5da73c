package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func notificationsCommand() *cobra.Command {
	cmd := showCommand(&cobra.Command{
		Use:   "notifications " + adminFlags,
		Short: "Shows which notifications wait and which were given up",
		Long: `
Shows, for each notify of the running Caddy, how many notifications wait and were
given up, and lists these. It asks the admin API. No addresses and secrets are shown.`,
		Example: `  caddy build-token notifications
  caddy build-token notifications retry 17`,
	}, "notifications", formatNotifications)
	retry := &cobra.Command{
		Use:   "retry <id> [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Sends a notification again that waits or was given up",
		Args:  cobra.ExactArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			err := runNotificationRetry(flags)
			return exitCode(err), err
		}),
	}
	addServerFlags(retry, false)
	cmd.AddCommand(retry)
	return cmd
}

const notifyExamples = `  caddy build-token notify test site/ops
  caddy build-token notify test site/deploy/status COMMIT=c0ffee254729296a45a3885639ac7e10f9d54979`

func notifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Tests the receivers of notifications",
		Long: `
Works with the receivers that the notify directives of the running Caddy name.`,
		Example: notifyExamples,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	test := &cobra.Command{
		Use:   "test <name> [NAME=VALUE...] [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Sends a sample to a receiver and shows what became of it",
		Long: `
The name of a notify in a folder or job has the name of the folder or job before
it, as in site/ops. NAME=VALUE are parameters, such as the commit of a status. The
exit status is 1 if the receiver did not accept the sample.`,
		Example: notifyExamples,
		Args:    cobra.MinimumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			err := runNotifyTest(flags)
			return exitCode(err), err
		}),
	}
	addServerFlags(test, false)
	test.Flags().Bool("json", false, "Print the answer of the admin API")
	cmd.AddCommand(test)
	return cmd
}

func runNotificationRetry(flags caddycmd.Flags) error {
	c, err := newClient(flags)
	if err != nil {
		return err
	}
	resp, err := c.do(context.Background(), http.MethodPost, "notifications/retry", url.Values{"id": {flags.Arg(0)}}, nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func runNotifyTest(flags caddycmd.Flags) error {
	c, err := newClient(flags)
	if err != nil {
		return err
	}
	query := url.Values{"target": {flags.Arg(0)}, "param": flags.Args()[1:]}
	resp, err := c.do(context.Background(), http.MethodPost, "notifications/test", query, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	var tested TestedNotification
	if err := json.NewDecoder(resp.Body).Decode(&tested); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if flags.Bool("json") {
		if err := json.NewEncoder(os.Stdout).Encode(tested); err != nil {
			return err
		}
	}
	switch {
	case tested.Error != "":
		return fmt.Errorf("notify %s: %s", tested.Target, tested.Error)
	case flags.Bool("json"):
		return nil
	}
	_, err = fmt.Fprintf(os.Stdout, "%s accepted the sample\n", tested.Target)
	return err
}

// formatNotifications returns notifications for people.
func formatNotifications(status NotificationStatus, now time.Time) string {
	if len(status.Targets) == 0 {
		return "no notify is configured\n"
	}
	var b strings.Builder
	b.WriteString("TARGET\tWAITING\tOLDEST\tGIVEN UP\tSTATE\n")
	for _, t := range status.Targets {
		oldest, state := "-", "ok"
		if !t.Oldest.IsZero() {
			oldest = rough(now.Sub(t.Oldest)) + " ago"
		}
		switch {
		case t.Gone:
			state = "answered 410 Gone, gets nothing until the next reload"
		case t.Unknown:
			state = "not in the configuration"
		}
		fmt.Fprintf(&b, "%s\t%d\t%s\t%d\t%s\n", t.Target, t.Waiting, oldest, t.GivenUp, state)
	}
	if len(status.Notifications) > 0 {
		b.WriteString("\nID\tTARGET\tWHAT\tWHEN\tSTATE\n")
	}
	for i := range status.Notifications {
		n := &status.Notifications[i]
		fmt.Fprintf(&b, "%d\t%s\t%s\t%s ago\t%s\n", n.ID, n.Target, what(n), rough(now.Sub(n.At)), deliveryState(n, now))
	}
	return b.String()
}

// what names the item or build of a notification.
func what(n *queue.Notification) string {
	text := n.Job
	if n.Build != 0 {
		text += fmt.Sprintf(" #%d", n.Build)
	}
	text += " " + string(n.Event)
	if n.Result != "" {
		text += " " + string(n.Result)
	}
	return text
}

func deliveryState(n *queue.Notification, now time.Time) string {
	state := string(n.State)
	if n.Error != "" {
		state += ": " + n.Error
	}
	if n.State != queue.DeliveryWaiting || n.Tries == 0 {
		return state
	}
	state += fmt.Sprintf("; try %d ", n.Tries+1)
	if next := n.Next.Sub(now); next > 0 {
		return state + "in " + rough(next)
	}
	return state + "is due"
}
