package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate [--config <path> [--adapter <name>]] [--from <file>] [--without-logs]",
		Short: "Moves the queue from a file to the Postgres of a configuration",
		Long: `
Copies all that a queue in a file (queue bolt) holds into the database that
the configuration names (queue postgres): queued items with their numbers,
builds and their history, cancelled items, the keys of triggers, console logs
and uploaded files. Nothing is there already, or nothing is done; and all of
it is moved, or nothing.

Stop Caddy before. What is moved is only read, and is as it was afterwards; do not
start a Caddy with it again, or what is queued is built twice.

Run it as the user that Caddy runs as, with its environment.`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runMigrate),
	}
	cmd.Flags().StringP("config", "c", "", "The configuration file, which has queue postgres")
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for that file")
	cmd.Flags().StringP("from", "f", "", "The file of the queue (default: where Caddy keeps it by default)")
	cmd.Flags().Bool("without-logs", false, "Leave the console logs where they are")
	return cmd
}

func runMigrate(flags caddycmd.Flags) (int, error) {
	config, file, _, err := caddycmd.LoadConfig(flags.String("config"), flags.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("load the configuration: %w", err)
	}
	to, err := targetOf(config)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("configuration %s: %w", cmp.Or(file, "(none)"), err)
	}
	from, err := (&Bolt{Path: flags.String("from")}).Place()
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	to.logs = !flags.Bool("without-logs")
	err = migrate(context.Background(), os.Stdout, from, to)
	return exitCode(err), err
}

// target is where a queue is to be moved to.
type target struct {
	*Postgres

	server string
	logs   bool // are moved too
}

// targetOf reads from a configuration what it says about the queue.
func targetOf(config []byte) (target, error) {
	var c struct {
		Apps struct {
			App App `json:"build_token"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &c); err != nil && len(config) > 0 {
		return target{}, fmt.Errorf("%w", err)
	}
	app := &c.Apps.App
	var kind struct {
		Queue string `json:"queue"`
	}
	to := target{Postgres: new(Postgres)}
	if app.QueueRaw != nil {
		if err := errors.Join(json.Unmarshal(app.QueueRaw, &kind), json.Unmarshal(app.QueueRaw, to.Postgres)); err != nil {
			return target{}, fmt.Errorf("queue: %w", err)
		}
	}
	if kind.Queue != "postgres" {
		return target{}, fmt.Errorf("its queue is %s; write the line `queue postgres …` in the global option build_token, to say where to move to", cmp.Or(kind.Queue, "bolt"))
	}
	if err := to.Provision(caddy.Context{}); err != nil {
		return target{}, err
	}
	var err error
	to.server, err = serverName(app.Node.name())
	return to, err
}

// migrate moves the queue and says what it did.
func migrate(ctx context.Context, out io.Writer, from string, to target) error {
	began := time.Now()
	var moved pgqueue.Imported
	err := boltqueue.Export(from, lockTimeout, func(records queue.Records) (err error) {
		key, err := to.checkKey(ctx, from+".key")
		if err != nil {
			return err
		}
		beside := contentsOf(dataDir(from), to.logs)
		beside.Fingerprint = key.Fingerprint()
		moved, err = pgqueue.Import(ctx, pgqueue.Options{CurrentURL: to.url, Schema: to.Schema, Server: to.server}, records, beside)
		return err
	})
	switch {
	case errors.Is(err, boltqueue.ErrLocked):
		return fmt.Errorf("%w; stop the Caddy that runs with it", err)
	case errors.Is(err, pgqueue.ErrNotEmpty):
		return fmt.Errorf("move to %s: %w; name another schema, or drop this one if nobody needs it", to.place, err)
	case err != nil:
		return fmt.Errorf("move %s to %s: %w", from, to.place, err)
	}
	return to.report(out, from, moved, time.Since(began))
}

// contentsOf opens the logs and the uploaded files in the folder of a queue.
func contentsOf(dir string, withLogs bool) pgqueue.Contents {
	c := pgqueue.Contents{File: func(ref string) (io.ReadCloser, error) {
		return os.Open(filepath.Join(dir, "uploads", filepath.Base(ref))) //nolint:gosec // the operator names the folder
	}}
	if logs := console.New(filepath.Join(dir, "logs")); withLogs {
		c.Log = func(full string, number int64) (io.ReadCloser, error) {
			r, err := logs.Open(job.PathElement(full), number)
			if errors.Is(err, console.ErrNotFound) {
				return nil, fs.ErrNotExist
			}
			if err != nil {
				return nil, err
			}
			return wholeLog{io.NewSectionReader(r, 0, r.Size()), r}, nil
		}
	}
	return c
}

// wholeLog reads a log from its beginning to its end.
type wholeLog struct {
	*io.SectionReader
	io.Closer
}

// checkKey gives the key of the file, if the servers will have it: without it,
// passwords can't be read, and what is queued is not found to be equal.
func (t target) checkKey(ctx context.Context, path string) (vault.Key, error) {
	var none vault.Key
	want, err := readKey(path)
	if errors.Is(err, os.ErrNotExist) {
		return none, fmt.Errorf("the key of the queue is not there: %w. Put it back; if it is lost, start Caddy with the file once, which makes a new one", err)
	}
	if err != nil {
		return none, fmt.Errorf("key of the queue: %w", err)
	}
	has := "another key than the file"
	got, given := t.key()
	if !given {
		// The one that a server has made, if it was started before.
		id, failed := pgqueue.Identify(ctx, pgqueue.Options{CurrentURL: t.url, Schema: t.Schema})
		if failed != nil {
			return none, failed
		}
		got, err = readKey(filepath.Join(postgresDir(id), "key"))
		if id == "" {
			err = os.ErrNotExist
		}
		if errors.Is(err, os.ErrNotExist) {
			has = "no key"
		} else if err != nil {
			return none, fmt.Errorf("key of queue postgres: %w", err)
		}
	}
	if err == nil && got == want {
		return want, nil
	}
	word := "{file." + path + "}"
	if strings.ContainsAny(word, " \t\"") {
		word = strconv.Quote(word)
	}
	return none, fmt.Errorf("%w: queue postgres has %s, so passwords that are queued could not be read, nor equal triggers be joined; "+
		"write `key %s` in its block, or put what is in that file where your other secrets are, and name that", errOtherKey, has, word)
}

// errOtherKey says that the servers would not have the key of the file.
var errOtherKey = errors.New("the key is not that of the queue")

// report says what was moved, and what is left to do.
func (t target) report(out io.Writer, from string, moved pgqueue.Imported, took time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintf(w, "from\t%s\nto\t%s\njobs\t%d\nqueued\t%d\nbuilds\t%d\ncancelled\t%d\nkeys of triggers\t%d\nlogs\t%d, %d KiB\nfiles\t%d\ntook\t%v\n",
		from, t.place, moved.Jobs, moved.Items, moved.Builds, moved.Cancelled, moved.Receipts, moved.Logs, (moved.LogBytes+1023)>>10, moved.Files, took.Round(time.Millisecond))
	if err := errors.Join(err, w.Flush()); err != nil {
		return fmt.Errorf("%w", err)
	}
	var b strings.Builder
	if moved.Running > 0 {
		fmt.Fprintf(&b, "\nRunning on record: %d. They end as ABORTED when %s starts.\n", moved.Running, t.server)
	}
	b.WriteString("\nThe file is as it was. Do not start a Caddy with it again: what is queued would be built twice.\n")
	if folder := filepath.Join(dataDir(from), "logs"); !t.logs {
		to := quoted(postgresDir(moved.Identity))
		fmt.Fprintf(&b, "\nConsole logs were not moved. This server can show them if they are here before it starts:\n\n\tmkdir -p %s\n\tcp -a %s %s\n", to, quoted(folder), to)
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	if !strings.ContainsAny(path, " \t\n'\"\\$`!*?[](){}<>|&;~#") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
