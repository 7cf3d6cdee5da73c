package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A package whose functions are copied: with labels, results that have names, recovered
// panics, a method, a type parameter, and a function outside of functions.
const copied = `package c

type stack[T any] []T

func (s *stack[T]) pop() (last T, ok bool) {
	if len(*s) == 0 {
		return
	}
	last = (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last, true
}

func find(rows [][]int, n int) (at int, err error) {
	defer func() {
		if recover() != nil {
			at = -1
		}
	}()
rows:
	for i, row := range rows {
		for _, cell := range row {
			if cell == n {
				at = i
				break rows
			}
		}
	}
	return at, err
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	}
	unused := n + 1
	unused++
	panic("not negative")
}

var double = func(n int) int { return n * 2 }

const text = "a" + "b"
`

// TestMutantsCompileTogetherAsAlone drops those mutants that do not compile alone, and no others.
func TestMutantsCompileTogetherAsAlone(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "c.go")
	for name, content := range map[string]string{"go.mod": "module example.com/c\n\ngo 1.26\n", "c.go": copied} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := find(root)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{root: root, scratch: t.TempDir()}
	var want, got []string
	for _, m := range found {
		overlay, err := r.overlay(map[string][]byte{path: m.apply([]byte(copied))})
		if err != nil {
			t.Fatal(err)
		}
		if r.command("go", "build", "-overlay", overlay, ".").Run() == nil {
			want = append(want, fmt.Sprint(m.line, m.what))
		}
	}
	all := &together{path: "example.com/c", mutants: found, sources: map[string][]byte{path: []byte(copied)}}
	for before := -1; before != len(all.mutants); {
		before = len(all.mutants)
		if err := r.dropBroken(all); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range all.mutants {
		got = append(got, fmt.Sprint(m.line, m.what))
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w || len(want) == len(found) {
		t.Errorf("of %d mutants, together there are\n%s\nalone\n%s", len(found), g, w)
	}
}
