package jenkins

import (
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// maxBuilds is how many builds a job shows; allBuilds shows maxAllBuilds.
const (
	maxBuilds    = 100
	maxAllBuilds = 10_000
)

// color returns the color of a job in Jenkins: the result of the last build.
func color(j *job.Job, lane queue.Lane) string {
	name := "notbuilt"
	switch lane.Last {
	case queue.Success:
		name = "blue"
	case queue.Unstable:
		name = "yellow"
	case queue.Failure:
		name = "red"
	case queue.Aborted:
		name = "aborted"
	case queue.NotBuilt:
	}
	if j.Disabled {
		name = "disabled"
	}
	if len(lane.Running) > 0 {
		name += "_anime"
	}
	return name
}

// jobLink refers to a job.
func (v *view) jobLink(j *job.Job, lane queue.Lane) link {
	return link{
		brief: object{{"_class", classJob}, {"name", j.Name()}, {"url", v.jobURL(j.FullName)}, {"color", color(j, lane)}},
		full:  func() object { return v.job(j, lane) },
	}
}

// theJob is a job as of now.
func (v *view) theJob(j *job.Job) object {
	lanes, err := v.ctl.Lanes(v.ctx(), j.FullName)
	if err != nil {
		v.note(err)
		return nil
	}
	return v.job(j, lanes[0])
}

func (v *view) job(j *job.Job, lane queue.Lane) object {
	full := j.FullName
	builds := sync.OnceValue(func() []queue.Build {
		builds, err := v.ctl.Builds(v.ctx(), full, 0, maxBuilds)
		if err != nil {
			v.note(err)
		}
		return builds
	})
	mark := func(name string) lazy { return func() any { return v.mark(full, name) } }
	return object{
		{"_class", classJob},
		{"actions", []any{}},
		{"description", orNull(j.Description)},
		{"displayName", j.Name()},
		{"displayNameOrNull", nil},
		{"fullDisplayName", web.Displayed(full)},
		{"fullName", full},
		{"name", j.Name()},
		{"url", v.jobURL(full)},
		{"allBuilds", onDemand(func() any { return v.allBuilds(full) })},
		{"buildable", !j.Disabled},
		{"builds", lazy(func() any { return v.buildLinks(builds()) })},
		{"color", color(j, lane)},
		{"firstBuild", mark("firstBuild")},
		{"healthReport", lazy(func() any { return health(builds()) })},
		{"inQueue", lane.Queued > 0},
		{"keepDependencies", false},
		{"lastBuild", mark("lastBuild")},
		{"lastCompletedBuild", mark("lastCompletedBuild")},
		{"lastFailedBuild", mark("lastFailedBuild")},
		{"lastStableBuild", mark("lastStableBuild")},
		{"lastSuccessfulBuild", mark("lastSuccessfulBuild")},
		{"lastUnstableBuild", mark("lastUnstableBuild")},
		{"lastUnsuccessfulBuild", mark("lastUnsuccessfulBuild")},
		{"nextBuildNumber", lane.LastNumber + 1},
		{"nextScheduled", v.nextScheduled(full)},
		{"property", properties(j)},
		{"queueItem", v.queueItem(full, lane)},
		{"concurrentBuild", j.Concurrent},
		{"disabled", j.Disabled},
		{"downstreamProjects", []any{}},
		{"labelExpression", nil},
		{"scm", object{{"_class", "hudson.scm.NullSCM"}}},
		{"upstreamProjects", []any{}},
	}
}

// nextScheduled returns when a schedule starts the job next, in ms since 1970, or nil.
func (v *view) nextScheduled(full string) any {
	j, err := v.d.Find(full)
	if err != nil {
		return nil
	}
	next, ok := j.NextScheduled(v.now)
	if !ok {
		return nil
	}
	return next.UnixMilli()
}

func (v *view) buildLinks(builds []queue.Build) []any {
	all := make([]any, len(builds))
	for i, b := range builds {
		all[i] = v.buildLink(b)
	}
	return all
}

func (v *view) allBuilds(full string) any {
	builds, err := v.ctl.Builds(v.ctx(), full, 0, maxAllBuilds)
	if err != nil {
		v.note(err)
	}
	return v.buildLinks(builds)
}

// queueItem is the item of the job that is due first.
func (v *view) queueItem(full string, lane queue.Lane) any {
	if lane.Queued == 0 {
		return nil
	}
	entries, err := v.ctl.Items(v.ctx(), v.d, full, 1)
	if err != nil {
		v.note(err)
	}
	if len(entries) == 0 { // it left meanwhile
		return nil
	}
	return v.item(entries[0])
}

// health returns the health report, from the last five builds that came to a verdict. As in
// Jenkins, unstable builds have not failed, and those that were aborted or not built do not count.
func health(builds []queue.Build) []any {
	const recent = 5
	ended, bad := 0, 0
	for _, b := range builds {
		if !b.Result.Verdict() {
			continue
		}
		if b.Result == queue.Failure {
			bad++
		}
		ended++
		if ended == recent {
			break
		}
	}
	if ended == 0 {
		return []any{}
	}
	score := 100 * (ended - bad) / ended
	icon := [...]string{"00to19", "20to39", "40to59", "60to79", "80plus"}[min(score/20, 4)]
	return []any{object{
		{"description", stability(ended, bad)},
		{"iconClassName", "icon-health-" + icon},
		{"iconUrl", "health-" + icon + ".png"},
		{"score", score},
	}}
}

// properties define the job's parameters.
func properties(j *job.Job) []any {
	if len(j.Params) == 0 {
		return []any{}
	}
	definitions := make([]any, len(j.Params))
	for i, p := range j.Params {
		definitions[i] = parameterDefinition(p)
	}
	return []any{object{
		{"_class", "hudson.model.ParametersDefinitionProperty"},
		{"parameterDefinitions", definitions},
	}}
}

func parameterDefinition(p job.Param) object {
	kind := map[job.Kind]string{
		job.KindString: "StringParameterDefinition", job.KindText: "TextParameterDefinition",
		job.KindPassword: "PasswordParameterDefinition", job.KindBoolean: "BooleanParameterDefinition",
		job.KindChoice: "ChoiceParameterDefinition", job.KindFile: "FileParameterDefinition",
	}[p.Kind]
	var byDefault any
	if p.Kind != job.KindFile {
		// What a trigger without a value gets.
		one := job.Job{Params: []job.Param{p}}
		if values, err := one.Values(nil, nil); err == nil && len(values) == 1 {
			byDefault = parameterValue(p.Name, p.Kind, values[0].Text)
		}
	}
	o := object{
		{"_class", "hudson.model." + kind},
		{"defaultParameterValue", byDefault},
		{"description", orNull(p.Description)},
		{"name", p.Name},
		{"type", kind},
	}
	if p.Kind == job.KindChoice {
		o = append(o, member{"choices", p.Choices})
	}
	return o
}
