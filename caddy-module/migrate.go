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
Copies the content of a queue file (queue bolt) into the database that the
configuration names (queue postgres): queued items with their numbers, builds,
cancelled items, idempotency keys, console logs and uploaded files. The database
must not hold a queue yet. Either everything is copied, or nothing.

Stop Caddy first. The file is only read and does not change. Do not start Caddy
with it again, or its queued items are built twice.

Run the command as Caddy's user and with Caddy's environment.`,
		Example: `  sudo -u caddy caddy build-token migrate --config /etc/caddy/Caddyfile
  caddy build-token migrate --from /srv/ci/queue.db --without-logs`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(runMigrate),
	}
	cmd.Flags().StringP("config", "c", "", "The configuration file with queue postgres")
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for that file")
	cmd.Flags().StringP("from", "f", "", "The queue file (default: that in Caddy's data directory)")
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

// target is where the queue is moved to.
type target struct {
	*Postgres

	server string
	logs   bool // whether logs are copied too
}

// targetOf reads the queue from a configuration.
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
		return target{}, fmt.Errorf("its queue is %s; name the database with `queue postgres …` in the global option build_token", cmp.Or(kind.Queue, "bolt"))
	}
	if err := to.Provision(caddy.Context{}); err != nil {
		return target{}, err
	}
	var err error
	to.server, err = serverName(app.Node.name())
	return to, err
}

// migrate moves the queue and prints a report.
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
		return fmt.Errorf("move to %s: %w; name another schema, or drop this one if it is not needed", to.place, err)
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
			return wholeLog{r.Part(0, r.Size()), r}, nil
		}
	}
	return c
}

// wholeLog reads a log from its beginning to its end.
type wholeLog struct {
	*console.Part
	io.Closer
}

// checkKey returns the key of the file if the servers will use the same one. With
// another key they could not read queued passwords, nor recognise equal triggers.
func (t target) checkKey(ctx context.Context, path string) (vault.Key, error) {
	var none vault.Key
	want, err := readKey(path)
	if errors.Is(err, os.ErrNotExist) {
		return none, fmt.Errorf("the key of the queue is missing: %w; put it back, or if it is lost, start Caddy once with the file to create a new one", err)
	}
	if err != nil {
		return none, fmt.Errorf("key of the queue: %w", err)
	}
	has := "another key than the file"
	got, given := t.key()
	if !given {
		// A server that was started before has created one.
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
	return none, fmt.Errorf("%w: queue postgres has %s, so it could not read queued passwords or join equal triggers; "+
		"write `key %s` in its block, or move the content of that file to your other secrets and name its new place", errOtherKey, has, word)
}

// errOtherKey is returned if the servers would use another key than the file.
var errOtherKey = errors.New("the key is not that of the queue")

// report prints what was moved, and what remains to be done.
func (t target) report(out io.Writer, from string, moved pgqueue.Imported, took time.Duration) error {
	table := fmt.Sprintf("from\t%s\nto\t%s\njobs\t%d\nqueued\t%d\nbuilds\t%d\ncancelled\t%d\nkeys of triggers\t%d\nlogs\t%d, %d KiB\nfiles\t%d\ntook\t%v\n",
		from, t.place, moved.Jobs, moved.Items, moved.Builds, moved.Cancelled, moved.Receipts, moved.Logs, kib(moved.LogBytes), moved.Files, took.Round(time.Millisecond))
	if err := printTable(out, table); err != nil {
		return err
	}
	var b strings.Builder
	if moved.Running > 0 {
		fmt.Fprintf(&b, "\nRunning on record: %d. They end as ABORTED when %s starts.\n", moved.Running, t.server)
	}
	b.WriteString("\nThe file has not changed. Do not start Caddy with it again, or its queued items are built twice.\n")
	if folder := filepath.Join(dataDir(from), "logs"); !t.logs {
		to := quoted(postgresDir(moved.Identity))
		fmt.Fprintf(&b, "\nConsole logs were not moved. To keep them on this server, copy them before it starts:\n\n\tmkdir -p %s\n\tcp -a %s %s\n", to, quoted(folder), to)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// quoted returns a path quoted for a shell if necessary.
func quoted(path string) string {
	if !strings.ContainsAny(path, " \t\n'\"\\$`!*?[](){}<>|&;~#") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
