//go:build unix

package execrunner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"program": 0o700, "text": 0o600, "others": 0o601} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		config execrunner.Config
		env    []string
		want   string // in the error; "": none
	}{
		{"a program in PATH", execrunner.Config{Command: "sh"}, nil, ""},
		{"a program in the PATH of the job", execrunner.Config{Command: "program"}, []string{"PATH=" + dir}, ""},
		{"a program in the PATH of the run block", execrunner.Config{Command: "program", Env: []string{"PATH=" + dir}}, nil, ""},
		{"no such program in PATH", execrunner.Config{Command: "no-such-program"}, nil, "not found"},
		{"no PATH", execrunner.Config{Command: "sh", InheritEnv: []string{}}, nil, "not found"},
		{"a path", execrunner.Config{Command: filepath.Join(dir, "program")}, nil, ""},
		{"no such path", execrunner.Config{Command: filepath.Join(dir, "other")}, nil, "no such file"},
		{"not executable", execrunner.Config{Command: filepath.Join(dir, "text")}, nil, "permission denied"},
		{"executable for other users", execrunner.Config{Command: filepath.Join(dir, "others")}, nil, ""},
		{"a directory", execrunner.Config{Command: dir}, nil, dir},
		{"below the configured directory", execrunner.Config{Command: "./program", Dir: dir}, nil, ""},
		{"missing below the configured directory", execrunner.Config{Command: "./other", Dir: dir}, nil, "no such file"},
		{"in the workspace", execrunner.Config{Command: "./other"}, nil, ""},
		{"no such user", execrunner.Config{Command: "sh", User: "no-such-user"}, nil, "no-such-user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := execrunner.New(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			err = r.Missing(tt.env)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Missing() = %v, want %q", err, tt.want)
			}
		})
	}
}
