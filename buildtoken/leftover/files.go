package leftover

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// addFiles adds to gone what there is in the directories of logs, workspaces and polls, by
// [job.PathElement]. Files of jobs in force are left out. Files that cannot be read are not
// counted.
func addFiles(ctx context.Context, dir string, inForce map[string]bool, gone map[string]*Leftover) error {
	for _, folder := range []string{"logs", "workspaces", "polling"} {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("leftover: %w", err)
		}
		for _, e := range entries {
			element, _, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".log"), "@")
			if !job.IsPathElement(element) || inForce[element] {
				continue
			}
			l := gone[element]
			if l == nil {
				l = &Leftover{Element: element}
				gone[element] = l
			}
			l.Paths = append(l.Paths, filepath.Join(folder, e.Name()))
			if err := l.count(ctx, filepath.Join(dir, folder, e.Name())); err != nil {
				return fmt.Errorf("leftover: %w", err)
			}
		}
	}
	return nil
}

func (l *Leftover) count(ctx context.Context, path string) error {
	return filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if info, err := e.Info(); err == nil {
			l.Files++
			l.Bytes += info.Size()
		}
		return nil
	})
}

// prunedPrefix begins the names of directories that are about to be deleted.
const prunedPrefix = "pruned-"

// moveAway moves paths below dir out of the way, and returns a function that deletes them.
// The caller must know that no build uses them.
func moveAway(dir string, paths []string) (remove func() error, err error) {
	trash := filepath.Join(dir, prunedPrefix+rand.Text())
	remove = func() error { return os.RemoveAll(trash) }
	for _, path := range paths {
		to := filepath.Join(trash, path)
		err := os.MkdirAll(filepath.Dir(to), 0o700)
		if err == nil {
			err = os.Rename(filepath.Join(dir, path), to)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return remove, err
		}
	}
	return remove, nil
}

// sweep deletes what an earlier process moved away and did not delete.
func sweep(dir string) {
	if pruned, err := filepath.Glob(filepath.Join(dir, prunedPrefix+"*")); err == nil {
		for _, path := range pruned {
			_ = os.RemoveAll(path) // or the next start does
		}
	}
}
