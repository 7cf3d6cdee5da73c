package main

import (
	"bytes"
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
type score struct{ killed, timedOut, survived, equivalent int }

func (s *score) add(other score) {
	s.killed += other.killed
	s.timedOut += other.timedOut
	s.survived += other.survived
	s.equivalent += other.equivalent
}

func (s score) String() string {
	if s.killed+s.survived == 0 {
		return "no mutant was tried"
	}
	return fmt.Sprintf("%d of %d mutants killed, %.0f %% (%d by a timeout; %d equivalent ones were drawn)",
		s.killed, s.killed+s.survived, 100*float64(s.killed)/float64(s.killed+s.survived), s.timedOut, s.equivalent)
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
	all, equivalent, err := r.draw(path, mutants)
	if err != nil {
		return s, err
	}
	s.equivalent = equivalent
	for i, m := range all.mutants {
		if !r.until.IsZero() && time.Now().After(r.until) {
			break
		}
		got, compiles, err := r.try(all, i, suites)
		if err != nil {
			return s, err
		}
		described := fmt.Sprintf("%s:%d: %s", r.relative(m.file), m.line, m.described(all.sources[m.file]))
		switch {
		case !compiles:
		case got == passed:
			s.survived++
			fmt.Println("survived " + described)
		case got == timedOut:
			s.timedOut++
			fmt.Println("timed out " + described)
			fallthrough
		default:
			s.killed++
		}
	}
	return s, nil
}

// draw returns a random sample of the mutants of the package at path that compile and are
// not equivalent, and how many equivalent ones it met.
func (r *runner) draw(path string, mutants []mutant) (drawn *together, equivalent int, err error) {
	t := &together{path: path, sources: map[string][]byte{}}
	for _, m := range mutants {
		if t.sources[m.file] == nil {
			if t.sources[m.file], err = os.ReadFile(m.file); err != nil {
				return nil, 0, err
			}
		}
	}
	order := rand.New(rand.NewPCG(r.seed, 0)).Perm(len(mutants))
	for {
		for len(order) > 0 && (r.n == 0 || len(t.mutants) < r.n) {
			m := mutants[order[0]]
			order = order[1:]
			switch {
			case r.at != "" && !slices.Contains(strings.Split(r.at, ","), fmt.Sprintf("%s:%d", filepath.Base(m.file), m.line)):
			case r.equivalent[r.relative(m.file)+": "+m.described(t.sources[m.file])]:
				equivalent++
			default:
				t.mutants = append(t.mutants, m)
			}
		}
		before := len(t.mutants)
		if err := r.dropBroken(t); err != nil {
			return nil, 0, err
		}
		if len(t.mutants) == before {
			return t, equivalent, nil
		}
	}
}

// relative is a file's name from the root.
func (r *runner) relative(file string) string {
	name, _ := filepath.Rel(r.root, file) // both are absolute
	return name
}

// try runs the tests with one mutant, and reports whether they compile with it. A change of
// a type, such as of the length of an array, is one that only they may not compile with.
func (r *runner) try(t *together, i int, suites []*suite) (got outcome, compiles bool, err error) {
	m := t.mutants[i]
	for _, suite := range suites {
		if err := r.measure(suite, t.path); err != nil {
			return 0, false, err
		}
		if m.body[1] > 0 {
			if err := r.join(suite, t); err != nil {
				return 0, false, err
			}
		}
		reached := suite.reaching(m)
		if len(reached) == 0 {
			continue
		}
		binary := filepath.Join(r.scratch, "mutant.test")
		if err := os.RemoveAll(binary); err != nil { // it may still run
			return 0, false, err
		}
		if m.body[1] > 0 {
			selected := bytes.Replace(suite.binary, []byte(marker(none)), []byte(marker(i)), 1)
			if err := os.WriteFile(binary, selected, 0o755); err != nil { //nolint:gosec // a program, which other users run
				return 0, false, err
			}
		} else {
			overlay, err := r.overlay(map[string][]byte{m.file: m.apply(t.sources[m.file])})
			if err != nil {
				return 0, false, err
			}
			if r.command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, suite.path).Run() != nil {
				return 0, false, nil
			}
		}
		for _, batch := range batches(reached) {
			if got := r.outcome(binary, suite, batch); got != passed {
				return got, true, nil
			}
		}
	}
	return passed, true, nil
}

// command is a command that runs in the root of the repository.
func (r *runner) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = r.root
	return cmd
}

// readEquivalent reads the list of mutants that change nothing. Each entry is three
// lines: the reason after "# ", then "file: function: change: line of the source", then a blank
// line. It holds for all such lines of the function; outside of functions, it names none.
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
