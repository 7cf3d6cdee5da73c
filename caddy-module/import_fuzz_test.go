package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinsimport"
)

// FuzzImportedTexts puts a text in all places of a job in Jenkins. In the adapted Caddyfile the
// job must have the same text, or the job must be left out, or the description must be missing
// with a note.
func FuzzImportedTexts(f *testing.F) {
	for _, text := range []string{
		"plain", "two words", "", "{", "}", "{}", "{$HOME}", "{$NO_SUCH_VARIABLE}", "{path}", "{env.HOME}", "{file./etc/hostname}", "{param.P}", "{args[0]}", "{block}", "{http.request.host}",
		`"`, "`", `\`, `\"`, "a`b\\\"c", `ends with \`, "<<END", "<<END\nEND", "END`\\\"END", "# x", "import x", "@name", "a\nb", "a\r\nb", "\r", "\ttab", "(x)", "é😀", "$HOME", "${HOME}", "{$", "x{$}", "&(name)", "~", "a\u2028b",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var escaped strings.Builder
		if err := xml.EscapeText(&escaped, []byte(text)); err != nil {
			t.Fatal(err)
		}
		root, err := jenkinshome.Parse([]byte("<project><description>" + escaped.String() + "</description><properties><EnvInjectJobProperty><info><propertiesContent>A=" + escaped.String() +
			"</propertiesContent></info><on>true</on></EnvInjectJobProperty><hudson.model.ParametersDefinitionProperty><parameterDefinitions><hudson.model.TextParameterDefinition><name>P</name><defaultValue>" + escaped.String() +
			"</defaultValue></hudson.model.TextParameterDefinition><hudson.model.ChoiceParameterDefinition><name>Q</name><choices><string>" + escaped.String() +
			"</string></choices></hudson.model.ChoiceParameterDefinition></parameterDefinitions></hudson.model.ParametersDefinitionProperty></properties></project>"))
		if err != nil {
			return // a character that XML cannot contain
		}
		meant := root.Take("description").Text // U+FFFD for invalid UTF-8
		plan, err := jenkinsimport.New([]jenkinshome.Home{{Items: []jenkinshome.Item{{FullName: "x", Source: "x.xml", Config: root}}}}, jenkinsimport.Options{Dir: "/srv"})
		if err != nil {
			t.Fatal(err)
		}
		if err := caddymodule.CheckPlan(plan); err != nil {
			t.Fatalf("the whole Caddyfile is not what was meant: %v", err)
		}
		entry := plan.Report.Jobs[0]
		if entry.Status == jenkinsimport.LeftOut {
			if len(entry.Reasons) == 0 {
				t.Error("left out without a reason")
			}
			return
		}
		config, err := adapt(plan.Caddyfile())
		if err != nil {
			t.Fatalf("%v in\n%s", err, plan.Caddyfile())
		}
		got := onlyJob(t, config)
		if shown := strings.TrimSpace(strings.ReplaceAll(meant, "\r\n", "\n")); got.Description != shown && (got.Description != "" || entry.Status != jenkinsimport.ImportedWithNotes) {
			t.Errorf("the description is %q, want %q", got.Description, shown)
		}
		if len(got.Params) != 2 || got.Params[0].Default != meant || len(got.Params[1].Choices) != 1 || got.Params[1].Choices[0] != meant {
			t.Errorf("the parameters are %+v, want %q", got.Params, meant)
		}
		if value, ok := got.Env["A"]; ok && value != strings.TrimSpace(strings.TrimRight(meant, "\r\n")) && !strings.Contains(meant, "\n") {
			t.Errorf("A is %q, want %q", value, meant)
		}
	})
}

// importedJob has the fields of a job in an adapted Caddyfile that the test reads.
type importedJob struct {
	Description string            `json:"description"`
	Env         map[string]string `json:"env"`
	Params      []job.Param       `json:"params"`
}

func onlyJob(t *testing.T, config []byte) importedJob {
	t.Helper()
	at := bytes.Index(config, []byte(`"jobs":`))
	if at < 0 {
		t.Fatalf("no jobs in %s", config)
	}
	var jobs []importedJob
	if err := json.NewDecoder(bytes.NewReader(config[at+len(`"jobs":`):])).Decode(&jobs); err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v in %s", len(jobs), err, config)
	}
	return jobs[0]
}

// TestImportOfManyJobs imports more jobs than other tests. Each is adapted alone and with the
// others, which must not take long.
func TestImportOfManyJobs(t *testing.T) {
	home := fstest.MapFS{}
	for n := range 500 {
		home[fmt.Sprintf("jobs/job%d/config.xml", n)] = &fstest.MapFile{Data: []byte("<project><builders><hudson.tasks.Shell><command>true</command></hudson.tasks.Shell></builders></project>")}
	}
	read, err := jenkinshome.Read(home, "home", "home")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := jenkinsimport.New([]jenkinshome.Home{read}, jenkinsimport.Options{Dir: "/srv"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddymodule.CheckPlan(plan); err != nil {
		t.Fatal(err)
	}
	if got := plan.Report.Count(jenkinsimport.Imported); got != len(home) {
		t.Errorf("%d jobs imported, want %d", got, len(home))
	}
}
