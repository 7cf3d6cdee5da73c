//go:build unix

package execrunner_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
)

func TestReasonWhyAScriptCannotStart(t *testing.T) {
	writable, broken := filepath.Join(t.TempDir(), "writable"), filepath.Join(t.TempDir(), "broken")
	if err := errors.Join(os.WriteFile(writable, nil, 0o600), os.Chmod(writable, 0o622), os.WriteFile(broken, []byte("#!/no/such/sh\n"), 0o601)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, content string
		want          string
	}{
		{"an interpreter that all may write", "#!" + writable + "\n", writable + `" is not an executable file`},
		{"an interpreter that others may execute, whose own is missing", "#!" + broken + "\n", "no such file or directory"},
		{"CRLF", "#!/bin/bash\r\necho hello\r\n", `the script exists, but its interpreter "/bin/bash\r" does not: the lines end in CRLF, convert them to LF`},
		{"CRLF after an argument", "#!/no/such/sh -e\r\n", `its interpreter "/no/such/sh" does not`},
		{"no such interpreter", "#! /no/such/interpreter -x\necho hello\n", `the script exists, but its interpreter "/no/such/interpreter" does not`},
		{"a tab before the argument", "#!/no/such/sh\t-e\n", `the script exists, but its interpreter "/no/such/sh" does not`},
		{"an interpreter that is no program", "#!/etc/passwd\n", `the script's interpreter "/etc/passwd" is not an executable file`},
		{"an interpreter that is a directory", "#!/etc\n", `the script's interpreter "/etc" is not an executable file`},
		{"an empty interpreter", "#!\n", "the script's #! line names no interpreter"},
		{"no #! line", "echo hello\n", "the file has no #! line: add one, such as #!/bin/sh"},
		{"empty", "", "the file has no #! line: add one, such as #!/bin/sh"},
		{"a byte order mark", "\ufeff#!/bin/sh\n", "the script begins with a byte order mark, remove it: the file must begin with #!"},
		{"a program for another system", "\x7fELF\x02\x01\x01", "the file is a program for another system, or its loader is not installed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuild(t)
			path := filepath.Join(b.Workspace, "deploy")
			if err := os.WriteFile(path, []byte(tt.content), 0o755); err != nil {
				t.Fatal(err)
			}
			res, _ := run(t, execrunner.Config{Command: "./deploy"}, b)
			if res.Outcome != runner.NotBuilt || !strings.HasSuffix(res.Reason, tt.want) {
				t.Errorf("Run = %+v, want %s, reason with %q at its end", res, runner.NotBuilt, tt.want)
			}
		})
	}
}

// Without /dev, as in some containers, the reason is not the program.
func TestMissingDeviceIsNotBlamedOnTheProgram(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	missing := &os.PathError{Op: "open", Path: os.DevNull, Err: os.ErrNotExist}
	if got := execrunner.StartError(missing, program); got.Error() != missing.Error() {
		t.Errorf("the error is %q, want %q", got, missing)
	}
}
