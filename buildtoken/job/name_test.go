package job_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func TestCheckName(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"a word", "deploy", nil},
		{"space, also around it", " nightly build ", nil},
		{"umlauts and symbols", "Prüfung №2 ✓", nil},
		{"a percent escape is a name like any", "feature%2Fx", nil},
		{"three dots", "...", nil},
		{"a backslash", `a\b`, nil},
		{"the longest", strings.Repeat("a", 200), nil},
		{"too long", strings.Repeat("a", 201), job.ErrBadName},
		{"nothing", "", job.ErrBadName},
		{"a dot", ".", job.ErrBadName},
		{"two dots", "..", job.ErrBadName},
		{"a slash", "a/b", job.ErrBadName},
		{"a line break", "a\nb", job.ErrBadName},
		{"NUL", "a\x00b", job.ErrBadName},
		{"DEL", "a\x7fb", job.ErrBadName},
		{"a control character above ASCII", "a\u0085b", job.ErrBadName},
		{"not UTF-8", "a\xff", job.ErrBadName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := job.CheckName(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("CheckName(%q) = %v, want %v", tt.in, err, tt.want)
			}
		})
	}
}

func TestParseFullName(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 199)+"/", 10) // 2000 bytes, the last one a slash
	for _, tt := range []struct {
		name, in, want string
		err            error
	}{
		{"a job in the root", "deploy", "deploy", nil},
		{"a job in a folder", "team/app/deploy", "team/app/deploy", nil},
		{"a slash before", "/deploy", "deploy", nil},
		{"a slash after", "app/", "app", nil},
		{"empty elements", "//app//deploy/", "app/deploy", nil},
		{"space is kept", " app/ deploy", " app/ deploy", nil},
		{"job is a name like any", "dir/job/x", "dir/job/x", nil},
		{"the longest", long + "b", "", job.ErrBadName},
		{"as long as it may be", long, long[:1999], nil},
		{"long, but of slashes", strings.Repeat("/", 3000) + "a", "a", nil},
		{"far too long", strings.Repeat("/", 1<<20), "", job.ErrBadName},
		{"nothing", "", "", job.ErrBadName},
		{"slashes only", "///", "", job.ErrBadName},
		{"the parent folder", "app/../deploy", "", job.ErrBadName},
		{"this folder", "./deploy", "", job.ErrBadName},
		{"an element that is too long", "app/" + strings.Repeat("a", 201), "", job.ErrBadName},
		{"a control character", "app/de\tploy", "", job.ErrBadName},
		{"not UTF-8", "app/\xc3", "", job.ErrBadName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := job.ParseFullName(tt.in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ParseFullName(%.50q) = %.50q, %v, want %.50q, %v", tt.in, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestSplitAndJoin(t *testing.T) {
	for _, tt := range []struct{ full, folder, name string }{
		{"deploy", "", "deploy"},
		{"app/deploy", "app", "deploy"},
		{"team/app/deploy", "team/app", "deploy"},
	} {
		t.Run(tt.full, func(t *testing.T) {
			folder, name := job.Split(tt.full)
			if folder != tt.folder || name != tt.name {
				t.Errorf("Split(%q) = %q, %q, want %q, %q", tt.full, folder, name, tt.folder, tt.name)
			}
			if got := job.Join(folder, name); got != tt.full {
				t.Errorf("Join(%q, %q) = %q, want %q", folder, name, got, tt.full)
			}
		})
	}
}

func FuzzParseFullName(f *testing.F) {
	for _, seed := range []string{"", "/", "a", "//a//b/", "a/../b", "./a", "a\x00", "a\xff/b", "Prüfung/№2", strings.Repeat("a/", 1001)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		full, err := job.ParseFullName(s)
		if err != nil {
			if !errors.Is(err, job.ErrBadName) || full != "" {
				t.Fatalf("ParseFullName(%q) = %q, %v", s, full, err)
			}
			return
		}
		if again, err := job.ParseFullName(full); err != nil || again != full {
			t.Fatalf("ParseFullName(%q) = %q, of which it makes %q, %v", s, full, again, err)
		}
		if len(full) > job.MaxFullName {
			t.Fatalf("ParseFullName gives %d bytes", len(full))
		}
		for element := range strings.SplitSeq(full, "/") {
			if err := job.CheckName(element); err != nil {
				t.Fatalf("ParseFullName(%q) = %q: %v", s, full, err)
			}
		}
		if folder, name := job.Split(full); job.Join(folder, name) != full {
			t.Fatalf("Split(%q) = %q, %q", full, folder, name)
		}
		checkPathElement(t, full)
	})
}

func TestShownNameStopsBeforeAToken(t *testing.T) {
	for in, want := range map[string]string{
		"hello": "hello", "team/app": "team/app", "hello?token=TacoTuesday": "hello", "hello&token=TacoTuesday": "hello",
		"hello#TacoTuesday": "hello", "job=hello": "job", "": "", "?": "", strings.Repeat("x", 201): strings.Repeat("x", 200),
	} {
		if got := job.ShownName(in); got != want {
			t.Errorf("ShownName(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestLongestFullName has elements that are dropped, which do not count.
func TestLongestFullName(t *testing.T) {
	longest := strings.Repeat(strings.Repeat("x", 199)+"/", 9) + strings.Repeat("y", 200)
	for in, want := range map[string]error{
		longest: nil, "/" + strings.ReplaceAll(longest, "/", "//") + "/": nil,
		"a" + strings.Repeat("/", 2*job.MaxFullName-1): nil, "a" + strings.Repeat("/", 2*job.MaxFullName): job.ErrBadName,
		"z/" + longest: job.ErrBadName, "z//" + longest[2:]: nil, "z" + longest: job.ErrBadName,
	} {
		if got, err := job.ParseFullName(in); !errors.Is(err, want) || err == nil && len(got) > job.MaxFullName {
			t.Errorf("ParseFullName of %d bytes = %d bytes, %v; want %v", len(in), len(got), err, want)
		}
	}
	if len(longest) != job.MaxFullName {
		t.Errorf("the longest name of this test has %d bytes, want %d", len(longest), job.MaxFullName)
	}
}

func TestURL(t *testing.T) {
	for full, want := range map[string]string{
		"deploy": "https://ci.example/job/deploy/", "app/über 1%": "https://ci.example/job/app/job/%C3%BCber%201%25/",
	} {
		if got := job.URL("https://ci.example/", full); got != want {
			t.Errorf("URL of %q = %q, want %q", full, got, want)
		}
	}
}
