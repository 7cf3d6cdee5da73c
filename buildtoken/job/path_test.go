package job_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func TestPathElement(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a job in a folder", "team/app-2/deploy", "team+app-2+deploy-"},
		{"dots, space and umlauts", "v1.2 Prüfung", "v1_2_Pr_fung-"},
		{"a device of Windows", "NUL", "NUL-"},
		{"a device of Windows with an extension", "con.txt", "con_txt-"},
		{"a hidden file", ".ssh", "_ssh-"},
		{"an option", "-rf", "-rf-"},
		{"a long name", strings.Repeat("a", 200), strings.Repeat("a", 80) + "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkPathElement(t, tt.in)
			got := job.PathElement(tt.in)
			if prefix := got[:len(got)-16]; prefix != tt.want {
				t.Errorf("PathElement(%q) = %q, want %q and a digest", tt.in, got, tt.want)
			}
		})
	}
}

// TestPathElementStays pins one element, because logs are stored under these names.
func TestPathElementStays(t *testing.T) {
	// printf %s app/deploy | sha256sum
	if got, want := job.PathElement("app/deploy"), "app+deploy-28f53cde5380265c"; got != want {
		t.Errorf("PathElement = %q, want %q", got, want)
	}
}

func TestPathElementsDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, full := range []string{
		"app/deploy", "app/Deploy", "APP/deploy", "app+deploy", "app_deploy", "app.deploy", "app deploy", "appädeploy",
		strings.Repeat("a", 100), strings.Repeat("a", 101), "a/b", "a", "Prüfung", "Pru\u0308fung",
	} {
		element := strings.ToLower(job.PathElement(full))
		if other, ok := seen[element]; ok {
			t.Errorf("%q and %q share %s", full, other, element)
		}
		seen[element] = full
	}
}

func checkPathElement(t *testing.T, full string) {
	t.Helper()
	safe := regexp.MustCompile(`^[A-Za-z0-9+_-]{1,80}-[0-9a-f]{16}$`)
	if got := job.PathElement(full); !safe.MatchString(got) {
		t.Errorf("PathElement(%q) = %q", full, got)
	}
}

// TestPathElementKeepsLettersAndDigits tests both ends of each range, and their neighbours.
func TestPathElementKeepsLettersAndDigits(t *testing.T) {
	got := job.PathElement("a`{zA@[Z0.:9")
	if prefix, want := got[:len(got)-17], "a__zA__Z0__9"; prefix != want {
		t.Errorf("PathElement begins with %q, want %q", prefix, want)
	}
}

func TestIsPathElement(t *testing.T) {
	for _, full := range []string{"app", "app/deploy", "-rf", strings.Repeat("ü", 100)} {
		if element := job.PathElement(full); !job.IsPathElement(element) {
			t.Errorf("IsPathElement(%q) = false, it is that of %q", element, full)
		}
	}
	const digest = "28f53cde5380265c"
	for _, name := range []string{
		"", "-", "app", digest, "app" + digest, "app-", "app-" + digest[1:], "app-" + digest + "0", "app-" + strings.ToUpper(digest),
		"app-" + digest[1:] + "g", "app-" + digest + "@2", "app-" + digest + "-",
	} {
		if job.IsPathElement(name) {
			t.Errorf("IsPathElement(%q) = true", name)
		}
	}
}
