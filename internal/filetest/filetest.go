// Package filetest finds files that were left open, for tests on Linux.
package filetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Open returns the files at a path, or below it, that this process has open.
func Open(tb testing.TB, path string) []string {
	tb.Helper()
	const dir = "/proc/self/fd"
	all, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	var open []string
	for _, fd := range all {
		// ReadDir's own descriptor is closed meanwhile.
		if name, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && (name == path || strings.HasPrefix(name, path+"/")) {
			open = append(open, name)
		}
	}
	return open
}
