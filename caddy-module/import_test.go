package caddymodule_test

import (
	"bytes"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinsimport"
)

// sectionLine begins a file in an archive of files.
var sectionLine = regexp.MustCompile(`(?m)^-- (.+) --\n`)

// importCase is a file in testdata/import: a comment, the command line (args), the files of a
// Jenkins, and the files that must be written (want/…). A file whose name ends in ;base64 is
// binary.
type importCase struct {
	comment string
	files   map[string]string
	order   []string
}

func readImportCase(t *testing.T, file string) importCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := importCase{files: map[string]string{}}
	marks := sectionLine.FindAllSubmatchIndex(text, -1)
	if len(marks) == 0 {
		t.Fatalf("%s has no files", file)
	}
	c.comment = string(text[:marks[0][0]])
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		name := string(text[m[2]:m[3]])
		c.files[name] = string(text[m[1]:end])
		c.order = append(c.order, name)
	}
	return c
}

// unpack writes the files of a Jenkins into the working directory, and returns the arguments.
func (c importCase) unpack(t *testing.T) []string {
	t.Helper()
	args := []string{"home"}
	for name, text := range c.files {
		if name == "args" {
			args = strings.Fields(text)
			continue
		}
		if strings.HasPrefix(name, "want/") {
			continue
		}
		if plain, ok := strings.CutSuffix(name, ";base64"); ok {
			decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
			if err != nil {
				t.Fatal(err)
			}
			name, text = plain, string(decoded)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return append(args, "--out", "/srv/jenkins")
}

// TestImportCases imports each Jenkins of testdata/import and compares all files.
func TestImportCases(t *testing.T) {
	cases, err := filepath.Abs(filepath.Join("..", "testdata", "import"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(cases, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d cases, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			c := readImportCase(t, file)
			t.Chdir(t.TempDir())
			got, _, err := caddymodule.ImportJenkins(c.unpack(t), bytes.NewReader(bytes.Repeat([]byte{0xab}, 1000)))
			if err != nil {
				here, _ := os.Getwd()
				got = map[string]string{"error": strings.ReplaceAll(err.Error(), here, "$PWD") + "\n"}
			}
			delete(got, "import-report.json") // TestImportedJobs reads it
			if formatted := string(caddyfile.Format([]byte(got["Caddyfile"]))); formatted != got["Caddyfile"] && formatted != got["Caddyfile"]+"\n" {
				t.Errorf("caddy fmt makes this of the Caddyfile:\n%s", formatted)
			}
			want := map[string]string{}
			for name, text := range c.files {
				if name, ok := strings.CutPrefix(name, "want/"); ok {
					want[name] = text
				}
			}
			for name, text := range got { // a section ends with a line break
				if text != "" && !strings.HasSuffix(text, "\n") {
					got[name] = text + "\n"
				}
			}
			if *update {
				c.write(t, file, got)
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("import-jenkins (-want +got):\n%s", diff)
			}
		})
	}
}

// write writes the case with other expected files.
func (c importCase) write(t *testing.T, file string, want map[string]string) {
	t.Helper()
	b := bytes.NewBufferString(c.comment)
	for _, name := range c.order {
		if !strings.HasPrefix(name, "want/") {
			b.WriteString("-- " + name + " --\n" + c.files[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		b.WriteString("-- want/" + name + " --\n" + want[name])
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// planOf returns the import of one job.
func planOf(t *testing.T, config string) *jenkinsimport.Plan {
	t.Helper()
	home, err := jenkinshome.Read(fstest.MapFS{"jobs/a/config.xml": &fstest.MapFile{Data: []byte(config)}}, "home", "home")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := jenkinsimport.New([]jenkinshome.Home{home}, jenkinsimport.Options{Dir: "/srv"})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestCheckOfACaddyfile checks Caddyfiles that are not what an import means.
func TestCheckOfACaddyfile(t *testing.T) {
	plan := planOf(t, "<project><description>Builds it</description></project>")
	whole := plan.Caddyfile()
	for _, tt := range []struct{ name, text, want string }{
		{"what is meant", whole, ""},
		{"a placeholder of Caddyfiles", strings.Replace(whole, "Builds it", "{$HOME}", 1), "it has {$, which Caddy replaces in Caddyfiles"},
		{"no directive", ":8080 {\n}\n", "the adapted Caddyfile has no build_token"},
		{"a description that differs", strings.Replace(whole, "Builds it", "Builds that", 1), "a Caddyfile cannot hold its description, because Caddy would replace a part of it"},
		{"a setting that is not meant", strings.Replace(whole, "build_token {", "build_token {\nquiet_period 7s", 1), "a Caddyfile cannot hold its quiet_period, because"},
		{"a setting of a job that is not meant", strings.Replace(whole, "job a {", "job a {\nquiet_period 7s", 1), "a Caddyfile cannot hold its quiet_period, because"},
		{"a job that is missing", ":8080 {\n\tbuild_token {\n\t}\n}\n", "a Caddyfile cannot hold its jobs, because"},
		{"a job that is not meant", strings.Replace(whole, "build_token {", "build_token {\njob b {\nrun true\n}", 1), "a Caddyfile cannot hold its "},
		{"no Caddyfile", strings.Replace(whole, "build_token", "", 1), "Caddy does not accept it: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := caddymodule.CheckCaddyfile(plan, tt.text)
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestCheckOfJobsTogether checks a plan whose jobs are right, each alone, but not together.
func TestCheckOfJobsTogether(t *testing.T) {
	plan := planOf(t, "<project/>")
	plan.Jobs = append(plan.Jobs, plan.Jobs[0])
	if err := caddymodule.CheckPlan(plan); err == nil || !strings.Contains(err.Error(), "Caddy does not accept it: ") {
		t.Errorf("two jobs of the same name: %v, want an error", err)
	}
}

// TestJobsThatACaddyfileCannotHold checks jobs in which Caddy would replace something, and others in which it would not.
func TestJobsThatACaddyfileCannotHold(t *testing.T) {
	command := func(words ...string) *jenkinsimport.Command { return &jenkinsimport.Command{Words: words} }
	dir := "/srv/{env.HOME}"
	for _, tt := range []struct {
		name   string
		change func(j *jenkinsimport.Job)
		want   string // why the job is left out
	}{
		{"an empty job", func(*jenkinsimport.Job) {}, ""},
		{"a variable", func(j *jenkinsimport.Job) { j.Settings.Env = []job.Var{{Name: "A", Value: "{env.HOME}"}} }, "the variable A has a placeholder, which would be replaced here"},
		{"a directory", func(j *jenkinsimport.Job) { j.Settings.Dir = &dir }, "its directory has a placeholder, which would be replaced here"},
		{"a command", func(j *jenkinsimport.Job) { j.Run = command("echo", "{env.HOME}") }, "a command has a placeholder, which would be replaced here"},
		{"a command with a parameter", func(j *jenkinsimport.Job) { j.Run = command("echo", "{param.A}") }, "a command has a placeholder, which would be replaced here"},
		{"a command with an unknown placeholder", func(j *jenkinsimport.Job) { j.Run = command("echo", "{x}") }, ""},
		{"a command that is worth a warning", func(j *jenkinsimport.Job) { j.Run = command("echo", "$HOME") }, ""},
		{"a poll", func(j *jenkinsimport.Job) { j.Poll = command("echo", "{env.HOME}") }, "a command has a placeholder, which would be replaced here"},
		{"two commands", func(j *jenkinsimport.Job) { j.Run, j.Poll = command("echo", "{env"), command(".HOME}") }, ""},
		{"a job of Jenkins", func(j *jenkinsimport.Job) {
			j.Run, j.Relay = nil, &jenkinsimport.Relay{URL: "http://jenkins", Job: "a"}
		}, ""},
		{"a job of Jenkins with a placeholder", func(j *jenkinsimport.Job) { j.Relay = &jenkinsimport.Relay{URL: "http://jenkins", Job: "{env.HOME}"} }, "its name in Jenkins has a placeholder, which would be replaced here"},
		{"a job of Jenkins with a long name", func(j *jenkinsimport.Job) {
			j.Relay = &jenkinsimport.Relay{URL: "http://jenkins", Job: strings.Repeat("a", 2000)}
		}, "jenkinsrunner: the URL of the job is longer than 2000 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := planOf(t, "<project/>")
			tt.change(&plan.Jobs[0])
			if err := caddymodule.CheckPlan(plan); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, reason := range plan.Report.Jobs[0].Reasons {
				got += reason.Text
			}
			if got != tt.want || (len(plan.Jobs) == 0) != (tt.want != "") {
				t.Errorf("left out because %q, want %q", got, tt.want)
			}
		})
	}
}
