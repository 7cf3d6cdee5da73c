package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// runner tries mutants, one after another.
type runner struct {
	root, scratch string
	n             int
	seed          uint64
	timeout       time.Duration
	until         time.Time // zero: no limit
	tests         string    // packages, with commas; empty: the package and its dependants
	at            string    // file:line,…; empty: a sample of all
	equivalent    map[string]bool
}

// score counts what became of the mutants that were drawn.
type score struct{ killed, survived, equivalent int }

func (s *score) add(other score) {
	s.killed += other.killed
	s.survived += other.survived
	s.equivalent += other.equivalent
}

func (s score) String() string {
	if s.killed+s.survived == 0 {
		return "no mutant was tried"
	}
	return fmt.Sprintf("%d of %d mutants killed, %.0f %% (%d equivalent ones were drawn)",
		s.killed, s.killed+s.survived, 100*float64(s.killed)/float64(s.killed+s.survived), s.equivalent)
}

// sample tries a random sample of one package's mutants and prints the survivors.
func (r *runner) sample(pkg string) (s score, err error) {
	mutants, err := find(filepath.Join(r.root, pkg))
	if err != nil {
		return s, err
	}
	path, suites, err := r.suitesOf(pkg)
	if err != nil {
		return s, err
	}
	names := make([]string, len(suites))
	for i, suite := range suites {
		names[i] = suite.path
	}
	fmt.Printf("%s: %d possible mutants; tests of %s\n", pkg, len(mutants), strings.Join(names, " "))
	for _, i := range rand.New(rand.NewPCG(r.seed, 0)).Perm(len(mutants)) {
		if r.n > 0 && s.killed+s.survived == r.n || !r.until.IsZero() && time.Now().After(r.until) {
			break
		}
		m := mutants[i]
		if r.at != "" && !slices.Contains(strings.Split(r.at, ","), fmt.Sprintf("%s:%d", filepath.Base(m.file), m.line)) {
			continue
		}
		source, err := os.ReadFile(m.file)
		if err != nil {
			return s, err
		}
		relative, _ := filepath.Rel(r.root, m.file)
		if r.equivalent[relative+": "+m.what+": "+m.sourceLine(source)] {
			s.equivalent++
			continue
		}
		killed, compiles, err := r.try(m, source, path, suites)
		if err != nil {
			return s, err
		}
		switch {
		case !compiles:
		case killed:
			s.killed++
		default:
			s.survived++
			fmt.Printf("survived %s:%d: %s: %s\n", relative, m.line, m.what, m.sourceLine(source))
		}
	}
	return s, nil
}

// try reports whether the tests notice a mutant of the package at path, and whether it
// compiles at all.
func (r *runner) try(m mutant, source []byte, path string, suites []*suite) (killed, compiles bool, err error) {
	changed := filepath.Join(r.scratch, "mutant.go")
	if err := os.WriteFile(changed, m.apply(source), 0o600); err != nil {
		return false, false, err
	}
	overlay := filepath.Join(r.scratch, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {m.file: changed}})
	if err != nil {
		return false, false, err
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return false, false, err
	}
	for _, suite := range suites {
		if err := r.measure(suite, path); err != nil {
			return false, false, err
		}
		reached := suite.reaching(m)
		if len(reached) == 0 {
			continue
		}
		binary := filepath.Join(r.scratch, "mutant.test")
		// The tests compile without the change; see measure. A change of a type, such as of the
		// length of an array, is one that only they may not compile with.
		if r.command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, suite.path).Run() != nil {
			return false, false, nil
		}
		for _, batch := range batches(reached) {
			if !r.passes(binary, suite, batch) {
				return true, true, nil
			}
		}
	}
	// If no test reaches it, nothing has compiled it so far.
	return false, r.compiles(overlay, path), nil
}

// compiles reports whether the package at path compiles with an overlay.
func (r *runner) compiles(overlay, path string) bool {
	return r.command("go", "build", "-overlay", overlay, path).Run() == nil
}

// command is a command that runs in the root of the repository.
func (r *runner) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = r.root
	return cmd
}

// readEquivalent reads the list of mutants that change nothing. Each entry is three
// lines: the reason after "# ", then "file: change: line of the source", then a blank line.
func readEquivalent(path string) (map[string]bool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	entries := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			entries[line] = true
		}
	}
	return entries, nil
}
