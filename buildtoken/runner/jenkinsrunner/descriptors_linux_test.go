package jenkinsrunner_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/internal/filetest"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// Uploads are closed after they were sent, and if one of them cannot be read.
func TestUploadsAreClosed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for second, want := range map[string]runner.Outcome{"two": runner.Success, "missing": runner.NotBuilt} {
		_, c := jenkins(t, jenkinstest.Job{Name: "x", Files: []string{"A", "B"}, Run: ends("SUCCESS")})
		res := newRunner(t, c).Run(t.Context(), runner.Build{Params: []runner.Param{
			{Name: "A", File: filepath.Join(dir, "one")}, {Name: "B", File: filepath.Join(dir, second)},
		}}, io.Discard)
		if open := filetest.Open(t, dir); res.Outcome != want || len(open) > 0 {
			t.Errorf("Run = %+v with %v left open, want %s and none", res, open, want)
		}
	}
}
