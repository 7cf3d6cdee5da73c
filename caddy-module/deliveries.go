package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
)

// deliveriesPath is where the admin API shows webhook deliveries.
const deliveriesPath = adminPath + "deliveries"

// serveDeliveries answers with the last webhook deliveries, newest first, without their bodies.
func serveDeliveries(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("method %s: only GET is here", r.Method))
	}
	all := []deliveries.Delivery{}
	switch app, err := activeApp(); {
	case errors.Is(err, caddy.ErrNotConfigured):
	case err != nil:
		return apiError(http.StatusInternalServerError, err)
	default:
		ctl := app.opened()
		if ctl == nil {
			return apiError(http.StatusServiceUnavailable, buildtoken.ErrShuttingDown)
		}
		all = append(all, ctl.Deliveries().List()...)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(all); err != nil {
		return apiError(http.StatusInternalServerError, err)
	}
	return nil
}

func deliveriesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deliveries [--address <interface>] [--json] [--config <path> [--adapter <name>]]",
		Short: "Shows the last webhook deliveries of a running Caddy and what became of them",
		Long: `
Shows the last 200 deliveries, newest first, with one line for each job that
considered it. --json adds the headers without secrets, and each check.`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runDeliveries),
	}
	cmd.Flags().String("address", "", "The address of the admin API, if it is not the default")
	cmd.Flags().StringP("config", "c", "", "A configuration file that says where the admin API is")
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for that file")
	cmd.Flags().Bool("json", false, "Print the answer of the admin API")
	return cmd
}

func runDeliveries(flags caddycmd.Flags) (int, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("find the admin API: %w", err)
	}
	resp, err := caddycmd.AdminAPIRequest(address, http.MethodGet, deliveriesPath, nil, nil)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("ask the admin API: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if flags.Bool("json") {
		_, err = io.Copy(os.Stdout, resp.Body)
		return exitCode(err), err
	}
	var all []deliveries.Delivery
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("read the answer: %w", err)
	}
	err = printDeliveries(os.Stdout, all)
	return exitCode(err), err
}

// printDeliveries writes deliveries for people.
func printDeliveries(to io.Writer, all []deliveries.Delivery) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(to, "no webhook deliveries since the start")
		return err
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
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, err := io.WriteString(w, b.String())
	return errors.Join(err, w.Flush())
}
