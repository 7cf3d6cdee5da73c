package job_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func TestParamCheck(t *testing.T) {
	long := strings.Repeat("a", 64<<10)
	for _, tt := range []struct {
		name string
		in   job.Param
		ok   bool
	}{
		{"a string", job.Param{Name: "BRANCH", Kind: job.KindString, Default: "main", Trim: true}, true},
		{"a text", job.Param{Name: "notes_2", Kind: job.KindText, Default: long + long}, true},
		{"a password", job.Param{Name: "_secret", Kind: job.KindPassword, Default: "hunter2"}, true},
		{"a boolean", job.Param{Name: "dry", Kind: job.KindBoolean, Default: "true"}, true},
		{"a boolean without a default", job.Param{Name: "dry", Kind: job.KindBoolean}, true},
		{"a choice", job.Param{Name: "stage", Kind: job.KindChoice, Choices: []string{"dev", "prod"}}, true},
		{"a choice that repeats its default", job.Param{Name: "stage", Kind: job.KindChoice, Choices: []string{"dev", "prod"}, Default: "dev"}, true},
		{"a choice that may be empty", job.Param{Name: "stage", Kind: job.KindChoice, Choices: []string{""}}, true},
		{"a file", job.Param{Name: "patch", Kind: job.KindFile, Description: "what to apply"}, true},
		{"the longest name", job.Param{Name: strings.Repeat("a", 200), Kind: job.KindString}, true},
		{"the longest default", job.Param{Name: "a", Kind: job.KindString, Default: long}, true},
		{"an item that is not secret", job.Param{Name: "item", Kind: job.KindString}, true},

		{"no name", job.Param{Kind: job.KindString}, false},
		{"a name that is too long", job.Param{Name: strings.Repeat("a", 201), Kind: job.KindString}, false},
		{"a name that starts with a digit", job.Param{Name: "2nd", Kind: job.KindString}, false},
		{"a name with a dash", job.Param{Name: "dry-run", Kind: job.KindString}, true},
		{"a name with a dot", job.Param{Name: "app.version", Kind: job.KindString}, true},
		{"a name that starts with a dash", job.Param{Name: "-x", Kind: job.KindString}, false},
		{"a name that starts with a dot", job.Param{Name: ".x", Kind: job.KindString}, false},
		{"a name with a slash", job.Param{Name: "a/b", Kind: job.KindString}, false},
		{"a name like those of builds", job.Param{Name: "BUILD_TYPE", Kind: job.KindString}, true},
		{"a name with a space after it", job.Param{Name: "a ", Kind: job.KindString}, false},
		{"a name with an umlaut", job.Param{Name: "prüfung", Kind: job.KindString}, false},
		{"a reserved name", job.Param{Name: "LD_PRELOAD", Kind: job.KindString}, false},
		{"a password that access logs would show", job.Param{Name: "start", Kind: job.KindPassword}, false},
		{"a password whose name differs from that in case", job.Param{Name: "START", Kind: job.KindPassword}, true},
		{"no kind", job.Param{Name: "a"}, false},
		{"an unknown kind", job.Param{Name: "a", Kind: "run"}, false},
		{"a kind in upper case", job.Param{Name: "a", Kind: "STRING"}, false},
		{"a choice without choices", job.Param{Name: "a", Kind: job.KindChoice}, false},
		{"a choice whose default is another", job.Param{Name: "a", Kind: job.KindChoice, Choices: []string{"a", "b"}, Default: "b"}, false},
		{"a choice that is no value", job.Param{Name: "a", Kind: job.KindChoice, Choices: []string{"a", "b\x00"}}, false},
		{"a string with choices", job.Param{Name: "a", Kind: job.KindString, Choices: []string{"a"}}, false},
		{"a boolean that is neither", job.Param{Name: "a", Kind: job.KindBoolean, Default: "maybe"}, false},
		{"a text that is trimmed", job.Param{Name: "a", Kind: job.KindText, Trim: true}, false},
		{"a file with a default", job.Param{Name: "a", Kind: job.KindFile, Default: "a"}, false},
		{"a default that is too long", job.Param{Name: "a", Kind: job.KindString, Default: long + "a"}, false},
		{"a default that is not UTF-8", job.Param{Name: "a", Kind: job.KindPassword, Default: "\xff"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.in.Check()
			if tt.ok && err != nil {
				t.Errorf("Check() = %v", err)
			}
			if !tt.ok && !errors.Is(err, job.ErrBadParam) {
				t.Errorf("Check() = %v, want %v", err, job.ErrBadParam)
			}
		})
	}
}

func TestParamCheckDoesNotQuoteDefaults(t *testing.T) {
	p := job.Param{Name: "a", Kind: job.KindPassword, Default: "hunter2\x00"}
	if err := p.Check(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Check() = %v", err)
	}
}

func TestReserved(t *testing.T) {
	for _, name := range []string{
		"job", "token", "delay", "cause", "json",
		"PATH", "Path", "path", "HOME", "LANG", "LC_ALL", "TZ", "USER", "SHELL", "TMPDIR",
		"CI", "JOB_NAME", "JOB_BASE_NAME", "JOB_URL", "BUILD_NUMBER", "BUILD_ID", "BUILD_DISPLAY_NAME", "BUILD_TAG",
		"BUILD_URL", "BUILD_CAUSE", "QUEUE_ID", "TRACEPARENT", "NODE_NAME", "EXECUTOR_NUMBER", "WORKSPACE",
		"LD_PRELOAD", "ld_library_path", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "BASH_FUNC_ls", "IFS", "PS4", "SHELLOPTS", "CDPATH",
		"PYTHONPATH", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "LUA_INIT_5_4", "GOFLAGS", "MAKEFLAGS",
		"GIT_SSH", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "npm_config_registry", "ComSpec",
	} {
		if !job.Reserved(name) {
			t.Errorf("Reserved(%q) = false", name)
		}
	}
	for _, name := range []string{
		"", "a", "JOB", "Token", "DELAY", "Cause", "JSON", "BUILD_TYPE", "BUILD_ENV", "BUILD_VERSION", "JOB_ENV", "JOB_ID", "QUEUE_NAME", "build_number", "app.version", "my-param", "JOBS", "BUILD", "BUILDER", "QUEUE", "TOKENS", "ENV", "env", "ENVIRONMENT", "USERNAME", "BROWSER", "VERSION", "TARGET",
		"GIT_BRANCH", "GIT_COMMIT", "PYTHON_VERSION", "NODE_VERSION", "JAVA_HOME", "PATHS", "item", "start", "LDFLAGS",
	} {
		if job.Reserved(name) {
			t.Errorf("Reserved(%q) = true", name)
		}
	}
}

func TestParamURL(t *testing.T) {
	for _, tt := range []struct{ link, value, want string }{
		{"", "abc", ""},
		{"https://git.test/commit/{value}", "", ""},
		{"https://git.test/commit/{value}", "abc", "https://git.test/commit/abc"},
		{"https://git.test/tree/{value}", "feature/a b?c#d", "https://git.test/tree/feature%2Fa%20b%3Fc%23d"},
		{"https://git.test/?q={value}&sort=1", "a&sort=2", "https://git.test/?q=a%26sort%3D2&sort=1"},
		{"HTTPS://git.test/{value}/{value}", `"><script>`, "HTTPS://git.test/%22%3E%3Cscript%3E/%22%3E%3Cscript%3E"},
	} {
		p := job.Param{Name: "COMMIT", Kind: job.KindString, Link: tt.link}
		if err := p.Check(); err != nil {
			t.Errorf("link %q: %v", tt.link, err)
		}
		if got := p.URL(tt.value); got != tt.want {
			t.Errorf("link %q of %q = %q, want %q", tt.link, tt.value, got, tt.want)
		}
	}
	for _, link := range []string{"/commit/{value}", "ftp://git.test/{value}", "https://git.test/", "https://{value}/x", "https://git.test:{value}/", "https://{value}@git.test/", "javascript:alert({value})", "https:///{value}"} {
		if err := (job.Param{Name: "COMMIT", Kind: job.KindString, Link: link}).Check(); !errors.Is(err, job.ErrBadParam) {
			t.Errorf("link %q: got %v, want ErrBadParam", link, err)
		}
	}
	if err := (job.Param{Name: "PASS", Kind: job.KindPassword, Link: "https://git.test/{value}"}).Check(); !errors.Is(err, job.ErrBadParam) {
		t.Errorf("link of a password: got %v, want ErrBadParam", err)
	}
}

func TestCheckParams(t *testing.T) {
	text := func(names ...string) (params []job.Param) {
		for _, name := range names {
			params = append(params, job.Param{Name: name, Kind: job.KindString})
		}
		return params
	}
	for _, tt := range []struct {
		name string
		in   []job.Param
		want error
	}{
		{"none", nil, nil},
		{"two", text("a", "b"), nil},
		{"one twice", text("a", "b", "a"), job.ErrDuplicate},
		{"two that differ in case", text("Stage", "b", "STAGE"), job.ErrDuplicate},
		{"a bad one", text("a", "b c"), job.ErrBadParam},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := job.CheckParams(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("CheckParams = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestParamAsJSON(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		in         job.Param
	}{
		{
			"all", `{"name":"a","kind":"choice","default":"x","choices":["x"],"description":"d","trim":true}`,
			job.Param{Name: "a", Kind: job.KindChoice, Default: "x", Choices: []string{"x"}, Description: "d", Trim: true},
		},
		{"little", `{"name":"a","kind":"file"}`, job.Param{Name: "a", Kind: job.KindFile}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			encoded, err := json.Marshal(tt.in)
			if err != nil || string(encoded) != tt.want {
				t.Fatalf("Marshal = %s, %v, want %s", encoded, err, tt.want)
			}
			var got job.Param
			if err := json.Unmarshal(encoded, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.in, got); diff != "" {
				t.Errorf("Unmarshal (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNamesOfParameters tests both ends of each range of characters, and their neighbours.
func TestNamesOfParameters(t *testing.T) {
	for _, name := range []string{"a", "z", "A", "Z", "_", "X0", "X9", "X.-_"} {
		if err := (job.Param{Name: name, Kind: job.KindString}).Check(); err != nil {
			t.Errorf("Check of %q = %v", name, err)
		}
	}
	for _, name := range []string{"", "`", "{", "@", "[", "X/", "X:", "0", "9", ".", "-", "Xä", "X "} {
		if err := (job.Param{Name: name, Kind: job.KindString}).Check(); !errors.Is(err, job.ErrBadParam) {
			t.Errorf("Check of %q = %v, want ErrBadParam", name, err)
		}
	}
}

// The names of values and of files that a job does not take are known to whoever sends them.
func TestUnknown(t *testing.T) {
	j := job.Job{FullName: "app/deploy", Params: []job.Param{{Name: "ENV", Kind: job.KindString}, {Name: "PATCH", Kind: job.KindFile}}}
	values := map[string]string{"ENV": "x", "": "no parameter has this name", "env": "x", "Z": "x"}
	files := map[string]bool{"PATCH": true, "": true, "LOGO": true}
	if diff := cmp.Diff([]string{"LOGO", "Z", "env"}, job.Unknown(&j, values, files)); diff != "" {
		t.Errorf("Unknown (-want +got):\n%s", diff)
	}
	if got := job.Unknown(&j, map[string]string{"ENV": "x"}, map[string]bool{"PATCH": true}); len(got) != 0 {
		t.Errorf("Unknown = %q where all are taken, want none", got)
	}
}
