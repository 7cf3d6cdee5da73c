package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/leftover"
)

// LeftoverStatus is what `GET /build_token/leftovers` of the admin API shows of a job that
// no server's configuration has, and what `POST /build_token/prune` has removed.
type LeftoverStatus struct {
	// Job is the full name; "" for files of a job that is not on record.
	Job string `json:"job"`
	// GoneUntil is the end of its orphan_timeout.
	GoneUntil time.Time `json:"gone_until,omitzero"`
	Builds    int       `json:"builds"`
	// Queued and Running keep the job from being removed.
	Queued  int `json:"queued,omitempty"`
	Running int `json:"running,omitempty"`
	// Paths are directories and files below the data directory of the server, Files and Bytes
	// what is in them.
	Paths []string `json:"paths"`
	Files int      `json:"files"`
	Bytes int64    `json:"bytes"`
}

func leftovers(all []leftover.Leftover) []LeftoverStatus {
	shown := []LeftoverStatus{}
	for i := range all {
		l := &all[i]
		shown = append(shown, LeftoverStatus{
			Job: l.Job, GoneUntil: l.Gone, Builds: l.Builds, Queued: l.Queued, Running: l.Running,
			Paths: append([]string{}, l.Paths...), Files: l.Files, Bytes: l.Bytes,
		})
	}
	return shown
}

// serveLeftovers lists what is kept of jobs that are gone.
func (a *App) serveLeftovers(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func() ([]LeftoverStatus, error) {
		ctl := a.opened()
		if ctl == nil {
			return nil, buildtoken.ErrShuttingDown
		}
		all, err := ctl.Leftovers().All(r.Context())
		return leftovers(all), err
	})
}

// servePrune removes what is kept of jobs that are gone, and lists what it removed.
func (a *App) servePrune(w http.ResponseWriter, r *http.Request) error {
	ctl, err := a.posted(w, r)
	if err != nil {
		return err
	}
	removed, err := ctl.Leftovers().Prune(context.WithoutCancel(r.Context()), time.Time{})
	if err != nil {
		return apiError(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(leftovers(removed)) // the client may be gone
	return nil
}

func pruneCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prune [--dry-run] [--json] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Removes what is left of jobs that were removed or renamed",
		Long: `
Removes builds, logs and workspaces of jobs that are no longer in the configuration
of the running Caddy, nor in that of another server that shares its queue. Jobs that
still have queued items or a running build are left. Build numbers stay used: if a
job comes back, its numbers go on. It asks the admin API.

With a shared queue, call it on each server: each has workspaces of its own.

--dry-run only shows what there is.`,
		Example: `  caddy build-token prune --dry-run
  caddy build-token prune --json`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			err := runPrune(context.Background(), flags)
			return exitCode(err), err
		}),
	}
	addServerFlags(cmd, false)
	cmd.Flags().Bool("dry-run", false, "Show what would be removed")
	cmd.Flags().Bool("json", false, "Print the answer of the admin API")
	return cmd
}

func runPrune(ctx context.Context, flags caddycmd.Flags) error {
	dry := flags.Bool("dry-run")
	format := func(all []LeftoverStatus, now time.Time) string { return formatLeftovers(all, dry, now) }
	if dry {
		return show(flags, "leftovers", format)
	}
	c, err := newClient(flags)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, "prune", nil, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	return printAnswer(os.Stdout, resp.Body, flags.Bool("json"), format)
}

// kib returns a number of bytes in KiB, rounded up.
func kib(bytes int64) int64 { return (bytes + 1023) >> 10 }

// formatLeftovers returns leftovers for people.
func formatLeftovers(all []LeftoverStatus, dry bool, now time.Time) string {
	if len(all) == 0 {
		return "nothing is left of removed jobs\n"
	}
	var b strings.Builder
	b.WriteString("JOB\tTIMED OUT\tBUILDS\tFILES\tKIB\t\n")
	var files int
	var bytes int64
	for i := range all {
		l := &all[i]
		name, gone, note := l.Job, "-", ""
		if name == "" {
			name = "(not on record) " + strings.Join(l.Paths, " ")
		}
		if now.After(l.GoneUntil) && !l.GoneUntil.IsZero() {
			gone = rough(now.Sub(l.GoneUntil)) + " ago"
		}
		if l.Queued > 0 || l.Running > 0 {
			note = fmt.Sprintf("stays: %d queued, %d running", l.Queued, l.Running)
		}
		fmt.Fprintf(&b, "%s\t%s\t%d\t%d\t%d\t%s\n", name, gone, l.Builds, l.Files, kib(l.Bytes), note)
		files, bytes = files+l.Files, bytes+l.Bytes
	}
	word := "removed"
	if dry {
		word = "found"
	}
	fmt.Fprintf(&b, "\n%s: %d %s, %d files, %d KiB\n", word, len(all), plural(len(all), "job"), files, kib(bytes))
	return b.String()
}
