package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

var update = flag.Bool("update", false, "write the goldens anew")

const goldens = "../testdata/caddyfile"

// separator stands between a Caddyfile and its result.
const separator = "----------\n"

// adapt returns the JSON of a Caddyfile, or the error.
func adapt(text string) (config []byte, err error) {
	config, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// TestCaddyfileGoldens reads each file, and compares the JSON or the error with the part below
// the line.
func TestCaddyfileGoldens(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldens, "*.caddyfiletest"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(text), separator)
			if !ok {
				t.Fatalf("no line %q", separator)
			}
			config, err := adapt(input)
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			} else {
				var indented bytes.Buffer
				if err := json.Indent(&indented, config, "", "\t"); err != nil {
					t.Fatal(err)
				}
				got = indented.String() + "\n"
			}
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("adapt (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEachDirectiveHasAcceptingAndRefusingFile verifies that the goldens are complete.
func TestEachDirectiveHasAcceptingAndRefusingFile(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldens, "*.caddyfiletest"))
	if err != nil {
		t.Fatal(err)
	}
	accepted, refused := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, result, _ := strings.Cut(string(text), separator)
		for _, line := range strings.Split(input, "\n") {
			if words := strings.Fields(line); len(words) > 0 {
				if strings.HasPrefix(result, "{") {
					accepted[words[0]] = true
				} else if strings.HasPrefix(filepath.Base(file), words[0]+"_") {
					refused[words[0]] = true
				}
			}
		}
	}
	for _, directive := range []string{
		"queue", "executors", "queue_limit", "orphan_timeout", "keep_removed", "keep_builds", "shutdown_timeout", "wrong_tokens", "audit",
		"root_url", "methods", "joined", "ready", "access", "quiet_period", "timeout", "env", "dir", "token", "expires", "grant", "allow",
		"folder", "job", "description", "disabled", "concurrent", "badge", "coalesce", "param", "run", "poll",
	} {
		if !accepted[directive] {
			t.Errorf("no file shows %s accepted", directive)
		}
		if !refused[directive] {
			t.Errorf("no file %s_… shows it refused", directive)
		}
	}
}

// TestExampleIsValidAndFormatted loads the example as `caddy validate` does.
func TestExampleIsValidAndFormatted(t *testing.T) {
	home(t)
	text, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(caddyfile.Format(text)), string(text)); diff != "" {
		t.Errorf("caddy fmt would change it (-formatted +file):\n%s", diff)
	}
	config, err := adapt(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := provision(config); err != nil {
		t.Errorf("validate: %v", err)
	}
}

// provision loads a configuration as `caddy validate` does, without starting it.
func provision(config []byte) error {
	var parsed caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		return err
	}
	return caddy.Validate(&parsed)
}

// FuzzCaddyfile reads any text as the directive and as the option. What is accepted must be the
// same after encoding and decoding JSON.
func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(goldens, "*.caddyfiletest"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(text), separator)
		if at := strings.Index(input, "build_token"); at >= 0 {
			f.Add(input[at:])
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		handler := new(caddymodule.Handler)
		if err := handler.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err == nil {
			throughJSON(t, handler, new(caddymodule.Handler))
		} else if err.Error() == "" {
			t.Error("an error without text")
		}
		app := new(caddymodule.App)
		if err := app.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err == nil {
			throughJSON(t, app, new(caddymodule.App))
		}
	})
}

// throughJSON encodes, decodes and encodes again.
func throughJSON(t *testing.T, from, to any) {
	t.Helper()
	once, err := json.Marshal(from)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	if err := caddy.StrictUnmarshalJSON(once, to); err != nil {
		t.Fatalf("decode %s: %v", once, err)
	}
	twice, err := json.Marshal(to)
	if err != nil {
		t.Fatalf("encode again: %v", err)
	}
	if !bytes.Equal(once, twice) {
		t.Errorf("through JSON: got %s, want %s", twice, once)
	}
}
