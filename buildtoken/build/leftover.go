package build

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

// Usage is what files of one job take on this server.
type Usage struct {
	// Paths are the directories and files of the job below the data directory.
	Paths []string
	// Files and Bytes count what is in them.
	Files int
	Bytes int64
}

// Usages returns what there is in the directories of logs, workspaces and polls, by
// [job.PathElement]. Those for which skip reports true are left out. Files that
// cannot be read are not counted.
func (h *Host) Usages(ctx context.Context, skip func(element string) bool) (map[string]Usage, error) {
	all := map[string]Usage{}
	for _, folder := range []string{"logs", "workspaces", "polling"} {
		entries, err := os.ReadDir(filepath.Join(h.opts.Dir, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("build: %w", err)
		}
		for _, e := range entries {
			element, _, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".log"), "@")
			if !job.IsPathElement(element) || skip(element) {
				continue
			}
			u := all[element]
			u.Paths = append(u.Paths, filepath.Join(folder, e.Name()))
			if err := u.count(ctx, filepath.Join(h.opts.Dir, folder, e.Name())); err != nil {
				return nil, err
			}
			all[element] = u
		}
	}
	return all, nil
}

func (u *Usage) count(ctx context.Context, path string) error {
	return filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if info, err := e.Info(); err == nil {
			u.Files++
			u.Bytes += info.Size()
		}
		return nil
	})
}

// prunedPrefix begins the names of directories that are about to be deleted.
const prunedPrefix = "pruned-"

// TakeAway moves the paths of a [Usage] out of the way, so that a build of the job that
// starts now has new ones, and returns a function that deletes them. The caller must know
// that no build uses them.
func (h *Host) TakeAway(u Usage) (remove func() error, err error) {
	trash := filepath.Join(h.opts.Dir, prunedPrefix+rand.Text())
	remove = func() error {
		if err := os.RemoveAll(trash); err != nil {
			return fmt.Errorf("build: prune: %w", err)
		}
		return nil
	}
	for _, path := range u.Paths {
		to := filepath.Join(trash, path)
		err := os.MkdirAll(filepath.Dir(to), 0o700)
		if err == nil {
			err = os.Rename(filepath.Join(h.opts.Dir, path), to)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return remove, fmt.Errorf("build: prune: %w", err)
		}
	}
	return remove, nil
}
