package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// adminFlags is the part of a usage line for commands that read from the admin API.
const adminFlags = "[--address <interface>] [--json] [--config <path> [--adapter <name>]]"

// showCommand makes cmd print the answer of the admin API to GET /build_token/path: as
// JSON with --json, and otherwise as the text that format makes of it. Its columns are separated by tabs.
func showCommand[T any](cmd *cobra.Command, path string, format func(answer T, now time.Time) string) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
		err := show(flags, path, format)
		return exitCode(err), err
	})
	addServerFlags(cmd, false)
	cmd.Flags().Bool("json", false, "Print the answer of the admin API")
	return cmd
}

func show[T any](flags caddycmd.Flags, path string, format func(answer T, now time.Time) string) error {
	c, err := newClient(flags)
	if err != nil {
		return err
	}
	resp, err := c.do(context.Background(), http.MethodGet, path, nil, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	return printAnswer(os.Stdout, resp.Body, flags.Bool("json"), format)
}

// printAnswer prints an answer of the admin API: as it is, or as the text that format makes of it.
func printAnswer[T any](to io.Writer, body io.Reader, asJSON bool, format func(answer T, now time.Time) string) error {
	if asJSON {
		_, err := io.Copy(to, body)
		return err
	}
	var answer T
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return printTable(to, format(answer, time.Now()))
}

// printTable aligns the columns of a text that tabs separate.
func printTable(to io.Writer, text string) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, err := io.WriteString(w, text)
	return errors.Join(err, w.Flush())
}

// answerJSON answers a GET request of the admin API with what get returns.
func answerJSON[T any](w http.ResponseWriter, r *http.Request, get func() (T, error)) error {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("method %s: only GET is here", r.Method))
	}
	v, err := get()
	if errors.As(err, new(caddy.APIError)) {
		return err
	}
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
	return nil
}
