package jenkinsimport

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// defaultQuietPeriod is that of Jenkins, and of jobs here.
const defaultQuietPeriod = 5 * time.Second

// global reads the configuration of the whole server.
func (im *importer) global(root *jenkinshome.Element) {
	p := im.plan
	if n, err := strconv.Atoi(strings.TrimSpace(root.TakeText("numExecutors"))); err == nil {
		p.Executors = max(n, 0)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(root.TakeText("quietPeriod"))); err == nil && n >= 0 {
		if quiet := time.Duration(n) * time.Second; quiet != defaultQuietPeriod && quiet <= job.MaxDelay {
			p.Settings.QuietPeriod = &quiet
		}
	}
	im.builtIn = strings.Fields(root.TakeText("label"))
	for _, property := range root.Take("globalNodeProperties").Peek() {
		if property.Name == "hudson.slaves.EnvironmentVariablesNodeProperty" {
			im.globalVariables(property)
		}
	}
	var others []string
	for _, e := range root.Left() {
		if name, _, _ := strings.Cut(e.Path(), "/"); !slices.Contains(others, name) {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		im.general("config.xml", "not imported, because it is no part of a job: %s", strings.Join(others, ", "))
	}
}

// globalVariables reads variables, which stand in a list of names and values in turn.
func (im *importer) globalVariables(property *jenkinshome.Element) {
	var texts []string
	for _, e := range property.Take("envVars").Take("tree-map").Peek() {
		if e.Name == "string" {
			texts = append(texts, e.Text)
		}
	}
	for pair := range slices.Chunk(texts, 2) {
		if len(pair) == 2 && variable.MatchString(pair[0]) && !strings.ContainsAny(pair[1], "${\n") {
			setVariable(&im.plan.Settings, pair[0], pair[1])
		} else {
			im.general(property.Path(), "the variable %s is not imported: its name or value has characters with a meaning for Jenkins or Caddy", pair[0])
		}
	}
	property.TakeWhole()
}

func (im *importer) general(element, format string, args ...any) {
	im.plan.Report.general(element, format, args...)
}
