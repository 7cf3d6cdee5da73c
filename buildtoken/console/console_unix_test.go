//go:build !windows

package console_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/console"
)

// Windows has no permission bits.
func TestLogsArePrivate(t *testing.T) {
	dir := t.TempDir()
	write(t, create(t, console.New(filepath.Join(dir, "logs")), 1, 0), "output")
	for path, want := range map[string]fs.FileMode{
		"logs": 0o700 | fs.ModeDir, "logs/app": 0o700 | fs.ModeDir, "logs/app/1.log": 0o600, "logs/app/1.log.times": 0o600,
	} {
		st, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != want {
			t.Errorf("mode of %s = %v, want %v", path, st.Mode(), want)
		}
	}
}
