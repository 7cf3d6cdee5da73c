package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A suite is the tests of one package.
type suite struct {
	path, dir string
	// The rest is known once the suite is measured: its tests, fast ones first, and the blocks
	// of the changed package.
	tests  []test
	blocks []block
	// binary holds the tests with all mutants in functions; see together.
	binary []byte
}

// A test is one test, example or fuzz target.
type test struct {
	name string
	took time.Duration
	// reaches reports for each block of the suite whether the test runs it.
	reaches []bool
}

// A block is a range of source from start to end, both as line and column.
type block struct {
	file       string // base name
	start, end [2]int
}

// suitesOf returns the import path of a package, and its tests followed by those of the
// packages that import it directly, in code or in tests, or the tests that -tests names. The ones with fewer dependencies
// come first: they are compiled and linked faster.
func (r *runner) suitesOf(pkg string) (path string, suites []*suite, err error) {
	cmd := r.command("go", "list", "-json=Dir,ImportPath,Imports,TestImports,XTestImports,TestGoFiles,XTestGoFiles,Deps", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", nil, fmt.Errorf("go list: %w", err)
	}
	type listed struct {
		Dir, ImportPath                    string
		Imports, TestImports, XTestImports []string
		TestGoFiles, XTestGoFiles, Deps    []string
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			return "", nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
		if p.Dir == filepath.Join(r.root, pkg) {
			path = p.ImportPath
		}
	}
	if path == "" {
		return "", nil, errors.New("no such package")
	}
	slices.SortStableFunc(all, func(a, b listed) int {
		if a.ImportPath == path || b.ImportPath == path {
			return cmp.Compare(b.ImportPath, path) - cmp.Compare(a.ImportPath, path)
		}
		return cmp.Compare(len(a.Deps), len(b.Deps))
	})
	for _, p := range all {
		imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		wanted := p.ImportPath == path || slices.Contains(imports, path)
		if r.tests != "" {
			relative, _ := filepath.Rel(r.root, p.Dir)
			wanted = slices.Contains(strings.Split(r.tests, ","), "./"+filepath.ToSlash(relative))
		}
		if !wanted || len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			continue
		}
		suites = append(suites, &suite{path: p.ImportPath, dir: p.Dir})
	}
	return path, suites, nil
}

// measure runs each test of a suite alone, without a mutant, and records how long it took
// and what it reached of the package at path, also in further processes that got its flag
// test.gocoverdir. A test that fails is left out.
func (r *runner) measure(s *suite, path string) error {
	if len(s.tests) > 0 {
		return nil
	}
	binary := filepath.Join(r.scratch, "cover.test")
	if out, err := r.command("go", "test", "-c", "-vet=off", "-cover", "-coverpkg", path, "-o", binary, s.path).CombinedOutput(); err != nil {
		return fmt.Errorf("compile the tests of %s: %w\n%s", s.path, err, out)
	}
	list := exec.Command(binary, "-test.list", "^(Test|Example|Fuzz)")
	list.Dir = s.dir
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the tests of %s: %w", s.path, err)
	}
	counters, profile := filepath.Join(r.scratch, "counters"), filepath.Join(r.scratch, "profile")
	for name := range strings.FieldsSeq(string(names)) {
		if err := errors.Join(os.RemoveAll(counters), os.Mkdir(counters, 0o777), os.Chmod(counters, 0o777)); err != nil { //nolint:gosec // some tests run as another user
			return err
		}
		begin := time.Now()
		if r.run(r.timeout, binary, s.dir, "-test.run", "^"+name+"$", "-test.gocoverdir", counters) != passed {
			fmt.Printf("left out %s of %s, which fails without a mutant\n", name, s.path)
			continue
		}
		t := test{name: name, took: time.Since(begin)}
		if out, err := r.command("go", "tool", "covdata", "textfmt", "-i", counters, "-o", profile).CombinedOutput(); err != nil {
			return fmt.Errorf("coverage of %s: %w\n%s", name, err, out)
		}
		text, err := os.ReadFile(profile)
		if err != nil {
			return err
		}
		s.blocks, t.reaches = coverage(string(text), path)
		s.tests = append(s.tests, t)
	}
	if len(s.tests) == 0 {
		return fmt.Errorf("no test of %s passes without a mutant", s.path)
	}
	slices.SortStableFunc(s.tests, func(a, b test) int { return cmp.Compare(a.took, b.took) })
	return nil
}

// coverage parses a coverage profile into the blocks of a package, and whether each ran.
func coverage(profile, pkg string) (blocks []block, ran []bool) {
	line := regexp.MustCompile(`(?m)^(.+):(\d+)\.(\d+),(\d+)\.(\d+) \d+ (\d+)$`)
	for _, m := range line.FindAllStringSubmatch(profile, -1) {
		if path.Dir(m[1]) != pkg {
			continue
		}
		b := block{file: path.Base(m[1])}
		_, _ = fmt.Sscan(strings.Join(m[2:6], " "), &b.start[0], &b.start[1], &b.end[0], &b.end[1]) // the pattern holds digits
		blocks = append(blocks, b)
		ran = append(ran, m[6] != "0")
	}
	return blocks, ran
}

// reaching returns the tests that run the mutant, fast ones first. Where coverage has no block
// (conditions of cases, for example), those that reach the function around it, and outside of
// functions all.
func (s *suite) reaching(m mutant) []test {
	at := [2]int{m.line, m.col}
	blocks := s.where(m, func(b block) bool {
		return slices.Compare(b.start[:], at[:]) <= 0 && slices.Compare(at[:], b.end[:]) < 0
	})
	if len(blocks) == 0 {
		blocks = s.where(m, func(b block) bool { return b.end[0] >= m.function[0] && b.start[0] <= m.function[1] })
	}
	if len(blocks) == 0 {
		return s.tests
	}
	var reached []test
	for _, t := range s.tests {
		if slices.ContainsFunc(blocks, func(i int) bool { return t.reaches[i] }) {
			reached = append(reached, t)
		}
	}
	return reached
}

// where returns the indexes of the blocks in the mutant's file for which match returns true.
func (s *suite) where(m mutant, match func(block) bool) (found []int) {
	for i, b := range s.blocks {
		if b.file == filepath.Base(m.file) && match(b) {
			found = append(found, i)
		}
	}
	return found
}

// batches divides tests, fast ones first: most mutants never meet the slow ones.
func batches(tests []test) [][]test {
	const fast = 2 * time.Second
	var sum time.Duration
	for i, t := range tests {
		if sum += t.took; i > 0 && sum > fast {
			return append([][]test{tests[:i]}, batches(tests[i:])...)
		}
	}
	return [][]test{tests}
}

// outcome is what became of a run of tests.
type outcome int

const (
	passed outcome = iota
	failed
	timedOut
)

// outcome runs tests of a suite. They get several times as long as they took without the
// mutant, which may make them wait for ever.
func (r *runner) outcome(binary string, s *suite, tests []test) outcome {
	var took time.Duration
	names := make([]string, len(tests))
	for i, t := range tests {
		took += t.took
		names[i] = t.name
	}
	return r.run(min(r.timeout, 20*time.Second+5*took), binary, s.dir,
		"-test.failfast", "-test.run", "^("+strings.Join(names, "|")+")$")
}

// run runs a test binary in the folder of its package.
func (r *runner) run(timeout time.Duration, binary, dir string, args ...string) outcome {
	defer r.sweep()
	// The tests' own limit ends them first; the context is for those that ignore it.
	ctx, cancel := context.WithTimeout(context.Background(), timeout+30*time.Second)
	defer cancel()
	// Some mutants allocate without an end.
	args = append([]string{"-c", `ulimit -v 8000000; exec "$0" "$@"`, binary, "-test.timeout", timeout.String()}, args...)
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+r.temporary())
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil || bytes.Contains(out.Bytes(), []byte("panic: test timed out after")):
		return timedOut
	case err != nil:
		return failed
	}
	return passed
}

// sweep ends what a mutant has left behind: processes below the temporary folder of the
// tests. Where there is no /proc, it does nothing.
func (r *runner) sweep() {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well formed
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || !strings.HasPrefix(to, r.temporary()+"/") {
			continue // it has ended, or is none of ours
		}
		if pid, err := strconv.Atoi(path.Base(path.Dir(link))); err == nil {
			if process, err := os.FindProcess(pid); err == nil {
				_ = process.Kill() // it may have ended by itself
			}
		}
	}
}

// temporary is the temporary folder of the tests.
func (r *runner) temporary() string { return filepath.Join(r.scratch, "tmp") }
