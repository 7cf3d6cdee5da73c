package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
	own           bool      // without the tests of dependants
	equivalent    map[string]bool
}

// score counts what became of the mutants that were tried.
type score struct{ killed, survived int }

func (s *score) add(other score) {
	s.killed += other.killed
	s.survived += other.survived
}

func (s score) String() string {
	if s.killed+s.survived == 0 {
		return "no mutant was tried"
	}
	return fmt.Sprintf("%d of %d mutants killed, %.0f %%",
		s.killed, s.killed+s.survived, 100*float64(s.killed)/float64(s.killed+s.survived))
}

// sample tries a random sample of one package's mutants and prints the survivors.
func (r *runner) sample(pkg string) (s score, err error) {
	dir := filepath.Join(r.root, pkg)
	mutants, err := find(dir)
	if err != nil {
		return s, err
	}
	tests, err := r.testsOf(pkg)
	if err != nil {
		return s, err
	}
	took := map[string]time.Duration{}
	for _, t := range tests {
		begin := time.Now()
		if out, ok := r.test(t, ""); !ok {
			return s, fmt.Errorf("the tests of %s fail without any mutant:\n%s", t, out)
		}
		took[t] = time.Since(begin)
	}
	// Fast tests first: most mutants never reach the slow ones.
	slices.SortStableFunc(tests, func(a, b string) int { return cmp.Compare(took[a], took[b]) })
	fmt.Printf("%s: %d possible mutants; tests of %s\n", pkg, len(mutants), strings.Join(tests, " "))
	order := rand.New(rand.NewPCG(r.seed, 0)).Perm(len(mutants))
	for _, i := range order {
		if r.n > 0 && s.killed+s.survived == r.n || !r.until.IsZero() && time.Now().After(r.until) {
			break
		}
		m := mutants[i]
		source, err := os.ReadFile(m.file)
		if err != nil {
			return s, err
		}
		relative, _ := filepath.Rel(r.root, m.file)
		if r.equivalent[relative+": "+m.what+": "+m.sourceLine(source)] {
			continue
		}
		killed, compiles, err := r.try(m, source, tests)
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

// try reports whether the tests notice a mutant, and whether it compiles at all.
func (r *runner) try(m mutant, source []byte, tests []string) (killed, compiles bool, err error) {
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
	for _, t := range tests {
		out, ok := r.test(t, overlay)
		if ok {
			continue
		}
		return true, !strings.Contains(out, "[build failed]") && !strings.Contains(out, "[setup failed]"), nil
	}
	return false, true, nil
}

// test runs the tests of one package and returns what they print.
func (r *runner) test(pkg, overlay string) (out string, ok bool) {
	// The tests' own limit prints the goroutines; the context is for those that ignore it.
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout+30*time.Second)
	defer cancel()
	args := []string{"test", "-vet=off", "-failfast", "-count=1", "-timeout", r.timeout.String()}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = r.root
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	return buf.String(), err == nil
}

// testsOf returns a package and the packages that import it directly, in code or in
// tests, as far as they have tests.
func (r *runner) testsOf(pkg string) ([]string, error) {
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,Imports,TestImports,XTestImports,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = r.root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	type listed struct {
		Dir, ImportPath                    string
		Imports, TestImports, XTestImports []string
		TestGoFiles, XTestGoFiles          []string
	}
	var all []listed
	var path string
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
		if p.Dir == filepath.Join(r.root, pkg) {
			path = p.ImportPath
		}
	}
	if path == "" {
		return nil, errors.New("no such package")
	}
	var own, others []string
	for _, p := range all {
		if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			continue
		}
		imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		switch {
		case p.ImportPath == path:
			own = append(own, p.ImportPath)
		case slices.Contains(imports, path):
			others = append(others, p.ImportPath)
		}
	}
	if r.own {
		others = nil
	}
	return append(own, others...), nil
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
