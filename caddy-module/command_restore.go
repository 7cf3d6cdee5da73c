package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore <directory> [--config <path> [--adapter <name>]] [--to <file>] [--move-aside]",
		Short: "Puts a backup back, while Caddy is stopped",
		Long: `
Checks a backup that caddy build-token backup made, and copies it to where the
configuration has its queue. Stop Caddy before, and run it as the user that Caddy
runs as, with its environment.

It never replaces or mixes anything: if there is a queue, a key, or a log already,
it names what is there and does nothing. With --move-aside it renames that first.

What was queued when the backup was made is queued again and builds again. Builds
that ran then end as ABORTED when Caddy starts.`,
		Example: `  sudo -u caddy caddy build-token restore /backup/ci-2026-11-28 --config /etc/caddy/Caddyfile
  caddy build-token restore /backup/ci-2026-11-28 --to /srv/ci/queue.db --move-aside`,
		Args: cobra.ExactArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			err := runRestore(flags, time.Now())
			return exitCode(err), err
		}),
	}
	cmd.Flags().StringP("config", "c", "", "The configuration file that says where the queue is")
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for that file")
	cmd.Flags().String("to", "", "The file of the queue, instead of the one of the configuration")
	cmd.Flags().Bool("move-aside", false, "Rename what is there, instead of refusing")
	return cmd
}

func runRestore(flags caddycmd.Flags, now time.Time) error {
	path := flags.String("to")
	if path == "" {
		config, file, _, err := caddycmd.LoadConfig(flags.String("config"), flags.String("adapter"))
		if err != nil {
			return fmt.Errorf("load the configuration: %w", err)
		}
		if path, err = boltPathOf(config); err != nil {
			return fmt.Errorf("configuration %s: %w", cmp.Or(file, "(none)"), err)
		}
	}
	place, err := (&Bolt{Path: path}).Place()
	if err != nil {
		return err
	}
	return restore(os.Stdout, flags.Arg(0), place, flags.Bool("move-aside"), now)
}

// boltPathOf returns the path of the queue's file in a configuration; "" is the default.
func boltPathOf(config []byte) (string, error) {
	var c struct {
		Apps struct {
			App struct {
				Queue struct {
					Kind string `json:"queue"`
					Bolt
				} `json:"queue"`
			} `json:"build_token"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &c); err != nil && len(config) > 0 {
		return "", fmt.Errorf("%w", err)
	}
	if kind := c.Apps.App.Queue.Kind; kind != "" && kind != "bolt" {
		return "", fmt.Errorf("its queue is %s: restore that with pg_restore, and its key from your copy. Backups of this command hold a queue in a file", kind)
	}
	return c.Apps.App.Queue.Path, nil
}

// restore copies a backup to place, and reports to out what it did.
func restore(out io.Writer, from, place string, moveAside bool, now time.Time) error {
	sums, err := checkBackup(from)
	if err != nil {
		return err
	}
	if _, err := readKey(filepath.Join(from, backupKey)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the key is not in the backup; copy yours to %s: %w", filepath.Join(from, backupKey), err)
		}
		return fmt.Errorf("key of the backup: %w", err)
	}
	dir := dataDir(place)
	if err := makeWay(out, place, dir, moveAside, now); err != nil {
		return err
	}
	for _, folder := range []string{filepath.Dir(place), dir} {
		if err := atomicfile.MkdirAll(folder, 0o711); err != nil { // as the server makes them
			return fmt.Errorf("restore: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if name == backupQueue {
			continue // last: what is not complete is not a queue
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if name == backupKey {
			to = place + ".key"
		}
		if err := copyFile(filepath.Join(from, filepath.FromSlash(name)), to); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	if err := copyFile(filepath.Join(from, backupQueue), place); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	_, err = fmt.Fprintf(out, "restored %s: %d files\nNow start Caddy. What is queued builds again.\n", place, len(sums))
	return err
}

// makeWay refuses to go on if a Caddy has the queue open, or if something is where the
// backup belongs, unless that may be moved aside.
func makeWay(out io.Writer, place, dir string, moveAside bool, now time.Time) error {
	err := boltqueue.Export(place, lockTimeout, func(queue.Records) error { return nil })
	if errors.Is(err, boltqueue.ErrLocked) {
		return fmt.Errorf("%w; stop the Caddy that runs with it", err)
	}
	var there []string // a queue that cannot be read is no reason against a restore
	for _, path := range []string{place, place + ".key", filepath.Join(dir, "logs"), filepath.Join(dir, "uploads")} {
		entries, err := os.ReadDir(path)
		if err == nil && len(entries) == 0 {
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			there = append(there, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restore: %w", err)
		}
	}
	if len(there) > 0 && !moveAside {
		return fmt.Errorf("there is data already, and mixing it with the backup would show logs of other builds: %q; use --move-aside to rename it, or name another file with --to", there)
	}
	suffix := now.Format(".before-restore-20060102-150405")
	for _, path := range there {
		if err := os.Rename(path, path+suffix); err != nil {
			return fmt.Errorf("move aside: %w", err)
		}
		if _, err := fmt.Fprintf(out, "moved %s to %s\n", path, path+suffix); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file, durably and only for its owner.
func copyFile(from, to string) error {
	f, err := openFile(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	if err := atomicfile.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("%w", err)
	}
	return atomicfile.Write(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
