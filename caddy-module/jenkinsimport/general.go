package jenkinsimport

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func (r *Report) general(element, format string, args ...any) {
	r.General = append(r.General, Note{element, fmt.Sprintf(format, args...)})
}

// Finish adds the notes about all jobs of the plan to the report. It must be called once, when
// no more jobs are left out.
func (p *Plan) Finish() {
	r := &p.Report
	if r.Relayed() < len(p.Jobs) {
		r.general("", "Builds get only PATH, HOME, LANG and TZ of Caddy's environment, and Jenkins' builds got all of its own. Add what scripts need with env or inherit_env.")
		r.general("", "Build numbers begin at 1.")
	}
	if p.has(func(j Job) bool { return len(j.Schedules) > 0 }) {
		r.general("", "Jobs with a schedule start builds by themselves. Disable such a job in Jenkins when it takes over here, or both build.")
	}
	if n := r.Relayed(); n > 0 {
		r.general("", "%s in Jenkins. Set JENKINS_USER and JENKINS_API_TOKEN in Caddy's environment: an account that may build and read these jobs, and its API token.", counted(n, "job runs", "jobs run"))
	}
	if p.has(func(j Job) bool { return j.Entry.newToken != "" }) {
		r.general("", "%s has the new tokens. Give them to the callers, then delete the file.", newTokensFile)
	}
	if p.has(func(j Job) bool { return j.Token != "" && j.Entry.newToken == "" }) {
		r.general("", "Jenkins' plugin divided the quiet period by 1000 for triggers with a token, so builds started at once. Here the quiet period applies; quiet_period 0s brings that back.")
	}
	if short := p.names(func(j Job) bool { return j.ShortToken }); len(short) > 0 {
		r.general("", "These jobs have a token of fewer than %d characters, which whoever reads the Caddyfile can guess from its digest. Replace them once the callers have moved: %s.", shortToken, strings.Join(short, ", "))
	}
	used := map[string]int{}
	for _, j := range p.Jobs {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(j.Harmless))) {
			used[name]++
		}
	}
	if len(used) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(used)) {
			all = append(all, fmt.Sprintf("%s (%s)", name, counted(used[name], "job", "jobs")))
		}
		r.general("", "These elements have no effect on builds and are not imported: %s.", strings.Join(all, ", "))
	}
	if n := len(p.names(func(j Job) bool { return j.Settings.KeepBuilds == nil })); n > 0 {
		r.general("", "Jenkins keeps all builds of %s; here keep_builds applies, which is 100 by default (0 keeps all).", counted(n, "job", "jobs"))
	}
	if n := len(p.names(func(j Job) bool { return j.Token == "" && len(j.Schedules) == 0 && !j.Disabled })); n > 0 {
		r.general("", "%s neither a token nor a schedule. Users can start builds if access allows it: access { build `user != \"\"` }", counted(n, "job has", "jobs have"))
	}
}

func (p *Plan) has(property func(Job) bool) bool { return slices.ContainsFunc(p.Jobs, property) }

// names returns the full names of the jobs with a property.
func (p *Plan) names(property func(Job) bool) []string {
	var names []string
	for _, j := range p.Jobs {
		if property(j) {
			names = append(names, j.FullName)
		}
	}
	return names
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
