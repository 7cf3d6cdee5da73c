package pgtest_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/buildtoken/buildtoken/internal/pgserver"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// test records how a test ended.
type test struct {
	testing.TB
	skipped, failed bool
}

func (*test) Helper()      {}
func (*test) Name() string { return "TestOfQueue" }

func (t *test) Skip(...any) {
	t.skipped = true
	runtime.Goexit()
}

func (t *test) Fatalf(string, ...any) {
	t.failed = true
	runtime.Goexit()
}

func TestMissingServer(t *testing.T) {
	missing := &pgserver.NotInstalledError{Package: "postgresql"}
	broken := errors.New("initdb: exit status 1")
	for _, tt := range []struct {
		name          string
		err           error
		ci, database  string
		skips, fails  bool
		reportedSkips string
	}{
		{"a server that runs", nil, "", "", false, false, ""},
		{"none installed: skipped and reported", missing, "", "", true, false, "postgresql TestOfQueue\n"},
		{"none installed in CI: fails", missing, "true", "", false, true, ""},
		{"none installed although one is configured: fails", missing, "", "postgres://127.0.0.1/ci", false, true, ""},
		{"one that does not start: fails", broken, "", "", false, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report := filepath.Join(t.TempDir(), "skips")
			if err := os.WriteFile(report, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("CI", tt.ci)
			t.Setenv(pgtest.Variable, tt.database)
			t.Setenv("BUILDTOKEN_TEST_SKIPS", report)
			of, done := &test{TB: t}, make(chan struct{})
			go func() { // ends when require returns or ends it
				defer close(done)
				pgtest.Require(of, tt.err)
			}()
			<-done
			if of.skipped != tt.skips || of.failed != tt.fails {
				t.Errorf("skipped: %v, failed: %v; want %v, %v", of.skipped, of.failed, tt.skips, tt.fails)
			}
			if got, err := os.ReadFile(report); err != nil || string(got) != tt.reportedSkips {
				t.Errorf("reported %q, %v; want %q", got, err, tt.reportedSkips)
			}
		})
	}
}
