package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Exit statuses of trigger and log. They follow the build's result.
const (
	exitSuccess  = 0
	exitFailure  = 1
	exitRefused  = 2 // refused, or not reachable
	exitUnstable = 3
	exitAborted  = 4
	exitNotBuilt = 5
)

// exitOf returns the exit status for an item that has ended, and an error unless
// it is 0: Caddy exits with 0 if there is no error.
func exitOf(s *itemStatus) (int, error) {
	if s.Result == nil {
		return exitAborted, fmt.Errorf("item %d of %s was cancelled", s.Item, s.Job)
	}
	if *s.Result == "SUCCESS" {
		return exitSuccess, nil
	}
	err := fmt.Errorf("%s #%d: %s", s.Job, *s.Build, *s.Result)
	switch *s.Result {
	case "UNSTABLE":
		return exitUnstable, err
	case "ABORTED":
		return exitAborted, err
	case "NOT_BUILT":
		return exitNotBuilt, err
	}
	return exitFailure, err
}

const exitHelp = `
Exit status: 0 SUCCESS, 1 FAILURE, 2 refused or not reachable, 3 UNSTABLE,
4 ABORTED or cancelled, 5 NOT_BUILT.`

func triggerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trigger <job> [NAME=VALUE]... [NAME=@FILE]... [--follow | --wait <duration>] [--url <url> [--token-file <file>]]",
		Short: "Triggers a build, and can follow it to its end",
		Long: `
Queues a build of a job and prints the number of its item. NAME=VALUE sets a
parameter, NAME=@FILE uploads a file for a parameter of the kind file.

Without --url, it goes through the admin API of the Caddy on this machine and
needs no token; the rules of the job apply. With --url, it needs a token, which
is read from a file or from the variable BUILD_TOKEN, never from an argument.

--follow prints the log until the build ends, also across reloads and restarts
of the server; the token then needs the grants log and status. Ctrl-C asks
whether to cancel the build.
` + exitHelp,
		Example: `  caddy build-token trigger site/deploy ENV=staging --follow
  BUILD_TOKEN=... caddy build-token trigger site/deploy PATCH=@fix.patch --url https://ci.example.com --wait 10m`,
		Args: cobra.MinimumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runTrigger),
	}
	addServerFlags(cmd, true)
	cmd.Flags().BoolP("follow", "f", false, "Print the log until the build ends")
	cmd.Flags().Duration("wait", 0, "Wait for the end of the build, at most this long")
	cmd.Flags().String("cause", "", "A note that the build shows as its cause")
	cmd.Flags().String("delay", "", "The quiet period, as in 30s (default: that of the job)")
	cmd.Flags().Bool("json", false, "Print the result as JSON")
	return cmd
}

// queued is the answer to a trigger, and what became of it if that is known.
type queued struct {
	ID      int64  `json:"id"`
	URL     string `json:"url"`
	Created bool   `json:"created"`
	Share   string `json:"share,omitempty"`
	// Ignored are the parameters that the job does not have.
	Ignored []string `json:"ignored,omitempty"`

	Status *itemStatus `json:"status,omitempty"`
}

func runTrigger(flags caddycmd.Flags) (int, error) {
	c, err := newClient(flags)
	if err != nil {
		return exitRefused, err
	}
	job := flags.Arg(0)
	params, err := parseParams(flags.Args()[1:])
	if err != nil {
		return exitRefused, err
	}
	query := url.Values{"job": {job}}
	for _, name := range []string{"cause", "delay"} {
		if value := flags.String(name); value != "" {
			query.Set(name, value)
		}
	}
	ctx := context.Background()
	q, err := c.trigger(ctx, query, params)
	if err != nil {
		return exitRefused, fmt.Errorf("%s: %w", job, err)
	}
	asJSON, follow, limit := flags.Bool("json"), flags.Bool("follow"), flags.Duration("wait")
	if !asJSON {
		what := "queued as"
		if !q.Created {
			what = "joined"
		}
		fmt.Fprintf(os.Stderr, "%s item %d of %s\n", what, q.ID, job)
		if len(q.Ignored) > 0 {
			fmt.Fprintf(os.Stderr, "ignored, because the job has no such parameter: %s\n", strings.Join(q.Ignored, ", "))
		}
	}
	switch {
	case follow:
		to := io.Writer(os.Stdout)
		if asJSON {
			to = os.Stderr
		}
		q.Status, err = c.followed(ctx, job, q.ID, to)
	case limit > 0:
		ended, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the build has not ended after %v", limit))
		defer stop()
		q.Status, err = c.wait(ended, job, q.ID)
	}
	if err != nil {
		return exitRefused, fmt.Errorf("%s: item %d: %w", job, q.ID, err)
	}
	if err := printQueued(q, asJSON, limit > 0); err != nil || q.Status == nil {
		return exitCode(err), err
	}
	return exitOf(q.Status)
}

func printQueued(q *queued, asJSON, waited bool) error {
	switch {
	case asJSON:
		return json.NewEncoder(os.Stdout).Encode(q)
	case waited && q.Status != nil && q.Status.Result != nil:
		_, err := fmt.Printf("#%d %s\n", *q.Status.Build, *q.Status.Result) //nolint:forbidigo // the command's output
		return err
	}
	return nil
}

// param is a parameter of the command line.
type param struct {
	name, value string
	file        bool // value names one
}

func parseParams(args []string) ([]param, error) {
	var all []param
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is no parameter: want NAME=VALUE, or NAME=@FILE", arg)
		}
		path, file := strings.CutPrefix(value, "@")
		if file {
			value = path
		}
		all = append(all, param{name, value, file})
	}
	return all, nil
}

// trigger queues a build. It uses the endpoint that fits the job, and can be
// repeated without queuing twice.
func (c *client) trigger(ctx context.Context, query url.Values, params []param) (*queued, error) {
	body, contentType, err := encodeParams(params)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {contentType}, "Idempotency-Key": {`"` + rand.Text() + `"`}}
	endpoint, other := "build", "buildWithParameters"
	if len(params) > 0 {
		endpoint, other = other, endpoint
	}
	q := new(queued)
	post := func(endpoint string) error {
		return retry(ctx, shortPatience, func() error {
			resp, err := c.do(ctx, http.MethodPost, "buildByToken/"+endpoint, query, bytes.NewReader(body), header)
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }() // only read
			if err := json.NewDecoder(resp.Body).Decode(q); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			return nil
		})
	}
	err = post(endpoint)
	if refused, ok := errors.AsType[*refusedError](err); ok && refused.status == http.StatusBadRequest && len(params) == 0 && strings.Contains(refused.text, "use "+other) {
		err = post(other) // with the defaults of the parameters
	}
	return q, err
}

func encodeParams(params []param) (body []byte, contentType string, err error) {
	if len(params) == 0 {
		return nil, "application/x-www-form-urlencoded", nil
	}
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for _, p := range params {
		if !p.file {
			err = errors.Join(err, form.WriteField(p.name, p.value))
			continue
		}
		content, readErr := os.ReadFile(p.value)
		if readErr != nil {
			return nil, "", fmt.Errorf("parameter %s: %w", p.name, readErr)
		}
		part, createErr := form.CreateFormFile(p.name, filepath.Base(p.value))
		if createErr == nil {
			_, createErr = part.Write(content)
		}
		err = errors.Join(err, createErr)
	}
	err = errors.Join(err, form.Close())
	return b.Bytes(), form.FormDataContentType(), err
}

// followed is follow for a terminal: the first interrupt asks whether to cancel
// the build, the second one ends the command.
func (c *client) followed(ctx context.Context, job string, item int64, to io.Writer) (*itemStatus, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	go func() { // ends with ctx, or with the process if it waits for an answer
		select {
		case <-ctx.Done():
			return
		case <-interrupts:
		}
		signal.Stop(interrupts) // the next one ends the process
		fmt.Fprintf(os.Stderr, "\nCancel the build? It goes on otherwise. [y/N] ")
		answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
			end(errors.New("interrupted; the build goes on"))
			return
		}
		if err := c.cancel(ctx, job, item); err != nil {
			end(fmt.Errorf("cancel: %w", err))
		}
	}()
	s, err := c.follow(ctx, job, item, to)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return s, err
}
