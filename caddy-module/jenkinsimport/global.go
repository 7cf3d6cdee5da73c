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
	if n, err := strconv.Atoi(strings.TrimSpace(root.TakeText("numExecutors"))); err == nil && n > 0 {
		p.Executors = n
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
		if len(pair) < 2 || !variable.MatchString(pair[0]) || strings.ContainsAny(pair[1], "${\n") || im.setVariable(&im.plan.Settings, pair[0], pair[1]) != nil {
			im.general(property.Path(), "the variable %s is not imported: its name or value has characters with a meaning for Jenkins or Caddy", pair[0])
		}
	}
	property.TakeWhole()
}

func (im *importer) general(element, format string, args ...any) {
	e := Entry{}
	e.note(element, format, args...)
	im.plan.Report.General = append(im.plan.Report.General, e.Notes...)
}

// notes adds the general notes that depend on all jobs.
func (im *importer) notes() {
	r := &im.plan.Report
	scheduled := slices.ContainsFunc(im.plan.Jobs, func(j Job) bool { return len(j.Schedules) > 0 })
	created := slices.ContainsFunc(im.plan.Jobs, func(j Job) bool { return j.Entry.newToken != "" })
	ofJenkins := slices.ContainsFunc(im.plan.Jobs, func(j Job) bool { return j.Token != "" && j.Entry.newToken == "" })
	if r.Relayed() < len(im.plan.Jobs) {
		im.general("", "Builds get only PATH, HOME, LANG and TZ of Caddy's environment, and Jenkins' builds got all of its own. Add what scripts need with env or inherit_env.")
		im.general("", "Build numbers begin at 1.")
	}
	if scheduled {
		im.general("", "Jobs with a schedule start builds by themselves. Disable such a job in Jenkins when it takes over here, or both build.")
	}
	if n := r.Relayed(); n > 0 {
		im.general("", "%s in Jenkins. Set JENKINS_USER and JENKINS_API_TOKEN in Caddy's environment: an account that may build and read these jobs, and its API token.", counted(n, "job runs", "jobs run"))
	}
	if created {
		im.general("", "%s has the new tokens. Give them to the callers, then delete the file.", newTokensFile)
	}
	if ofJenkins {
		im.general("", "Jenkins' plugin divided the quiet period by 1000 for triggers with a token, so builds started at once. Here the quiet period applies; quiet_period 0s brings that back.")
	}
	if len(im.shortTokens) > 0 {
		im.general("", "These jobs have a token of fewer than %d characters, which whoever reads the Caddyfile can guess from its digest. Replace them once the callers have moved: %s.", shortToken, strings.Join(im.shortTokens, ", "))
	}
	if im.withoutLimit > 0 {
		im.general("", "Jenkins keeps all builds of %s; here keep_builds applies, which is 100 by default (0 keeps all).", counted(im.withoutLimit, "job", "jobs"))
	}
	if im.withoutStart > 0 {
		im.general("", "%s neither a token nor a schedule. Users can start builds if access allows it: access { build `user != \"\"` }", counted(im.withoutStart, "job has", "jobs have"))
	}
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
