package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain <Caddyfile> <job> [NAME=VALUE]... [--token <name>] [--remote <ip>] [--method <method>] [--webhook <file>]",
		Short: "Shows each check of a trigger, and which one decides",
		Long: `
Loads a configuration and prints the checks that a trigger of a job would meet,
in their order, with what each one sees, up to the one that decides. It starts
nothing and needs no running Caddy. Like check, run it as Caddy's user, with its
environment.

Without --token and --user, the trigger has the first token of the job that may
trigger it; --token "" is a caller without one. With --webhook, it explains a
delivery that is saved as raw HTTP: request line, headers, an empty line, body.

With --history, it asks the running Caddy for its last 1000 decisions, repeats
them with this configuration, and prints only those that would change. Then no
job is named.

What depends on the running server is left out: the limit on wrong tokens, and
whether the queue is full.

Exit status: 0 accepted, or no change; 1 refused, ignored, or changes; 2 an
error.`,
		Example: `  caddy build-token explain Caddyfile site/deploy ENV=staging --token ci --remote 192.0.2.7
  caddy build-token explain new.Caddyfile --history`,
		Args: cobra.MinimumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runExplain),
	}
	flags := cmd.Flags()
	flags.String("token", "", `The name of the caller's token ("" for none; default: the first that may trigger)`)
	flags.String("user", "", "The caller's user, for access rules")
	flags.String("remote", "", "The caller's address")
	flags.String("method", "POST", "The method of the request")
	flags.String("cause", "", "The cause of the trigger")
	flags.String("delay", "", "The delay of the trigger (default: the job's quiet period)")
	flags.Bool("polling", false, "A trigger that polls instead of building")
	flags.String("at", "", "The time at which it comes, as in 2027-01-31T08:00:00Z (default: now)")
	flags.String("webhook", "", "A file with a delivery as raw HTTP")
	flags.Bool("history", false, "Repeat the last decisions of the running Caddy")
	flags.Bool("json", false, "Print the result as JSON")
	flags.String("address", "", "The address of the admin API, for --history")
	flags.StringP("config", "c", "", "A configuration file that says where the admin API is, for --history")
	flags.StringP("adapter", "a", "", "The config adapter for the file")
	return cmd
}

// Exit statuses of explain.
const (
	exitAccepted = 0
	exitDenied   = 1
	exitError    = 2
)

func runExplain(flags caddycmd.Flags) (int, error) {
	app, err := inspectFile(flags.Arg(0), flags.String("adapter"))
	if err != nil {
		return exitError, err
	}
	code, err := explainWith(app, flags)
	if cleanup := app.Cleanup(); cleanup != nil {
		return exitError, errors.Join(err, cleanup)
	}
	return code, err
}

// inspectFile reads a configuration file and provisions it without starting it.
func inspectFile(path, adapter string) (*App, error) {
	config, _, _, err := caddycmd.LoadConfig(path, adapter)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return inspect(config)
}

func explainWith(app *App, flags caddycmd.Flags) (int, error) {
	if flags.Bool("history") {
		return explainHistory(app, flags)
	}
	if flags.NArg() < 2 {
		return exitError, errors.New("the job is missing: explain <Caddyfile> <job>")
	}
	result, err := explainFlags(app, flags)
	if err != nil {
		return exitError, err
	}
	if flags.Bool("json") {
		err = printJSON(result)
	} else {
		err = result.print(os.Stdout)
	}
	switch {
	case err != nil:
		return exitError, err
	case result.Decision != decisionAccepted:
		return exitDenied, errors.New(result.Decision) // without an error, Caddy exits with 0
	}
	return exitAccepted, nil
}

func explainFlags(app *App, flags caddycmd.Flags) (Explained, error) {
	ctx, q := context.Background(), question{job: flags.Arg(1), method: strings.ToUpper(flags.String("method")), user: flags.String("user"), now: time.Now()}
	var err error
	if text := flags.String("at"); text != "" {
		if q.now, err = time.Parse(time.RFC3339, text); err != nil {
			return Explained{}, fmt.Errorf("--at: %q is no time like 2027-01-31T08:00:00Z", text)
		}
	}
	if text := flags.String("remote"); text != "" {
		if q.remote, err = netip.ParseAddr(text); err != nil {
			return Explained{}, fmt.Errorf("--remote: %q is no address", text)
		}
		q.remote = q.remote.Unmap()
	}
	if path := flags.String("webhook"); path != "" {
		f, err := os.Open(path) //nolint:gosec // the user names the file
		if err != nil {
			return Explained{}, fmt.Errorf("--webhook: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		return app.explainDelivery(ctx, q.job, f, q.remote, q.now)
	}
	given := func(name string) *string {
		if !flags.Changed(name) {
			return nil
		}
		text := flags.String(name)
		return &text
	}
	q.token, q.cause, q.delay = given("token"), given("cause"), given("delay")
	if flags.Bool("polling") {
		q.action = definition.Polling
	}
	params, err := parseParams(flags.Args()[2:])
	if err != nil {
		return Explained{}, err
	}
	q.params, q.files = map[string][]string{}, map[string]definition.Upload{}
	for _, p := range params {
		if !p.file {
			q.params[p.name] = append(q.params[p.name], p.value)
			continue
		}
		if q.files[p.name], err = uploadOf(p.value); err != nil {
			return Explained{}, fmt.Errorf("parameter %s: %w", p.name, err)
		}
	}
	return app.explain(ctx, &q), nil
}

func printJSON(v any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "\t")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v) //nolint:wrapcheck // the error of standard output is clear
}

// print writes the checks for people, and then the decision.
func (e *Explained) print(to io.Writer) error {
	var b strings.Builder
	job := ""
	for _, s := range e.Steps {
		if s.Job != job {
			job = s.Job
			fmt.Fprintf(&b, "%s\n", job)
		}
		mark := "✗"
		if s.OK {
			mark = "✓"
		}
		what := s.Check
		if s.Rule != "" && s.Rule != s.Check {
			what += " " + s.Rule
		}
		line := fmt.Sprintf("%s %s%s: %s", mark, what, behind(s.At), s.Found)
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(line, ": "))
		if s.Expression != "" {
			fmt.Fprintf(&b, "    %s\n", oneLine(s.Expression))
		}
	}
	fmt.Fprintf(&b, "\n%s: %d", e.Decision, e.Status)
	if e.Answer != "" {
		fmt.Fprintf(&b, " %s", e.Answer)
	}
	switch {
	case e.Rule != "":
		fmt.Fprintf(&b, ", by %s%s", e.Rule, behind(e.At))
	case e.Check != "":
		fmt.Fprintf(&b, ", by the check of: %s%s", e.Check, behind(e.At))
	}
	b.WriteString("\n")
	_, err := io.WriteString(to, b.String())
	return err //nolint:wrapcheck // the error of standard output is clear
}
