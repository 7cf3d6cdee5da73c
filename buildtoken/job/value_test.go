package job_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// every has a parameter of each kind, with defaults.
func every() *job.Job {
	return &job.Job{FullName: "app/deploy", Params: []job.Param{
		{Name: "branch", Kind: job.KindString, Default: " main ", Trim: true},
		{Name: "label", Kind: job.KindString, Default: " as it is "},
		{Name: "notes", Kind: job.KindText, Default: "none\n"},
		{Name: "dry", Kind: job.KindBoolean, Default: "on"},
		{Name: "stage", Kind: job.KindChoice, Choices: []string{"dev", "prod", ""}},
		{Name: "key", Kind: job.KindPassword, Default: "hunter2"},
		{Name: "patch", Kind: job.KindFile},
	}}
}

func TestJobValues(t *testing.T) {
	want := []job.Value{
		{Name: "branch", Kind: job.KindString, Text: "main"},
		{Name: "label", Kind: job.KindString, Text: " as it is "},
		{Name: "notes", Kind: job.KindText, Text: "none\n"},
		{Name: "dry", Kind: job.KindBoolean, Text: "true"},
		{Name: "stage", Kind: job.KindChoice, Text: "dev"},
		{Name: "key", Kind: job.KindPassword, Text: "hunter2"},
	}
	patch := func(text string) job.Value {
		return job.Value{Name: "patch", Kind: job.KindFile, Text: text, Ref: "7"}
	}
	with := func(changed ...job.Value) []job.Value {
		values := append([]job.Value(nil), want...)
	next:
		for _, c := range changed {
			for i := range values {
				if values[i].Name == c.Name {
					values[i].Text = c.Text
					continue next
				}
			}
			values = append(values, c)
		}
		return values
	}
	for _, tt := range []struct {
		name  string
		given map[string][]string
		files map[string]job.File
		want  []job.Value
	}{
		{"nothing", nil, nil, want},
		{"a name without a value is nothing", map[string][]string{"branch": {}}, nil, want},
		{"unknown names", map[string][]string{"other": {"a", "b"}, "token": {"x"}, "BRANCH": {"x"}}, nil, want},
		{"a string, trimmed", map[string][]string{"branch": {"\t v2\n"}}, nil, with(job.Value{Name: "branch", Text: "v2"})},
		{"a string, not trimmed", map[string][]string{"label": {" v2\n"}}, nil, with(job.Value{Name: "label", Text: " v2\n"})},
		{
			"empty stays empty",
			map[string][]string{"branch": {""}, "label": {""}, "notes": {""}, "key": {""}, "stage": {""}, "dry": {""}},
			nil,
			with(job.Value{Name: "branch"}, job.Value{Name: "label"}, job.Value{Name: "notes"}, job.Value{Name: "key"},
				job.Value{Name: "stage"}, job.Value{Name: "dry", Text: "false"}),
		},
		{"a text is never trimmed", map[string][]string{"notes": {"\r\n a \r\n"}}, nil, with(job.Value{Name: "notes", Text: "\r\n a \r\n"})},
		{"a choice", map[string][]string{"stage": {"prod"}}, nil, with(job.Value{Name: "stage", Text: "prod"})},
		{"a password", map[string][]string{"key": {" $PATH "}}, nil, with(job.Value{Name: "key", Text: " $PATH "})},
		{"a file", nil, map[string]job.File{"patch": {Name: "fix.patch", Ref: "7", Size: 3}}, with(patch("fix.patch"))},
		{"a file with a path", nil, map[string]job.File{"patch": {Name: `C:\tmp\..\fix.patch`, Ref: "7"}}, with(patch("fix.patch"))},
		{"a text for a file", map[string][]string{"patch": {"x"}}, nil, want},
		{"a file for a text", nil, map[string]job.File{"notes": {Name: "notes.txt", Ref: "7"}}, want},
		{
			"as long as it may be",
			map[string][]string{"label": {strings.Repeat("a", 64<<10)}, "notes": {strings.Repeat("a", 512<<10)}},
			nil,
			with(job.Value{Name: "label", Text: strings.Repeat("a", 64<<10)}, job.Value{Name: "notes", Text: strings.Repeat("a", 512<<10)}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := every().Values(tt.given, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b job.Value) bool { return a == b })); diff != "" {
				t.Errorf("Values (-want +got):\n%.2000s", diff)
			}
		})
	}
}

func TestJobValuesReadsBooleans(t *testing.T) {
	j := &job.Job{Params: []job.Param{{Name: "dry", Kind: job.KindBoolean}}}
	for want, texts := range map[string][]string{
		"true":  {"true", "on", "1", "yes", "TRUE", "Yes", "oN"},
		"false": {"false", "off", "0", "no", "", "False", "NO"},
		"":      {"2", "t", "y", " true", "ja", "enabled", "null", "01"},
	} {
		for _, text := range texts {
			got, err := j.Values(map[string][]string{"dry": {text}}, nil)
			if want == "" {
				if !errors.Is(err, job.ErrValue) {
					t.Errorf("Values(%q) = %v, %v, want %v", text, got, err, job.ErrValue)
				}
				continue
			}
			if err != nil || len(got) != 1 || got[0].Text != want {
				t.Errorf("Values(%q) = %v, %v, want %s", text, got, err, want)
			}
		}
	}
	if got, err := j.Values(nil, nil); err != nil || len(got) != 1 || got[0].Text != "false" {
		t.Errorf("Values of nothing = %v, %v, want false", got, err)
	}
}

func TestJobValuesRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		given map[string][]string
		want  string
	}{
		{"two values", map[string][]string{"branch": {"a", "a"}}, "job: bad value: 2 values for parameter branch"},
		{"three empty ones", map[string][]string{"key": {"", "", ""}}, "job: bad value: 3 values for parameter key"},
		{"an illegal choice", map[string][]string{"stage": {"SECRET"}}, "job: bad value: illegal choice for parameter stage, choose one of: dev, prod, \"\""},
		{"a choice in another case", map[string][]string{"stage": {"Prod"}}, "job: bad value: illegal choice for parameter stage, choose one of: dev, prod, \"\""},
		{"a choice with space", map[string][]string{"stage": {" prod"}}, "job: bad value: illegal choice for parameter stage, choose one of: dev, prod, \"\""},
		{"a boolean that is neither", map[string][]string{"dry": {"SECRET"}}, "job: bad value: parameter dry is neither true nor false"},
		{"a string that is too long", map[string][]string{"branch": {strings.Repeat(" ", 65537)}}, "job: bad value: parameter branch: 65537 bytes, at most 65536"},
		{"a password that is too long", map[string][]string{"key": {strings.Repeat("SECRET", 20000)}}, "job: bad value: parameter key: 120000 bytes, at most 65536"},
		{"a text that is too long", map[string][]string{"notes": {strings.Repeat("a", 524289)}}, "job: bad value: parameter notes: 524289 bytes, at most 524288"},
		{"NUL", map[string][]string{"key": {"SECRET\x00"}}, "job: bad value: parameter key: it holds a NUL character"},
		{"not UTF-8", map[string][]string{"key": {"SECRET\xff"}}, "job: bad value: parameter key: not valid UTF-8"},
		{"two wrong ones: the first of the definition", map[string][]string{"key": {"\xff"}, "stage": {"x"}}, "job: bad value: illegal choice for parameter stage, choose one of: dev, prod, \"\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := every().Values(tt.given, nil)
			if !errors.Is(err, job.ErrValue) || got != nil {
				t.Fatalf("Values = %v, %v, want %v", got, err, job.ErrValue)
			}
			if err.Error() != tt.want {
				t.Errorf("Values = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestValueHidesPasswords(t *testing.T) {
	v := job.Value{Name: "key", Kind: job.KindPassword, Text: "hunter2"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, held := range []any{v, &v, []job.Value{v}, struct{ V job.Value }{v}} {
			if shown := fmt.Sprintf(verb, held); strings.Contains(shown, "hunter2") {
				t.Errorf("Sprintf(%q) = %s", verb, shown)
			}
		}
	}
	if got, want := v.String(), "key=****"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got, want := (job.Value{Name: "a", Kind: job.KindString, Text: "b"}).String(), "a=b"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestFileName(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a name", "fix.patch", "fix.patch"},
		{"a path", "/etc/passwd", "passwd"},
		{"a path of Windows", `C:\Users\me\fix 1.patch`, "fix 1.patch"},
		{"umlauts", "Prüfung.txt", "Prüfung.txt"},
		{"line breaks", "a\r\nX: b", "aX: b"},
		{"not UTF-8", "a\xff\xfe.txt", "a.txt"},
		{"nothing", "", "file"},
		{"a folder", "a/", "file"},
		{"dots", "../..", "file"},
		{"dots with something between", ".\x00.", "file"},
		{"long", strings.Repeat("ü", 101), strings.Repeat("ü", 100)},
		{"long and odd", "a" + strings.Repeat("ü", 101), "a" + strings.Repeat("ü", 99)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := job.FileName(tt.in); got != tt.want {
				t.Errorf("FileName(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func FuzzJobValues(f *testing.F) {
	f.Add("", "", false)
	f.Add("prod", "fix.patch", false)
	f.Add(" TRUE ", `..\..`, true)
	f.Add("a\x00\xff", "\xff/\x00", false)
	f.Add(strings.Repeat("a", 65537), "", false)
	f.Fuzz(func(t *testing.T, text, client string, twice bool) {
		for _, p := range every().Params {
			j := &job.Job{Params: []job.Param{p}}
			given := map[string][]string{p.Name: {text}}
			if twice {
				given[p.Name] = []string{text, text}
			}
			values, err := j.Values(given, map[string]job.File{p.Name: {Name: client, Ref: "7"}})
			if err != nil {
				if !errors.Is(err, job.ErrValue) || values != nil || p.Kind == job.KindFile {
					t.Fatalf("%s: Values = %v, %v", p.Kind, values, err)
				}
				continue
			}
			if len(values) != 1 || twice && p.Kind != job.KindFile {
				t.Fatalf("%s: Values = %v", p.Kind, values)
			}
			checkValue(t, p, text, values[0])
		}
	})
}

// checkValue checks what must be true of a value from any request.
func checkValue(t *testing.T, p job.Param, given string, v job.Value) {
	t.Helper()
	if !utf8.ValidString(v.Text) || strings.Contains(v.Text, "\x00") || len(v.Text) > job.MaxText {
		t.Fatalf("%s: %q is no value", p.Kind, v.Text)
	}
	switch p.Kind {
	case job.KindString:
		if !strings.Contains(given, v.Text) || !p.Trim && v.Text != given {
			t.Fatalf("string %q became %q", given, v.Text)
		}
	case job.KindText, job.KindPassword, job.KindChoice:
		if v.Text != given {
			t.Fatalf("%s %q became %q", p.Kind, given, v.Text)
		}
	case job.KindBoolean:
		if v.Text != "true" && v.Text != "false" {
			t.Fatalf("boolean %q became %q", given, v.Text)
		}
	case job.KindFile:
		if v.Text == "" || strings.ContainsAny(v.Text, `/\`) || job.FileName(v.Text) != v.Text || v.Ref != "7" {
			t.Fatalf("file became %+v", v)
		}
	}
}

// TestChoicesOfAnErrorAreBounded has more choices than fit into an error message.
func TestChoicesOfAnErrorAreBounded(t *testing.T) {
	choice := strings.Repeat("x", 100)
	j := &job.Job{FullName: "app", Params: []job.Param{{Name: "C", Kind: job.KindChoice, Choices: []string{choice, choice[1:], choice[2:], choice[3:]}}}}
	_, err := j.Values(map[string][]string{"C": {"?"}}, nil)
	if want := choice + ", " + choice[1:] + ", …"; err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
		t.Errorf("Values = %v, want an error that ends with two choices and a mark", err)
	}
	j.Params[0].Choices = []string{strings.Repeat("x", 300)}
	if _, err := j.Values(map[string][]string{"C": {"?"}}, nil); err == nil || !strings.HasSuffix(err.Error(), strings.Repeat("x", 300)) {
		t.Errorf("Values = %v, want an error with the one choice of 300 bytes", err)
	}
}
