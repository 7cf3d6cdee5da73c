package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// together is mutants of one package. Those in functions are compiled into one binary: each
// such function begins with a changed copy of itself for each of its mutants, which runs if
// the mutant is selected.
type together struct {
	path    string // import path of the package
	mutants []mutant
	sources map[string][]byte // of all files with mutants
}

// none selects no mutant.
const none = 99999

// marker is the text in the binary that selects a mutant. It is replaced there by another
// one, which takes less time than linking, and holds for processes that the tests start too.
func marker(i int) string { return fmt.Sprintf("selected-mutant-%05d", i) }

// files returns the package's changed files, and one that selects no mutant.
func (t *together) files() map[string][]byte {
	files := map[string][]byte{}
	copies := map[string]map[int]*bytes.Buffer{} // by file and start of the function's body
	for i, m := range t.mutants {
		if m.body[1] == 0 {
			continue
		}
		if copies[m.file] == nil {
			copies[m.file] = map[int]*bytes.Buffer{}
		}
		if copies[m.file][m.body[0]] == nil {
			copies[m.file][m.body[0]] = &bytes.Buffer{}
		}
		source := t.sources[m.file]
		begin, end := "return func()", "}() }"
		if m.results == "" {
			begin, end = "func()", "}(); return }"
		}
		// The name of the mutant in place of the file's is for the compiler's messages.
		fmt.Fprintf(copies[m.file][m.body[0]], "\nif selectedMutant == %q { %s %s {\n//line mutant%d:1\n%s%s%s\n%s\n",
			marker(i), begin, m.results, i, source[m.body[0]:m.start], m.text, source[m.end:m.body[1]], end)
	}
	for file, bodies := range copies {
		source := t.sources[file]
		var changed bytes.Buffer
		last := 0
		for _, start := range slices.Sorted(maps.Keys(bodies)) {
			changed.Write(source[last:start])
			changed.Write(bodies[start].Bytes())
			fmt.Fprintf(&changed, "//line %s:%d\n", filepath.Base(file), 1+bytes.Count(source[:start], []byte("\n")))
			last = start
		}
		changed.Write(source[last:])
		files[file] = changed.Bytes()
		name := regexp.MustCompile(`(?m)^package \w+`).Find(source)
		files[filepath.Join(filepath.Dir(file), "selected_mutant.go")] = fmt.Appendf(nil, "%s\n\nvar selectedMutant = %q\n", name, marker(none))
	}
	return files
}

// overlay writes files where the compiler reads them in place of those in the tree.
func (r *runner) overlay(files map[string][]byte) (path string, err error) {
	folder := filepath.Join(r.scratch, "overlay")
	if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, text := range files {
		replace[file] = filepath.Join(folder, filepath.Base(file))
		if err := os.WriteFile(replace[file], text, 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(r.scratch, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// dropBroken drops the mutants that do not compile.
func (r *runner) dropBroken(t *together) error {
	broken := map[int]bool{}
	for i, m := range t.mutants {
		if m.body[1] == 0 {
			overlay, err := r.overlay(map[string][]byte{m.file: m.apply(t.sources[m.file])})
			if err != nil {
				return err
			}
			broken[i] = r.command("go", "build", "-overlay", overlay, t.path).Run() != nil
		}
	}
	overlay, err := r.overlay(t.files())
	if err != nil {
		return err
	}
	out, err := r.command("go", "build", everyError(t.path), "-overlay", overlay, t.path).CombinedOutput()
	if err != nil {
		named := regexp.MustCompile(`\bmutant(\d+):\d+`).FindAllSubmatch(out, -1)
		if len(named) == 0 {
			return fmt.Errorf("compile %s with its mutants: %w\n%s", t.path, err, out)
		}
		for _, name := range named {
			i, _ := strconv.Atoi(string(name[1])) // the pattern holds digits
			broken[i] = true
		}
	}
	var good []mutant
	for i, m := range t.mutants {
		if !broken[i] {
			good = append(good, m)
		}
	}
	t.mutants = good
	return nil
}

// everyError makes the compiler report all errors in the package at path, not only the first ten.
func everyError(path string) string { return "-gcflags=" + path + "=-e" }

// join compiles the tests of a suite with all mutants, and leaves out those tests that fail
// although none is selected, for example because they count allocations.
func (r *runner) join(s *suite, t *together) error {
	if s.binary != nil {
		return nil
	}
	overlay, err := r.overlay(t.files())
	if err != nil {
		return err
	}
	binary := filepath.Join(r.scratch, "together.test")
	out, err := r.command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", everyError(t.path), "-overlay", overlay, "-o", binary, s.path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile the tests of %s: %w\n%s", s.path, err, out)
	}
	if s.binary, err = os.ReadFile(binary); err != nil {
		return err
	}
	if n := bytes.Count(s.binary, []byte(marker(none))); n > 1 {
		return fmt.Errorf("the tests of %s select a mutant in %d places", s.path, n)
	}
	if r.outcome(binary, s, s.tests) == passed {
		return nil
	}
	s.tests = slices.DeleteFunc(s.tests, func(one test) bool {
		fails := r.outcome(binary, s, []test{one}) != passed
		if fails {
			fmt.Printf("left out %s of %s, which fails beside the mutants\n", one.name, s.path)
		}
		return fails
	})
	return nil
}
