package queuetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// start is when every script and test begins.
var start = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// fewestScripts is a lower bound that detects a wrong directory.
const fewestScripts = 25

// runScripts plays each script of testdata/queue. A line with > is a command; the lines
// below it are the answer that the queue must give.
func runScripts(t *testing.T, empty func(t *testing.T) Store) {
	files, err := filepath.Glob(filepath.Join(folder(t), "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < fewestScripts {
		t.Fatalf("found %d scripts, want %d or more", len(files), fewestScripts)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, empty(t), string(want))
			if Update() {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("script (-file +answers):\n%s", diff)
			}
		})
	}
}

// folder returns testdata/queue of the module that contains the test.
func folder(t *testing.T) string {
	at, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		scripts := filepath.Join(at, "testdata", "queue")
		if info, err := os.Stat(scripts); err == nil && info.IsDir() {
			return scripts
		}
		up := filepath.Dir(at)
		if up == at {
			t.Fatal("no folder testdata/queue above the package; run the suite inside the module, or copy the scripts")
		}
		at = up
	}
}

// play plays a script and returns it with the actual answers.
func play(t *testing.T, store Store, script string) string {
	p := &player{t: t, store: store, now: start, rules: map[string]queue.Rules{}}
	p.open()
	defer func() {
		if err := p.q.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out strings.Builder
	for number, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		command, isCommand := strings.CutPrefix(line, "> ")
		switch {
		case isCommand:
			fmt.Fprintln(&out, line)
			answer, err := p.do(strings.Fields(command))
			if err != nil {
				t.Fatalf("line %d: %s: %v", number+1, line, err)
			}
			for _, text := range answer {
				fmt.Fprintln(&out, text)
			}
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}
