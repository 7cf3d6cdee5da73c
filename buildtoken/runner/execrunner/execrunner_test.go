//go:build unix

package execrunner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
	"github.com/buildtoken/buildtoken/internal/runnertest"
)

func TestContract(t *testing.T) {
	runnertest.Run(t, func(t *testing.T, s runnertest.Script) (runner.Runner, func() int) {
		mark := fmt.Sprintf("EXECRUNNER_TEST=%d %s", os.Getpid(), t.Name())
		script, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		c := execrunner.Config{
			Command: os.Args[0], Args: []string{"play=" + string(script)},
			// Otherwise, a test program that measures coverage writes a warning into the log.
			Env: []string{mark, "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + t.TempDir()}, KillDelay: 500 * time.Millisecond,
		}
		if s.Broken {
			c.Command = "no-such-command"
		}
		return newRunner(t, c), counter(mark)
	})
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config execrunner.Config
		want   string
	}{
		{"no command", execrunner.Config{}, "command"},
		{"NUL in the command", execrunner.Config{Command: "a\x00b"}, "command"},
		{"NUL in an argument", execrunner.Config{Command: "a", Args: []string{"x", "\x00"}}, "argument 2"},
		{"a reference without end", execrunner.Config{Command: "a", Args: []string{"{param.X"}}, "argument 1"},
		{"a reference to no name", execrunner.Config{Command: "a", Args: []string{"{param.}"}}, "argument 1"},
		{"a reference to a bad name", execrunner.Config{Command: "a", Args: []string{"{param.1X}"}}, "argument 1"},
		{"a reference to a name with a blank", execrunner.Config{Command: "a", Args: []string{"{param.X Y}"}}, "argument 1"},
		{"a variable without =", execrunner.Config{Command: "a", Env: []string{"A"}}, `"A"`},
		{"a variable without name", execrunner.Config{Command: "a", Env: []string{"=secret"}}, `""`},
		{"NUL in a variable", execrunner.Config{Command: "a", Env: []string{"A=secret\x00"}}, "A holds a NUL"},
		{"NUL in the name of a variable", execrunner.Config{Command: "a", Env: []string{"A\x00=secret"}}, `"A\x00"`},
		{"NUL in an inherited variable", execrunner.Config{Command: "a", InheritEnv: []string{"A\x00"}}, `"A\x00"`},
		{"an inherited variable without name", execrunner.Config{Command: "a", InheritEnv: []string{""}}, `""`},
		{"an inherited variable with value", execrunner.Config{Command: "a", InheritEnv: []string{"A=b"}}, `"A=b"`},
		{"a directory above the workspace", execrunner.Config{Command: "a", Dir: "../x"}, `"../x"`},
		{"NUL in the directory", execrunner.Config{Command: "a", Dir: "x\x00"}, "leads out of the workspace"},
		{"a negative exit status", execrunner.Config{Command: "a", Unstable: -1}, "-1"},
		{"an exit status that does not exist", execrunner.Config{Command: "a", Unstable: 256}, "256"},
		{"a negative kill delay", execrunner.Config{Command: "a", KillDelay: -1}, "-1ns"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := execrunner.New(tt.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want an error with %s", err, tt.want)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("New = %v shows the value", err)
			}
		})
	}
	newRunner(t, execrunner.Config{Command: "a", Unstable: 255})
}

func TestDefaultIsThatOfTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../../../docs/caddyfile.md")
	if err != nil {
		t.Fatal(err)
	}
	if row := fmt.Sprintf("| `kill_delay <duration>` | %.0fs |", execrunner.DefaultKillDelay.Seconds()); !strings.Contains(string(text), row) {
		t.Errorf("docs/caddyfile.md does not contain %q", row)
	}
}

func TestParams(t *testing.T) {
	r := newRunner(t, execrunner.Config{Command: "x", Args: []string{"{param.B}-{param.A}", `{"json": "{param.B}"}`, "{}", "{param}", "{param.app.version}{param.my-param}"}})
	if diff := cmp.Diff([]string{"B", "A", "app.version", "my-param"}, r.Params()); diff != "" {
		t.Errorf("Params (-want +got):\n%s", diff)
	}
}

func TestArgumentsReachTheCommandAsTheyAre(t *testing.T) {
	b := newBuild(t)
	b.Params = []runner.Param{
		{Name: "A", Value: `$(touch /tmp/x) "quoted" 'too' ; *`}, {Name: "B", Value: "{param.A}"}, {Name: "C"},
	}
	res, log := run(t, execrunner.Config{
		Command: "sh",
		Args:    []string{"-c", `for a; do printf '<%s>\n' "$a"; done`, "sh", "{param.A}", "--x={param.B}{param.B}", "{param.C}", "{other}"},
	}, b)
	want(t, res, runner.Success, "")
	if diff := cmp.Diff("<"+b.Params[0].Value+">\n<--x={param.A}{param.A}>\n<>\n<{other}>\n", log); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func TestReferenceToAParameterThatTheBuildLacks(t *testing.T) {
	c := execrunner.Config{Command: "echo", Args: []string{"a", "{param.X}"}}
	res, _ := run(t, c, newBuild(t))
	want(t, res, runner.NotBuilt, "argument 2: ")
	want(t, res, runner.NotBuilt, "no parameter X")
	if err := newRunner(t, c).Fits(nil, nil); err == nil || !strings.Contains(err.Error(), "no parameter X") {
		t.Errorf("Fits = %v, want the same", err)
	}
}

func TestEnvironmentIsExactlyWhatIsNamed(t *testing.T) {
	t.Setenv("HOME", "/home/of/server")
	t.Setenv("SECRET_OF_SERVER", "x")
	t.Setenv("LANG", "")
	t.Setenv("MORE", "more")
	if err := os.Unsetenv("TZ"); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + os.Getenv("PATH")
	for _, tt := range []struct {
		name           string
		inherit, extra []string
		want           []string
	}{
		{"by default", nil, []string{"A=1", "HOME=/mine"}, []string{path, "HOME=/mine", "LANG=", "A=1"}},
		{"the configuration wins over the build", []string{"MORE"}, []string{"MORE=2", "B=config"}, []string{"MORE=2", "B=config"}},
		{"parameters win over the configuration", nil, []string{"P=config", "QUEUE_ID=0", "HOME=/mine"}, []string{path, "HOME=/mine", "LANG=", "P=param"}},
		{"names that differ in case", []string{}, []string{"a=1", "A=2", "b=3"}, []string{"a=1", "A=2", "b=3"}},
		{"nothing inherited", []string{}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuild(t)
			if len(tt.want) == 2 {
				b.Env = append(b.Env, "B=first", "B=build")
			}
			if slices.Contains(tt.want, "P=param") {
				b.Env = append(b.Env, "P=param")
				b.Params = []runner.Param{{Name: "P", Value: "param"}}
			}
			res, log := run(t, execrunner.Config{Command: "/usr/bin/env", Env: tt.extra, InheritEnv: tt.inherit}, b)
			want(t, res, runner.Success, "")
			wantEnv := append(tt.want, "JOB_NAME=app/deploy", "BUILD_NUMBER=3", "QUEUE_ID=7", "WORKSPACE="+b.Workspace)
			got := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
			slices.Sort(got)
			slices.Sort(wantEnv)
			if diff := cmp.Diff(wantEnv, got); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommandIsFoundInThePathOfTheBuild(t *testing.T) {
	bin, b := t.TempDir(), newBuild(t)
	for link, target := range map[string]string{
		filepath.Join(bin, "greet"): "/bin/echo", filepath.Join(b.Workspace, "planted"): "/bin/echo",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "text"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Env = append(b.Env, "PATH=.::"+bin)
	t.Chdir(b.Workspace) // relative entries would lead there
	for _, tt := range []struct {
		name, command string
		outcome       runner.Outcome
		reason        string
	}{
		{"in its path", "greet", runner.Success, ""},
		{"not in the server's path", "sh", runner.NotBuilt, `exec: "sh": executable file not found in $PATH`},
		{"not by a relative entry", "planted", runner.NotBuilt, `exec: "planted": executable file not found in $PATH`},
		{"a path relative to the directory", "./planted", runner.Success, ""},
		{"a file that is no program", "text", runner.NotBuilt, "permission denied"},
		{"a folder", bin, runner.NotBuilt, "is a directory"},
		{"a path to nothing", "/no/such/file", runner.NotBuilt, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, log := run(t, execrunner.Config{Command: tt.command, Args: []string{"hello"}}, b)
			want(t, res, tt.outcome, tt.reason)
			if tt.outcome == runner.Success && log != "hello\n" {
				t.Errorf("log = %q", log)
			}
		})
	}
}

func TestDirectory(t *testing.T) {
	other := t.TempDir()
	for _, tt := range []struct {
		name, config, build string
		want                string // below the workspace unless absolute
		reason              string
	}{
		{"the workspace by default", "", "", "", ""},
		{"of the job, below the workspace", "", "sub", "sub", ""},
		{"of the command before that of the job", "sub/deep", "sub", "sub/deep", ""},
		{"absolute", "", other, other, ""},
		{"missing", "", "nowhere", "", "no such file"},
		{"a file", "", "file", "", "not a directory"},
		{"above the workspace", "", "../x", "", "leads out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuild(t)
			if err := os.MkdirAll(filepath.Join(b.Workspace, "sub", "deep"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(b.Workspace, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b.Dir = tt.build
			res, log := run(t, execrunner.Config{Command: "pwd", Args: []string{"-P"}, Dir: tt.config}, b)
			if tt.reason != "" {
				want(t, res, runner.NotBuilt, tt.reason)
				return
			}
			want(t, res, runner.Success, "")
			dir := tt.want
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(b.Workspace, dir)
			}
			if dir, _ = filepath.EvalSymlinks(dir); log != dir+"\n" {
				t.Errorf("started in %q, want %q", log, dir)
			}
		})
	}
	t.Run("a workspace that is no absolute path", func(t *testing.T) {
		b := newBuild(t)
		b.Workspace = "ws"
		res, _ := run(t, execrunner.Config{Command: "pwd"}, b)
		want(t, res, runner.NotBuilt, "absolute")
	})
}

func TestReasons(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{"exit 3", "exit status 3"},
		{"kill -KILL $$", "signal: killed"},
		{"kill -TERM $$", "signal: terminated"},
	} {
		t.Run(tt.script, func(t *testing.T) {
			res, _ := run(t, execrunner.Config{Command: "sh", Args: []string{"-c", tt.script}}, newBuild(t))
			if want := (runner.Result{Outcome: runner.Failure, Reason: tt.want}); res != want {
				t.Errorf("Run = %+v, want %+v", res, want)
			}
		})
	}
}

func TestUnstable(t *testing.T) {
	for status, outcome := range map[string]runner.Outcome{"3": runner.Unstable, "4": runner.Failure, "1": runner.Failure} {
		res, _ := run(t, execrunner.Config{Command: "sh", Args: []string{"-c", "exit " + status}, Unstable: 3}, newBuild(t))
		want(t, res, outcome, "exit status "+status)
	}
	res, _ := run(t, execrunner.Config{Command: "sh", Args: []string{"-c", "exit 1"}, Unstable: 1}, newBuild(t))
	want(t, res, runner.Unstable, "exit status 1")
}

func TestBothStreamsKeepTheirOrder(t *testing.T) {
	_, log := run(t, execrunner.Config{Command: "sh", Args: []string{"-c", "echo a; echo b >&2; echo c; printf d >&2"}}, newBuild(t))
	if log != "a\nb\nc\nd" {
		t.Errorf("log = %q", log)
	}
}

func TestStandardInputIsEmpty(t *testing.T) {
	res, log := run(t, execrunner.Config{Command: "cat"}, newBuild(t))
	want(t, res, runner.Success, "")
	if log != "" {
		t.Errorf("log = %q", log)
	}
}

func TestFits(t *testing.T) {
	const limit = 128 << 10
	long := strings.Repeat("x", limit-len("P=")-1)
	half := strings.Repeat("x", 100<<10)
	var many []runner.Param
	for _, n := range strings.Split("ABCDEFGHIJKLMNOP", "") {
		many = append(many, runner.Param{Name: n, Value: half})
	}
	many[4].Value += "x"
	for _, tt := range []struct {
		name   string
		params []runner.Param
		want   error
		names  string
	}{
		{"nothing", nil, nil, ""},
		{"the longest value", []runner.Param{{Name: "P", Value: long}}, nil, ""},
		{"one byte more", []runner.Param{{Name: "Q", Value: "x"}, {Name: "P", Value: long + "x"}}, runner.ErrTooLarge, "parameter P "},
		{"values that fit only one by one", many, runner.ErrTooLarge, "is E,"},
		{"a NUL byte", []runner.Param{{Name: "P", Value: "secret\x00"}}, runner.ErrBadValue, "parameter P "},
		{"an argument that grows too long", []runner.Param{{Name: "ARG", Value: half}}, runner.ErrTooLarge, "argument 1 is longer than 131072 bytes (the largest parameter is ARG,"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := execrunner.Config{Command: "true", InheritEnv: []string{"PATH"}}
			if strings.Contains(tt.names, "ARG") {
				c.Args = []string{"{param.ARG}{param.ARG}"}
			}
			r := newRunner(t, c)
			err := r.Fits(nil, tt.params)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.names) {
				t.Errorf("Fits = %v, want %v that names %q", err, tt.want, tt.names)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || len(err.Error()) > 200) {
				t.Errorf("Fits = %v shows the value", err)
			}
			b := newBuild(t)
			b.Params = tt.params
			for _, p := range tt.params {
				b.Env = append(b.Env, p.Name+"="+p.Value)
			}
			res := r.Run(t.Context(), b, io.Discard)
			if wantOutcome := map[bool]runner.Outcome{true: runner.Success, false: runner.NotBuilt}[tt.want == nil]; res.Outcome != wantOutcome {
				t.Errorf("Run = %+v, want %s: it must agree with Fits", res, wantOutcome)
			}
		})
	}
	t.Run("all variables together", func(t *testing.T) {
		r := newRunner(t, execrunner.Config{Command: "true", InheritEnv: []string{}})
		var env []string
		for n := range 12 { // each takes its bytes, a NUL byte and a pointer of eight bytes
			env = append(env, fmt.Sprintf("V%02d=%s", n, strings.Repeat("x", 128<<10-9-len("V00="))))
		}
		if err := r.Fits(env, nil); err != nil {
			t.Errorf("Fits of 1.5 MiB = %v", err)
		}
		env[0] += "x"
		if err := r.Fits(env, nil); !errors.Is(err, runner.ErrTooLarge) {
			t.Errorf("Fits of a byte more than 1.5 MiB = %v, want %v", err, runner.ErrTooLarge)
		}
	})
	t.Run("a variable that is none", func(t *testing.T) {
		r := newRunner(t, execrunner.Config{Command: "true", InheritEnv: []string{}})
		for _, env := range []string{"NOTHING", "=x", ""} {
			if err := r.Fits([]string{"A=x", env}, nil); !errors.Is(err, runner.ErrBadValue) || !strings.Contains(err.Error(), "environment variable 2 ") {
				t.Errorf("Fits(%q) = %v, want ErrBadValue of the second variable", env, err)
			}
		}
		if err := r.Fits([]string{"A=secret\x00"}, nil); !errors.Is(err, runner.ErrBadValue) || !strings.Contains(err.Error(), "environment variable A ") {
			t.Errorf("Fits of a NUL byte = %v, want ErrBadValue that names A", err)
		}
		if err := r.Fits([]string{"A=" + long}, nil); err != nil {
			t.Errorf("Fits of the longest variable = %v", err)
		}
		if err := r.Fits([]string{"A=" + long + "x"}, nil); !errors.Is(err, runner.ErrTooLarge) || !strings.Contains(err.Error(), "environment variable A ") {
			t.Errorf("Fits of a byte more = %v, want ErrTooLarge that names A", err)
		}
	})
}

func TestFileParameters(t *testing.T) {
	upload := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(upload, []byte("uploaded"), 0o644); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	for _, tt := range []struct {
		name, param string
		before      func(ws string) error
		reason      string
	}{
		{"into an empty workspace", "FILE", nil, ""},
		{"over the one of the last build", "FILE", func(ws string) error {
			return os.WriteFile(filepath.Join(ws, "FILE"), []byte("a longer one from before"), 0o444)
		}, ""},
		{"over a link that leads out", "FILE", func(ws string) error {
			return os.Symlink(outside, filepath.Join(ws, "FILE"))
		}, ""},
		{"into folders that are made", "in/deep/FILE", nil, ""},
		{"through a link to a folder", "in/FILE", func(ws string) error {
			return errors.Join(os.Mkdir(filepath.Join(ws, "real"), 0o700), os.Symlink("real", filepath.Join(ws, "in")))
		}, "parameter in/FILE: place the file: open in: not a directory"},
		{"over a folder", "FILE", func(ws string) error {
			return os.MkdirAll(filepath.Join(ws, "FILE", "x"), 0o700)
		}, "parameter FILE: place the file: "},
		{"above the workspace", "../FILE", nil, "leads out"},
		{"into a folder that cannot be made", strings.Repeat("x", 300) + "/FILE", nil, "file name too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuild(t)
			if err := os.WriteFile(outside, []byte("untouched"), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.before != nil {
				if err := tt.before(b.Workspace); err != nil {
					t.Fatal(err)
				}
			}
			b.Params = []runner.Param{{Name: tt.param, Value: "upload", File: upload}}
			res, log := run(t, execrunner.Config{Command: "cat", Args: []string{tt.param}}, b)
			if got, err := os.ReadFile(outside); err != nil || string(got) != "untouched" {
				t.Errorf("file outside = %q, %v", got, err)
			}
			var hidden []string
			err := filepath.Walk(b.Workspace, func(p string, _ os.FileInfo, err error) error {
				if strings.HasPrefix(filepath.Base(p), ".") {
					hidden = append(hidden, p)
				}
				return err
			})
			if err != nil || hidden != nil {
				t.Errorf("left behind: %q, %v", hidden, err)
			}
			if tt.reason != "" {
				want(t, res, runner.NotBuilt, tt.reason)
				return
			}
			want(t, res, runner.Success, "")
			if log != "uploaded" {
				t.Errorf("log = %q, want the content", log)
			}
			st, err := os.Lstat(filepath.Join(b.Workspace, tt.param))
			if err != nil || st.Mode() != 0o600 {
				t.Errorf("the file: %v, %v, want a plain one with mode 0600", st.Mode(), err)
			}
		})
	}
	for name, tt := range map[string]struct{ file, reason string }{
		"an upload that is gone":           {upload + "x", "no such file"},
		"an upload that cannot be read":    {filepath.Dir(upload), "is a directory"},
		"an upload that cannot be reached": {filepath.Join(upload, "x"), "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuild(t)
			b.Params = []runner.Param{{Name: "FILE", File: tt.file}}
			res, _ := run(t, execrunner.Config{Command: "true"}, b)
			want(t, res, runner.NotBuilt, "parameter FILE: place the file: ")
			want(t, res, runner.NotBuilt, tt.reason)
			if left, err := os.ReadDir(b.Workspace); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestFilesWithoutAWorkspace(t *testing.T) {
	err := execrunner.PlaceFiles(filepath.Join(t.TempDir(), "missing"), []runner.Param{{Name: "FILE", File: os.Args[0]}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("PlaceFiles = %v, want %v", err, os.ErrNotExist)
	}
}

// A process of an earlier build can replace a folder between two steps of the runner.
func TestFolderIsEnteredAsItWasSeen(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(ws string) error
		want string
	}{
		{"unchanged", func(string) error { return nil }, ""},
		{"replaced by a link to another folder", func(ws string) error { return os.Symlink("other", filepath.Join(ws, "in")) }, "in: replaced"},
		{"replaced by another folder", func(ws string) error { return os.Rename(filepath.Join(ws, "other"), filepath.Join(ws, "in")) }, "in: replaced"},
		{"removed", func(string) error { return nil }, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws := t.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(ws, "in"), 0o700), os.Mkdir(filepath.Join(ws, "other"), 0o700)); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(ws)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			seen, err := root.Lstat("in")
			if err == nil && tt.want != "" {
				err = os.Rename(filepath.Join(ws, "in"), filepath.Join(ws, "was")) // so that its number is not used again
			}
			if err := errors.Join(err, tt.then(ws)); err != nil {
				t.Fatal(err)
			}
			folder, err := execrunner.OpenSeen(root, "in", seen)
			if (folder == nil) != (tt.want != "") || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("OpenSeen = %v, %v, want an error with %q", folder, err, tt.want)
			}
			if folder != nil {
				folder.Close()
			}
		})
	}
}

func TestPoll(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		changed      bool
		want         string
	}{
		{"0 means changes", "exit 0", true, ""},
		{"1 means none", "exit 1", false, ""},
		{"another status is an error", "exit 2", false, "exit status 2"},
		{"a signal is an error", "kill -KILL $$", false, "signal: killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRunner(t, execrunner.Config{Command: "sh", Args: []string{"-c", tt.script}})
			changed, err := r.Poll(t.Context(), newBuild(t), io.Discard)
			if changed != tt.changed || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Poll = %v, %v, want %v, %q", changed, err, tt.changed, tt.want)
			}
		})
	}
	t.Run("a command that is missing is an error", func(t *testing.T) {
		if _, err := newRunner(t, execrunner.Config{Command: "no-such-command"}).Poll(t.Context(), newBuild(t), io.Discard); err == nil {
			t.Error("Poll = nil")
		}
	})
	t.Run("the end of the context is its cause", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		cancel(gone)
		if _, err := newRunner(t, execrunner.Config{Command: "true"}).Poll(ctx, newBuild(t), io.Discard); !errors.Is(err, gone) {
			t.Errorf("Poll = %v, want %v", err, gone)
		}
	})
}

func FuzzArgument(f *testing.F) {
	f.Add("--x={param.A}", "value")
	f.Add("{param.A}{param.A}", "{param.A}")
	f.Add("{{param.A}}", "}")
	f.Add("{param.", "x")
	f.Add("{param.B}", "x")
	f.Fuzz(func(t *testing.T, arg, value string) {
		r, err := execrunner.New(execrunner.Config{Command: "x", Args: []string{arg}})
		if err != nil {
			return
		}
		for _, name := range r.Params() {
			if !strings.Contains(arg, "{param."+name+"}") {
				t.Fatalf("Params of %q has %q", arg, name)
			}
		}
		got, err := execrunner.Expand(r, []runner.Param{{Name: "A", Value: value}})
		if err != nil {
			if slices.Equal(r.Params(), []string{"A"}) || len(r.Params()) == 0 {
				t.Fatalf("Expand(%q) = %v", arg, err)
			}
			return
		}
		if want := strings.NewReplacer("{param.A}", value).Replace(arg); got[0] != want {
			t.Fatalf("Expand(%q, A=%q) = %q, want %q", arg, value, got[0], want)
		}
	})
}

func BenchmarkRun(b *testing.B) {
	r := newRunner(b, execrunner.Config{Command: "true"})
	build := newBuild(b)
	b.ReportAllocs()
	for b.Loop() {
		if res := r.Run(b.Context(), build, io.Discard); res.Outcome != runner.Success {
			b.Fatal(res)
		}
	}
}
