package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `package sample

import "errors"

func limit(n int) error {
	if n < 3 && ready {
		count++
		note()
		return nil
	}
	for n > 0 {
		defer note()
		last = n
		break
	}
	return errors.New("too many")
}

func note() { return }

var (
	ready       = true
	count, last int
)
`

// TestFind changes each thing that the package comment names, and nothing else.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sample.go")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sample_test.go"), []byte("package sample\n\nvar ignored = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := find(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		changed := m.apply([]byte(sample))
		got = append(got, m.what+": "+mutant{line: m.line}.sourceLine(changed))
	}
	want := []string{
		"negate condition: if !(n < 3 && ready) {",
		"&& becomes ||: if n < 3 || ready {",
		"< becomes <=: if n <= 3 && ready {",
		"3 becomes 3 + 1: if n < (3 + 1) && ready {",
		"3 becomes 3 - 1: if n < (3 - 1) && ready {",
		"drop ++: {}",
		"drop call: {}",
		"never loop: for false && (n > 0) {",
		"> becomes >=: for n >= 0 {",
		"0 becomes 0 + 1: for n > (0 + 1) {",
		"drop defer: {}",
		"drop assignment: {}",
		"drop break: {}",
		"error becomes nil: return nil",
		"drop return: func note() { {} }",
		"true becomes false: ready       = false",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("find returned\n%s\nwant\n%s", g, w)
	}
}

func TestFindWithoutPackage(t *testing.T) {
	if found, err := find(t.TempDir()); err == nil {
		t.Errorf("find of an empty folder = %d mutants, want an error", len(found))
	}
}
