package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log <job> [<number>] [--follow] [--url <url> --item <item>]",
		Short: "Prints the log of a build",
		Long: `
Prints the log of a build; without a number, of the newest one. --follow goes on
until the build ends, also across reloads and restarts of the server.

With --url, a token that grants log and status is needed, and the build is named
by the item that the trigger printed. The log is then always followed.
` + exitHelp + `
Without --follow it is 0.`,
		Example: `  caddy build-token log site/deploy
  BUILD_TOKEN=... caddy build-token log site/deploy --url https://ci.example.com --item 7`,
		Args: cobra.RangeArgs(1, 2),
		RunE: caddycmd.WrapCommandFuncForCobra(runLog),
	}
	addServerFlags(cmd, true)
	cmd.Flags().BoolP("follow", "f", false, "Print the log until the build ends")
	cmd.Flags().Int64("item", 0, "The item of the build, in place of its number")
	return cmd
}

func runLog(flags caddycmd.Flags) (int, error) {
	c, err := newClient(flags)
	if err != nil {
		return exitRefused, err
	}
	ctx, job := context.Background(), flags.Arg(0)
	item, _ := flags.GetInt64("item") // the flag is of this kind
	if item == 0 && !c.admin {
		return exitRefused, errors.New("with --url, name the build with --item")
	}
	if item == 0 {
		query := url.Values{"job": {job}}
		if flags.NArg() > 1 {
			query.Set("number", flags.Arg(1))
		}
		if !flags.Bool("follow") {
			return c.printLog(ctx, query)
		}
		if item, err = c.itemOf(ctx, query); err != nil {
			return exitRefused, fmt.Errorf("%s: %w", job, err)
		}
	}
	s, err := c.followed(ctx, job, item, os.Stdout)
	if err != nil {
		return exitRefused, fmt.Errorf("%s: %w", job, err)
	}
	return exitOf(s)
}

// printLog prints what there is of a log.
func (c *client) printLog(ctx context.Context, query url.Values) (int, error) {
	resp, err := c.do(ctx, http.MethodGet, "console", query, nil, nil)
	if err != nil {
		return exitRefused, fmt.Errorf("%s: %w", query.Get("job"), err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return exitRefused, fmt.Errorf("%s: %w", query.Get("job"), err)
	}
	return exitSuccess, nil
}

// itemOf returns the item of a build.
func (c *client) itemOf(ctx context.Context, query url.Values) (int64, error) {
	resp, err := c.do(ctx, http.MethodGet, "build", query, nil, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	var b OperatorBuild
	if err := json.NewDecoder(resp.Body).Decode(&b); err != nil {
		return 0, fmt.Errorf("read the build: %w", err)
	}
	return b.Item, nil
}

func cancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel <job> {<item> | #<number>} [--url <url> [--token-file <file>]]",
		Short: "Takes an item out of the queue, or stops its build",
		Long: `
Takes an item out of the queue. If its build runs already, the build is stopped
and ends as ABORTED. The number of the item is in the output of trigger and of
status. Through the admin API, a build can be named by its own number, as in
'#12'. With --url, a token that grants cancel is needed.

Exit status: 0 if it was cancelled, 2 if not.`,
		Example: `  caddy build-token cancel site/deploy 7
  caddy build-token cancel site/deploy '#12'
  BUILD_TOKEN=... caddy build-token cancel site/deploy 7 --url https://ci.example.com`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("want the job and an item, whose number trigger and status print")
			}
			return nil
		},
		RunE: caddycmd.WrapCommandFuncForCobra(runCancel),
	}
	addServerFlags(cmd, true)
	return cmd
}

func runCancel(flags caddycmd.Flags) (int, error) {
	c, err := newClient(flags)
	if err != nil {
		return exitRefused, err
	}
	ctx, job := context.Background(), flags.Arg(0)
	item, err := c.itemNamed(ctx, job, flags.Arg(1))
	if err != nil {
		return exitRefused, fmt.Errorf("%s: %w", job, err)
	}
	if err := c.cancel(ctx, job, item); err != nil {
		return exitRefused, fmt.Errorf("%s: item %d: %w", job, item, err)
	}
	return exitSuccess, nil
}

// itemNamed returns the item that is named by its number, or as # and the number of its
// build.
func (c *client) itemNamed(ctx context.Context, job, name string) (int64, error) {
	digits, ofBuild := strings.CutPrefix(name, "#")
	number, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not the number of an item, or # and that of a build", name)
	case !ofBuild:
		return number, nil
	case !c.admin:
		return 0, errors.New("with --url, name the item and not the build")
	}
	return c.itemOf(ctx, url.Values{"job": {job}, "number": {digits}})
}
