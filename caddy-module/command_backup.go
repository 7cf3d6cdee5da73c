package caddymodule

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/internal/atomicfile"
)

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup <directory> [--without-key] [--address <interface>] [--config <path> [--adapter <name>]]",
		Short: "Copies queue, key, logs and uploads of a running Caddy",
		Long: `
Copies the queue, its key, the console logs and the uploaded files of a running
Caddy into a new directory. Triggers and builds go on meanwhile. Everything that
was answered before is in the copy, and the copy is consistent. Workspaces are not
in it. It asks the admin API, and writes with the rights of the user who calls it.

The directory has the file SHA256SUMS, so that sha256sum -c can check it.
Anybody who can read it can read password parameters of queued items and builds;
--without-key leaves out the key that this takes.

Restore it with caddy build-token restore. A queue in PostgreSQL is backed up
with pg_dump.`,
		Example: `  caddy build-token backup /backup/ci-$(date +%F)
  caddy build-token backup /backup/ci --without-key`,
		Args: cobra.ExactArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			err := runBackup(context.Background(), flags)
			return exitCode(err), err
		}),
	}
	addServerFlags(cmd, false)
	cmd.Flags().Bool("without-key", false, "Leave out the key of password parameters")
	return cmd
}

func runBackup(ctx context.Context, flags caddycmd.Flags) error {
	c, err := newClient(flags)
	if err != nil {
		return err
	}
	to := flags.Arg(0)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		return fmt.Errorf("%s exists already; name a new directory", to)
	}
	query := url.Values{}
	if flags.Bool("without-key") {
		query.Set("key", "no")
	}
	resp, err := c.do(ctx, http.MethodPost, "backup", query, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	files, size, err := saveBackup(to, resp.Body)
	if err != nil {
		return fmt.Errorf("back up to %s: %w", to, err)
	}
	_, err = fmt.Fprintf(os.Stdout, "%s: %d files, %d KiB\n", to, files, kib(size))
	return err
}

// saveBackup writes the files of an archive into a new directory, which appears only when
// all of it is durable and was checked.
func saveBackup(to string, from io.Reader) (files int, size int64, err error) {
	partial, err := os.MkdirTemp(filepath.Dir(filepath.Clean(to)), filepath.Base(to)+".partial-*") // mode 0700
	if err != nil {
		return 0, 0, fmt.Errorf("%w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	files, size, err = unpack(partial, tar.NewReader(from))
	if err == nil {
		_, err = checkBackup(partial)
	}
	if err == nil {
		err = atomicfile.SyncTree(partial)
	}
	if err == nil {
		err = os.Rename(partial, to)
	}
	if err != nil {
		return 0, 0, err
	}
	return files, size, atomicfile.SyncDir(filepath.Dir(filepath.Clean(to)))
}

// unpack writes the files of an archive below a directory.
func unpack(dir string, from *tar.Reader) (files int, size int64, err error) {
	root, err := os.OpenRoot(dir) // the names come from a server
	if err != nil {
		return 0, 0, fmt.Errorf("%w", err)
	}
	defer func() { _ = root.Close() }() // the files are synced
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return files, size, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("the server stopped before the end of the backup; its log has the reason, unless it was reloaded or stopped: %w", err)
		}
		name := filepath.FromSlash(header.Name)
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return 0, 0, fmt.Errorf("%w", err)
		}
		n, err := save(root, name, from)
		if err != nil {
			return 0, 0, err
		}
		files, size = files+1, size+n
	}
}

func save(root *os.Root, name string, from io.Reader) (size int64, err error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("%w", err)
	}
	size, err = io.Copy(f, from)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return size, nil
}

// errBackup is wrapped by the errors of a directory that is not a whole backup.
var errBackup = errors.New("not a complete backup")

// checkBackup returns the files of a backup with their sums, and an error unless it is complete, as
// it was written. Only the key may be missing.
func checkBackup(dir string) (sums map[string][]byte, err error) {
	if sums, err = readSums(dir); err != nil {
		return nil, err
	}
	for name, want := range sums {
		err := checkFile(filepath.Join(dir, filepath.FromSlash(name)), want)
		if errors.Is(err, fs.ErrNotExist) && name == backupKey {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBackup, err)
		}
	}
	if err := boltqueue.Verify(filepath.Join(dir, backupQueue)); err != nil {
		return nil, fmt.Errorf("%w: %w", errBackup, err)
	}
	return sums, nil
}

// readSums returns the files of a backup with their sums.
func readSums(dir string) (map[string][]byte, error) {
	f, err := openFile(filepath.Join(dir, backupSums))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no %s, which is written last", errBackup, dir, backupSums)
	}
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	sums := map[string][]byte{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		digits, name, _ := strings.Cut(lines.Text(), "  ")
		sum, err := hex.DecodeString(digits)
		if err != nil || len(sum) != sha256.Size || !inBackup(name) {
			return nil, fmt.Errorf("%w: line %q of %s", errBackup, lines.Text(), backupSums)
		}
		sums[name] = sum
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	for _, name := range []string{backupQueue, backupKey} {
		if sums[name] == nil {
			return nil, fmt.Errorf("%w: %s does not name %s", errBackup, backupSums, name)
		}
	}
	return sums, nil
}

// inBackup reports whether a backup may hold a file of this name: a restore writes nothing
// but queue, key, logs and uploads. In a workspace, it would follow the links of a build.
func inBackup(name string) bool {
	below, _, inside := strings.Cut(name, "/")
	return name == backupQueue || name == backupKey ||
		inside && (below == "logs" || below == "uploads") && path.Clean(name) == name && filepath.IsLocal(filepath.FromSlash(name))
}

// openFile opens a file of a backup. Others than regular files may have no end.
func openFile(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", errBackup, path)
	}
	f, err := os.Open(path) //nolint:gosec // the user names the directory
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return f, nil
}

func checkFile(path string, want []byte) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("%w", err)
	}
	if string(sum.Sum(nil)) != string(want) {
		return fmt.Errorf("%s was changed or damaged after the backup", path)
	}
	return nil
}
