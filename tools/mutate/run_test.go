package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A module with a package a, whose tests do not reach all of it, and a package b that imports it.
var module = map[string]string{
	"go.mod": "module example.com/m\n\ngo 1.26\n",
	"a/a.go": `package a

func Max(a, b int) int {
	if a > b {
		return a
	}
	return b
}

func Add(a, b int) int { return a + b }

func Name(s string) string { return "x" + s }

func Unused(n int) int { return n * 2 }
`,
	"a/a_test.go": `package a

import "testing"

func TestMax(t *testing.T) {
	if Max(1, 2) != 2 || Max(2, 1) != 2 {
		t.Error("Max is not the larger one")
	}
}

func TestBroken(t *testing.T) { t.Error("fails without a mutant") }
`,
	"b/b_test.go": `package b_test

import (
	"testing"

	"example.com/m/a"
)

func TestAdd(t *testing.T) {
	if a.Add(2, 1) != 3 || a.Name("y") != "xy" {
		t.Error("Add does not add")
	}
}
`,
}

func TestSample(t *testing.T) {
	root := t.TempDir()
	for name, text := range module {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The condition is negated, + becomes -, and there are three mutants of Unused. Texts cannot
	// be subtracted.
	for _, tt := range []struct {
		name      string
		at, tests string
		want      score
	}{
		{"tests of the package and of its dependants", "", "", score{killed: 2, survived: 3, equivalent: 1}},
		{"tests of the package alone", "", "./a", score{killed: 1, survived: 4, equivalent: 1}},
		{"one line", "a.go:10", "", score{killed: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &runner{
				root: root, scratch: t.TempDir(), seed: 1, timeout: time.Minute, at: tt.at, tests: tt.tests,
				equivalent: map[string]bool{"a/a.go: Max: > becomes >=: if a > b {": true},
			}
			if err := os.Mkdir(r.temporary(), 0o700); err != nil {
				t.Fatal(err)
			}
			if got, err := r.sample("./a"); got != tt.want || err != nil {
				t.Errorf("sample = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// An entry whose line has changed matches no mutant any more.
func TestEquivalentMutantsAreStillThere(t *testing.T) {
	r := &runner{root: filepath.Join("..", "..")}
	entries, err := readEquivalent("equivalent.txt")
	if err != nil {
		t.Fatal(err)
	}
	dirs, there := map[string]bool{}, map[string]bool{}
	for entry := range entries {
		file, _, _ := strings.Cut(entry, ": ")
		dirs[filepath.Dir(file)] = true
	}
	for dir := range dirs {
		mutants, err := find(filepath.Join(r.root, dir))
		if err != nil {
			t.Fatal(err)
		}
		sources := map[string][]byte{}
		for _, m := range mutants {
			if sources[m.file] == nil {
				if sources[m.file], err = os.ReadFile(m.file); err != nil {
					t.Fatal(err)
				}
			}
			there[r.relative(m.file)+": "+m.described(sources[m.file])] = true
		}
	}
	for entry := range entries {
		if !there[entry] {
			t.Errorf("equivalent.txt has an entry for no mutant: %s", entry)
		}
	}
}
