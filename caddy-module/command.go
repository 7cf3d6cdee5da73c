package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "build-token",
		Usage: "<command> [<args>...]",
		Short: "Triggers and follows builds, shows the queue, checks a Caddyfile",
		Long: `
Works with the jobs of the build_token module. Commands for a running server
use the admin API of the Caddy on this machine, or HTTP and a token with --url.
Only restore and migrate open the data, which no Caddy may have in use then.`,
		CobraFunc: func(cmd *cobra.Command) {
			// Without these two, cobra prints the help and returns status 0 for a command
			// that does not exist.
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(
				triggerCommand(), logCommand(), cancelCommand(), statusCommand(), tokensCommand(), deliveriesCommand(),
				notificationsCommand(), notifyCommand(),
				checkCommand(), explainCommand(), digestCommand(), policyTestCommand(),
				backupCommand(), restoreCommand(), pruneCommand(), migrateCommand(),
				importCommand(),
			)
			refuseUsage(cmd)
		},
	})
}

// refuseUsage gives an unusable command line the status of a refusal: 1 would be that of a build
// that failed, or of a warning.
func refuseUsage(cmd *cobra.Command) {
	refused := func(cmd *cobra.Command, err error) error {
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exitRefused, err })(cmd, nil)
	}
	cmd.SetFlagErrorFunc(refused)
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return refused(cmd, err)
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		refuseUsage(c)
	}
}

func exitCode(err error) int {
	if err != nil {
		return caddy.ExitCodeFailedStartup
	}
	return caddy.ExitCodeSuccess
}

func digestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "digest [--plaintext <token>]",
		Short: "Prints what to write in a configuration instead of a token",
		Long: `
Reads a token from standard input, without the line end, and prints
sha256: with its digest.

Choose tokens that cannot be guessed (openssl rand -hex 32): a digest does not
protect a token that is in a list of passwords. A token given with --plaintext is
visible to all users of the machine, and stays in the history of the shell.`,
		Example: `  openssl rand -hex 32 | tee token | caddy build-token digest
  caddy build-token digest < /run/secrets/deploy`,
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
		Short: "Runs case files: rules, requests and the expected outcomes",
		Long: `
Each file holds CEL rules, and requests with the expected outcome:

	rule team/app allow 1
	    params.ENV in ["staging", "production"]

	> params.ENV=staging
	allowed
	> params.ENV=test
	denied by team/app allow 1

The exit status is 0 if all outcomes are as expected.`,
		Example: `  caddy build-token policy-test site.txt
  caddy build-token policy-test policies/*.txt`,
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

// testPolicy runs one file and returns the number of requests in it.
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
