package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "build-token",
		Usage: "status|deliveries|digest|policy-test|migrate",
		Short: "Shows the build queue, makes digests of tokens, tests policies, moves a queue",
		Long: `
Works with what the build_token module queues and runs. A running Caddy is
asked through its admin API; only migrate opens the data, which no Caddy may
have in use then.`,
		CobraFunc: func(cmd *cobra.Command) {
			// Without these two, cobra answers a command that does not exist with the
			// help, and status 0.
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(statusCommand(), deliveriesCommand(), digestCommand(), policyTestCommand(), migrateCommand())
		},
	})
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--address <interface>] [--json] [--config <path> [--adapter <name>]]",
		Short: "Shows queue, executors, running builds and jobs of a running Caddy",
		Args:  cobra.NoArgs,
		RunE:  caddycmd.WrapCommandFuncForCobra(runStatus),
	}
	cmd.Flags().String("address", "", "The address of the admin API, if it is not the default")
	cmd.Flags().StringP("config", "c", "", "A configuration file that says where the admin API is")
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for that file")
	cmd.Flags().Bool("json", false, "Print what the admin API says")
	return cmd
}

func runStatus(flags caddycmd.Flags) (int, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("find the admin API: %w", err)
	}
	resp, err := caddycmd.AdminAPIRequest(address, http.MethodGet, adminPath, nil, nil)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("ask the admin API: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if flags.Bool("json") {
		_, err = io.Copy(os.Stdout, resp.Body)
		return exitCode(err), err
	}
	var status Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("read the answer: %w", err)
	}
	err = printStatus(os.Stdout, status)
	return exitCode(err), err
}

func exitCode(err error) int {
	if err != nil {
		return caddy.ExitCodeFailedStartup
	}
	return caddy.ExitCodeSuccess
}

// printStatus writes a status for people.
func printStatus(to io.Writer, status Status) error {
	if len(status.Queues) == 0 {
		_, err := fmt.Fprintln(to, "build_token is not configured")
		return err
	}
	var b strings.Builder
	for _, q := range status.Queues {
		fmt.Fprintf(&b, "queue\t%s\n", q.Path)
		fmt.Fprintf(&b, "queued\t%d\n", q.Queued)
		for _, g := range q.Gone {
			fmt.Fprintf(&b, "gone\t%s: no server has this job; %d queued, which wait until %s\n", g.Name, g.Queued, g.Until.Format(time.RFC3339))
		}
		printRunning(&b, q)
		b.WriteString("\nJOB\tQUEUED\tRUNNING\tLAST BUILD\n")
		for _, j := range q.Jobs {
			last, note := "none", ""
			if j.LastNumber > 0 {
				last = fmt.Sprintf("#%d", j.LastNumber)
			}
			if j.Disabled {
				note = " (disabled)"
			}
			fmt.Fprintf(&b, "%s\t%d\t%d\t%s%s\n", j.Name, j.Queued, j.Running, last, note)
		}
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, err := io.WriteString(w, b.String())
	return errors.Join(err, w.Flush())
}

// printRunning writes what runs on the server that was asked, and then what runs on others.
func printRunning(to *strings.Builder, q QueueStatus) {
	var here, elsewhere strings.Builder
	n := 0
	for _, r := range q.Running {
		since := r.Started.Local().Format(time.DateTime)
		if r.Node == q.Node {
			n++
			fmt.Fprintf(&here, "\t%s #%d since %s\n", r.Job, r.Number, since)
		} else {
			fmt.Fprintf(&elsewhere, "\t%s #%d on %s since %s\n", r.Job, r.Number, r.Node, since)
		}
	}
	fmt.Fprintf(to, "running\t%d of %d\n%s", n, q.Executors, &here)
	if elsewhere.Len() > 0 {
		fmt.Fprintf(to, "elsewhere\t%d\n%s", len(q.Running)-n, &elsewhere)
	}
}

func digestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "digest [--plaintext <token>]",
		Short: "Prints what to write in a configuration instead of a token",
		Long: `
Reads a token from standard input, without the line end, and prints
sha256: with its digest.

Choose tokens that nobody can guess (openssl rand -hex 32): a digest protects
no token that stands in a list of passwords. What is given with --plaintext
can be seen by all users of the machine, and stays in the history of the shell.`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runDigest),
	}
	cmd.Flags().StringP("plaintext", "p", "", "The token, if it is not read from standard input")
	return cmd
}

func runDigest(flags caddycmd.Flags) (int, error) {
	text := flags.String("plaintext")
	if text == "" {
		var err error
		if text, err = bufio.NewReader(os.Stdin).ReadString('\n'); err != nil && !errors.Is(err, io.EOF) {
			return caddy.ExitCodeFailedStartup, fmt.Errorf("read the token: %w", err)
		}
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	}
	digest, err := token.ParseSecret(text)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	_, err = fmt.Fprintln(os.Stdout, digest)
	return exitCode(err), err
}

func policyTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "policy-test <file>...",
		Short: "Runs case files: rules, requests, and what is to come of each",
		Long: `
Each file holds CEL rules and requests with the wanted outcome:

	rule team/app allow 1
	    params.ENV in ["staging", "production"]

	> params.ENV=staging
	allowed
	> params.ENV=test
	denied by team/app allow 1

The exit status is 0 if everything came out as wanted.`,
		Args: cobra.MinimumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runPolicyTest),
	}
}

func runPolicyTest(flags caddycmd.Flags) (int, error) {
	failed := 0
	for _, file := range flags.Args() {
		checks, err := testPolicy(file)
		if err != nil {
			failed++
			for line := range strings.Lines(err.Error()) {
				fmt.Fprintf(os.Stderr, "%s: %s\n", file, strings.TrimRight(line, "\n"))
			}
			continue
		}
		if _, err := fmt.Fprintf(os.Stdout, "%s: ok, %d requests\n", file, checks); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
	}
	if failed > 0 {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%d of %d files failed", failed, flags.NArg())
	}
	return caddy.ExitCodeSuccess, nil
}

// testPolicy runs one file and says how many requests were in it.
func testPolicy(file string) (checks int, err error) {
	f, err := os.Open(file) //nolint:gosec // the user names the file
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return 0, fmt.Errorf("%s: %w", path.Op, path.Err) // without the file, which the caller names
	}
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	c, err := policy.ParseCase(f)
	if err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	return len(c.Checks), c.Run(context.Background())
}
