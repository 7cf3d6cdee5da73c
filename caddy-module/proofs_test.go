package caddymodule_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tests returns the names of all tests and fuzz targets, with their files, by their paths from
// the root of the repository.
func tests(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name() == "testdata" || d.Name() == "node_modules" || d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
		for _, found := range declared.FindAllStringSubmatch(string(text), -1) {
			all[found[1]] = append(all[found[1]], name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// testNames returns the tests that a text names.
func testNames(text string) []string {
	return regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(text, -1)
}

// TestDocumentsNameTestsThatExist verifies that the tests to which docs/reliability.md and
// other documents refer still exist.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	known := tests(t)
	links := regexp.MustCompile(`\[((?:Test|Fuzz)\w+)\]\(([^)\s]+)\)`)
	linked := 0
	for _, file := range append(documents(t), filepath.Join("..", "SECURITY.md"), filepath.Join("..", "CONTRIBUTING.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range testNames(string(text)) {
			if len(known[name]) == 0 {
				t.Errorf("%s names %s: there is no such test", filepath.Base(file), name)
			}
		}
		folder, err := filepath.Rel("..", filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links.FindAllStringSubmatch(string(text), -1) {
			linked++
			target, is := path.Join(filepath.ToSlash(folder), link[2]), false
			for _, in := range known[link[1]] {
				is = is || in == target
			}
			if !is {
				t.Errorf("%s: %s is not in %s, but in %v", filepath.Base(file), link[1], target, known[link[1]])
			}
		}
	}
	if linked < 50 {
		t.Errorf("found %d links to tests, want 50 or more", linked)
	}
}

// TestMutantsSayWhatTheyBreak checks the headers of testdata/mutants, from which
// testdata/mutants/run learns which tests to run.
func TestMutantsSayWhatTheyBreak(t *testing.T) {
	known := tests(t)
	patches, err := filepath.Glob(filepath.Join("..", "testdata", "mutants", "*.patch"))
	if err != nil {
		t.Fatal(err)
	}
	if len(patches) < 15 {
		t.Errorf("found %d mutants, want 15 or more", len(patches))
	}
	header := regexp.MustCompile(`\ABreaks: \S.*\nNotices: (.+)\nTests: (\./.+)\n\ndiff --git a/(\S+) b/`)
	for _, patch := range patches {
		text, err := os.ReadFile(patch)
		if err != nil {
			t.Fatal(err)
		}
		found := header.FindStringSubmatch(string(text))
		if found == nil {
			t.Errorf("%s: the header is not as testdata/mutants/run describes", filepath.Base(patch))
			continue
		}
		packages := map[string]bool{}
		for _, folder := range strings.Fields(found[2]) {
			packages[strings.TrimPrefix(folder, "./")] = true
			if _, err := os.Stat(filepath.Join("..", folder)); err != nil {
				t.Errorf("%s: %v", filepath.Base(patch), err)
			}
		}
		if len(testNames(found[1])) == 0 {
			t.Errorf("%s: no test should notice", filepath.Base(patch))
		}
		for _, name := range testNames(found[1]) {
			is := false
			for _, in := range known[name] {
				is = is || packages[path.Dir(in)]
			}
			if !is {
				t.Errorf("%s: %s is in none of %s", filepath.Base(patch), name, found[2])
			}
		}
		if strings.HasSuffix(found[3], "_test.go") || strings.Contains(string(text), "_test.go b/") {
			t.Errorf("%s changes a test", filepath.Base(patch))
		}
	}
}
