package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// whsec is a secret of Standard Webhooks: the bytes 0 to 23.
const whsec = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"

// fence is a fenced block of a document.
type fence struct {
	file string
	line int
	info string
	text string
}

// documents are the files that users read, by their paths from the root of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join("..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) < 8 {
		t.Fatalf("found %d documents in docs, want 8 or more", len(docs))
	}
	return append(docs, filepath.Join("..", "README.md"))
}

// fences returns the fenced blocks of a document. The indentation of a block in a list is
// removed from its text.
func fences(t *testing.T, file string) []fence {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []fence
	var open *fence
	var indent string
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		trimmed := strings.TrimLeft(line, " ")
		info, isFence := strings.CutPrefix(trimmed, "```")
		switch {
		case open == nil && isFence:
			indent = line[:len(line)-len(trimmed)]
			open = &fence{file: filepath.Base(file), line: n, info: strings.TrimSpace(info)}
		case open != nil && isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent)
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block has no end", file, open.line)
	}
	return all
}

// whole completes a fragment to a Caddyfile.
func (f fence) whole(t *testing.T) string {
	t.Helper()
	job := func(text string) string {
		for _, needed := range []string{"token {env.DOCS_TOKEN}", "run true"} {
			word, _, _ := strings.Cut(needed, " ")
			if !regexp.MustCompile(`(?m)^` + word + `(ner)? `).MatchString(text) {
				text += needed + "\n"
			}
		}
		return "job docs {\n" + text + "}\n"
	}
	site := func(text string) string { return "docs.test {\n" + text + "}\n" }
	directive := func(text string) string { return site("build_token {\n" + text + "}\n") }
	switch f.info {
	case "caddyfile":
		return f.text
	case "caddyfile site":
		return site(f.text)
	case "caddyfile access":
		return directive("access {\n" + f.text + "}\n" + job(""))
	case "caddyfile folder":
		return directive("folder docs {\n" + f.text + job("") + "}\n")
	case "caddyfile job":
		return directive(job(f.text))
	}
	t.Fatalf("%s:%d: the block is of unknown kind %q", f.file, f.line, f.info)
	return ""
}

// TestEveryCaddyfileOfTheDocumentsIsValid loads each as `caddy validate` does: every directive
// must exist, every policy must compile, and every secret must be found.
func TestEveryCaddyfileOfTheDocumentsIsValid(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	found := 0
	for _, file := range append(documents(t), filepath.Join("..", "Caddyfile.example")) {
		blocks := []fence{{file: filepath.Base(file), line: 1, info: "caddyfile"}}
		if filepath.Ext(file) == ".md" {
			blocks = fences(t, file)
		} else {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			blocks[0].text = string(text)
		}
		for _, f := range blocks {
			if !strings.HasPrefix(f.info, "caddyfile") {
				continue
			}
			found++
			t.Run(fmt.Sprintf("%s_line_%d", f.file, f.line), func(t *testing.T) {
				if formatted := caddyfile.Format([]byte(f.text)); !bytes.Equal(bytes.TrimSpace(formatted), []byte(strings.TrimSpace(f.text))) {
					t.Errorf("caddy fmt makes this of it:\n%s", formatted)
				}
				validateDocument(t, f.whole(t))
			})
		}
	}
	if found < 30 {
		t.Errorf("found %d Caddyfiles in the documents, want 30 or more", found)
	}
}

// validateDocument provisions a Caddyfile without starting it. The secrets to which it refers
// are generated.
func validateDocument(t *testing.T, text string) {
	t.Helper()
	for _, env := range regexp.MustCompile(`\{env\.(\w+)\}`).FindAllStringSubmatch(text, -1) {
		if os.Getenv(env[1]) == "" {
			value := "secret of " + env[1]
			switch {
			case env[1] == "DATABASE_URL":
				value = "postgres://ci:secret@127.0.0.1:1/ci"
			case strings.HasSuffix(env[1], "_URL"):
				value = "https://hooks.example.com/secret/of/" + env[1]
			}
			t.Setenv(env[1], value)
		}
	}
	dir := t.TempDir()
	text = regexp.MustCompile(`\{file\.[^}]+\}`).ReplaceAllStringFunc(text, func(placeholder string) string {
		path := filepath.Join(dir, filepath.Base(strings.Trim(placeholder, "{}")))
		secret := "secret of " + path
		switch filepath.Ext(path) {
		case ".key":
			secret = strings.Repeat("5e", 32)
		case ".whsec":
			secret = whsec
		}
		if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + path + "}"
	})
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("adapt: %v\n%s", err, text)
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") { // a fragment is indented differently from a whole file
			t.Errorf("warning: %s\n%s", w, text)
		}
	}
	mistakes, err := caddymodule.Warnings(config)
	if err != nil {
		t.Fatalf("validate: %v\n%s", err, text)
	}
	for _, w := range mistakes {
		if w.Code != caddymodule.CodeProgram { // the programs and users of examples need not exist here
			t.Errorf("%s\n%s", w, text)
		}
	}
}

// TestRecipesAreTested compares the rules of the case files docs_*.txt with those of
// docs/policies.md, so that the documented rules are the tested ones.
func TestRecipesAreTested(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "policy", "docs_*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d case files docs_*.txt, want 10 or more", len(files))
	}
	document := filepath.Join("..", "docs", "policies.md")
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, recipes, ok := strings.Cut(string(text), "\n## Recipes\n")
	if !ok {
		t.Fatalf("%s has no recipes", document)
	}
	rules := regexp.MustCompile("(?m)^\\s*(?:allow|build|read|cancel) `([^`]+)`").FindAllStringSubmatch(recipes, -1)
	tested := map[string]bool{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := policy.ParseCase(f)
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, r := range c.Rules {
			tested[r.Source] = true
			if !slices.ContainsFunc(rules, func(rule []string) bool { return rule[1] == r.Source }) {
				t.Errorf("%s: the rule `%s` is no recipe", filepath.Base(file), r.Source)
			}
		}
	}
	for _, rule := range rules {
		if !tested[rule[1]] {
			t.Errorf("the recipe `%s` has no case file", rule[1])
		}
	}
}

// TestLinksOfTheDocumentsLeadSomewhere checks links inside the repository, to files and to
// headings.
func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	found := 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(text), -1) {
			target, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			found++
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), filepath.FromSlash(target))
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: link to %s: %v", filepath.Base(file), link[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(t, path), anchor) {
				t.Errorf("%s: link to %s: no such heading", filepath.Base(file), link[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d links, want 20 or more", found)
	}
}

// anchors returns the names of a document's headings, as GitHub generates them.
func anchors(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// TestAccessMatrixOfTheDocument compares the table in docs/http-api.md with the scenario that
// generates it; -update copies it.
func TestAccessMatrixOfTheDocument(t *testing.T) {
	const begin, end = "<!-- access matrix: begin (generated; do not edit) -->\n", "<!-- access matrix: end -->\n"
	scenario, err := os.ReadFile(filepath.Join("..", "testdata", "http", "read_access.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, shown, ok := strings.Cut(string(scenario), "\n! matrix\n")
	if !ok {
		t.Fatal("the scenario has no matrix")
	}
	var want strings.Builder
	want.WriteString("```text\n")
	for line := range strings.Lines(shown) {
		row, ok := strings.CutPrefix(line, "< ")
		if !ok {
			break
		}
		want.WriteString(row)
	}
	want.WriteString("```\n")
	path := filepath.Join("..", "docs", "http-api.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, okBegin := strings.Cut(string(text), begin)
	got, after, okEnd := strings.Cut(rest, end)
	switch {
	case !okBegin || !okEnd:
		t.Fatalf("%s has no place for the matrix", path)
	case got == want.String():
	case *update:
		if err := os.WriteFile(path, []byte(before+begin+want.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the matrix in %s differs from that of the scenario read_access; go test ./caddy-module -run AccessMatrix -update copies it", path)
	}
}

// TestMetricsOfTheDocument compares the table with the metrics.
func TestMetricsOfTheDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if row, ok := strings.CutPrefix(line, "| `caddy_build_token_"); ok {
			names, _, _ := strings.Cut(row, " |")
			documented = append(documented, strings.Split("caddy_build_token_"+strings.Trim(names, "`"), "`, `")...)
		}
	}
	slices.Sort(documented)
	if diff := cmp.Diff(caddymodule.MetricNames(), documented); diff != "" {
		t.Errorf("names of metrics (-shown +documented):\n%s", diff)
	}
}

// TestCaddyfileOfTheKubernetesExample loads the Caddyfile that the example mounts, with its
// secret.
func TestCaddyfileOfTheKubernetesExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "kubernetes.yml"))
	if err != nil {
		t.Fatal(err)
	}
	_, inner, found := strings.Cut(string(text), "  Caddyfile: |\n")
	inner, _, _ = strings.Cut(inner, "\n---\n")
	if !found {
		t.Fatal("the example has no Caddyfile")
	}
	token := filepath.Join(home(t), "hello")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	for line := range strings.Lines(inner) {
		file.WriteString(strings.TrimPrefix(line, "    "))
	}
	config, err := adapt(strings.ReplaceAll(file.String(), "/run/secrets/buildtoken/hello", token))
	if err != nil {
		t.Fatalf("adapt: %v\n%s", err, file.String())
	}
	var c caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&c); err != nil {
		t.Errorf("validate: %v", err)
	}
}
